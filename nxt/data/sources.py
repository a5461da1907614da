"""The data sets: bundled digits, CIFAR-10 and CIFAR-100, and folders of images with a class a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import SPLIT_SEED, Source, check_classes, stratified
from nxt.data.ref import DataRef
from nxt.errors import DataError, first_line, suggestion

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR = {  # mean and deviation of the training images' values, per channel
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")
ADVICE = "; repair or remove it, or leave such files out with `skip_bad`"
_MEMORY = 16 << 30  # bytes of decoded images that may be resident
_SMALL = 64  # pixels; images that small are trained on at their own size


def open_source(data: DataRef, download: bool = False) -> Source:
    """Opens a data set. Images are read when they are needed, except those of CIFAR.

    Args:
        data: Which data set.
        download: Whether it may be downloaded if it is not there.

    Raises:
        DataError: if the data set is not there, or is not usable.
    """
    if data.kind == "folder":
        return folder(data.path)
    return digits() if data.kind == "digits" else cifar(data.kind, data.path, download)


def digits() -> Source:
    """Returns the 1,797 hand-written digits (8x8, 16 grey levels) that come with nxt.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    CC BY 4.0; the subset that scikit-learn ships. A fixed fifth of every class is the test split.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        grey, labels = file["images"], file["labels"].astype(np.int64)
    pixels = np.repeat((grey.astype(np.uint16) * 255 // 16).astype(np.uint8)[..., None], 3, axis=3)
    test, train = stratified(labels, 0.2, SPLIT_SEED)
    arrays = _Arrays({name: (pixels[rows], labels[rows]) for name, rows in (("train", train), ("test", test))})
    return Source(
        name="digits",
        classes=tuple("0123456789"),
        mean=(0.305,) * 3,
        std=(0.376,) * 3,
        mirror=False,
        size=32,
        has_val=False,
        labels=arrays.labels,
        images=arrays.images,
        open=arrays.open,
        identity=arrays.identity,
    )


def cifar(kind: str, path: str, download: bool) -> Source:
    """Returns CIFAR-10 or CIFAR-100 (its 100 fine classes) from torchvision's files.

    Args:
        kind: "cifar10" or "cifar100".
        path: The folder that torchvision keeps it in; by default `$NXT_DATA` or `~/.cache/nxt`.
        download: Whether it may be downloaded to there.

    Raises:
        DataError: if it is not there and may not be, or cannot be, downloaded.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    root = Path(path or os.environ.get("NXT_DATA", "~/.cache/nxt")).expanduser()
    opened = CIFAR10 if kind == "cifar10" else CIFAR100
    try:
        splits = {name: opened(root, train=name == "train", download=download) for name in ("train", "test")}
    except RuntimeError:
        raise DataError(f"{kind}: not in {root}; add `download`, or say where it is with {kind}:PATH") from None
    except OSError as error:
        raise DataError(f"{kind}: cannot be downloaded to {root} ({error})") from None
    arrays = _Arrays({name: (s.data, np.asarray(s.targets, dtype=np.int64)) for name, s in splits.items()})
    mean, std = _CIFAR[kind]
    return Source(
        name=f"{kind}:{root}",
        classes=tuple(splits["train"].classes),
        mean=mean,
        std=std,
        mirror=True,
        size=32,
        has_val=False,
        labels=arrays.labels,
        images=arrays.images,
        open=arrays.open,
        identity=arrays.identity,
    )


def folder(path: str) -> Source:
    """Returns a data set of image files: `train/CLASS/*.jpg`, with `val/`, `validation/` or `test/` beside it.

    With both a test folder and a val folder, val is used for selection. With one of them only, that one is the test
    split, and selection uses images held out from train.

    Raises:
        DataError: if the folders are missing or empty, or do not have the same classes as train.
    """
    root = Path(path).expanduser().resolve()
    if not path or not root.is_dir():
        beside = [entry.parent.name for entry in root.parent.glob("*/train")]
        near = (path and suggestion(root.name, beside)) or "; write folder:PATH"
        raise DataError(f"folder:{path}: no such folder{near}")
    if not (root / "train").is_dir():
        above = f"; did you mean folder:{root.parent}?" if root.name in ("train", "val", "test") else ""
        raise DataError(f"{root}: no folder 'train' in it{above or '; expected train/CLASS/image files'}")
    present = [name for name in ("val", "validation", "test") if (root / name).is_dir()]
    if not present:
        raise DataError(f"{root}: no folder 'test', 'val' or 'validation' beside 'train'")
    folders = {"train": root / "train", "test": root / present[-1]}
    if len(present) > 1:
        folders["val"] = root / present[0]
    files = _Files(folders)
    return Source(
        name=f"folder:{root}",
        classes=files.classes,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        mirror=True,
        size=files.natural_size(),
        has_val="val" in folders,
        labels=files.labels,
        images=files.images,
        open=files.open,
        called=files.called,
        identity=files.identity,
    )


class _Arrays:
    """Images in memory: for each split (N, H, W, 3) uint8, and the labels. The methods are those of a `Source`."""

    def __init__(self, splits: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> None:
        self._splits = splits

    def labels(self, split: str) -> NDArray[np.int64]:
        return self._splits[split][1]

    def images(self, split: str, chosen: NDArray[np.int64], _side: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._splits[split][0][chosen].transpose(0, 3, 1, 2))

    def open(self, split: str, row: int) -> Image:
        from PIL import Image

        return Image.fromarray(self._splits[split][0][row])

    def identity(self) -> str:
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return digest(array for split in self._splits.values() for array in split)


class _Files:
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
        return _decode([self._file(split, row) for row in chosen], side)

    def open(self, split: str, row: int) -> Image:
        return _rgb(self._file(split, row))

    def called(self, split: str, row: int) -> str:
        return bytes(self._names[split][row]).decode(errors="backslashreplace")

    def identity(self) -> str:
        return self._identity

    def natural_size(self) -> int | None:
        """Returns the shorter side in pixels of the first image that can be opened; None if it is not small."""
        for row in range(min(100, len(self._names["train"]))):
            try:
                with _open(self._file("train", row)) as image:
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
            return image.convert("RGB")
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

    rgb = _rgb(file, side)
    width, height = rgb.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(rgb).transpose(2, 0, 1)


def digest(parts: Iterable[str | NDArray[Any]]) -> str:
    """Returns sixteen hex digits that change with any of the parts."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(os.fsencode(part) + b"\0" if isinstance(part, str) else np.ascontiguousarray(part).data)
    return sha256.hexdigest()[:16]
