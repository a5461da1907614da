"""The images of a search's trials: square, decoded once a node, and read by all trials there through one mapped file.

Where the disk has no room for them they are decoded whenever they are read. A trial sees the same bits in every form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nxt.data.cache import FORMAT, Cache, Decoded, NoCacheError, Progress
from nxt.data.dataset import Dataset, Pixels, Source, Split, digest, divided, load_train
from nxt.files import cache_folder

_FEW = 16 << 20  # bytes of images that each process decodes for itself, which takes it a second
_CHUNK = 32 << 20  # bytes that are decoded at a time


class Squares:
    """Some of a source's training images, and those to validate on, at one side. It is sent to workers without pixels.

    Args:
        source: Where from.
        side: Side of the images in pixels; smaller sources keep their own.
        share: Share of the training images, as for `load_train`.

    Raises:
        DataError: if there are too few images, or the first is not readable.
    """

    def __init__(self, source: Source, side: int, share: float = 1.0) -> None:
        self.source = source
        self._asked, self._share = side, share
        train, self._held_in, held = divided(source, share)
        self._rows = (train, held)
        self.side: int = source.images("train", train[:1], side).shape[-1]
        rows = digest([self._held_in, train, held])
        self._name = f"search-{self.side}px-{digest([source.identity(), rows, str(side), FORMAT])}"
        self.is_cached = self.nbytes > _FEW  # kept on disk at all: a few are not
        self._opened: Dataset | None = None

    def __len__(self) -> int:
        return len(self._rows[0]) + len(self._rows[1])

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    @property
    def nbytes(self) -> int:
        """Bytes of all images, decoded."""
        return len(self) * 3 * self.side**2

    @property
    def missing(self) -> int:
        """How many images are still to be decoded on this machine."""
        return len(self) - (self._cache.done() if self.is_cached else 0)

    @property
    def _cache(self) -> Cache:
        """The cache on this machine."""
        train, held = map(len, self._rows)
        about = f"{self.source.name}, {train:,} + {held:,} squares of {self.side} px"
        return Cache(cache_folder() / self._name, len(self), about)

    def decode(self) -> Iterator[int]:
        """Decodes the images to this machine's cache, and yields how many are there; see `Cache.make` for errors."""
        if self.is_cached:
            yield from self._cache.make(lambda: 3 * self.side**2, self._decode)

    def open(self, on_progress: Progress = lambda done, total: None) -> Dataset:
        """Returns the images, mapped into memory; decodes them first if that is still to be done on this machine.

        Args:
            on_progress: Is called with the number of images that are decoded, and of all, whenever there are more.

        Raises:
            DataError: if an image is not readable.
        """
        if self._opened is None:
            self._opened = self._open(on_progress)
        return self._opened

    def _open(self, on_progress: Progress) -> Dataset:
        if not self.is_cached:
            return load_train(self.source, self._asked, self._share)
        train, held = self._rows
        try:
            told = -1
            for done in self.decode():
                if done > told:
                    on_progress(done, len(self))
                told = done
            cache = self._cache
            _ = cache.places  # notes that it was used
            pixels = cache.flat.reshape(len(self), 3, self.side, self.side)
            images: tuple[Pixels, Pixels] = (pixels[: len(train)], pixels[len(train) :])
        except NoCacheError:
            images = (self._streamed("train", train), self._streamed(self._held_in, held))
        labels = self.source.labels("train")[train], self.source.labels(self._held_in)[held]
        splits = [Split(*each) for each in zip(images, labels, strict=True)]
        source = self.source
        return Dataset(source.name, source.classes, source.mean, source.std, source.mirror, *splits)

    def _streamed(self, split: str, rows: NDArray[np.int64]) -> Streamed:
        return Streamed(self.source, split, rows, self._asked, self.side)

    def _decode(self, start: int) -> Iterator[Decoded]:
        """Decodes from an image on: those to train on, then those to validate on."""
        train, held = self._rows
        size = max(1, _CHUNK // (3 * self.side**2))
        for split, rows in (("train", train[start:]), (self._held_in, held[max(0, start - len(train)) :])):
            for at in range(0, len(rows), size):
                pixels = self.source.images(split, rows[at : at + size], self._asked)
                yield pixels, np.full((len(pixels), 2), self.side)


class Streamed:
    """Images that are decoded whenever they are asked for; see `Pixels`."""

    def __init__(self, source: Source, split: str, rows: NDArray[np.int64], asked: int, side: int) -> None:
        self._source, self._split, self._rows, self._asked = source, split, rows, asked
        self.shape = (len(rows), 3, side, side)
        self.nbytes = len(rows) * 3 * side**2

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        return self._source.images(self._split, self._rows[rows], self._asked)
