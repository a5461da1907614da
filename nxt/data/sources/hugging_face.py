"""Hugging Face image data sets on disk, read by the library `datasets`: what it saved, or Parquet files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nxt.data.sources.image_files import SPLITS, Found, found
from nxt.data.sources.tables import LABELS, in_order, pick
from nxt.errors import DataError, first_line
from nxt.files import is_file, is_folder

_SAVED = ("dataset_dict.json", "state.json")  # what `save_to_disk` writes, of several splits or of one


def is_hugging_face(path: Path) -> bool:
    """Returns whether a folder looks like such a data set."""
    return _is_saved(path) or any(is_folder(where) and any(where.glob("*.parquet")) for where in (path, path / "data"))


def in_hugging_face(path: Path, to_train: bool = True) -> Found:
    """Finds the images of a `Dataset` or `DatasetDict`: a column of images, and one of ClassLabel or names.

    Rows without a class (None, or -1 as in test splits of competitions) are left out.

    Raises:
        DataError: if `datasets` is not installed, the data set cannot be read, or columns are missing.
    """
    opened, left_out = _opened(path), dict[str, set[str]]()
    if len(opened) == 1:
        opened = {"train": next(iter(opened.values()))}
    if others := set(opened).difference(SPLITS):
        left_out["splits of other names"] = others
    parts = {name: part for name, part in opened.items() if name not in others}
    features = next(iter(opened.values())).features
    kinds = {column: type(feature).__name__ for column, feature in features.items()}
    image = next((column for column, feature in features.items() if _has_images(feature)), "")
    if not image:
        raise DataError(f"{path}: no column of images among {', '.join(map(repr, features)) or 'none'}")
    label = next((column for column, kind in kinds.items() if kind == "ClassLabel"), "")
    label = label or pick(features, LABELS, "classes", path)
    names = dict(enumerate(getattr(features[label], "names", ()))) or None
    items: list[tuple[int, str, str]] = []
    number = 0
    for split, part in parts.items():
        for row, value in enumerate(_column(part, label).to_pylist()):
            if value is None or value == -1:
                left_out.setdefault("rows without a class", set()).add(f"{split}/{row}")
            else:
                items.append((number, names[value] if names else str(value), split))
            number += 1
    present = {of_class for _, of_class, _ in items}
    classes = [name for name in names.values() if name in present] if names else in_order(present)
    return found(_Rows(path, parts, image), items, classes, left_out, path, to_train)


class _Rows:
    """Images in the rows of data sets, one after the other; see `image_files.Files`. Arrow maps them into memory."""

    def __init__(self, root: Path, parts: dict[str, Any], image: str) -> None:
        import datasets
        from pyarrow import compute

        self.root, self._splits, self._image = root, list(parts), image
        self._parts = [
            part.select_columns([image]).cast_column(image, datasets.Image(decode=False)) for part in parts.values()
        ]
        self._starts = np.cumsum([0, *map(len, self._parts)])
        inside = [compute.struct_field(_column(part, image), "bytes") for part in self._parts]
        sizes = [compute.fill_null(compute.binary_length(content), -1).to_numpy() for content in inside]
        self._sizes = np.concatenate(sizes).astype(np.int64)

    def name(self, number: int) -> str:
        part, row = self._place(number)
        return f"{self._splits[part]}/{row}"

    def open(self, number: int) -> Path | BinaryIO:
        part, row = self._place(number)
        stored = self._parts[part][row][self._image] or {}
        if stored.get("bytes") is not None:
            return BytesIO(stored["bytes"])
        if not stored.get("path"):
            raise ValueError("there is no image in this row")
        return self.root / str(stored["path"])

    def size(self, number: int) -> int:
        return int(self._sizes[number])

    def _place(self, number: int) -> tuple[int, int]:
        part = int(np.searchsorted(self._starts, number, side="right")) - 1
        return part, number - int(self._starts[part])


def _has_images(feature: Any) -> bool:
    """Returns whether a column has images: as it says, or since it has their bytes, in files that others wrote."""
    inside = isinstance(feature, dict) and "bytes" in feature
    return inside or type(feature).__name__ == "Image" or getattr(feature, "dtype", "") == "binary"


def _is_saved(path: Path) -> bool:
    return any(is_file(path / name) for name in _SAVED)


def _opened(path: Path) -> dict[str, Any]:
    """Opens a data set, without network; returns its splits by name."""
    try:
        import datasets
    except ImportError:
        raise DataError(f"{path}: reading it takes the package `datasets`; pip install 'nxt[hf]'") from None
    quiet = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        if _is_saved(path):
            opened = datasets.load_from_disk(str(path))
        elif is_file(path):
            opened = datasets.load_dataset("parquet", data_files=str(path))
        elif is_hugging_face(path):
            opened = datasets.load_dataset(str(path))
        else:
            raise DataError(f"{path}: neither saved by `save_to_disk` nor a folder of Parquet files")
    except DataError:
        raise
    except Exception as error:  # of which it has many kinds
        raise DataError(f"{path}: cannot be read as a Hugging Face data set ({first_line(error)})") from None
    finally:
        if not quiet:
            datasets.enable_progress_bars()
    return dict(opened) if isinstance(opened, dict) else {"train": opened}


def _column(part: Any, name: str) -> Any:
    """Returns a column of a data set as Arrow has it."""
    return part.select_columns([name]).with_format("arrow")[:][name]
