"""Data sets without the images that cannot be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import ADVICE, Source, digest
from nxt.data.processes import Workers, default_workers
from nxt.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_CHUNK = 64  # images that a worker reads at a time


def without_bad(
    source: Source,
    on_bad: Callable[[str], None],
    on_progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Source:
    """Reads every image, and returns the source without those that are not readable.

    Args:
        source: The data set.
        on_bad: Is called with a sentence for each image that is left out: which file, and what is wrong.
        on_progress: Is called with the number of images that have been read, and of all.
        workers: Processes that read; by default as many as there are cores.

    Raises:
        DataError: if a class has no training image left, or a split no image.
    """
    counts = {
        split: len(source.labels(split)) for split in ("train", "val", "test") if split != "val" or source.has_val
    }
    chunks = [
        (split, range(start, min(start + _CHUNK, count)))
        for split, count in counts.items()
        for start in range(0, count, _CHUNK)
    ]
    pool = Workers(_Check(source), default_workers() if workers is None else workers)
    bad: dict[str, list[int]] = {split: [] for split in counts}
    done = 0
    for (split, rows), problems in zip(chunks, pool.map(chunks), strict=True):
        for row, message in problems:
            bad[split].append(row)
            on_bad(message.removesuffix(ADVICE))
        done += len(rows)
        if on_progress is not None:
            on_progress(done, sum(counts.values()))
    if not any(bad.values()):
        return source
    kept = _Kept(source, {split: np.setdiff1d(np.arange(count), bad[split]) for split, count in counts.items()})
    kept.check()
    methods = {name: getattr(kept, name) for name in ("labels", "images", "open", "called", "identity")}
    return dataclasses.replace(source, **methods, target=kept.target if source.target is not None else None)


@dataclass(frozen=True)
class _Check:
    """What a worker does: it takes rows of a split and returns those that are not readable, each with an error."""

    source: Source

    def __call__(self, task: tuple[str, range]) -> list[tuple[int, str]]:
        split, rows = task
        bad = []
        for row in rows:
            try:
                self.source.open(split, row)
                if self.source.target is not None:
                    self.source.target(split, row)
            except DataError as error:
                bad.append((row, str(error)))
        return bad


@dataclass(frozen=True)
class _Kept:
    """Some rows of each split of a source. The methods are those of a `Source`."""

    source: Source
    rows: dict[str, NDArray[np.int64]]

    def check(self) -> None:
        """Raises DataError if too little is left."""
        for split, rows in self.rows.items():
            if not len(rows) and len(self.source.labels(split)):
                raise DataError(f"{self.source.name}: no image of the {split} split is readable")
        if self.source.task != "classification":
            return
        split = "train" if len(self.source.labels("train")) else "test"
        missing = set(range(len(self.source.classes))) - set(self.labels(split).tolist())
        if missing:
            name = self.source.classes[min(missing)]
            which = "training" if split == "train" else split
            raise DataError(f"{self.source.name}: no {which} image of class {name!r} is readable; remove the class")

    def labels(self, split: str) -> NDArray[np.int64]:
        return self.source.labels(split)[self.rows[split]]

    def images(self, split: str, chosen: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        return self.source.images(split, self.rows[split][chosen], side)

    def open(self, split: str, row: int) -> Image:
        return self.source.open(split, int(self.rows[split][row]))

    def target(self, split: str, row: int) -> Any:
        assert self.source.target is not None
        return self.source.target(split, int(self.rows[split][row]))

    def called(self, split: str, row: int) -> str:
        return self.source.called(split, int(self.rows[split][row]))

    def identity(self) -> str:
        return digest([self.source.identity(), *self.rows.values()])
