"""Lists the convolutions and the linear layer of a network, from the specification alone: no torch.

The numbers in a `Layer` give its cost; blocks and networks are sums of layers. A batch norm counts with the
convolution before it, or with pre-activation the one after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nxt.arch.spec import ArchSpec, Stage

Size = int | tuple[int, int]  # of an image in pixels: the side of a square, or height and width


class Side(NamedTuple):
    """The sides of a map in pixels. Several maps that one layer sees have no sides together, only pixels."""

    height: int
    width: int
    pixels: int

    @classmethod
    def of(cls, size: Size) -> Side:
        """Returns those of a map or an image."""
        height, width = (size, size) if isinstance(size, int) else size
        return cls(height, width, height * width)

    @property
    def plain(self) -> int | str:
        """As plain data: a square's side, else WxH as image sizes are written, or the pixels of several maps."""
        if self.height == self.width:
            return self.height or f"{self.pixels} px"
        return f"{self.width}x{self.height}"

    def __str__(self) -> str:
        return str(self.plain)


ONE = Side(1, 1, 1)


def together(maps: Iterable[Side]) -> Side:
    """Returns several maps as one layer sees them that runs on each: levels of a pyramid, or cut-outs."""
    return Side(0, 0, sum(each.pixels for each in maps))


class Layer(NamedTuple):
    """A convolution or the last linear layer, for one image. `name` is its module's name in the built network."""

    name: str
    in_width: int  # channels
    out_width: int
    kernel: int  # side
    groups: int
    in_side: Side
    out_side: Side
    norm: int  # channels of the batch norm that counts with it, 0 without one
    norm_side: Side
    bias: int  # elements
    linear: bool = False
    beside: int = 0  # what fvcore counts of poolings and enlargements before or after it

    @property
    def weights(self) -> int:
        """Elements of the weight."""
        return self.in_width // self.groups * self.out_width * self.kernel * self.kernel

    @property
    def macs(self) -> int:
        """Multiply-adds, without bias."""
        return self.counts[0]

    @property
    def params(self) -> int:
        """Trainable parameters, with those of its batch norm."""
        return self.counts[1]

    @property
    def output(self) -> int:
        """Output elements."""
        return self.out_width * self.out_side.pixels

    @property
    def acts(self) -> int:
        """Output elements, of convolutions only (pycls's "activations")."""
        return self.counts[2]

    @property
    def counts(self) -> tuple[int, int, int]:
        """`macs`, `params` and `acts` at once, since whole design spaces are sums of them."""
        weights, pixels = self.weights, self.out_side.pixels
        params = weights + 2 * self.norm + self.bias
        return weights * pixels, params, 0 if self.linear else self.out_width * pixels

    @property
    def fvcore(self) -> int:
        """Its share of fvcore's total in evaluation: `macs`, 2 for each element normalised, 1 for each pooled."""
        return self.macs + 2 * self.norm * self.norm_side.pixels + self.beside

    def moved(self, batch: int = 1, itemsize: int = 4) -> int:
        """Returns the least number of bytes that it must move: each input, weight and output element once.

        Except for the weights, a grouped convolution moves as much as a dense one of the same widths, for a fraction
        of the multiply-adds; a count of FLOPs does not show that.
        """
        data = self.in_width * (1 if self.name == "fc" else self.in_side.pixels) + self.output
        return itemsize * (batch * data + self.weights)


def halved(side: Side) -> Side:
    """Returns the output side of a stride-2 layer (7x7 with padding 3, 3x3 with padding 1, 2x2 in ceil mode)."""
    height, width = (side.height + 1) // 2, (side.width + 1) // 2
    return Side(height, width, height * width)


def stem_layers(spec: ArchSpec, size: Size) -> tuple[list[Layer], Side]:
    """Returns the layers of the stem and the side of its output (after the max pool, if it has one)."""
    width, image = spec.stem_width, Side.of(size)
    norm = 0 if spec.preact else width
    if spec.stem == "cifar":
        return [conv("conv1", 3, width, 3, image, image, norm=norm)], image
    side = halved(image)
    if spec.stem == "imagenet":
        return [conv("conv1", 3, width, 7, image, side, norm=norm)], halved(side)
    half = width // 2
    first = conv("conv1.0", 3, half, 3, image, side)
    second = conv("conv1.3", half, half, 3, side, side)
    return [first, second, conv("conv1.6", half, width, 3, side, side, norm=norm)], halved(side)


def block_layers(spec: ArchSpec, stage: Stage, block: int, side: Side) -> tuple[list[Layer], Side]:
    """Returns the layers of a block in the order of execution and the side of its output.

    Args:
        spec: The architecture.
        stage: One of its stages.
        block: Position in the stage, from 0. All blocks after the first are equal.
        side: Sides of the block's input.
    """
    name = f"layer{stage.index + 1}.{block}."
    in_width, stride, _ = stage.block(block == 0)
    out = side if stride == 1 else halved(side)
    made = _basic if spec.block == "basic" else _bottleneck
    layers = made(name, spec, stage, in_width, side, out)
    if spec.attention == "se":
        layers.append(conv(f"{name}se.fc1", stage.width, stage.excitation, 1, ONE, ONE, norm=0, bias=True))
        layers.append(conv(f"{name}se.fc2", stage.excitation, stage.width, 1, ONE, ONE, norm=0, bias=True))
    if spec.shortcut and not spec.padded and (in_width != stage.width or (block == 0 and stage.halves)):
        pools = spec.avg_down and stride > 1
        conv_name = f"{name}downsample.{int(spec.avg_down)}"
        norm = 0 if spec.preact else stage.width
        layers.append(conv(conv_name, in_width, stage.width, 1, out if pools else side, out, norm=norm))
    return layers, out


def _basic(name: str, spec: ArchSpec, stage: Stage, in_width: int, side: Side, out: Side) -> list[Layer]:
    """Returns the two 3x3 convolutions of a basic block; the first one strides."""
    mid, width = stage.bottleneck, stage.width
    if spec.preact:
        first = conv(f"{name}conv1", in_width, mid, 3, side, out, norm=in_width, norm_side=side)
        return [first, conv(f"{name}conv2", mid, width, 3, out, out, norm=mid)]
    return [conv(f"{name}conv1", in_width, mid, 3, side, out), conv(f"{name}conv2", mid, width, 3, out, out)]


def _bottleneck(name: str, spec: ArchSpec, stage: Stage, in_width: int, side: Side, out: Side) -> list[Layer]:
    """Returns the layers of a bottleneck block: 1x1, 3x3 or what stands in its place, 1x1."""
    mid, width = stage.bottleneck, stage.width
    pooled = spec.avd and out != side
    before = out if pooled and spec.avd_first else side  # sides of the input and output of the 3x3
    after = side if pooled and not spec.avd_first else out
    if spec.preact:
        return [
            conv(f"{name}conv1", in_width, mid, 1, side, side, norm=in_width),
            conv(f"{name}conv2", mid, mid, 3, before, after, stage.cardinality, norm=mid, norm_side=before),
            conv(f"{name}conv3", mid, width, 1, out, out, norm=mid, norm_side=after),
        ]
    spatial = _selective if spec.attention == "sk" else _spatial
    return [
        conv(f"{name}conv1", in_width, mid, 1, side, side),
        *spatial(f"{name}conv2", stage, before, after),
        conv(f"{name}conv3", mid, width, 1, out, out),
    ]


def head_layer(spec: ArchSpec, side: Side, classes: int) -> Layer:
    """Returns the last linear layer with the pooling before it; `side` is the side of the last stage's output."""
    features = spec.widths[-1]
    norm, pooled = features if spec.preact else 0, features * side.pixels
    return Layer("fc", features, classes, 1, 1, side, ONE, norm, side, classes, linear=True, beside=pooled)


def blocks(
    spec: ArchSpec, size: Size, classes: int, output_stride: int | None = None
) -> Iterator[tuple[str, int, list[Layer]]]:
    """Yields (name of the stem, stage or head; number of the block in it; layers of the block), input to output."""
    layers, side = stem_layers(spec, size)
    yield "stem", 0, layers
    for stage in spec.stages(output_stride):
        for block in range(stage.depth):
            layers, side = block_layers(spec, stage, block, side)
            yield f"stage{stage.index + 1}", block, layers
    yield "head", 0, [head_layer(spec, side, classes)]


def conv(
    name: str,
    in_width: int,
    out_width: int,
    kernel: int,
    in_side: Side,
    out_side: Side,
    groups: int = 1,
    norm: int | None = None,
    norm_side: Side | None = None,
    bias: bool = False,
) -> Layer:
    """Returns a convolution, by default followed by a batch norm."""
    norm = out_width if norm is None else norm
    norm_side = out_side if norm_side is None else norm_side
    return Layer(name, in_width, out_width, kernel, groups, in_side, out_side, norm, norm_side, out_width * bias)


def _spatial(name: str, stage: Stage, in_side: Side, out_side: Side) -> list[Layer]:
    """Returns the 3x3: a grouped convolution, or split attention with its two small layers (ResNeSt sec. 3.1)."""
    mid, groups = stage.bottleneck, stage.cardinality
    if stage.radix == 0:
        return [conv(name, mid, mid, 3, in_side, out_side, groups)]
    splits = mid * stage.radix
    return [
        conv(f"{name}.conv", mid, splits, 3, in_side, out_side, groups * stage.radix),
        conv(f"{name}.fc1", mid, stage.attention, 1, ONE, ONE, groups, bias=True),
        conv(f"{name}.fc2", stage.attention, splits, 1, ONE, ONE, groups, norm=0, bias=True),
    ]


def _selective(name: str, stage: Stage, in_side: Side, out_side: Side) -> list[Layer]:
    """Returns a selective kernel: two 3x3, one of them dilated, and two small layers (Li et al. 2019, sec. 3.1)."""
    mid, hidden = stage.bottleneck, stage.selection
    return [
        *(conv(f"{name}.paths.{path}.conv", mid, mid, 3, in_side, out_side, stage.cardinality) for path in (0, 1)),
        conv(f"{name}.attn.fc_reduce", mid, hidden, 1, ONE, ONE),
        conv(f"{name}.attn.fc_select", hidden, 2 * mid, 1, ONE, ONE, norm=0),
    ]
