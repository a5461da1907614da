"""Image files, wherever they lie: which there are, and how they are read.

A reader (of folders, archives, tables, Hugging Face data sets) gives a `Found`: where the bytes of each image are, its
class, its split. All else is here, so that an image is decoded alike whatever it came in.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import ADVICE, check_classes, digest, held_out_test
from nxt.data.preprocess import rgb, upright_size, without_warnings
from nxt.errors import DataError, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (  # of the pictures that Pillow reads by itself; not of drawings, films and scientific data
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tga", ".pcx", ".sgi", ".qoi",
)  # fmt: skip
SPLITS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}  # by what they are called
_LEAST = 4  # pixels; of no smaller side anything is trained
_MEMORY = 16 << 30  # bytes of decoded images that may be resident
_SAMPLE = 64  # images whose sizes are looked at
_SMALL = 64  # pixels; images that small are trained on at their own size
_COMPARED, _COMPARED_BYTES = 10_000, 64 << 20  # most images, and most of their bytes, that are compared between splits


class Files(Protocol):
    """Where the bytes of images are, by number. It can be pickled, for processes that read images."""

    root: Path  # the folder or file that all are in

    def name(self, number: int) -> str:
        """Returns what an image is called below `root`."""

    def open(self, number: int) -> Path | BinaryIO:
        """Returns what Pillow opens. Raises OSError or ValueError if that is not there, or is damaged."""

    def size(self, number: int) -> int:
        """Returns how many bytes it has; -1 if that cannot be seen."""


class OnDisk:
    """Files in a folder. Names are kept as an array of bytes: a million are sent to another process in no time."""

    def __init__(self, root: Path, names: Iterable[str]) -> None:
        self.root, self._names = root, np.array([os.fsencode(name) for name in names], dtype=np.bytes_)

    def name(self, number: int) -> str:
        return os.fsdecode(self._names[number])

    def open(self, number: int) -> Path:
        return self.root / self.name(number)

    def size(self, number: int) -> int:
        try:
            return self.open(number).stat().st_size
        except (OSError, ValueError):  # a link that leads nowhere, or a name that no file can have
            return -1


@dataclass(frozen=True)
class Rows:
    """The images of a split: their numbers among the files, and their labels; `folder` is what all names begin with."""

    numbers: NDArray[np.int64]
    labels: NDArray[np.int64]
    folder: str = ""


class Targets(Protocol):
    """What is to be found in scenes, by the number of the image's file. It can be pickled, as `Files` can."""

    def read(self, number: int, size: tuple[int, int]) -> Any:
        """Returns the target (see `Source`) of an image of that width and height. Raises DataError if it has none."""

    def identity(self) -> Iterable[str]:
        """Yields what changes with any of the targets."""


@dataclass(frozen=True)
class Found:
    """What a reader found: files, classes, the rows of "train" and perhaps of "val" and "test".

    `left_out` has the names of what is none of these, by what it is; `where` is the data set, for messages. Of scenes
    there are `targets`. `notes` is what else a person should know.
    """

    files: Files
    classes: tuple[str, ...]
    splits: dict[str, Rows]
    left_out: Mapping[str, Collection[str]]
    where: Path
    targets: Targets | None = None
    notes: tuple[str, ...] = ()


def roles(names: Iterable[str], where: Path, known: Mapping[str, str] = SPLITS) -> dict[str, str]:
    """Returns which of some names is that of which split. Raises DataError if two are that of one."""
    called: dict[str, str] = {}
    for name in sorted(names, key=list(known).index):
        other = called.setdefault(known[name], name)
        if other != name:
            raise DataError(f"{where}: {other!r} and {name!r} both name the validation split; keep one of them")
    return called


def found(
    files: Files,
    items: Sequence[tuple[int, str, str]],
    classes: Sequence[str],
    left_out: Mapping[str, Collection[str]],
    where: Path,
    to_train: bool = True,
) -> Found:
    """Returns what a reader of lists found: (number of the file, class, name of the split or "") of each image.

    Raises:
        DataError: if a split has no known name, none is for training though it is `to_train`, or a class has no image
            there.
    """
    for split in {split for _, _, split in items}.difference(SPLITS, [""]):
        raise DataError(f"{where}: a split is called {split!r}; known are {', '.join(SPLITS)}")
    position, splits = {name: label for label, name in enumerate(classes)}, {}
    for role in dict.fromkeys(SPLITS.values()):
        chosen = [(number, position[name]) for number, name, split in items if SPLITS[split or "train"] == role]
        if chosen:
            splits[role] = Rows(*np.array(chosen, dtype=np.int64).T.copy())
    if "train" not in splits and (to_train or not splits):
        raise DataError(f"{where}: no images with a class to train on; there are {len(items)} in all")
    trained = splits["train"].labels.tolist() if "train" in splits else range(len(classes))
    for label in set(range(len(classes))).difference(trained):
        raise DataError(f"{where}: no training image of the class {classes[label]!r}; add some, or leave it out")
    check_classes(classes, str(where))
    return Found(files, tuple(classes), splits, left_out, where)


class ImageFiles:
    """The images that a reader found, by split. The methods are those of a `Source`.

    Of "val" and "test", one alone is the test split. Without both, a part of the training images is; `has_test` is then
    False, and `notes` says so. (All of them are, if none are to be held out.) So they do of what was left out, of odd
    sizes, and of images in two splits. "train" may be empty.
    """

    def __init__(self, found: Found, hold_out: bool = True) -> None:
        self._files, self.classes, self._splits = found.files, found.classes, dict(found.splits)
        self._targets = found.targets
        if not hold_out and list(self._splits) == ["train"]:
            self._splits["test"] = self._splits.pop("train")
        self._splits.setdefault("train", Rows(np.empty(0, np.int64), np.empty(0, np.int64)))
        self.has_val = {"val", "test"} <= set(self._splits)
        self.has_test = len(self._splits) > 1
        held_out = "" if self.has_test else self._hold_out(str(found.where))
        if "test" not in self._splits:
            self._splits["test"] = self._splits.pop("val")
        kinds = [f"{len(names):,} {kind} (such as {min(names)})" for kind, names in found.left_out.items()]
        left_out = f"left out of {found.where}: {', '.join(kinds)}" if kinds else ""
        self.size, odd = self._natural_size()
        self.notes = tuple(filter(None, (held_out, left_out, *found.notes, odd, self._in_two_splits())))

    def labels(self, split: str) -> NDArray[np.int64]:
        return self._splits[split].labels

    def images(self, split: str, chosen: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        with without_warnings():
            return _decode(self._files, self._splits[split].numbers[chosen].tolist(), side)

    def open(self, split: str, row: int) -> Image:
        with without_warnings():
            return _rgb(self._files, int(self._splits[split].numbers[row]))

    def target(self, split: str, row: int) -> Any:
        assert self._targets is not None
        number = int(self._splits[split].numbers[row])
        with without_warnings():
            with _open(self._files, number) as image:
                size = upright_size(image)
            return self._targets.read(number, size)

    def called(self, split: str, row: int) -> str:
        return _printable(self._name(split, row))

    def identity(self) -> str:
        return self._identity

    def _name(self, split: str, row: int) -> str:
        rows = self._splits[split]
        return self._files.name(int(rows.numbers[row])).removeprefix(rows.folder)

    def _hold_out(self, where: str) -> str:
        """Makes a part of the training images the test split, and returns a sentence about it."""
        rows = self._splits["train"]
        test, train = held_out_test(rows.labels, where)
        for split, part in (("test", test), ("train", train)):
            self._splits[split] = Rows(rows.numbers[part], rows.labels[part], rows.folder)
        return (
            f"{where}: no test split, so {len(test):,} of its {len(rows.labels):,} images are held out as one, "
            f"{'' if self._targets else 'a share of each class, '}the same in every run"
        )

    def _natural_size(self) -> tuple[int | None, str]:
        """Returns the median of the images' shorter sides in pixels, None if it is not small; and a remark.

        It looks at images from all over the training split, or else the test split. The remark tells what differs from
        what one would expect.
        """
        rows = self._splits["train"]
        numbers = (rows if len(rows.numbers) else self._splits["test"]).numbers
        sides = {}
        for row in np.unique(np.linspace(0, len(numbers) - 1, _SAMPLE).round().astype(int)).tolist():
            with without_warnings(), suppress(DataError), _open(self._files, int(numbers[row])) as image:
                sides[row] = min(image.size)  # what cannot be opened is said by name when it is read
        if not sides:
            return None, ""
        size = max(_LEAST, int(np.median(list(sides.values()))))
        least, most = min(sides, key=sides.__getitem__), max(sides, key=sides.__getitem__)
        if size <= _SMALL < sides[most] or sides[least] < _LEAST or sides[least] <= _SMALL < size:
            how = f"are trained at {size} px" if size <= _SMALL else "are taken for large ones"
            ends = [f"{sides[row]} px ({_printable(self._files.name(int(numbers[row])))})" for row in (least, most)]
            remark = f"the images {how}: shorter sides are from {ends[0]} to {ends[1]}, by {len(sides)} looked at"
        else:
            remark = ""
        return size if size <= _SMALL else None, remark

    def _in_two_splits(self) -> str:
        """Returns a warning if files are in two splits, byte for byte; of many images it looks at none."""
        if sum(len(rows.labels) for rows in self._splits.values()) > _COMPARED:
            return ""
        by_size: dict[int, list[tuple[str, int]]] = {}
        for split, rows in self._splits.items():
            for number in rows.numbers.tolist():
                by_size.setdefault(self._files.size(number), []).append((split, number))
        alike = {size: same for size, same in by_size.items() if size > 0 and len({split for split, _ in same}) > 1}
        if sum(size * len(same) for size, same in alike.items()) > _COMPARED_BYTES:
            return ""
        first: dict[bytes, tuple[str, int]] = {}
        twice = []
        for split, number in (item for same in alike.values() for item in same):
            with suppress(OSError, ValueError):
                given = self._files.open(number)
                content = given.read_bytes() if isinstance(given, Path) else given.read()
                other, twin = first.setdefault(hashlib.sha256(content).digest(), (split, number))
                if other != split:
                    twice.append(f"{self._files.name(twin)} in {other} is {self._files.name(number)} in {split}")
        if not twice:
            return ""
        what = "1 image is" if len(twice) == 1 else f"{len(twice):,} images are"
        return f"{what} in two splits, which flatters what is measured: {min(twice)}"

    @cached_property
    def _identity(self) -> str:
        images = (
            f"{split}/{self._with_class(split, row)} {self._files.size(number)}"
            for split in ("train", "test", "val")
            if split in self._splits
            for row, number in enumerate(self._splits[split].numbers.tolist())
        )
        return digest([*images, *(self._targets.identity() if self._targets else ())])

    def _with_class(self, split: str, row: int) -> str:
        name = self._name(split, row)
        if self._targets:
            return name
        of_class = self.classes[self._splits[split].labels[row]]
        return name if name.startswith(f"{of_class}/") else f"{of_class}/{name}"


def _printable(name: str) -> str:
    """Returns a file's name for messages: bytes that are no text as escapes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _decode(files: Files, numbers: Sequence[int], side: int) -> NDArray[np.uint8]:
    """Decodes images into (n, 3, side, side): short side resized, centre cropped. One unreadable file is an error."""
    needed = len(numbers) * 3 * side * side
    if needed > _MEMORY:
        raise DataError(
            f"{len(numbers)} images at {side} px take {needed / 2**30:.0f} GiB in memory, more than {_MEMORY >> 30}; "
            "use a smaller size or share of the data"
        )
    images = np.empty((len(numbers), 3, side, side), dtype=np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, image in enumerate(pool.map(partial(_decode_one, files, side), numbers)):
            images[index] = image
    return images


def read_rgb(file: Path) -> Image:
    """Reads an image file as all images are read. Raises DataError if it cannot be read."""
    return _rgb(OnDisk(file.parent, [file.name]), 0)


def _rgb(files: Files, number: int, side: int | None = None) -> Image:
    """Reads an image; with a side, JPEGs at any size that has it (which decodes faster)."""
    with _open(files, number) as image:
        try:
            if side is not None:
                image.draft("RGB", (side, side))
            return rgb(image)
        except Exception as error:  # whatever a decoder makes of a damaged file
            raise _unreadable(files, number, error) from None


def _open(files: Files, number: int) -> Image:
    from PIL import Image

    try:
        return Image.open(files.open(number))
    except Exception as error:
        raise _unreadable(files, number, error) from None


def _unreadable(files: Files, number: int, error: Exception) -> DataError:
    return unreadable(files.root / files.name(number), "an image", error)


def unreadable(file: Path, what: str, error: Exception) -> DataError:
    """Returns an error that says why a picture cannot be read as something."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    if type(error).__name__ == "UnidentifiedImageError":
        why = "of no known format"  # else it would name the file again
    return DataError(f"{file}: not readable as {what} ({why}){ADVICE}")


def _decode_one(files: Files, side: int, number: int) -> NDArray[np.uint8]:
    from PIL import Image

    image = _rgb(files, number, side)
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image).transpose(2, 0, 1)
