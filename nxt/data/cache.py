"""Images decoded once: read from disk again without a decoder.

A split is one file of pixels, image after image, (H, W, 3) uint8, and an index of heights and widths beside it. The
index is written last, so that where it is, and the pixels are as many as it says, the cache is whole.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nxt.data.dataset import Source, digest
from nxt.data.processes import Workers, default_workers
from nxt.data.transforms import ASPECT, as_tensor, shrunk
from nxt.errors import DataError
from nxt.files import cache_folder, locked, replacing

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[int, int], None]  # images done, images in all
_FORMAT = "2"  # of the files; caches of another one are not found
_CHUNK = 32  # images that a worker decodes at a time
_SAMPLE = 64  # images from which the size of all is estimated
_WAIT = 0.5  # seconds between two looks at what another process builds


def decoded(
    source: Source,
    split: str,
    side: int,
    folder: Path | None = None,
    *,
    interpolation: str = "bilinear",
    workers: int | None = None,
    on_progress: Progress | None = None,
) -> Source:
    """Returns a source whose `open` of one split reads images that were decoded before; decodes them if they were not.

    An image's shorter side is at most `side` pixels; larger ones are shrunk with antialiasing. Its longer side is cut
    to three times the shorter. Several processes may ask at once: one decodes, the others wait.

    Args:
        source: Where the images come from.
        split: Which of them.
        side: Largest shorter side in pixels.
        folder: Where the cache lies; by default `nxt.files.cache_folder`.
        interpolation: Of the shrinking, "bilinear" or "bicubic".
        workers: Processes that decode; by default as many as there are cores.
        on_progress: Is called with the number of images that are done, and of all.

    Raises:
        DataError: if an image is not readable, or the disk has not room.
        RunError: if the files cannot be written.
    """
    folder = folder or cache_folder()
    cached = _cached(source, split, side, folder, interpolation)
    while not cached.whole():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder / f".{cached.stem.name}.lock"):
                if not cached.whole():
                    _build(cached, side, interpolation, workers, on_progress)
        except BlockingIOError:
            time.sleep(_WAIT)
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be written ({error.strerror}); set NXT_CACHE to another folder"
            ) from None
    return dataclasses.replace(source, open=cached.open)


def is_decoded(source: Source, split: str, side: int, folder: Path, interpolation: str = "bilinear") -> bool:
    """Tells whether `decoded` would find the images there."""
    return _cached(source, split, side, folder, interpolation).whole()


def estimated(source: Source, split: str, rows: Sequence[int] | NDArray[np.int64], side: int) -> tuple[int, int]:
    """Returns the bytes that images take in a cache, and the median of their shorter sides as they are; by a sample."""
    sample = [source.open(split, int(row)).size for row in _spread(rows)]
    sizes = []
    for size in sample:
        short = min(min(size), side)
        sizes.append(3 * short**2 * min(ASPECT, max(size) / min(size)))
    return round(float(np.mean(sizes)) * len(rows)), round(float(np.median([min(size) for size in sample])))


def _spread(rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(rows)[:: max(1, len(rows) // _SAMPLE)][:_SAMPLE]


def _cached(source: Source, split: str, side: int, folder: Path, interpolation: str) -> _Cached:
    key = digest([source.identity(), split, str(side), interpolation, _FORMAT])
    return _Cached(source, split, folder / f"{split}-{side}px-{key}")


class _Cached:
    """The cache of a split; whole or still to be built."""

    def __init__(self, source: Source, split: str, stem: Path) -> None:
        self.source, self.split, self.stem = source, split, stem
        self.pixels, self.index = stem.with_name(f"{stem.name}.pixels"), stem.with_name(f"{stem.name}.npz")

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_shapes", "_flat")}

    def whole(self) -> bool:
        """Tells whether all is there, as far as sizes tell."""
        try:
            with np.load(self.index, allow_pickle=False) as index:
                shapes = index["shapes"].astype(np.int64)
            right = shapes.shape == (len(self.source.labels(self.split)), 2)
            return bool(right and self.pixels.stat().st_size == 3 * shapes.prod(axis=1).sum())
        except Exception:  # whatever reading makes of a damaged file
            return False

    def open(self, split: str, row: int) -> Image:
        """Returns an image, as `Source.open` does."""
        if split != self.split:
            return self.source.open(split, row)
        from PIL import Image

        (height, width), end = self._shapes[0][row], self._shapes[1][row]
        return Image.fromarray(self._flat[end - 3 * height * width : end].reshape(height, width, 3))

    @cached_property
    def _shapes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Heights and widths, and where the images end in the file."""
        with np.load(self.index, allow_pickle=False) as index:
            shapes = index["shapes"].astype(np.int64)
        return shapes, 3 * shapes.prod(axis=1).cumsum()

    @cached_property
    def _flat(self) -> NDArray[np.uint8]:
        return np.memmap(self.pixels, dtype=np.uint8, mode="r")


@dataclasses.dataclass(frozen=True)
class _Decode:
    """What a worker does: it takes rows and returns their pixels, one image after the other, and the shapes (n, 2)."""

    source: Source
    split: str
    side: int
    interpolation: str

    def __call__(self, rows: range) -> tuple[Tensor, Tensor]:
        images = [self._one(row) for row in rows]
        pixels = torch.cat([image.permute(1, 2, 0).reshape(-1) for image in images])
        return pixels, torch.tensor([image.shape[1:] for image in images])

    def _one(self, row: int) -> Tensor:
        return shrunk(as_tensor(self.source.open(self.split, row)), self.side, self.interpolation)


def _build(cached: _Cached, side: int, interpolation: str, workers: int | None, on_progress: Progress | None) -> None:
    """Decodes all images of a split into its files."""
    source, split = cached.source, cached.split
    for left in cached.stem.parent.glob(f".{cached.stem.name}.*.tmp"):
        left.unlink()  # of a build that was killed: we hold the lock
    cached.index.unlink(missing_ok=True)
    cached.pixels.unlink(missing_ok=True)
    count = len(source.labels(split))
    needed, _ = estimated(source, split, range(count), side)
    free = shutil.disk_usage(cached.stem.parent).free
    if needed > free:
        raise DataError(
            f"{cached.stem.parent}: the decoded images of {source.name} take about {needed / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free; set NXT_CACHE to a folder on a larger disk"
        )
    pool = Workers(_Decode(source, split, side, interpolation), default_workers() if workers is None else workers)
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
    shapes = []
    with replacing(cached.pixels) as file:
        for chunk, (pixels, sizes) in zip(chunks, pool.map(chunks), strict=True):
            file.write(pixels.numpy().data)
            shapes.append(sizes.numpy())
            if on_progress is not None:
                on_progress(chunk.stop, count)
    with replacing(cached.index) as file:
        np.savez(file, shapes=np.concatenate(shapes).astype(np.uint16))
