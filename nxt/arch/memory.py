"""Computes the peak memory of inference from the specification alone: the tensors alive at each step.

This is for one image in float32, run eagerly without gradients by nxt's own network. Weights, the workspaces of
libraries and unused parts of an allocator's blocks come on top. The peak does not grow with the depth: it lies where
the maps are widest, usually at a shortcut of the first stages.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nxt.arch.layers import Layer, Side, Size, block_layers, head_layer, stem_layers
from nxt.arch.spec import ArchSpec, Stage

_ITEM = 4  # bytes of a float32
_INDEX = 2  # an index of a max pool (int64) takes as much as two floats


class Moment(NamedTuple):
    """A step that allocates memory: a layer itself ("conv", "linear"), or an operation on its output."""

    layer: str  # the module's name
    step: str
    elements: int  # of float32, alive together

    @property
    def bytes(self) -> int:
        """Bytes alive."""
        return _ITEM * self.elements

    def __str__(self) -> str:
        return self.layer if self.step in ("conv", "linear") else f"{self.layer}, {self.step}"


def peak(spec: ArchSpec, size: Size, classes: int, output_stride: int | None = None) -> Moment:
    """Returns the first moment of an inference with the most memory alive.

    Args:
        spec: The architecture.
        size: Image side in pixels, or (height, width).
        classes: Outputs of the last layer.
        output_stride: The largest stride, as in `ArchSpec.stages`.
    """
    return max(moments(spec, size, classes, output_stride), key=lambda moment: moment.elements)


def moments(spec: ArchSpec, size: Size, classes: int, output_stride: int | None = None) -> Iterator[Moment]:
    """Yields the moments of one inference in order. The image stays alive throughout.

    While a stage runs, its input stays alive too: the network's `forward` refers to it.
    """
    image = 3 * Side.of(size).pixels
    layers, side = stem_layers(spec, size)
    for layer, step, elements in _stem(spec, layers, side):
        yield Moment(layer, step, image + elements)
    held = spec.stem_width * side.pixels
    for stage in spec.stages(output_stride):
        for block in range(stage.depth):
            layers, out = block_layers(spec, stage, block, side)
            for layer, step, elements in _block(spec, stage, block, layers):
                yield Moment(layer, step, image + elements + (held if block else 0))
            side = out
        held = stage.width * side.pixels
    head = head_layer(spec, side, classes)
    if spec.preact:
        yield Moment(head.name, "norm", image + 2 * held)
    yield Moment(head.name, "pool", image + held + head.in_width)
    yield Moment(head.name, "linear", image + held + head.in_width + classes)


def _stem(spec: ArchSpec, layers: list[Layer], side: Side) -> Iterator[tuple[str, str, int]]:
    before = 0
    for layer in layers:
        yield layer.name, "conv", before + layer.output
        if layer.norm:
            yield layer.name, "norm", 2 * layer.output
        before = layer.output
    if spec.stem != "cifar":
        yield layers[-1].name, "pool", before + (1 + _INDEX) * spec.stem_width * side.pixels


def _block(spec: ArchSpec, stage: Stage, block: int, layers: list[Layer]) -> Iterator[tuple[str, str, int]]:
    """Yields the moments of a block. Its input stays alive for the shortcut; with pre-activation also after its BN."""
    first, last = layers[0], branch_end(layers)
    x = (2 if spec.preact else 1) * first.in_width * first.in_side.pixels
    if spec.block == "basic":
        yield from (_basic_preactivated if spec.preact else _basic)(first, last, x)
    else:
        pools = spec.avd and block == 0 and stage.halves
        pooled = (pools and spec.avd_first, pools and not spec.avd_first)
        yield from _preactivated(layers, x, pooled) if spec.preact else _postactivated(spec, stage, layers, pooled)
    if spec.attention == "se":
        yield f"{last.name.rpartition('.')[0]}.se.fc2", "scaling", x + 2 * last.output + stage.width
    if spec.padded:
        yield from _padded(spec, stage, block, first, last, x)
    else:
        yield from _shortcut(layers[-1], x, last, spec.avg_down and stage.stride > 1)


def branch_end(layers: list[Layer]) -> Layer:
    """Returns the last convolution of a block's branch: what follows belongs to its attention and its shortcut."""
    return next(layer for layer in reversed(layers) if layer.name.endswith(("conv2", "conv3")))


def _basic(first: Layer, last: Layer, x: int) -> Iterator[tuple[str, str, int]]:
    yield first.name, "conv", x + first.output
    yield first.name, "norm", x + 2 * first.output
    yield last.name, "conv", x + first.output + last.output
    yield last.name, "norm", x + 2 * last.output


def _basic_preactivated(first: Layer, last: Layer, x: int) -> Iterator[tuple[str, str, int]]:
    yield first.name, "norm", x
    yield first.name, "conv", x + first.output
    yield last.name, "norm", x + 2 * first.output
    yield last.name, "conv", x + 2 * first.output + last.output


def _postactivated(
    spec: ArchSpec, stage: Stage, layers: list[Layer], pooled: tuple[bool, bool]
) -> Iterator[tuple[str, str, int]]:
    """Yields the moments of a bottleneck; `pooled` says whether a pool stands before and after its 3x3."""
    first, spatial, last = layers[0], layers[1], branch_end(layers)
    x = first.in_width * first.in_side.pixels
    yield first.name, "conv", x + first.output
    yield first.name, "norm", x + 2 * first.output
    entering, leaving = first.out_width * spatial.in_side.pixels, first.out_width * spatial.out_side.pixels
    if pooled[0]:
        yield first.name, "pool", x + first.output + entering
    if stage.radix:
        for step, elements in _attention(stage, spatial):
            yield spatial.name, step, x + entering + elements
    elif spec.attention == "sk":
        yield spatial.name, "conv", x + entering + leaving
        yield spatial.name, "norm", x + entering + 2 * leaving
        yield layers[2].name, "norm", x + entering + 3 * leaving
        yield layers[4].name, "weighing", x + entering + 3 * leaving + 2 * stage.bottleneck
    else:
        yield spatial.name, "conv", x + entering + leaving
        yield spatial.name, "norm", x + 2 * leaving
    reduced = last.in_width * last.in_side.pixels
    if pooled[1]:
        yield spatial.name, "pool", x + leaving + reduced
    yield last.name, "conv", x + reduced + last.output
    yield last.name, "norm", x + 2 * last.output


def _preactivated(layers: list[Layer], x: int, pooled: tuple[bool, bool]) -> Iterator[tuple[str, str, int]]:
    first, spatial, last = layers[:3]
    yield first.name, "norm", x
    yield first.name, "conv", x + first.output
    entering, leaving = first.out_width * spatial.in_side.pixels, spatial.output
    if pooled[0]:
        yield first.name, "pool", x + first.output + entering
    yield spatial.name, "norm", x + 2 * entering
    yield spatial.name, "conv", x + 2 * entering + leaving
    reduced = last.in_width * last.in_side.pixels
    if pooled[1]:
        yield spatial.name, "pool", x + leaving + reduced
    yield last.name, "norm", x + 2 * reduced
    yield last.name, "conv", x + 2 * reduced + last.output


def _padded(
    spec: ArchSpec, stage: Stage, block: int, first: Layer, last: Layer, x: int
) -> Iterator[tuple[str, str, int]]:
    """Yields the moments of a shortcut that is padded: of its pool, and of the copy with more channels."""
    if block:
        return
    pooled = first.in_width * last.out_side.pixels if spec.avg_down and stage.stride > 1 else 0
    padded = last.output if stage.in_width != stage.width else 0
    yield last.name, "shortcut", x + last.output + pooled + padded


def _shortcut(layer: Layer, x: int, last: Layer, pools: bool) -> Iterator[tuple[str, str, int]]:
    """Yields the moments of a projection; the block's input and its last convolution's output are alive too."""
    if "downsample" not in layer.name:
        return
    pooled = layer.in_width * layer.in_side.pixels if pools else 0
    yield layer.name, "conv", x + last.output + pooled + layer.output
    if layer.norm:
        yield layer.name, "norm", x + last.output + 2 * layer.output


def _attention(stage: Stage, conv: Layer) -> Iterator[tuple[str, int]]:
    """Yields the moments of split attention, without its input."""
    yield "conv", conv.output
    yield "norm", 2 * conv.output
    yield "attention", conv.output + stage.bottleneck * conv.out_side.pixels
