"""Closed-form cost of a network: exact integers from the specification alone, no torch.

Conventions: `macs` are multiply-adds of convolution and linear layers for one image, without bias (what the
ResNeXt and ResNeSt papers call FLOPs); `params` are trainable parameters; `acts` are output elements of all
convolutions (pycls's "activations"). The test suite holds every figure against the built network.

For fixed widths every cost is affine in the depths; `coefficients` gives base and slopes, from which whole
design spaces are costed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from nxt.arch import ArchSpec, Stage
from nxt.errors import ArchError

MAX_SIZE, MAX_CLASSES = 16384, 10**6
MEMORY_BATCH = 32  # images in a training step, where memory is predicted


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a network or of a part of it. Adds up, and multiplies by a count."""

    macs: int = 0
    params: int = 0
    acts: int = 0

    @property
    def memory(self) -> int:
        """Predicted bytes of one step of training with a batch of 32 (256 over 8 GPUs); see `step_memory`."""
        return self.step_memory(MEMORY_BATCH)

    def step_memory(self, batch: int) -> int:
        """Return the predicted bytes of one step of training in float32, by SGD with momentum.

        Weights, gradients and momentum take 12 bytes a parameter. Each convolution's output is stored twice for the
        backward pass: by the batch norm after it, and behind its ReLU. What autograd really stores was within -6 and
        +15 % of that. Workspaces of libraries and unused parts of an allocator's blocks come on top.
        """
        return 12 * self.params + 8 * batch * self.acts

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params, self.acts + other.acts)

    def __mul__(self, count: int) -> Cost:
        return Cost(self.macs * count, self.params * count, self.acts * count)


@dataclass(frozen=True, slots=True)
class Part:
    """A stem, stage or head with its cost. `side` is the output height and width, `channels` its depth."""

    name: str
    blocks: int
    side: int
    channels: int
    cost: Cost


def cost(spec: ArchSpec, size: int | None = None, classes: int | None = None) -> Cost:
    """Return the cost of a network for one `size` x `size` RGB image.

    Args:
        spec: The architecture.
        size: Image side in pixels; by default the one that the network is made for (224, or 32 for CIFAR).
        classes: Outputs of the last layer; by default 1000, or 10 for CIFAR networks.

    Raises:
        ArchError: for a size or number of classes out of range.
    """
    return sum((part.cost for part in parts(spec, size, classes)), Cost())


def parts(spec: ArchSpec, size: int | None = None, classes: int | None = None) -> list[Part]:
    """Return stem, stages and head in order, each with its cost. Arguments and errors as for `cost`."""
    size = spec.size if size is None else size
    classes = spec.classes if classes is None else classes
    if not 1 <= size <= MAX_SIZE:
        raise ArchError(f"image size {size} is not between 1 and {MAX_SIZE} pixels")
    if not 1 <= classes <= MAX_CLASSES:
        raise ArchError(f"{classes} classes are not between 1 and {MAX_CLASSES}")
    stem, side = _stem(spec, size)
    result = [Part("stem", 1, side, spec.stem_width, stem)]
    for stage in spec.stages():
        first, later, side = _blocks(spec, stage, side)
        total = first + later * (stage.depth - 1)
        result.append(Part(f"stage{stage.index + 1}", stage.depth, side, stage.width, total))
    features = spec.widths[-1]
    head = Cost(macs=features * classes, params=features * classes + classes)
    return [*result, Part("head", 1, 1, classes, head)]


def coefficients(spec: ArchSpec, size: int, classes: int) -> tuple[Cost, list[Cost]]:
    """Return `(base, slopes)` with `cost = base + sum of slopes[s] * (depths[s] - 1)`, whatever spec's depths."""
    single = spec.replace(depths=(1,) * len(spec.depths))
    base, slopes = cost(single, size, classes), []
    _, side = _stem(spec, size)
    for stage in single.stages():
        _, later, side = _blocks(single, stage, side)
        slopes.append(later)
    return base, slopes


def halved(side: int) -> int:
    """Output side of every stride-2 layer here (7x7 pad 3, 3x3 pad 1, 2x2 in ceil mode)."""
    return (side + 1) // 2


def _conv(
    in_width: int, out_width: int, kernel: int, side: int, groups: int = 1, norm: bool = True, bias: bool = False
) -> Cost:
    """Cost of a convolution with `side` x `side` output, by default followed by a batch norm."""
    weights = in_width // groups * out_width * kernel * kernel
    params = weights + (2 * out_width if norm else 0) + (out_width if bias else 0)
    return Cost(macs=weights * side * side, params=params, acts=out_width * side * side)


def _stem(spec: ArchSpec, size: int) -> tuple[Cost, int]:
    """Return the cost of the stem and the side that leaves it (after the max pool, where it has one)."""
    width = spec.stem_width
    if spec.stem == "cifar":
        return _conv(3, width, 3, size), size
    side = halved(size)
    if spec.stem == "imagenet":
        return _conv(3, width, 7, side), halved(side)
    half = width // 2
    deep = _conv(3, half, 3, side) + _conv(half, half, 3, side) + _conv(half, width, 3, side)
    return deep, halved(side)


def _blocks(spec: ArchSpec, stage: Stage, side: int) -> tuple[Cost, Cost, int]:
    """Return the cost of a stage's first block, of each later one, and the side that leaves the stage."""
    out = side if stage.stride == 1 else halved(side)
    pools_after = spec.avd and not spec.avd_first and stage.stride > 1
    mid, width = stage.bottleneck, stage.width
    first = (
        _conv(stage.in_width, mid, 1, side) + _spatial(stage, side if pools_after else out) + _conv(mid, width, 1, out)
    )
    if spec.shortcut and (stage.stride > 1 or stage.in_width != width):
        first += _conv(stage.in_width, width, 1, out)
    later = _conv(width, mid, 1, out) + _spatial(stage, out) + _conv(mid, width, 1, out)
    return first, later, out


def _spatial(stage: Stage, side: int) -> Cost:
    """Cost of the 3x3: a grouped convolution, or split attention with its two small layers (ResNeSt sec. 3.1)."""
    mid, groups = stage.bottleneck, stage.cardinality
    if stage.radix == 0:
        return _conv(mid, mid, 3, side, groups)
    splits = mid * stage.radix
    return (
        _conv(mid, splits, 3, side, groups * stage.radix)
        + _conv(mid, stage.attention, 1, 1, groups, bias=True)
        + _conv(stage.attention, splits, 1, 1, groups, norm=False, bias=True)
    )
