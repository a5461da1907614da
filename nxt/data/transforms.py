"""What is done to single images, in worker processes: PIL images in, uint8 tensors (3, size, size) out.

The random ones draw from torch's global generator, as torchvision's do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from nxt.data.augment import Augment
from nxt.data.draw import PCA_VALUES, PCA_VECTORS
from nxt.data.preprocess import Preprocess, rgb

if TYPE_CHECKING:
    from PIL.Image import Image

Transform = Callable[["Image"], Tensor]
ASPECT = 3  # of the longer side to the shorter; what is longer is cut off at both ends


def as_tensor(image: Image) -> Tensor:
    """Returns an image as uint8 (3, H, W), the longer side cut to at most three times the shorter."""
    width, height = image.size
    most = ASPECT * min(image.size)
    if max(image.size) > most:
        left, top = max(0, width - most) // 2, max(0, height - most) // 2
        image = image.crop((left, top, left + min(width, most), top + min(height, most)))
    tensor: Tensor = F.pil_to_tensor(image)
    return tensor


def shrunk(image: Tensor, side: int, interpolation: str) -> Tensor:
    """Returns an image with its shorter side resized to `side`, with antialiasing, unless it is that small already."""
    if min(image.shape[-2:]) <= side:
        return image
    resized: Tensor = F.resize(image, [side], interpolation=_KINDS[interpolation], antialias=True)
    return resized


@cache
def evaluation(preprocess: Preprocess) -> Transform:
    """Returns the transform of evaluation: the shorter side resized with antialiasing, the centre cropped."""
    steps = [as_tensor, _resize(preprocess), v2.CenterCrop(preprocess.size)]
    transform: Transform = v2.Compose(steps)
    return transform


def network_input(preprocess: Preprocess, image: Image) -> Tensor:
    """Returns an image as a network expects it: in RGB, as evaluation resizes and crops it, normalised (3, S, S).

    Raises:
        DataError: as `preprocess.rgb` does.
    """
    pixels = F.to_dtype(evaluation(preprocess)(rgb(image)), torch.float32, scale=True)
    normalised: Tensor = F.normalize(pixels, list(preprocess.mean), list(preprocess.std))
    return normalised


@cache
def training(preprocess: Preprocess, augment: Augment) -> Transform:
    """Returns the transform of training, in the order of torchvision's reference: crop, mirror, policy, colours, erase.

    Without `crop_area` an image is resized and cropped as in evaluation. Where an image was moved away from, it
    has the mean colour.
    """
    kind = _KINDS[preprocess.interpolation]
    fill = mean_colour(preprocess)
    steps: list[Any] = [as_tensor]
    moved = [_Move(preprocess, augment, fill)] if augment.shift or augment.rotate or augment.zoom else []
    if augment.crop_area < 1:
        areas = (augment.crop_area, 1.0)
        steps += [v2.RandomResizedCrop(preprocess.size, scale=areas, interpolation=kind, antialias=True), *moved]
    else:
        steps += [_resize(preprocess), *moved, v2.CenterCrop(preprocess.size)]
    if augment.mirror:
        steps.append(v2.RandomHorizontalFlip())
    if augment.policy:
        steps.append(_policy(augment, fill))
    steps += colours(augment)
    if augment.erase:
        steps.append(v2.RandomErasing(augment.erase, value=fill))
    transform: Transform = v2.Compose(steps)
    return transform


def colours(augment: Augment) -> list[Callable[[Tensor], Tensor]]:
    """Returns the changes of colour alone, of uint8 tensors (3, H, W)."""
    jitter = [v2.ColorJitter(augment.jitter, augment.jitter, augment.jitter)] if augment.jitter else []
    return [*jitter, _Light(augment.lighting)] if augment.lighting else jitter


def mean_colour(preprocess: Preprocess) -> list[int]:
    """Returns the values 0..255 of the colour that is 0 for a network, as nearly as can be."""
    return [round(255 * value) for value in preprocess.mean]


_KINDS = {"bilinear": v2.InterpolationMode.BILINEAR, "bicubic": v2.InterpolationMode.BICUBIC}


def _resize(preprocess: Preprocess) -> Any:
    return v2.Resize(preprocess.resized, interpolation=_KINDS[preprocess.interpolation], antialias=True)


def _policy(augment: Augment, fill: list[int]) -> Any:
    how = {"interpolation": v2.InterpolationMode.BILINEAR, "fill": fill}
    if augment.policy == "randaugment":
        return v2.RandAugment(augment.policy_ops, augment.policy_magnitude, **how)
    if augment.policy == "trivialaugment":
        return v2.TrivialAugmentWide(**how)
    kinds = {"autoaugment": v2.AutoAugmentPolicy.IMAGENET, "autoaugment-cifar10": v2.AutoAugmentPolicy.CIFAR10}
    return v2.AutoAugment(kinds[augment.policy], **how)


def uniform(low: float, high: float) -> float:
    """Draws from torch's global generator."""
    return low + (high - low) * float(torch.rand(()))


class _Move:
    """Shift by whole pixels, rotate and zoom, as `Batches` does."""

    def __init__(self, preprocess: Preprocess, augment: Augment, fill: list[int]) -> None:
        self.most = math.floor(augment.shift * preprocess.size + 0.5)
        self.rotate, self.zoom, self.fill = augment.rotate, augment.zoom, fill

    def __call__(self, image: Tensor) -> Tensor:
        shift = torch.randint(-self.most, self.most + 1, (2,)).tolist()
        angle, scale = uniform(-self.rotate, self.rotate), math.exp(uniform(-self.zoom, self.zoom))
        kind = v2.InterpolationMode.BILINEAR
        moved: Tensor = F.affine(image, angle, shift, scale, [0.0, 0.0], interpolation=kind, fill=self.fill)
        return moved


class _Light:
    """AlexNet's colour noise: one colour along the principal components of ImageNet's, added to a whole image."""

    def __init__(self, deviation: float) -> None:
        self.deviations = 255 * deviation * torch.tensor(PCA_VALUES)
        self.vectors = torch.tensor(PCA_VECTORS)

    def __call__(self, image: Tensor) -> Tensor:
        noise = self.vectors @ (torch.randn(3) * self.deviations)
        return (image + noise[:, None, None]).round().clamp(0, 255).to(torch.uint8)
