"""What chance decides about the batches of a training: which images they have, and what is done to each of them.

All of it is drawn on the CPU. The order of an epoch's images is a function of (seed, epoch), and what is done to a
batch one of (seed, epoch, number of the batch): an epoch can be entered at any batch, and several workers draw the same
numbers and take their part of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nxt.data.augment import Augment
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


def generator(*parts: int) -> torch.Generator:
    """Returns a generator seeded by some numbers, none of them negative."""
    return torch.Generator().manual_seed(derived(*parts))


def derived(*parts: int) -> int:
    """Mixes numbers, none of them negative, into one seed below 2^63."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass(frozen=True)
class Geometry:
    """Images of one side that become batches: resized, then cropped at the centre. All in pixels."""

    side: int  # of the images
    resized: int
    size: int  # of the crop
    start: int  # of the centre crop, as torchvision rounds

    @classmethod
    def of(cls, side: int, preprocess: Preprocess) -> Geometry:
        """Returns the geometry of images of some side."""
        resized, size = preprocess.resized, preprocess.size
        return cls(side, resized, size, round((resized - size) / 2))

    def border(self, augment: Augment) -> int:
        """Returns the farthest move."""
        return math.floor(augment.shift * self.size + 0.5)


@dataclass(frozen=True)
class Changes:
    """What is done to this worker's images of one batch.

    `tensors` are for the device, and have a row for each image:
        rows: Which images (b,), in the order in which they are fetched.
        theta: Their affine maps (b, 2, 3); or, where pixels are only picked,
        corner: where each crop begins, in the order of the labels (b,); see `Batches`.
        amounts: How much of each change of colour there is (b, 3); with `colours`.
        noise: A colour that is added (b, 3).
        box: Top, height, left and width of what is erased (b, 4).
    """

    labelled: Tensor  # rows (b,) in the order of the labels
    tensors: dict[str, Tensor]
    unmirrored: int = 0  # of the images, which are fetched first, where pixels are picked
    colours: tuple[int, ...] = ()  # brightness 0, contrast 1, saturation 2, as they follow each other


def changes(draw: Draw, geometry: Geometry, rows: Tensor, epoch: int, index: int) -> Changes:
    """Draws what is done to a batch.

    Args:
        draw: Decides, with the epoch and the number of the batch.
        geometry: Of the images.
        rows: The images of the batch, of all workers (B,).
        epoch: Counted from 0.
        index: The number of the batch in it.
    """
    augment, random = draw.augment, generator(draw.seed, epoch, index)
    drawn = _moves(augment, geometry, len(rows), random)
    colours: tuple[int, ...] = ()
    if augment.jitter or augment.lighting:
        colours = tuple(torch.randperm(3, generator=random).tolist())
        drawn |= _colours(augment, len(rows), random)
    if augment.erase:
        drawn["box"] = _boxes(augment, geometry.size, len(rows), random)
    own = {name: draw.own(values) for name, values in drawn.items()}
    labelled, unmirrored = draw.own(rows), 0
    own["rows"] = labelled
    if "alpha" in own:
        own["noise"] = 255 * own.pop("alpha") @ torch.tensor(PCA_VECTORS).T
    if "theta" not in own:
        mirrored = own.pop("mirrored")
        fetched, unmirrored = mirrored.argsort(stable=True), len(labelled) - int(mirrored.sum())
        own["rows"] = labelled[fetched]
        own["corner"] = _corners(
            geometry, geometry.border(augment), fetched, mirrored, own.pop("right"), own.pop("down")
        )
    return Changes(labelled, own, unmirrored, colours)


def _moves(augment: Augment, geometry: Geometry, count: int, random: torch.Generator) -> dict[str, Tensor]:
    """Draws how images are moved: as `theta`, or as `right`, `down` and `mirrored` where pixels can be picked."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=random) * (high - low) + low

    if augment.crop_area < 1:
        area = uniform(augment.crop_area, 1)
        ratio = uniform(math.log(3 / 4), math.log(4 / 3)).exp()
        crop = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)  # its width and height
        place = uniform(-1, 1), uniform(-1, 1)
    zoom, angle = uniform(-augment.zoom, augment.zoom), uniform(-augment.rotate, augment.rotate)
    mirrored = torch.rand(count, generator=random) < 0.5 if augment.mirror else torch.zeros(count, dtype=torch.bool)
    pixels = geometry.border(augment)
    right, down = (torch.randint(-pixels, pixels + 1, (count,), generator=random) for _ in range(2))
    resized = geometry.resized
    if geometry.side == resized and augment.crop_area == 1 and not augment.zoom and not augment.rotate:
        return {"right": right, "down": down, "mirrored": mirrored}
    # the part of the image that is read, in units of half its side: by default the centre crop of evaluation
    width = height = torch.full((count,), geometry.size / resized)
    left = top = torch.full((count,), (2 * geometry.start + geometry.size) / resized - 1)
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
    return {"theta": theta}


def _corners(geometry: Geometry, border: int, fetched: Tensor, mirrored: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Returns where crops begin among all pixels of images that lie one after the other, as fetched, in a border."""
    side, size, start = geometry.side, geometry.size, geometry.start
    wide = side + 2 * border
    left = torch.where(mirrored, side - size - start - right, start + right)
    return (3 * wide * fetched.argsort() + down + (start + border)) * wide + left + border


def _colours(augment: Augment, count: int, random: torch.Generator) -> dict[str, Tensor]:
    """Draws how much brightness, contrast and saturation change, and, as `alpha`, the lighting noise."""
    amounts = [1 + augment.jitter * (2 * torch.rand(count, generator=random) - 1) for _ in range(3)]
    drawn = {"amounts": torch.stack(amounts, dim=1)}
    if augment.lighting:
        drawn["alpha"] = torch.randn(count, 3, generator=random) * augment.lighting * torch.tensor(PCA_VALUES)
    return drawn


def _boxes(augment: Augment, side: int, count: int, random: torch.Generator) -> Tensor:
    """Draws a rectangle for some images: of 0.02..0.33 of the area, aspect 0.3..3.3; for the others an empty one.

    A rectangle that would not lie inside is drawn again, up to ten times, as torchvision does.
    """
    areas = side**2 * (0.02 + 0.31 * torch.rand(count, 10, generator=random))
    ratios = (torch.rand(count, 10, generator=random) * math.log(3.3 / 0.3) + math.log(0.3)).exp()
    high, wide = (areas * ratios).sqrt().round(), (areas / ratios).sqrt().round()
    fits = (high < side) & (wide < side)
    first = fits.int().argmax(dim=1, keepdim=True)
    chosen = fits.any(dim=1) & (torch.rand(count, generator=random) < augment.erase)
    box = []
    for length in (high.gather(1, first), wide.gather(1, first)):
        begin = (torch.rand(count, 1, generator=random) * (side - length + 1)).floor()
        box += [begin, length * chosen[:, None]]
    return torch.cat(box, dim=1)
