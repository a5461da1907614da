"""Images decoded once: read from disk again without a decoder.

A cache is a file of pixels, image after image in uint8, a file of their heights and widths, and one that says what they
are. The first two grow image by image, the pixels first: a build that was cut off goes on after its last whole image.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
from nxt.files import cache_folder, exists, locked

if TYPE_CHECKING:
    from PIL.Image import Image

Progress = Callable[[int, int], None]  # images done, images in all
Decoded = tuple[NDArray[np.uint8], NDArray[Any]]  # pixels of some images, and their heights and widths (n, 2)
FORMAT = "3"  # of the files; caches of another one are not found
_CHUNK = 32  # images that a worker decodes at a time
_SAMPLE = 64  # images from which the size of all is estimated
_WAIT = 0.5  # seconds between two looks at what another process builds
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoCacheError(DataError):
    """Decoded images cannot be kept: the disk has not room, or the folder cannot be written."""


class Cache:
    """Decoded images on disk, whole or still to be made.

    Args:
        stem: Where its files lie, and what their names begin with.
        count: How many images it has.
        about: What they are, for people.
    """

    def __init__(self, stem: Path, count: int, about: str) -> None:
        self.stem, self.count, self.about = stem, count, about
        self.pixels, self.shapes = (stem.with_name(f"{stem.name}.{kind}") for kind in ("pixels", "shapes"))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("places", "flat")}

    def done(self) -> int:
        """Returns how many images are there, as far as the sizes of the files tell."""
        try:
            return int(np.searchsorted(self._read_shapes()[1], self.pixels.stat().st_size, side="right"))
        except OSError:
            return 0

    @property
    def whole(self) -> bool:
        """Whether all images are there."""
        return self.done() == self.count

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Heights and widths (n, 2), and where the images end among the bytes (n,); of a whole cache."""
        with suppress(OSError):  # when it was used last, for `nxt cache`
            os.utime(self.shapes)
        return self._read_shapes()

    @cached_property
    def flat(self) -> NDArray[np.uint8]:
        """All pixels of a whole cache, mapped into memory: processes that read them share what the kernel keeps."""
        return np.memmap(self.pixels, dtype=np.uint8, mode="r")

    def make(self, mean_bytes: Callable[[], float], decode: Callable[[int], Iterator[Decoded]]) -> Iterator[int]:
        """Decodes what is missing, and yields how many images are there, until all are; at once if they are already.

        Of several processes one decodes; the others wait, and yield what it has done. If it dies another one goes on.

        Args:
            mean_bytes: Tells what an image takes, to see whether there is room.
            decode: Takes the number of the first image, and yields it and those that follow, some at a time.

        Raises:
            NoCacheError: if the disk has not room, or the folder cannot be written.
            DataError: if an image is not readable.
        """
        folder = self.stem.parent
        while (done := self.done()) < self.count:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with locked(folder / f".{self.stem.name}.lock"):
                    yield from self._append(mean_bytes, decode)
            except BlockingIOError:
                yield done
                time.sleep(_WAIT)
            except OSError as error:
                why = f"{folder}: cannot be written ({error.strerror}); set NXT_CACHE to another folder"
                raise NoCacheError(why) from None

    def remove(self) -> None:
        """Removes all files; processes that have mapped them keep what they have."""
        for kind in ("shapes", "pixels", "json"):
            self.stem.with_name(f"{self.stem.name}.{kind}").unlink(missing_ok=True)

    def _append(self, mean_bytes: Callable[[], float], decode: Callable[[int], Iterator[Decoded]]) -> Iterator[int]:
        done, free = self._cut(), shutil.disk_usage(self.stem.parent).free
        try:
            needed = mean_bytes() * (self.count - done)
            no_room = NoCacheError(
                f"{self.stem.parent}: the decoded images of {self.about} take about {needed / 2**30:.1f} GiB, and "
                f"{free / 2**30:.1f} GiB are free; set NXT_CACHE to a folder on a larger disk"
            )
            if needed > free:
                raise no_room
            about = json.dumps({"what": self.about, "images": self.count})
            self.stem.with_name(f"{self.stem.name}.json").write_text(about)
            with self.pixels.open("ab") as pixels, self.shapes.open("ab") as shapes:
                for content, sizes in decode(done):
                    pixels.write(np.ascontiguousarray(content).data)
                    pixels.flush()
                    shapes.write(sizes.astype("<u2").tobytes())
                    shapes.flush()
                    done += len(sizes)
                    yield done
                os.fsync(pixels.fileno())
                os.fsync(shapes.fileno())
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.remove()  # what else is on the disk wants to go on
            raise no_room from None
        except NoCacheError:
            raise
        except DataError:  # with that image repaired or left out it is other data
            self.remove()
            raise

    def _cut(self) -> int:
        """Cuts the files after the last whole image; returns how many there are."""
        done = self.done()
        ends = self._read_shapes()[1] if done else np.zeros(0, dtype=np.int64)
        for file, length in ((self.pixels, int(ends[done - 1]) if done else 0), (self.shapes, 4 * done)):
            if exists(file):
                os.truncate(file, length)
        return done

    def _read_shapes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        numbers = np.fromfile(self.shapes, dtype="<u2")[: 2 * self.count]
        shapes = numbers[: len(numbers) // 2 * 2].reshape(-1, 2).astype(np.int64)
        return shapes, 3 * shapes.prod(axis=1).cumsum()


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
        on_progress: Is called with the number of images that are done, and of all, whenever there are more.

    Raises:
        DataError: if an image is not readable, the disk has not room, or the files cannot be written.
    """
    cache = _cache_of(source, split, side, folder or cache_folder(), interpolation)

    def decode(start: int) -> Iterator[Decoded]:
        pool = Workers(_Decode(source, split, side, interpolation), default_workers() if workers is None else workers)
        chunks = [range(at, min(at + _CHUNK, cache.count)) for at in range(start, cache.count, _CHUNK)]
        for pixels, shapes in pool.map(chunks):
            yield pixels.numpy(), shapes.numpy()

    told = cache.done()
    for done in cache.make(lambda: estimated(source, split, range(cache.count), side)[0] / cache.count, decode):
        if on_progress is not None and done > told:
            on_progress(done, cache.count)
        told = done
    return dataclasses.replace(source, open=_Opened(source, split, cache))


def is_decoded(source: Source, split: str, side: int, folder: Path, interpolation: str = "bilinear") -> bool:
    """Tells whether `decoded` would find the images there."""
    return _cache_of(source, split, side, folder, interpolation).whole


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


def _cache_of(source: Source, split: str, side: int, folder: Path, interpolation: str) -> Cache:
    key = digest([source.identity(), split, str(side), interpolation, FORMAT])
    about = f"{source.name}, {split}, shorter side {side} px"
    return Cache(folder / f"{split}-{side}px-{key}", len(source.labels(split)), about)


@dataclasses.dataclass(frozen=True)
class _Opened:
    """The `open` of a source, one split of which is read from a cache."""

    source: Source
    split: str
    cache: Cache

    def __call__(self, split: str, row: int) -> Image:
        if split != self.split:
            return self.source.open(split, row)
        from PIL import Image

        shapes, ends = self.cache.places
        (height, width), end = shapes[row], ends[row]
        return Image.fromarray(self.cache.flat[end - 3 * height * width : end].reshape(height, width, 3))


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
