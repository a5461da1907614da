"""Closed-form cost of a network: exact integers from the specification alone, no torch.

Conventions: `macs` are multiply-adds of convolution and linear layers for one image, without bias (what the
ResNeXt and ResNeSt papers call FLOPs); `params` are trainable parameters; `acts` are output elements of all
convolutions (pycls's "activations"). The test suite compares every figure with the built network.

For fixed widths every cost is affine in the depths; `nxt.space` costs whole design spaces from the `coefficients`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nxt.arch.layers import Layer, block_layers, head_layer, stem_layers
from nxt.arch.spec import ArchSpec, Stage
from nxt.errors import ArchError

MAX_SIZE, MAX_CLASSES = 16384, 10**6
MEMORY_BATCH = 32  # images in a training step, where memory is predicted
# Names of the costs in tables and in sentences, by field or property of `Cost`.
COST_LABELS = {"macs": "MACs", "params": "params", "acts": "acts", "memory": "bytes"}
COST_NAMES = {"macs": "multiply-adds", "params": "parameters", "acts": "activations"}


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
        """Returns the predicted bytes of one step of training in float32, by SGD with momentum.

        Weights, gradients and momentum take 12 bytes per parameter. Each convolution's output is stored twice for the
        backward pass: by the batch norm after it, and after its ReLU. The bytes that autograd stored were between -6
        and +15 % of this prediction, with squeeze-and-excitation, which keeps its input too, up to +30 %. Workspaces of
        libraries and unused parts of an allocator's blocks come on top.
        """
        return 12 * self.params + 8 * batch * self.acts

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.macs + other.macs, self.params + other.params, self.acts + other.acts)

    def __mul__(self, count: int) -> Cost:
        return Cost(self.macs * count, self.params * count, self.acts * count)


def cost(spec: ArchSpec, size: int | None = None, classes: int | None = None) -> Cost:
    """Returns the cost of a network for one `size` x `size` RGB image.

    Args:
        spec: The architecture.
        size: Image side in pixels; by default the one that the network is made for (224, or 32 for CIFAR).
        classes: Outputs of the last layer; by default 1000, or 10 for CIFAR networks.

    Raises:
        ArchError: for a size or number of classes out of range.
    """
    base, slopes = coefficients(spec, *resolution(spec, size, classes))
    return sum((slope * (depth - 1) for slope, depth in zip(slopes, spec.depths, strict=True)), base)


def resolution(spec: ArchSpec, size: int | None, classes: int | None) -> tuple[int, int]:
    """Returns the image side and number of classes at which to cost a network: the arguments, or else its own.

    Raises:
        ArchError: if one is out of range.
    """
    size = spec.size if size is None else size
    classes = spec.classes if classes is None else classes
    if not 1 <= size <= MAX_SIZE:
        raise ArchError(f"image size {size} is not between 1 and {MAX_SIZE} pixels")
    if not 1 <= classes <= MAX_CLASSES:
        raise ArchError(f"{classes} classes are not between 1 and {MAX_CLASSES}")
    return size, classes


def cost_of(layers: Iterable[Layer]) -> Cost:
    """Returns the sum of the layers' costs."""
    macs = params = acts = 0
    for layer in layers:
        macs += layer.macs
        params += layer.params
        acts += layer.acts
    return Cost(macs, params, acts)


def coefficients(spec: ArchSpec, size: int, classes: int) -> tuple[Cost, list[Cost]]:
    """Returns `(base, slopes)` with `cost = base + sum of slopes[s] * (depths[s] - 1)`, for any depths."""
    layers, side = stem_layers(spec, size)
    base, slopes = cost_of(layers), []
    for stage in spec.stages():
        first, later, side = stage_cost(spec, stage, side)
        base += first
        slopes.append(later)
    return base + cost_of([head_layer(spec, side, classes)]), slopes


def stage_cost(spec: ArchSpec, stage: Stage, side: int) -> tuple[Cost, Cost, int]:
    """Returns the cost of a stage's first block, the cost of each later block, and the side of the stage's output.

    Args:
        spec: The architecture; only the properties common to all stages are read.
        stage: The stage.
        side: Side of its input, in pixels.
    """
    first, out = block_layers(spec, stage, 0, side)
    later, _ = block_layers(spec, stage, 1, out)
    return cost_of(first), cost_of(later), out
