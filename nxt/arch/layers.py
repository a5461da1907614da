"""Lists the convolutions and the linear layer of a network, from the specification alone: no torch.

The numbers in a `Layer` give its cost; blocks and networks are sums of layers. A batch norm counts with the
convolution before it, or with pre-activation the one after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from nxt.arch.spec import ArchSpec, Stage


class Layer(NamedTuple):
    """A convolution or the last linear layer, for one image. `name` is its module's name in the built network."""

    name: str
    in_width: int  # channels
    out_width: int
    kernel: int  # side
    groups: int
    in_side: int  # pixels, height and width
    out_side: int
    norm: int  # channels of the batch norm that counts with it, 0 without one
    norm_side: int
    bias: bool

    @property
    def weights(self) -> int:
        """Elements of the weight."""
        return self.in_width // self.groups * self.out_width * self.kernel * self.kernel

    @property
    def macs(self) -> int:
        """Multiply-adds, without bias."""
        return self.weights * self.out_side * self.out_side

    @property
    def params(self) -> int:
        """Trainable parameters, with those of its batch norm."""
        return self.weights + 2 * self.norm + (self.out_width if self.bias else 0)

    @property
    def output(self) -> int:
        """Output elements."""
        return self.out_width * self.out_side * self.out_side

    @property
    def acts(self) -> int:
        """Output elements, of convolutions only (pycls's "activations")."""
        return 0 if self.name == "fc" else self.output

    @property
    def fvcore(self) -> int:
        """Its share of fvcore's total in evaluation: `macs`, 2 for each element normalised, 1 for each pooled."""
        pooled = self.in_width * self.in_side * self.in_side if self.name == "fc" else 0
        return self.macs + 2 * self.norm * self.norm_side * self.norm_side + pooled

    def moved(self, batch: int = 1, itemsize: int = 4) -> int:
        """Returns the least number of bytes that it must move: each input, weight and output element once.

        Except for the weights, a grouped convolution moves as much as a dense one of the same widths, for a fraction
        of the multiply-adds; a count of FLOPs does not show that.
        """
        side = 1 if self.name == "fc" else self.in_side
        data = self.in_width * side * side + self.output
        return itemsize * (batch * data + self.weights)


def halved(side: int) -> int:
    """Returns the output side of a stride-2 layer (7x7 with padding 3, 3x3 with padding 1, 2x2 in ceil mode)."""
    return (side + 1) // 2


def stem_layers(spec: ArchSpec, size: int) -> tuple[list[Layer], int]:
    """Returns the layers of the stem and the side of its output (after the max pool, if it has one)."""
    width = spec.stem_width
    norm = 0 if spec.preact else width
    if spec.stem == "cifar":
        return [_conv("conv1", 3, width, 3, size, size, norm=norm)], size
    side = halved(size)
    if spec.stem == "imagenet":
        return [_conv("conv1", 3, width, 7, size, side, norm=norm)], halved(side)
    half = width // 2
    first = _conv("conv1.0", 3, half, 3, size, side)
    second = _conv("conv1.3", half, half, 3, side, side)
    return [first, second, _conv("conv1.6", half, width, 3, side, side, norm=norm)], halved(side)


def block_layers(spec: ArchSpec, stage: Stage, block: int, side: int) -> tuple[list[Layer], int]:
    """Returns the layers of a block in the order of execution and the side of its output.

    Args:
        spec: The architecture.
        stage: One of its stages.
        block: Position in the stage, from 0. All blocks after the first are equal.
        side: Side of the block's input, in pixels.
    """
    name = f"layer{stage.index + 1}.{block}."
    stride, in_width = (stage.stride, stage.in_width) if block == 0 else (1, stage.width)
    out = side if stride == 1 else halved(side)
    made = _basic if spec.block == "basic" else _bottleneck
    layers = made(name, spec, stage, in_width, side, out)
    if spec.attention == "se":
        layers.append(_conv(f"{name}se.fc1", stage.width, stage.excitation, 1, 1, 1, norm=0, bias=True))
        layers.append(_conv(f"{name}se.fc2", stage.excitation, stage.width, 1, 1, 1, norm=0, bias=True))
    if spec.shortcut and not spec.padded and (stride > 1 or in_width != stage.width):
        pools = spec.avg_down and stride > 1
        conv_name = f"{name}downsample.{int(spec.avg_down)}"
        norm = 0 if spec.preact else stage.width
        layers.append(_conv(conv_name, in_width, stage.width, 1, out if pools else side, out, norm=norm))
    return layers, out


def _basic(name: str, spec: ArchSpec, stage: Stage, in_width: int, side: int, out: int) -> list[Layer]:
    """Returns the two 3x3 convolutions of a basic block; the first one strides."""
    mid, width = stage.bottleneck, stage.width
    if spec.preact:
        first = _conv(f"{name}conv1", in_width, mid, 3, side, out, norm=in_width, norm_side=side)
        return [first, _conv(f"{name}conv2", mid, width, 3, out, out, norm=mid)]
    return [_conv(f"{name}conv1", in_width, mid, 3, side, out), _conv(f"{name}conv2", mid, width, 3, out, out)]


def _bottleneck(name: str, spec: ArchSpec, stage: Stage, in_width: int, side: int, out: int) -> list[Layer]:
    """Returns the layers of a bottleneck block: 1x1, 3x3 or what stands in its place, 1x1."""
    mid, width, stride = stage.bottleneck, stage.width, 1 if out == side else 2
    pooled = spec.avd and stride > 1
    before = out if pooled and spec.avd_first else side  # sides of the input and output of the 3x3
    after = side if pooled and not spec.avd_first else out
    if spec.preact:
        return [
            _conv(f"{name}conv1", in_width, mid, 1, side, side, norm=in_width),
            _conv(f"{name}conv2", mid, mid, 3, before, after, stage.cardinality, norm=mid, norm_side=before),
            _conv(f"{name}conv3", mid, width, 1, out, out, norm=mid, norm_side=after),
        ]
    spatial = _selective if spec.attention == "sk" else _spatial
    return [
        _conv(f"{name}conv1", in_width, mid, 1, side, side),
        *spatial(f"{name}conv2", stage, before, after),
        _conv(f"{name}conv3", mid, width, 1, out, out),
    ]


def head_layer(spec: ArchSpec, side: int, classes: int) -> Layer:
    """Returns the last linear layer with the pooling before it; `side` is the side of the last stage's output."""
    features = spec.widths[-1]
    return Layer("fc", features, classes, 1, 1, side, 1, features if spec.preact else 0, side, True)


def blocks(spec: ArchSpec, size: int, classes: int) -> Iterator[tuple[str, int, list[Layer]]]:
    """Yields (name of the stem, stage or head; number of the block in it; layers of the block), input to output."""
    layers, side = stem_layers(spec, size)
    yield "stem", 0, layers
    for stage in spec.stages():
        for block in range(stage.depth):
            layers, side = block_layers(spec, stage, block, side)
            yield f"stage{stage.index + 1}", block, layers
    yield "head", 0, [head_layer(spec, side, classes)]


def _conv(
    name: str,
    in_width: int,
    out_width: int,
    kernel: int,
    in_side: int,
    out_side: int,
    groups: int = 1,
    norm: int | None = None,
    norm_side: int | None = None,
    bias: bool = False,
) -> Layer:
    """Returns a convolution, by default followed by a batch norm."""
    norm = out_width if norm is None else norm
    norm_side = out_side if norm_side is None else norm_side
    return Layer(name, in_width, out_width, kernel, groups, in_side, out_side, norm, norm_side, bias)


def _spatial(name: str, stage: Stage, in_side: int, out_side: int) -> list[Layer]:
    """Returns the 3x3: a grouped convolution, or split attention with its two small layers (ResNeSt sec. 3.1)."""
    mid, groups = stage.bottleneck, stage.cardinality
    if stage.radix == 0:
        return [_conv(name, mid, mid, 3, in_side, out_side, groups)]
    splits = mid * stage.radix
    return [
        _conv(f"{name}.conv", mid, splits, 3, in_side, out_side, groups * stage.radix),
        _conv(f"{name}.fc1", mid, stage.attention, 1, 1, 1, groups, bias=True),
        _conv(f"{name}.fc2", stage.attention, splits, 1, 1, 1, groups, norm=0, bias=True),
    ]


def _selective(name: str, stage: Stage, in_side: int, out_side: int) -> list[Layer]:
    """Returns a selective kernel: two 3x3, one of them dilated, and two small layers (Li et al. 2019, sec. 3.1)."""
    mid, hidden = stage.bottleneck, stage.selection
    return [
        *(_conv(f"{name}.paths.{path}.conv", mid, mid, 3, in_side, out_side, stage.cardinality) for path in (0, 1)),
        _conv(f"{name}.attn.fc_reduce", mid, hidden, 1, 1, 1),
        _conv(f"{name}.attn.fc_select", hidden, 2 * mid, 1, 1, 1, norm=0),
    ]
