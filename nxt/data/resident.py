"""Batches of images that live as uint8 on the training device and are augmented there.

One affine resampling per batch does cropping, shifting, rotating, mirroring and resizing at once. Where images are only
shifted by whole pixels and mirrored, their pixels are picked instead: the same in a quarter of the time. What chance
decides is drawn on the CPU (see `draw`), for several batches at a time, and goes to the device in one copy.
"""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nxt.compute.accelerator import accelerator
from nxt.data.dataset import Split
from nxt.data.draw import Changes, Draw, Geometry, changes
from nxt.data.preprocess import Preprocess

_AHEAD = 32  # batches that are drawn at a time
_DECODED_AHEAD = 2  # batches that are decoded while others are trained on; each by all cores


class Images(Protocol):
    """A split, given out in batches on a device: normalised float images (b, 3, size, size) and labels (b,).

    Those of other tasks give out what their task in `nxt.tasks` takes.
    """

    preprocess: Preprocess
    device: torch.device
    waited: float  # seconds spent on the CPU until images were there to be sent to the device, so far

    def __len__(self) -> int:
        """Returns how many images there are."""

    def train(self, draw: Draw, epoch: int, start: int = 0) -> Iterator[tuple[Any, Any]]:
        """Yields this worker's part of each batch of an epoch, shuffled and augmented, from batch `start` on."""

    def plain(self, batch: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Any, Any]]:
        """Yields all images of this worker's part (every world-th) in order, resized and cropped at the centre."""


class Normalised:
    """Makes uint8 images on a device what a network sees, and back.

    Args:
        preprocess: Has the mean and the deviation.
        device: Where the images are.
    """

    def __init__(self, preprocess: Preprocess, device: torch.device) -> None:
        self.mean = 255 * torch.tensor(preprocess.mean, device=device).view(1, 3, 1, 1)
        self.scale = 1 / (255 * torch.tensor(preprocess.std, device=device)).view(1, 3, 1, 1)

    def __call__(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        """Returns images (b, 3, H, W) of values in 0..255 as normalised floats, written to `out` if it is given."""
        return torch.sub(images, self.mean, out=out).mul_(self.scale)

    def back(self, images: Tensor) -> Tensor:
        """Returns normalised images as floats in 0..255."""
        return images / self.scale + self.mean


class Batches:
    """A split that lives on a device as uint8 and is augmented there; see `Images`.

    Where it does not fit it stays in main memory, or on the disk that is mapped there, and each batch is sent when its
    turn comes; images that are no array are decoded then, some batches ahead. The numbers are the same in all ways.
    Policies of an `Augment` are for single images (see `transforms`), and passed over here.

    Args:
        split: The images and labels.
        preprocess: What the images given out are like.
        device: Where the images go.
        room: Bytes that they may take there; None: as many as they are.
    """

    def __init__(self, split: Split, preprocess: Preprocess, device: torch.device, room: int | None = None) -> None:
        self._pixels = split.images
        self.on_device = False
        if isinstance(split.images, np.ndarray):
            self.on_device = room is None or split.images.nbytes <= room
            images = _tensor(split.images)
            self.images = images.to(device) if self.on_device else images
        self.labels = torch.from_numpy(split.labels)
        self.preprocess, self.device, self.waited = preprocess, device, 0.0
        self._accelerator = accelerator(device)
        self._geometry = Geometry.of(split.images.shape[-1], preprocess)
        self._normalised = Normalised(preprocess, device)
        self._grey = torch.tensor([0.299, 0.587, 0.114], device=device).view(1, 3, 1, 1)
        self._places = torch.arange(preprocess.size, device=device)
        self._laid_out = torch.empty(0, device=device)  # room for the images of a batch, see `_picked`
        self._lines = self._places  # of a crop in there

    def __len__(self) -> int:
        return len(self.labels)

    def train(self, draw: Draw, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields this worker's part of each batch of an epoch, shuffled and augmented, from batch `start` on."""
        order, border = draw.order(len(self), epoch), self._geometry.border(draw.augment)
        decoded = self._decoded([draw.own(rows) for rows in order[start:]])
        for first in range(start, len(order), _AHEAD):
            begin = time.perf_counter()
            indices = range(first, min(first + _AHEAD, len(order)))
            drawn = [changes(draw, self._geometry, order[index], epoch, index) for index in indices]
            stacked = {name: torch.stack([each.tensors[name] for each in drawn]) for name in drawn[0].tensors}
            stacked["labels"] = torch.stack([self.labels[each.labelled] for each in drawn])
            self.waited += time.perf_counter() - begin
            sent = self._sent(stacked)
            for number, each in enumerate(drawn):
                values = {name: tensor[number] for name, tensor in sent.items()}
                yield self._changed(each, values, border, decoded), values["labels"]

    def plain(self, batch: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all images of this worker's part in order, resized with antialiasing and cropped at the centre."""
        inside = slice(self._geometry.start, self._geometry.start + self._geometry.size)
        labels = self._accelerator.upload(self.labels[rank::world].contiguous())
        if isinstance(self._pixels, np.ndarray):
            given: Iterable[Tensor] = torch.split(self.images[rank::world], batch)
        else:
            given = self._decoded(torch.split(torch.arange(rank, len(self), world), batch))
        for rows, own in zip(given, torch.split(labels, batch), strict=True):
            images = rows if self.on_device else self._accelerator.upload(rows.contiguous())
            images = self._normalised(images)
            if images.shape[-1] != self.preprocess.resized:
                images = self._resized(images)
            yield images[:, :, inside, inside], own

    def _sent(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sends tensors to the device in one copy: their bytes one after the other, those of wide numbers first."""
        by_width = sorted(tensors.items(), key=lambda item: -item[1].element_size())
        joined = torch.cat([tensor.reshape(-1).view(torch.uint8) for _, tensor in by_width])
        pieces = torch.split(self._accelerator.upload(joined), [tensor.nbytes for _, tensor in by_width])
        return {
            name: piece.view(tensor.dtype).view(tensor.shape)
            for (name, tensor), piece in zip(by_width, pieces, strict=True)
        }

    def _decoded(self, batches: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yields the images of batches of rows, decoded ahead."""
        with ThreadPoolExecutor(_DECODED_AHEAD) as pool:
            begun: deque[Future[NDArray[np.uint8]]] = deque()
            for place in range(len(batches) + _DECODED_AHEAD):
                if place < len(batches):
                    begun.append(pool.submit(self._pixels.__getitem__, batches[place].numpy()))
                if place >= _DECODED_AHEAD and begun:
                    yield torch.from_numpy(begun.popleft().result())

    def _fetched(self, drawn: Changes, decoded: Iterator[Tensor]) -> Tensor:
        """Returns the images of a batch from main memory, in the order of its rows."""
        begin = time.perf_counter()
        if isinstance(self._pixels, np.ndarray):
            images = self.images.index_select(0, drawn.tensors["rows"])
        else:  # decoded in the order of the labels
            order = drawn.labelled.argsort()
            images = next(decoded)[order[torch.searchsorted(drawn.labelled[order], drawn.tensors["rows"])]]
        self.waited += time.perf_counter() - begin
        return images

    def _changed(self, drawn: Changes, values: Mapping[str, Tensor], border: int, decoded: Iterator[Tensor]) -> Tensor:
        """Returns the images of a batch, with all that was drawn for them done."""
        if self.on_device:
            images = self.images.index_select(0, values["rows"])
        else:
            images = self._accelerator.upload(self._fetched(drawn, decoded))
        if "theta" in values:
            images = self._mapped(images, values["theta"])
        else:
            images = self._picked(images, values["corner"], drawn.unmirrored, border)
        if drawn.colours:
            images = self._recoloured(images, drawn.colours, values)
        return self._erased(images, values["box"]) if "box" in values else images

    def _resized(self, images: Tensor) -> Tensor:
        side = self.preprocess.resized
        return F.interpolate(images, (side, side), mode=self.preprocess.interpolation, antialias=True)

    def _mapped(self, images: Tensor, theta: Tensor) -> Tensor:
        """Returns images through one affine map (2, 3) each. Outside an image is the mean colour."""
        images = self._normalised(images)
        if images.shape[-1] < self.preprocess.resized:
            images = self._resized(images)  # first, as for evaluation: the map would blend the edges with outside
        size = self.preprocess.size
        grid = F.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _picked(self, images: Tensor, corner: Tensor, plain: int, border: int) -> Tensor:
        """Returns centre crops that are moved by whole pixels, all but the first `plain` mirrored.

        The images are laid out one after the other, each in a border of the mean colour as wide as the farthest move.
        There, each line of a crop is one run of pixels, which is copied as a whole.
        """
        side, size = self._geometry.side, self._geometry.size
        count, wide = len(images), side + 2 * border
        if self._laid_out.shape != (count, 3, wide, wide):  # kept, since new memory costs as much as all the rest
            self._laid_out = self._normalised.mean.expand(count, 3, wide, wide).clone()
            self._lines = wide * (wide * torch.arange(3, device=self.device)[:, None] + self._places)
        inside = self._laid_out[:, :, border : border + side, border : border + side]
        inside[:plain].copy_(images[:plain])
        inside[plain:].copy_(images[plain:].flip(3))
        first = corner[:, None, None] + self._lines
        runs = self._laid_out.flatten().unfold(0, size, 1)
        crops = runs.index_select(0, first.flatten()).view(-1, 3, size, size)
        return self._normalised(crops, out=crops)

    def _recoloured(self, images: Tensor, order: tuple[int, ...], values: Mapping[str, Tensor]) -> Tensor:
        """Changes brightness, contrast and saturation in the order drawn, then adds lighting noise."""
        images = self._normalised.back(images)
        for place, change in enumerate(order):
            grey = (images * self._grey).sum(dim=1, keepdim=True)
            target = (torch.zeros_like(grey), grey.mean((2, 3), keepdim=True), grey)[change]
            images = target + (images - target) * values["amounts"][:, place, None, None, None]
        if "noise" in values:
            images = images + values["noise"][:, :, None, None]
        return self._normalised(images)

    def _erased(self, images: Tensor, box: Tensor) -> Tensor:
        """Fills a rectangle of each image with the mean colour; see `draw`."""
        top, high, left, wide = box[:, :, None].unbind(1)
        rows, columns = (
            (self._places >= begin) & (self._places < begin + length) for begin, length in ((top, high), (left, wide))
        )
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    """Returns an array as a tensor that shares its memory, and is never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)
