"""Image classification data: what it is, where it comes from, and how it is split.

Resident images are decoded once, cropped square and kept as uint8, (N, 3, S, S); augmentation happens later, in
batches, on the training device. Those that are not resident (see `stream`) are opened one by one. Selection (in
searches, and of the best checkpoint) uses a validation split; the test split is read by evaluation only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nxt.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

VAL_SHARE, VAL_MOST = 0.2, 10_000  # share of the training images held out for selection, and the most of them
ADVICE = "; repair or remove it, or leave such files out with `skip_bad`"  # about an image that cannot be read
IGNORED = 255  # in masks: pixels that are neither trained on nor measured
SPLIT_SEED = 0  # one split for all runs: an image that selected a network never trains it


class Pixels(Protocol):
    """Images (N, 3, S, S) uint8: an array, or what decodes rows of it whenever they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, 3, S, S)."""

    @property
    def nbytes(self) -> int:
        """Of all."""

    def __getitem__(self, rows: Any, /) -> Any:
        """Returns some rows as an array."""


@dataclass(frozen=True)
class Split:
    """Images (N, 3, S, S) uint8 with their labels (N,) int64."""

    images: Pixels
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """The training and validation images of a data set, square and of one side."""

    source: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]  # per channel, of values in 0..1
    std: tuple[float, float, float]
    mirror: bool  # whether a mirrored image keeps its class
    train: Split
    val: Split


@dataclass(frozen=True)
class ImagePlacement:
    """How a training keeps the images of a split. `sentence` says so, and why, in plain words."""

    kind: str  # "resident", "cached" or "streamed"
    side: int  # of the images kept, in pixels; of "streamed" nothing is kept
    sentence: str


def numbered(split: str, row: int) -> str:
    """Returns what an image is called that is no file."""
    return str(row)


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: labels at once, images when they are read.

    `labels` and `images` take the split's name, "train" or "test" (and "val" if `has_val`). `images` takes the
    indices to decode and the side in pixels, and returns (n, 3, side, side) uint8; a source whose images are
    smaller than that may return them as they are. `open` takes a split and one index, and gives the whole image
    as it is, in RGB; `called` gives its file's place within the split, or its number. A source can be pickled, for
    processes that read images.

    What is to be found in a scene is its `target`, by split and index. For "detection" it is a dict of arrays: `boxes`
    (n, 4) float32, corners in pixels; `labels` (n,) int64, from 1; `iscrowd` (n,) int64; `area` (n,) float64 in pixels;
    and `masks` (n, h, w) uint8 where the data has them. For "segmentation" it is an array (h, w) uint8 of class numbers
    from 0, 255 where nothing is asked. `labels` are then 0; 1 for an image in which nothing is to be found.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mirror: bool
    size: int | None  # natural training size in pixels; None: the network's own
    has_val: bool  # else images are held out from "train" to select by
    labels: Callable[[str], NDArray[np.int64]]
    images: Callable[[str, NDArray[np.int64], int], NDArray[np.uint8]]
    open: Callable[[str, int], Image]
    identity: Callable[[], str]  # digest of what the data is: another one, other data
    notes: tuple[str, ...] = ()  # what a person should know of it: what was left out, and why
    called: Callable[[str, int], str] = numbered
    has_test: bool = True  # else "test" was held out from the training images, by `held_out_test`
    task: str = "classification"  # or "detection", "segmentation"
    target: Callable[[str, int], Any] | None = None


def load_train(source: Source, side: int, share: float = 1.0) -> Dataset:
    """Loads the training and validation splits at the given side in pixels.

    Args:
        source: Where from.
        side: Side of the stored images; smaller sources keep their own.
        share: Share of the training images to train on, the same for every class. Held-out images are then used
            for validation until there are as many of them as training images, so that a small share is judged by
            no more noise than it has to be.

    Raises:
        DataError: if images cannot be read, or do not fit into memory.
    """
    train, name, held = divided(source, share)
    return Dataset(
        source.name,
        source.classes,
        source.mean,
        source.std,
        source.mirror,
        Split(source.images("train", train, side), source.labels("train")[train]),
        Split(source.images(name, held, side), source.labels(name)[held]),
    )


def divided(
    source: Source, share: float = 1.0, holdout: float = VAL_SHARE
) -> tuple[NDArray[np.int64], str, NDArray[np.int64]]:
    """Returns which rows of "train" to train on, and for validation the name of a split and its rows.

    `share` is that of `load_train`. `holdout` is the share of the training images that is held out where the source
    has no validation split; with 0 all are trained on, and a fifth of them is judged all the same.

    Raises:
        DataError: if there are too few images.
    """
    labels = source.labels("train")
    if not len(labels):
        raise DataError(f"{source.name}: no images to train on, nor to hold some out of them for validation")
    everything = np.arange(len(labels))
    held = everything[:0]
    kept = everything
    if not source.has_val:
        held, others = _divide(everything, labels, min(holdout or VAL_SHARE, VAL_MOST / len(labels)))
        kept = others if holdout else everything
    if share < 1:
        kept, unused = _divide(kept, labels, share)
        missing = min(VAL_MOST, len(kept)) - len(held)
        if not source.has_val and missing < 0:
            held, _ = _divide(held, labels, max(len(kept), 500) / len(held))
        elif not source.has_val and missing > 0 and len(unused):
            extra, _ = _divide(unused, labels, missing / len(unused))
            held = np.union1d(held, extra)
    if source.task == "detection":
        kept = kept[labels[kept] == 0]  # on images without objects there is nothing to learn from
        if len(kept) < 2:
            raise DataError(f"{source.name}: {len(kept)} of its training images have objects, and two are the least")
    if len(kept) < 2 or (not len(held) and not source.has_val):
        raise DataError(f"{source.name}: {len(labels)} training images are too few to hold some out for validation")
    return (kept, "val", np.arange(len(source.labels("val")))) if source.has_val else (kept, "train", held)


def held_out_test(labels: NDArray[np.int64], where: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns which of all images are the test split of data that comes without one, and which are left to train on.

    The test split has a share of each class, as the validation split has. A class of fewer than
    three images gives none.

    Raises:
        DataError: if no class has three images; `where` they are is said.
    """
    rows = np.flatnonzero((np.bincount(labels) >= 3)[labels])
    if not len(rows):
        raise DataError(f"{where}: no class has three images, so that none can be held out for a test; add some")
    test, _ = _divide(rows, labels, min(VAL_SHARE, VAL_MOST / len(labels)))
    return test, np.setdiff1d(np.arange(len(labels)), test)


def _divide(
    rows: NDArray[np.int64], labels: NDArray[np.int64], share: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divides rows in two: the given share of every class, and the rest."""
    inside, outside = stratified(labels[rows], min(1.0, share), SPLIT_SEED)
    return rows[inside], rows[outside]


def stratified(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits indices in two: the given share of every class (at least one image), and the rest. Both are sorted."""
    rng = np.random.default_rng([seed, 0x5EED])
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(len(members), max(1, round(len(members) * share)))
        chosen.append(rng.permutation(members)[:count])
    inside = np.sort(np.concatenate(chosen))
    return inside, np.setdiff1d(np.arange(len(labels)), inside)


def largest_share(labels: NDArray[np.int64]) -> float:
    """Returns the share of the most frequent label: the accuracy of naming it always."""
    return float(np.bincount(labels).max() / len(labels))


def is_uneven(largest: float, classes: int) -> bool:
    """Tells whether the largest class has such a share that accuracies must be read beside it."""
    return largest > 1.5 / classes


def check_classes(names: Sequence[str], where: str) -> None:
    """Raises DataError unless there are at least two classes, with names that can be written."""
    for name in names:
        if name != name.encode("utf-8", "replace").decode():
            raise DataError(f"{where}: the class {name!a} has a name that is not UTF-8; rename it")
    if len(names) < 2:
        raise DataError(f"{where}: {len(names)} class(es) with images; classification needs at least two")


def digest(parts: Iterable[str | NDArray[Any]]) -> str:
    """Returns sixteen hex digits that change with any of the parts."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(os.fsencode(part) + b"\0" if isinstance(part, str) else np.ascontiguousarray(part).data)
    return sha256.hexdigest()[:16]
