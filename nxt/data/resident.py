"""Batches of images that live as uint8 on the training device and are augmented there.

One affine resampling per batch does cropping, shifting, rotating, mirroring and resizing at once. Where images are only
shifted by whole pixels and mirrored, their pixels are picked instead: the same in a quarter of the time. The order of
an epoch's images is a function of (seed, epoch), and what is done to a batch one of (seed, epoch, number of the batch):
an epoch can be entered at any batch, and several workers draw the same numbers and take their part of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nxt.data.augment import Augment
from nxt.data.dataset import Split
from nxt.data.preprocess import Preprocess

# Principal components of RGB values over ImageNet (Krizhevsky et al. 2012), as in fb.resnet.torch.
PCA_VALUES = (0.2175, 0.0188, 0.0045)
PCA_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What decides the batches of a training. `batch` counts the images of all workers together."""

    batch: int
    augment: Augment
    seed: int
    rank: int = 0
    world: int = 1

    def order(self, count: int, epoch: int) -> Tensor:
        """Returns the rows of an epoch's batches, (batches, images): whole batches only, unless there is but one."""
        batch = max(self.world, min(self.batch, count) // self.world * self.world)
        rows = torch.randperm(count, generator=generator(self.seed, epoch))
        return rows[: count // batch * batch].view(-1, batch)

    def own(self, values: Tensor) -> Tensor:
        """Returns this worker's part of what belongs to the images of one batch."""
        return values.chunk(self.world)[self.rank]


class Images(Protocol):
    """A split, given out in batches of normalised float images (b, 3, size, size) and labels (b,) on a device."""

    preprocess: Preprocess
    device: torch.device

    def __len__(self) -> int:
        """Returns how many images there are."""

    def train(self, draw: Draw, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields this worker's part of each batch of an epoch, shuffled and augmented, from batch `start` on."""

    def plain(self, batch: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all images of this worker's part (every world-th) in order, resized and cropped at the centre."""


def generator(*parts: int) -> torch.Generator:
    """Returns a generator seeded by some numbers, none of them negative."""
    return torch.Generator().manual_seed(derived(*parts))


def derived(*parts: int) -> int:
    """Mixes numbers, none of them negative, into one seed below 2^63."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


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

    Policies of an `Augment` are for single images (see `transforms`), and passed over here.

    Args:
        split: The images and labels.
        preprocess: What the images given out are like.
        device: Where the images live.
    """

    def __init__(self, split: Split, preprocess: Preprocess, device: torch.device) -> None:
        self.images = torch.from_numpy(split.images).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.preprocess, self.size, self.device = preprocess, preprocess.size, device
        self._start = round((preprocess.resized - preprocess.size) / 2)  # of the centre crop, as torchvision rounds
        self._normalised = Normalised(preprocess, device)
        self._laid_out = torch.empty(0, device=device)  # room for the images of a batch, see `_picked`

    def __len__(self) -> int:
        return len(self.labels)

    def train(self, draw: Draw, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields this worker's part of each batch of an epoch, shuffled and augmented, from batch `start` on."""
        order = draw.order(len(self), epoch)
        for index in range(start, len(order)):
            rows = draw.own(order[index])
            changes = generator(draw.seed, epoch, index)
            images = self._recolour(self._resample(rows, draw, changes), draw, changes)
            yield self._erase(images, draw, changes), self.labels.index_select(0, rows.to(self.device))

    def plain(self, batch: int, rank: int = 0, world: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields all images of this worker's part in order, resized with antialiasing and cropped at the centre."""
        inside = slice(self._start, self._start + self.size)
        for rows in torch.arange(rank, len(self), world, device=self.device).split(batch):  # type: ignore[no-untyped-call]
            images = self._normalised(self.images.index_select(0, rows))
            if images.shape[-1] != self.preprocess.resized:
                images = self._resized(images)
            yield images[:, :, inside, inside], self.labels[rows]

    def _resized(self, images: Tensor) -> Tensor:
        side = self.preprocess.resized
        return F.interpolate(images, (side, side), mode=self.preprocess.interpolation, antialias=True)

    def _resample(self, rows: Tensor, draw: Draw, changes: torch.Generator) -> Tensor:
        """Returns images, each moved, mirrored and so on. Outside an image is the mean colour."""
        augment, count = draw.augment, len(rows) * draw.world  # drawn for the whole batch

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand(count, generator=changes) * (high - low) + low

        if augment.crop_area < 1:
            area = uniform(augment.crop_area, 1)
            ratio = uniform(math.log(3 / 4), math.log(4 / 3)).exp()
            crop = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # its width and height
            place = uniform(-1, 1), uniform(-1, 1)
        zoom, angle = uniform(-augment.zoom, augment.zoom), uniform(-augment.rotate, augment.rotate)
        mirrored = (
            torch.rand(count, generator=changes) < 0.5 if augment.mirror else torch.zeros(count, dtype=torch.bool)
        )
        pixels = math.floor(augment.shift * self.size + 0.5)
        right, down = (torch.randint(-pixels, pixels + 1, (count,), generator=changes) for _ in range(2))
        resized = self.preprocess.resized
        if self.images.shape[-1] == resized and augment.crop_area == 1 and not augment.zoom and not augment.rotate:
            return self._picked(rows, draw.own(right), draw.own(down), draw.own(mirrored), pixels)
        # the part of the image that is read, in units of half its side: by default the centre crop of evaluation
        width = height = torch.full((count,), self.size / resized)
        left = top = torch.full((count,), (2 * self._start + self.size) / resized - 1)
        if augment.crop_area < 1:
            width, height = crop
            left, top = place[0] * (1 - width), place[1] * (1 - height)
        mirror, zoom, angle = torch.where(mirrored, -1.0, 1.0), zoom.exp(), angle.deg2rad()
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = width * zoom * angle.cos() * mirror
        theta[:, 0, 1] = -height * zoom * angle.sin()
        theta[:, 1, 0] = width * zoom * angle.sin() * mirror
        theta[:, 1, 1] = height * zoom * angle.cos()
        theta[:, 0, 2], theta[:, 1, 2] = left + 2 * right / resized, top + 2 * down / resized
        return self._mapped(rows, draw.own(theta))

    def _mapped(self, rows: Tensor, theta: Tensor) -> Tensor:
        """Returns images through one affine map (2, 3) each."""
        images = self._normalised(self.images.index_select(0, rows.to(self.device)))
        if images.shape[-1] < self.preprocess.resized:
            images = self._resized(images)  # first, as for evaluation: the map would blend the edges with outside
        grid = F.affine_grid(theta.to(self.device), [len(rows), 3, self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _picked(self, rows: Tensor, right: Tensor, down: Tensor, mirrored: Tensor, border: int) -> Tensor:
        """Returns centre crops that are moved by whole pixels, and some of them mirrored.

        The images are laid out one after the other, those to be mirrored last, each in a border of the mean colour as
        wide as the farthest move. There, each line of a crop is one run of pixels, which is copied as a whole.
        """
        side, size, wide = self.images.shape[-1], self.size, self.images.shape[-1] + 2 * border
        if self._laid_out.shape != (len(rows), 3, wide, wide):  # kept, since new memory costs as much as all the rest
            self._laid_out = self._normalised.mean.expand(len(rows), 3, wide, wide).clone()
        inside = self._laid_out[:, :, border : border + side, border : border + side]
        order, plain = mirrored.argsort(stable=True), len(rows) - int(mirrored.sum())
        images = self.images.index_select(0, rows[order].to(self.device))
        inside[:plain].copy_(images[:plain])
        inside[plain:].copy_(images[plain:].flip(3))
        left = torch.where(mirrored, side - size - self._start - right, self._start + right)
        corner = (3 * wide * order.argsort() + down + (self._start + border)) * wide + left + border
        lines = wide * (wide * torch.arange(3)[:, None] + torch.arange(size))  # from a corner to each line of a crop
        first = corner[:, None, None] + lines
        runs = self._laid_out.flatten().unfold(0, size, 1)
        crops = runs.index_select(0, first.flatten().to(self.device)).view(-1, 3, size, size)
        return self._normalised(crops, out=crops)

    def _recolour(self, images: Tensor, draw: Draw, changes: torch.Generator) -> Tensor:
        """Changes brightness, contrast and saturation in random order, then adds lighting noise."""
        augment, count = draw.augment, len(images) * draw.world
        if not augment.jitter and not augment.lighting:
            return images
        images = self._normalised.back(images)
        weights = torch.tensor([0.299, 0.587, 0.114], device=self.device).view(1, 3, 1, 1)
        for change in torch.randperm(3, generator=changes).tolist():
            amount = draw.own(1 + augment.jitter * (2 * torch.rand(count, 1, 1, 1, generator=changes) - 1))
            grey = (images * weights).sum(dim=1, keepdim=True)
            target = (torch.zeros_like(grey), grey.mean((2, 3), keepdim=True), grey)[change]
            images = target + (images - target) * amount.to(self.device)
        if augment.lighting:
            alpha = torch.randn(count, 3, generator=changes) * augment.lighting * torch.tensor(PCA_VALUES)
            noise = 255 * draw.own(alpha) @ torch.tensor(PCA_VECTORS).T
            images = images + noise.to(self.device)[:, :, None, None]
        return self._normalised(images)

    def _erase(self, images: Tensor, draw: Draw, changes: torch.Generator) -> Tensor:
        """Fills a random rectangle with the mean colour, in some images: of 0.02..0.33 of the area, aspect 0.3..3.3.

        A rectangle that would not lie inside is drawn again, up to ten times, as torchvision does.
        """
        if not draw.augment.erase:
            return images
        count, side = len(images) * draw.world, images.shape[-1]
        areas = side**2 * (0.02 + 0.31 * torch.rand(count, 10, generator=changes))
        ratios = (torch.rand(count, 10, generator=changes) * math.log(3.3 / 0.3) + math.log(0.3)).exp()
        high, wide = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
        fits = (high < side) & (wide < side)
        first = fits.int().argmax(dim=1, keepdim=True)
        chosen = fits.any(dim=1) & (torch.rand(count, generator=changes) < draw.augment.erase)
        inside = []
        for length in (high.gather(1, first), wide.gather(1, first)):
            begin = (torch.rand(count, 1, generator=changes) * (side - length + 1)).floor()
            places = torch.arange(side)
            inside.append((places >= begin) & (places < begin + length))
        erased = chosen[:, None, None] & inside[0][:, :, None] & inside[1][:, None, :]
        return images.masked_fill(draw.own(erased).to(self.device)[:, None], 0.0)
