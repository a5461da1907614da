"""Batches of images that live as uint8 on the training device and are augmented there.

One affine resampling per batch does cropping, shifting, rotating, mirroring and resizing at once. All
randomness comes from the generator passed in, so an epoch is a pure function of its seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from nxt.data.augment import Augment
from nxt.data.dataset import Split

# Principal components of RGB values over ImageNet (Krizhevsky et al. 2012), as in fb.resnet.torch.
_PCA_VALUES = (0.2175, 0.0188, 0.0045)
_PCA_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


class Batches:
    """A split on a device, given out in batches of normalised float images (B, 3, size, size).

    Args:
        split: The images and labels.
        mean: Per channel, of values in 0..1.
        std: Per channel.
        size: Side of the images given out, in pixels.
        device: Where the images live.
    """

    def __init__(
        self, split: Split, mean: tuple[float, ...], std: tuple[float, ...], size: int, device: torch.device
    ) -> None:
        self.images = torch.from_numpy(split.images).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)
        self.size, self.device = size, device
        self._mean = 255 * torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._scale = 1 / (255 * torch.tensor(std, device=device)).view(1, 3, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def train(self, batch: int, augment: Augment, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield shuffled, augmented batches. A last, smaller batch is left out (unless it is the only one)."""
        order = torch.randperm(len(self), generator=generator).to(self.device)
        batch = min(batch, len(self))
        for start in range(0, len(self) - batch + 1, batch):
            rows = order[start : start + batch]
            images = self._resample(self._normalised(rows), augment, generator)
            yield self._recolour(images, augment, generator), self.labels[rows]

    def plain(self, batch: int, crop: float = 1.0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images in order, resized with antialiasing and cropped at the centre.

        `crop` is the share of the side that the crop keeps (0.875: resize to 256, crop 224).
        """
        resized = max(self.size, math.floor(self.size / crop + 0.5))
        start = (resized - self.size) // 2
        inside = slice(start, start + self.size)
        for rows in torch.arange(len(self), device=self.device).split(batch):  # type: ignore[no-untyped-call]
            images = self._normalised(rows)
            if images.shape[-1] != resized:
                images = F.interpolate(images, (resized, resized), mode="bilinear", antialias=True)
            yield images[:, :, inside, inside], self.labels[rows]

    def _normalised(self, rows: Tensor) -> Tensor:
        return (self.images[rows].float() - self._mean) * self._scale

    def _resample(self, images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
        """Resample through one random affine map per image. Outside the image is the mean colour."""
        if (
            images.shape[-1] < self.size
        ):  # enlarged first, as for evaluation: the map would blend the edges with outside
            images = F.interpolate(images, (self.size, self.size), mode="bilinear")
        count = len(images)

        def uniform(low: float, high: float) -> Tensor:
            return torch.rand(count, generator=generator) * (high - low) + low

        width = height = torch.ones(count)
        if augment.crop_area < 1:
            area = uniform(augment.crop_area, 1)
            ratio = uniform(math.log(3 / 4), math.log(4 / 3)).exp()
            width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        left, top = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
        zoom = uniform(-augment.zoom, augment.zoom).exp()
        angle = uniform(-augment.rotate, augment.rotate).deg2rad()
        mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0) if augment.mirror else torch.ones(count)
        side = images.shape[-1]
        pixels = math.floor(augment.shift * side + 0.5) if augment.shift else 0
        shifts = [torch.randint(-pixels, pixels + 1, (count,), generator=generator) * 2 / side for _ in range(2)]
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = width * zoom * angle.cos() * mirror
        theta[:, 0, 1] = -height * zoom * angle.sin()
        theta[:, 1, 0] = width * zoom * angle.sin() * mirror
        theta[:, 1, 1] = height * zoom * angle.cos()
        theta[:, 0, 2], theta[:, 1, 2] = left + shifts[0], top + shifts[1]
        grid = F.affine_grid(theta.to(self.device), [count, 3, self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _recolour(self, images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
        """Change brightness, contrast and saturation in random order, then add lighting noise."""
        if not augment.jitter and not augment.lighting:
            return images
        images = images / self._scale + self._mean  # back to 0..255
        weights = torch.tensor([0.299, 0.587, 0.114], device=self.device).view(1, 3, 1, 1)
        for change in torch.randperm(3, generator=generator).tolist():
            amount = 1 + augment.jitter * (2 * torch.rand(len(images), 1, 1, 1, generator=generator) - 1)
            grey = (images * weights).sum(dim=1, keepdim=True)
            target = (torch.zeros_like(grey), grey.mean((2, 3), keepdim=True), grey)[change]
            images = target + (images - target) * amount.to(self.device)
        if augment.lighting:
            alpha = torch.randn(len(images), 3, generator=generator) * augment.lighting * torch.tensor(_PCA_VALUES)
            noise = 255 * alpha @ torch.tensor(_PCA_VECTORS).T
            images = images + noise.to(self.device)[:, :, None, None]
        return (images - self._mean) * self._scale
