"""Images with a mask of class numbers each: in folders beside each other, or as ADE20K and Cityscapes have them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import ADVICE, IGNORED
from nxt.data.sources.image_files import SPLITS, SUFFIXES, Found, OnDisk, Rows, roles, unreadable
from nxt.errors import DataError
from nxt.files import is_file, is_folder

_UNNAMED = ("void", "ignore")  # classes that mean the same
_WRONG = -1  # in tables: a value that no mask may have


@dataclass(frozen=True)
class _Scheme:
    """How a data set lays out its files, and which values of masks are which class; others up to `most` are none."""

    images: str = "images"
    masks: str = "masks"
    ends: tuple[str, str] = ("", "")  # of the names of images and masks, after what they share
    splits: Mapping[str, str] = field(default_factory=lambda: SPLITS)  # by the names of folders, inside the others
    either: bool = False  # whether those of images and masks may also be inside those of splits
    classes: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    most: int = 0

    def table(self) -> NDArray[np.int16]:
        """Returns the class of each value (256,)."""
        table = np.full(256, _WRONG, dtype=np.int16)
        table[: self.most + 1] = table[IGNORED] = IGNORED
        table[list(self.values)] = np.arange(len(self.values))
        return table


_CITYSCAPES = {  # Cordts et al. 2016, arXiv 1604.01685: the 19 classes that are measured, by their label ids
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
_SCHEMES = {
    "masks": _Scheme(either=True),
    "ade20k": _Scheme(  # SceneParse150 (Zhou et al. 2017): 0 is what is none of the 150
        masks="annotations",
        splits={"training": "train", "validation": "val"},
        classes=tuple(map(str, range(1, 151))),
        values=tuple(range(1, 151)),
        most=150,
    ),
    "cityscapes": _Scheme(  # its test split has no labels
        images="leftImg8bit",
        masks="gtFine",
        ends=("_leftImg8bit", "_gtFine_labelIds"),
        splits={"train": "train", "val": "val"},
        classes=tuple(_CITYSCAPES),
        values=tuple(_CITYSCAPES.values()),
        most=33,
    ),
}


def in_masks(root: Path, kind: str = "masks", to_train: bool = True) -> Found:
    """Finds images and masks of the same name, in `SPLIT/images/` and `SPLIT/masks/`, or `images/SPLIT/` and so on.

    Args:
        root: The folder.
        kind: "masks", "ade20k" or "cityscapes". Of "masks" the values are class numbers; `classes.txt` names them, one
            a line. A class called `void` or `ignore`, and 255, are ignored.
        to_train: Whether there must be a training split.

    Raises:
        DataError: if folders are missing or empty, an image has no mask, or there are not two classes.
    """
    scheme = _SCHEMES[kind]
    names: list[str] = []
    masks: list[str] = []
    splits, left_out = {}, dict[str, set[str]]()
    for split, (above, beside) in _folders(root, scheme, to_train).items():
        images = _listed(root / above, scheme.ends[0], SUFFIXES)
        targets = _listed(root / beside, scheme.ends[1], (".png",))
        for stem, name in images.items():
            if stem not in targets:
                expected = root / beside / f"{stem}{scheme.ends[1]}.png"
                raise DataError(f"{root / above / name}: no mask of it; expected {expected}")
        if not images:
            raise DataError(f"{root / above}: no images")
        if spare := {str(beside / targets[stem]) for stem in set(targets).difference(images)}:
            left_out.setdefault("masks without an image", set()).update(spare)
        splits[split] = Rows(np.arange(len(names), len(names) + len(images)), np.zeros(len(images), np.int64))
        names += [str(above / name) for name in images.values()]
        masks += [str(beside / targets[stem]) for stem in images]
    files = OnDisk(root, masks)
    notes: list[str] = []
    if kind == "masks":
        scheme, notes = _with_classes(scheme, root, files, len(masks))
    elif kind == "ade20k":
        scheme = _with_names(scheme, root / "objectInfo150.txt")
    return Found(
        OnDisk(root, names), scheme.classes, splits, left_out, root, Masks(files, len(masks), scheme), tuple(notes)
    )


class Masks:
    """The targets of images, by number; see `nxt.data.sources.image_files.Targets`."""

    def __init__(self, files: OnDisk, count: int, scheme: _Scheme) -> None:
        self._files, self._count, self._classes, self._table = files, count, scheme.classes, scheme.table()

    def read(self, number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        file = self._files.open(number)
        values = _values(file)
        height, width = values.shape
        if (width, height) != size:
            given, wanted = f"{width} x {height}", f"{size[0]} x {size[1]}"
            raise DataError(f"{file}: a mask of {given} pixels, and its image has {wanted}{ADVICE}")
        mask = self._table[values]
        if mask.min() == _WRONG:
            wrong = values[mask == _WRONG].max()
            raise DataError(f"{file}: the value {wrong} in a mask of {len(self._classes)} classes{ADVICE}")
        return mask.astype(np.uint8)

    def identity(self) -> Iterator[str]:
        yield from self._classes
        yield from (f"{self._files.name(number)} {self._files.size(number)}" for number in range(self._count))


def _folders(root: Path, scheme: _Scheme, to_train: bool) -> dict[str, tuple[Path, Path]]:
    """Returns where below the root the images and the masks of each split are, those of "train" first."""
    images, masks = Path(scheme.images), Path(scheme.masks)
    found: dict[str, tuple[Path, Path]] = {}
    for name in scheme.splits:
        for pair in [(images / name, masks / name), (name / images, name / masks)][: 1 + scheme.either]:
            if is_folder(root / pair[0]):
                found.setdefault(name, pair)
    if scheme.either and not found and is_folder(root / images):
        return {"train": (images, masks)}
    named = roles(found, root, scheme.splits)
    if "train" not in named and (to_train or not named):
        first = next(iter(scheme.splits))
        either = f", or {first}/{images}," if scheme.either else ""
        raise DataError(f"{root}: no training images in it; expected {images}/{first}{either} and {masks} likewise")
    for name in named.values():
        if not is_folder(root / found[name][1]):
            raise DataError(f"{root / found[name][1]}: no such folder, which has the masks of {found[name][0]}")
    return {role: found[name] for role, name in named.items()}


def _listed(folder: Path, end: str, suffixes: tuple[str, ...]) -> dict[str, str]:
    """Returns files below a folder, by what is before the end of their names, sorted."""
    found: dict[str, str] = {}
    for above, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(above, name).relative_to(folder)
            if name.startswith(".") or path.suffix.lower() not in suffixes or not path.stem.endswith(end):
                continue
            key = str(path.with_name(path.stem.removesuffix(end)))
            if key in found:
                raise DataError(f"{folder}: {found[key]} and {path} differ in the ending alone; keep one of them")
            found[key] = str(path)
    return dict(sorted(found.items()))


def _with_classes(scheme: _Scheme, root: Path, files: OnDisk, count: int) -> tuple[_Scheme, list[str]]:
    """Returns a scheme with the classes that `classes.txt` names, or else with as many as masks have; and notes."""
    file, notes = root / "classes.txt", []
    if is_file(file):
        try:
            names = [line.strip() for line in file.read_text(encoding="utf-8-sig").strip().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read ({error})") from None
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            most = max(pool.map(lambda number: _most(files.open(number)), range(count)))
        names = [str(value) for value in range(most + 1)]
        notes = [
            f"{root}: the highest value of its masks is {most}, so there are {most + 1} classes; classes.txt would "
            "name them, one a line, and one called void is ignored"
        ]
    values = [value for value, name in enumerate(names) if name.lower() not in _UNNAMED]
    if len(values) < 2 or len(names) > IGNORED:
        raise DataError(
            f"{root}: {len(values)} class(es); segmentation needs 2 to 255, as values from 0 on (255 is ignored)"
        )
    classes = tuple(names[value] for value in values)
    return replace(scheme, classes=classes, values=tuple(values), most=len(names) - 1), notes


def _with_names(scheme: _Scheme, table: Path) -> _Scheme:
    """Returns ADE20K's scheme with the names in the table that comes with it, if that is there."""
    if not is_file(table):
        return scheme
    lines = table.read_text(encoding="utf-8", errors="replace").strip().splitlines()[1:]
    names = tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines)
    return replace(scheme, classes=names) if len(names) == len(scheme.values) else scheme


def _most(file: Path) -> int:
    """Returns the highest class number in a mask; 0 if there is none."""
    values = _values(file)
    return int(values.max(initial=0, where=values != IGNORED))


def _values(file: Path) -> NDArray[np.uint8]:
    """Reads the values of a mask (h, w); of a palette image, the indices. Raises DataError if it has no such values."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            mode, values = image.mode, np.asarray(image)
    except Exception as error:  # whatever a decoder makes of a damaged file
        raise unreadable(file, "a mask", error) from None
    if values.ndim != 2:
        raise DataError(f"{file}: a mask in colours ({mode}), where each pixel has the number of a class{ADVICE}")
    if values.max(initial=0) > IGNORED:
        raise DataError(f"{file}: the value {values.max()} in a mask; class numbers are at most 254{ADVICE}")
    return values.astype(np.uint8)
