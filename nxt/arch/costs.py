"""Closed-form cost of a network: exact integers from the specification alone, no torch.

Conventions: `macs` are multiply-adds of convolution and linear layers for one image, without bias (what the
ResNeXt and ResNeSt papers call FLOPs); `params` are trainable parameters; `acts` are output elements of all
convolutions (pycls's "activations"). The test suite compares every figure with the built network.

For fixed widths every cost is affine in the depths; `nxt.space` costs whole design spaces from the `coefficients`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import overload

from nxt.arch.heads import PYRAMID, blocks_with_head, default_classes
from nxt.arch.latency import Part, PartLatency
from nxt.arch.layers import Layer, Side, Size, block_layers, head_layer, stem_layers
from nxt.arch.spec import ArchSpec, Stage
from nxt.errors import ArchError

MAX_SIZE, MAX_CLASSES = 16384, 10**6
MEMORY_BATCH = 32  # images in a training step, where memory is predicted
# Names of the costs in tables and in sentences, by field or property of `Cost`.
COST_LABELS = {"macs": "MACs", "params": "params", "acts": "acts", "memory": "bytes", "latency": "latency"}
COST_NAMES = {"macs": "multiply-adds", "params": "parameters", "acts": "activations", "latency": "latency"}


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a network or of a part of it. Adds up, and multiplies by a count."""

    macs: int = 0
    params: int = 0
    acts: int = 0
    latency: int = 0  # predicted nanoseconds of a batch, by a table of latencies; 0 without one

    @property
    def memory(self) -> int:
        """Predicted bytes of one step of training with a batch of 32 (256 over 8 GPUs); see `step_memory`."""
        return self.step_memory(MEMORY_BATCH)

    def step_memory(self, batch: int) -> int:
        """Returns the predicted bytes of one step of training in float32, by SGD with momentum.

        Weights, gradients and momentum take 12 bytes per parameter. Each convolution's output is stored twice for the
        backward pass: by the batch norm after it, and after its ReLU. The bytes that autograd stored were between -6
        and +15 % of this prediction, with squeeze-and-excitation, which keeps its input too, up to +30 %. Workspaces of
        libraries and unused parts of an allocator's blocks come on top.
        """
        return 12 * self.params + 8 * batch * self.acts

    def __add__(self, other: Cost) -> Cost:
        latency = self.latency + other.latency
        return Cost(self.macs + other.macs, self.params + other.params, self.acts + other.acts, latency)

    def __mul__(self, count: int) -> Cost:
        return Cost(self.macs * count, self.params * count, self.acts * count, self.latency * count)

    def to_dict(self) -> dict[str, int | float]:
        """Returns plain data: the counts by name, and `latency_ms` if there is a latency."""
        counts: dict[str, int | float] = {"macs": self.macs, "params": self.params, "acts": self.acts}
        return counts | ({"latency_ms": self.latency / 1e6} if self.latency else {})


def cost(
    spec: ArchSpec,
    size: Size | None = None,
    classes: int | None = None,
    latency: PartLatency | None = None,
    output_stride: int | None = None,
    head: str | None = None,
    pyramid: int = PYRAMID,
) -> Cost:
    """Returns the cost of a network for one RGB image.

    Args:
        spec: The architecture.
        size: Image side in pixels, or (height, width); by default what the network is made for (224, or 32 for CIFAR).
        classes: Outputs of the last layer; by default 1000, or 10 for CIFAR networks. With a head those that it tells
            apart, without background; by default 80 for detectors, 150 for segmenters.
        latency: The latencies of the network's parts; by default the latency is not counted.
        output_stride: The largest stride, as in `ArchSpec.stages`; by default of a segmenter 8.
        head: One of `nxt.arch.heads.COSTED` in the place of the last layer. Its latency is not known.
        pyramid: Channels of a detector's feature pyramid.

    Raises:
        ArchError: for a size or number of classes out of range, or an output stride that the network does not have.
        ConfigError: if a part's latency is not known.
    """
    counted = resolution(spec, size, classes, head)
    if head is not None:
        parts = blocks_with_head(spec, head, *counted, output_stride, pyramid)
        return cost_of(layer for *_, layers in parts for layer in layers)
    base, slopes = coefficients(spec, *counted, latency, output_stride)
    return sum((slope * (depth - 1) for slope, depth in zip(slopes, spec.depths, strict=True)), base)


@overload
def resolution(spec: ArchSpec, size: int | None, classes: int | None, head: str | None = None) -> tuple[int, int]: ...
@overload
def resolution(spec: ArchSpec, size: Size | None, classes: int | None, head: str | None = None) -> tuple[Size, int]: ...
def resolution(spec: ArchSpec, size: Size | None, classes: int | None, head: str | None = None) -> tuple[Size, int]:
    """Returns the image size and number of classes at which to cost a network: the arguments, or else its own.

    The size of a square is its side.

    Raises:
        ArchError: if one is out of range.
    """
    size = spec.size if size is None else size
    classes = default_classes(spec, head) if classes is None else classes
    side = Side.of(size)
    for pixels in (side.height, side.width):
        if not 1 <= pixels <= MAX_SIZE:
            raise ArchError(f"image size {pixels} is not between 1 and {MAX_SIZE} pixels")
    if not 1 <= classes <= MAX_CLASSES:
        raise ArchError(f"{classes} classes are not between 1 and {MAX_CLASSES}")
    return side.height if side.height == side.width else (side.height, side.width), classes


def cost_of(layers: Iterable[Layer]) -> Cost:
    """Returns the sum of the layers' costs."""
    macs = params = acts = 0
    for layer in layers:
        more = layer.counts
        macs += more[0]
        params += more[1]
        acts += more[2]
    return Cost(macs, params, acts)


def part_cost(part: Part, latency: PartLatency | None) -> Cost:
    """Returns the sum of the costs of a part's layers, with the part's latency if latencies are known."""
    total = cost_of(part.layers)
    return total if latency is None else total + Cost(latency=latency.of(part))


def coefficients(
    spec: ArchSpec, size: Size, classes: int, latency: PartLatency | None = None, output_stride: int | None = None
) -> tuple[Cost, list[Cost]]:
    """Returns `(base, slopes)` with `cost = base + sum of slopes[s] * (depths[s] - 1)`, for any depths."""
    layers, side = stem_layers(spec, size)
    base, slopes = part_cost(Part(spec, layers), latency), []
    for stage in spec.stages(output_stride):
        first, later, side = stage_cost(spec, stage, side, latency)
        base += first
        slopes.append(later)
    return base + part_cost(Part(spec, [head_layer(spec, side, classes)]), latency), slopes


def stage_cost(spec: ArchSpec, stage: Stage, side: Side, latency: PartLatency | None = None) -> tuple[Cost, Cost, Side]:
    """Returns the cost of a stage's first block, the cost of each later block, and the side of the stage's output.

    Args:
        spec: The architecture; only the properties common to all stages are read.
        stage: The stage.
        side: Sides of its input.
        latency: The latencies of blocks, if they are to be counted.
    """
    first, out = block_layers(spec, stage, 0, side)
    later, _ = block_layers(spec, stage, 1, out)
    return part_cost(Part(spec, first, stage), latency), part_cost(Part(spec, later, stage), latency), out
