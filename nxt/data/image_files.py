"""Image files in a folder with a folder for each class: which there are, and how they are read."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import check_classes, digest
from nxt.data.preprocess import rgb, without_warnings
from nxt.errors import DataError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")
ADVICE = "; repair or remove it, or leave such files out with `skip_bad`"
_MEMORY = 16 << 30  # bytes of decoded images that may be resident
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
        for split, where in folders.items():
            self._names[split], self._labels[split] = _image_files(where, self.classes)

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

    def natural_size(self) -> int | None:
        """Returns the shorter side in pixels of the first image that can be opened; None if it is not small."""
        for row in range(min(100, len(self._names["train"]))):
            try:
                with without_warnings(), _open(self._file("train", row)) as image:
                    side = min(image.size)
            except DataError:
                continue  # said by name when it is read
            return side if side <= _SMALL else None
        return None

    def _file(self, split: str, row: int) -> Path:
        return self._folders[split] / os.fsdecode(self._names[split][row])

    @cached_property
    def _identity(self) -> str:
        return digest(
            f"{split}/{name}/{entry.name} {entry.stat().st_size}"
            for split, where in self._folders.items()
            for name in self.classes
            for entry in _images_in(where / name)
        )


def _class_names(train: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in _scan(train) if entry.is_dir() and not entry.name.startswith("."))
    if not names and any(map(_is_image, _scan(train))):
        raise DataError(f"{train}: images, but no class folders; expected {train.name}/CLASS/image files")
    empty = [name for name in names if not any(map(_is_image, _scan(train / name)))]
    if names and len(empty) == len(names):
        raise DataError(f"{train}: no images in any of its {len(names)} folders")
    if empty:
        raise DataError(f"{train / empty[0]}: no images in this class; add some, or remove the folder")
    check_classes(names, str(train))
    return tuple(names)


def _image_files(where: Path, classes: tuple[str, ...]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Returns the names of the image files, as bytes and relative to the folder, and their labels."""
    present = {entry.name for entry in _scan(where) if entry.is_dir() and not entry.name.startswith(".")}
    for name in sorted(present.difference(classes)):
        raise DataError(f"{where / name}: the training images have no class {name!r}; add them to train, or remove it")
    files = [
        (f"{name}/{entry.name}", label) for label, name in enumerate(classes) for entry in _images_in(where / name)
    ]
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
    return sorted(filter(_is_image, _scan(where)), key=lambda entry: entry.name) if where.is_dir() else []


def _scan(where: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(where) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{where}: cannot be read ({error.strerror})") from None


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or not entry.name.lower().endswith(SUFFIXES):
        return False
    return entry.is_file() or (entry.is_symlink() and not entry.is_dir())  # a broken link is an image that is missing


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
