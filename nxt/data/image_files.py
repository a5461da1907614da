"""Image files in a folder with a folder for each class: which there are, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import check_classes, digest
from nxt.data.preprocess import rgb, without_warnings
from nxt.errors import DataError, first_line
from nxt.files import is_folder

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (  # of the pictures that Pillow reads by itself; not of drawings, films and scientific data
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tga", ".pcx", ".sgi", ".qoi",
)  # fmt: skip
ADVICE = "; repair or remove it, or leave such files out with `skip_bad`"
_LEAST = 4  # pixels; of no smaller side anything is trained
_MEMORY = 16 << 30  # bytes of decoded images that may be resident
_SAMPLE = 64  # images whose sizes are looked at
_SMALL = 64  # pixels; images that small are trained on at their own size


class ImageFiles:
    """Image files of a folder for each split. The methods are those of a `Source`.

    Names are kept as arrays of bytes: a million of them are sent to another process in no time.

    Raises:
        DataError: if there are no images, or no classes to tell apart.
    """

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        self.classes = _class_names(folders["train"])
        self._names: dict[str, NDArray[np.bytes_]] = {}  # relative to the split's folder
        self._labels: dict[str, NDArray[np.int64]] = {}
        left_out: dict[str, list[str]] = {}
        for split, where in folders.items():
            self._names[split], self._labels[split] = _image_files(where, self.classes, left_out)
        self.left_out = [f"{len(names):,} {kind} (such as {min(names)})" for kind, names in left_out.items()]

    def labels(self, split: str) -> NDArray[np.int64]:
        return self._labels[split]

    def images(self, split: str, chosen: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        with without_warnings():
            return _decode([self._file(split, row) for row in chosen], side)

    def open(self, split: str, row: int) -> Image:
        with without_warnings():
            return _rgb(self._file(split, row))

    def called(self, split: str, row: int) -> str:
        return bytes(self._names[split][row]).decode(errors="backslashreplace")

    def identity(self) -> str:
        return self._identity

    def natural_size(self) -> tuple[int | None, str]:
        """Returns the median of the images' shorter sides in pixels, None if it is not small; and a remark.

        It looks at images from all over the training split. The remark tells what differs from what one would expect.
        """
        rows = np.unique(np.linspace(0, len(self._names["train"]) - 1, _SAMPLE).round().astype(int)).tolist()
        sides = {}
        for row in rows:
            with without_warnings(), suppress(DataError), _open(self._file("train", row)) as image:
                sides[row] = min(image.size)  # what cannot be opened is said by name when it is read
        if not sides:
            return None, ""
        size = max(_LEAST, int(np.median(list(sides.values()))))
        least, most = min(sides, key=sides.__getitem__), max(sides, key=sides.__getitem__)
        if size <= _SMALL < sides[most] or sides[least] < _LEAST or sides[least] <= _SMALL < size:
            how = f"are trained at {size} px" if size <= _SMALL else "are taken for large ones"
            ends = [f"{sides[row]} px (train/{self.called('train', row)})" for row in (least, most)]
            remark = f"the images {how}: shorter sides are from {ends[0]} to {ends[1]}, by {len(sides)} looked at"
        else:
            remark = ""
        return size if size <= _SMALL else None, remark

    def _file(self, split: str, row: int) -> Path:
        return self._folders[split] / os.fsdecode(self._names[split][row])

    @cached_property
    def _identity(self) -> str:
        return digest(
            f"{split}/{name}/{entry.name} {_bytes(entry)}"
            for split, where in self._folders.items()
            for name in self.classes
            for entry in _images_in(where / name)
        )


def _class_names(train: Path) -> tuple[str, ...]:
    names = folders_in(train)
    if not names and any(map(_is_image, _scan(train))):
        raise DataError(f"{train}: images, but no class folders; expected {train.name}/CLASS/image files")
    empty = [name for name in names if not any(map(_is_image, _scan(train / name)))]
    if names and len(empty) == len(names):
        raise DataError(f"{train}: no images in any of its {len(names)} folders")
    if empty:
        raise DataError(f"{train / empty[0]}: no images in this class; add some, or remove the folder")
    check_classes(names, str(train))
    return tuple(names)


def _image_files(
    where: Path, classes: tuple[str, ...], left_out: dict[str, list[str]]
) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Returns the names of the image files, as bytes and relative to the folder, and their labels.

    What is no image of a class is added to `left_out`: names by what they are.
    """
    present = folders_in(where)
    for name in sorted(set(present).difference(classes)):
        raise DataError(f"{where / name}: the training images have no class {name!r}; add them to train, or remove it")
    files: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        entries = sorted(_scan(where / name), key=lambda entry: entry.name) if name in present else []
        files += [(f"{name}/{entry.name}", label) for entry in entries if _is_image(entry)]
        for kind, other in _others(entries):
            left_out.setdefault(kind, []).append(f"{where.name}/{name}/{other}")
    if outside := [f"{where.name}/{entry.name}" for entry in _scan(where) if _is_image(entry)]:
        left_out.setdefault("images outside the class folders", []).extend(outside)
    if not files:
        raise DataError(f"{where}: no images; expected {where.name}/CLASS/image files")
    missing = [name for name in classes if name not in present]
    if missing:
        more = f" (nor for {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{where}: no folder for the class {missing[0]!r} of the training images{more}; add it, "
            "empty if there are no such images"
        )
    return np.array([os.fsencode(name) for name, _ in files]), np.array([label for _, label in files], dtype=np.int64)


def _images_in(where: Path) -> list[os.DirEntry[str]]:
    """Returns the image files of a class in order; none if there is no such folder."""
    return sorted(filter(_is_image, _scan(where)), key=lambda entry: entry.name) if is_folder(where) else []


def folders_in(where: Path, needed: tuple[str, ...] | None = None) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without hidden ones.

    Raises:
        DataError: if it cannot be read, or a link in it that may have been a folder (one of those `needed`) leads
            nowhere.
    """
    entries = [entry for entry in _scan(where) if not entry.name.startswith(".")]
    for entry in entries:
        wanted = entry.name in needed if needed is not None else not entry.name.lower().endswith(SUFFIXES)
        if wanted and _kind(entry) == "dead link":
            raise DataError(f"{entry.path}: a link that leads nowhere; repair or remove it")
    return sorted(entry.name for entry in entries if _kind(entry) == "folder")


def _others(entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[str, str]]:
    """Yields what in a class's folder is no image of it, except hidden files: its kind, and its name."""
    for entry in entries:
        if entry.name.startswith(".") or _is_image(entry):
            continue
        if _kind(entry) != "folder":
            yield "files of other kinds", entry.name
            continue
        for top, _, names in os.walk(entry.path):
            inside = os.path.relpath(top, Path(entry.path).parent)
            images = (name for name in names if name.lower().endswith(SUFFIXES))
            yield from (("images in folders inside class folders", f"{inside}/{name}") for name in images)


def _scan(where: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(where) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror})") from None


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or not entry.name.lower().endswith(SUFFIXES):
        return False
    return _kind(entry) in ("file", "dead link")  # that is an image that cannot be read


def _kind(entry: os.DirEntry[str]) -> str:
    """Returns "file", "folder" or "dead link" (one that leads nowhere, in a circle, or behind a closed door)."""
    try:
        kind = "folder" if entry.is_dir() else "file" if entry.is_file() else ""
        return kind or ("dead link" if entry.is_symlink() else "device")
    except OSError:
        return "dead link"


def _bytes(entry: os.DirEntry[str]) -> int:
    """Returns the size of a file; -1 if that cannot be seen, as of a link that leads nowhere."""
    try:
        return entry.stat().st_size
    except OSError:
        return -1


def _decode(files: list[Path], side: int) -> NDArray[np.uint8]:
    """Decodes files into (n, 3, side, side): short side resized, centre cropped. One unreadable file is an error."""
    needed = len(files) * 3 * side * side
    if needed > _MEMORY:
        raise DataError(
            f"{len(files)} images at {side} px take {needed / 2**30:.0f} GiB in memory, more than {_MEMORY >> 30}; "
            "use a smaller size or share of the data"
        )
    images = np.empty((len(files), 3, side, side), dtype=np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, image in enumerate(pool.map(partial(_decode_one, side=side), files)):
            images[index] = image
    return images


def _rgb(file: Path, side: int | None = None) -> Image:
    """Reads an image file; with a side, JPEGs at any size that has it (which decodes faster)."""
    with _open(file) as image:
        try:
            if side is not None:
                image.draft("RGB", (side, side))
            return rgb(image)
        except Exception as error:  # whatever a decoder makes of a damaged file
            raise _unreadable(file, error) from None


def _open(file: Path) -> Image:
    from PIL import Image

    try:
        return Image.open(file)
    except Exception as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> DataError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    if type(error).__name__ == "UnidentifiedImageError":
        why = "of no known format"  # else it would name the file again
    return DataError(f"{file}: not readable as an image ({why}){ADVICE}")


def _decode_one(file: Path, side: int) -> NDArray[np.uint8]:
    from PIL import Image

    image = _rgb(file, side)
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image).transpose(2, 0, 1)
