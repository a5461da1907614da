"""`ArchSpec`: the complete description of one network of the ResNet, ResNeXt and ResNeSt family, as data.

No torch here. `ArchSpec.stages()` resolves the numbers that both the closed-form cost and the network builder need,
so the two cannot read a specification differently.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nxt.arch.names import EXPANSION, candidates, fields_of
from nxt.config import dump_yaml, from_mapping, to_mapping
from nxt.errors import ArchError, ConfigError

STEMS = ("imagenet", "cifar", "deep")
BLOCK_KINDS = ("bottleneck", "basic")
ATTENTIONS = ("none", "se", "sk")
SCHEMA = 1
_MAX_DEPTH, _MAX_WIDTH, _MAX_RADIX = 1000, 65536, 32
_LATER = {"preact": False, "block": "bottleneck", "attention": "none", "padded": False, "constant": False}


@dataclass(frozen=True, slots=True)
class Stage:
    """The resolved numbers of one stage. Widths are channels."""

    index: int
    depth: int  # blocks
    stride: int  # of the first block
    in_width: int  # channels that enter the stage
    width: int  # channels that leave each block
    cardinality: int  # C, groups of the 3x3 convolution
    group_width: int  # bottleneck channels per group at this stage
    radix: int
    first_dilation: int = 1  # of the first block's convolutions
    dilation: int = 1  # of the later blocks' ones; larger than the first block's where it stands for a stride

    @property
    def halves(self) -> bool:
        """Whether its first block strides, or would if dilation did not stand for its stride."""
        return self.stride > 1 or self.dilation > self.first_dilation

    def block(self, first: bool) -> tuple[int, int, int]:
        """Returns the input channels, the stride and the dilation of its first or of a later block."""
        return (self.in_width, self.stride, self.first_dilation) if first else (self.width, 1, self.dilation)

    @property
    def bottleneck(self) -> int:
        """Input channels of the 3x3 convolution, all groups together; of the second one in a basic block."""
        return self.cardinality * self.group_width

    @property
    def attention(self) -> int:
        """Hidden channels of split attention (ResNeSt sec. 3.1; timm's rounding to multiples of 8)."""
        return _divisible(self.bottleneck * self.radix / 4, 8, least=32)

    @property
    def excitation(self) -> int:
        """Hidden channels of squeeze-and-excitation: a sixteenth (Hu et al. 2018, arXiv 1709.01507, sec. 3.2)."""
        return max(8, int(self.width / 16 + 4) // 8 * 8)

    @property
    def selection(self) -> int:
        """Hidden channels of a selective kernel: a sixteenth, at least 32 (Li et al. 2019, arXiv 1903.06586, eq. 4)."""
        return _divisible(self.bottleneck / 16, 32, least=32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchSpec:
    """One network, without its number of classes.

    `cardinality` and `base_width` take one value or one per stage. As in "32x4d", the base width is the
    bottleneck width per group at the first stage; it grows with the stage widths, so stage s has groups of
    `base_width[s] * widths[s] / widths[0]` channels. With `constant` the cardinality grows instead, so that all
    stages have groups of the base width: of 1 in depthwise convolutions.

    Raises:
        ArchError: if the numbers do not make a network; the message says which rule is broken.
    """

    stem: str = "imagenet"  # 7x7/2 + max pool; "cifar": 3x3; "deep": three 3x3 + max pool (ResNeSt)
    stem_width: int = 64  # channels that leave the stem
    depths: tuple[int, ...]  # blocks per stage
    widths: tuple[int, ...]  # output channels per stage
    cardinality: tuple[int, ...] = (1,)
    base_width: tuple[int, ...] = (64,)
    radix: int = 0  # 0: plain grouped 3x3; 1: one split, sigmoid; 2 and more: split attention
    avd: bool = False  # average pooling does the striding of the 3x3
    avd_first: bool = False  # ... and stands before the 3x3 ("fast")
    avg_down: bool = False  # average pooling does the striding of the shortcut
    shortcut: bool = True
    preact: bool = False  # BN and ReLU before each convolution, not after (He et al. 2016, arXiv 1603.05027)
    block: str = "bottleneck"  # "basic": two 3x3 convolutions (He et al. 2016, arXiv 1512.03385, fig. 5)
    attention: str = "none"  # "se": squeeze-and-excitation after the block; "sk": a selective kernel for the 3x3
    padded: bool = False  # shortcuts add zero channels where the width grows (type A), they do not project (type B)
    constant: bool = False  # groups are as wide in all stages, and their number grows

    def __post_init__(self) -> None:
        for name in ("depths", "widths", "cardinality", "base_width"):
            value = getattr(self, name)
            values = (value,) if isinstance(value, int) else tuple(value)
            if name in ("cardinality", "base_width") and len(values) == 1:
                values *= len(self.depths)
            object.__setattr__(self, name, values)
        self._check()

    def _check(self) -> None:
        if self.stem not in STEMS:
            raise ArchError(f"stem {self.stem!r} is not one of {', '.join(STEMS)}")
        if not 1 <= len(self.depths) <= 8:
            raise ArchError(f"depths {list(self.depths)}: between 1 and 8 stages are possible")
        _check_range("depths", self.depths, 1, _MAX_DEPTH)
        for name in ("widths", "cardinality", "base_width"):
            values = getattr(self, name)
            if len(values) != len(self.depths):
                raise ArchError(f"{name} {list(values)} has {len(values)} entries for {len(self.depths)} stages")
            _check_range(name, values, 1, _MAX_WIDTH)
        _check_range("stem_width", (self.stem_width,), 1, _MAX_WIDTH)
        _check_range("radix", (self.radix,), 0, _MAX_RADIX)
        for name, known in {"block": BLOCK_KINDS, "attention": ATTENTIONS}.items():
            if getattr(self, name) not in known:
                raise ArchError(f"{name} {getattr(self, name)!r} is not one of {', '.join(known)}")
        for name in ("avd", "avd_first", "avg_down", "shortcut", "preact", "padded", "constant"):
            if not isinstance(getattr(self, name), bool):
                raise ArchError(f"{name} {getattr(self, name)!r} is neither true nor false")
        self._check_together()
        if self.stem == "deep" and self.stem_width % 2:
            raise ArchError(f"stem_width {self.stem_width} must be even: a deep stem has half of it inside")
        what, growing = ("cardinality", self.cardinality) if self.constant else ("group width", self.base_width)
        for index, width in enumerate(self.widths):
            if width % self.expansion:
                raise ArchError(f"stage {index + 1}: width {width} is not a multiple of {self.expansion}")
            if (growing[index] * width) % self.widths[0]:
                raise ArchError(
                    f"stage {index + 1}: {what} {growing[index]} * {width} / {self.widths[0]} is not an integer"
                )
        for stage in self.stages():
            _check_stage(stage)
            if self.padded and stage.in_width > stage.width:
                narrows = f"stage {stage.index + 1} narrows from {stage.in_width} to {stage.width} channels"
                raise ArchError(f"padded: {narrows}, and zeros can only be added")

    def _check_together(self) -> None:
        """Raises ArchError for properties that exclude each other."""
        if self.preact and (self.radix or self.attention != "none"):
            other = "radix" if self.radix else f"attention {self.attention}"
            raise ArchError(f"preact and {other}: attention is on what has been normalised; give one of both")
        if self.radix and self.attention != "none":
            raise ArchError(f"attention {self.attention} and radix {self.radix}: give one of both")
        if self.padded and not self.shortcut:
            raise ArchError("padded: there are no shortcuts to pad")
        if self.block != "basic":
            return
        if set(self.cardinality) != {1}:
            raise ArchError(
                f"block basic has no cardinality ({self.cardinality[0]}): with two layers, paths that are summed are "
                "one wider dense block (ResNeXt sec. 3.3); give it a larger base_width"
            )
        if self.radix or self.avd or self.attention == "sk":
            what = "radix" if self.radix else "avd" if self.avd else "attention sk"
            raise ArchError(f"block basic and {what}: that is for the 3x3 of a bottleneck")

    @property
    def expansion(self) -> int:
        """Channels that leave a block per channel of its stage's base width."""
        return 1 if self.block == "basic" else EXPANSION

    @property
    def width(self) -> int:
        """The stage base width, 64 in ResNet-50: what leaves the blocks of the first stage, without the expansion."""
        return self.widths[0] // self.expansion

    @property
    def strides(self) -> tuple[int, ...]:
        """Total stride of each stage: pixels of the image, along a side, per pixel of its output."""
        stem = 1 if self.stem == "cifar" else 4
        return tuple(stem << index for index in range(len(self.depths)))

    def stages(self, output_stride: int | None = None) -> Iterator[Stage]:
        """Yields the stages from input to output.

        Args:
            output_stride: The largest total stride, one of `strides`. Stages that would pass it dilate their
                convolutions in place of striding: each first block as the stage before, later ones twice as much.

        Raises:
            ArchError: for another output stride.
        """
        if output_stride is not None and output_stride not in self.strides:
            known = ", ".join(map(str, self.strides))
            raise ArchError(f"output stride {output_stride} of {self.name} is not one of {known}")
        in_width, dilation = self.stem_width, 1
        for index, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            before = dilation
            if output_stride is not None and self.strides[index] > output_stride:
                dilation *= 2
            yield Stage(
                index=index,
                depth=depth,
                stride=2 if index and dilation == before else 1,
                in_width=in_width,
                width=width,
                cardinality=self.cardinality[index] * (width if self.constant else self.widths[0]) // self.widths[0],
                group_width=self.base_width[index] * (self.widths[0] if self.constant else width) // self.widths[0],
                radix=self.radix,
                first_dilation=before,
                dilation=dilation,
            )
            in_width = width

    @property
    def size(self) -> int:
        """Image side in pixels that this kind of network is made for."""
        return 32 if self.stem == "cifar" else 224

    @property
    def classes(self) -> int:
        """Number of classes at which this kind of network is costed unless said otherwise."""
        return 10 if self.stem == "cifar" else 1000

    @property
    def name(self) -> str:
        """The field's name for this network if there is one, which `from_name` turns back into it.

        Other networks get a descriptive label that ends in `~` and their fingerprint.
        """
        names = candidates(self)
        for name in names:
            try:
                if ArchSpec.from_name(name).fingerprint == self.fingerprint:
                    return name
            except ArchError:
                continue
        return f"{names[-1]}~{self.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits; equal exactly when the networks are the same."""
        data = to_mapping(self)
        strided = len(self.depths) > 1  # without striding, the pooling variants change nothing
        data["avd"] = self.avd and strided
        data["avd_first"] = self.avd and self.avd_first and strided
        data["avg_down"] = self.avg_down and self.shortcut and strided
        data["padded"] = self.padded and any(stage.in_width != stage.width for stage in self.stages())
        data["constant"] = self.constant and len(set(self.widths)) > 1
        _drop_later(data)  # older fingerprints must stay the same
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def replace(self, **changes: Any) -> ArchSpec:
        """Returns a copy with some fields changed, checked like any other."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain data; values equal at every stage are given once."""
        data: dict[str, Any] = to_mapping(self)
        for name in ("cardinality", "base_width"):
            if len(set(data[name])) == 1:
                data[name] = data[name][0]
        _drop_later(data)
        return data

    @classmethod
    def from_name(cls, name: str) -> ArchSpec:
        """Builds the network that a name describes; `load.parse_name` suggests others where there is none.

        Raises:
            ArchError: if the name follows no known pattern, or the numbers in it do not make a network.
        """
        fields = fields_of(name)
        if fields is None:
            raise ArchError(f"no network is called {name!r}")
        try:
            return cls(**fields)  # one value per network is spread over the stages
        except ArchError as error:
            raise ArchError(f"{name!r}: {error}") from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "architecture") -> ArchSpec:
        """Builds from plain data, as `to_dict` gives it.

        Raises:
            ConfigError: for unknown keys and values of a wrong type.
            ArchError: if the values do not make a network.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: a mapping was expected, not {data!r}")
        lists = ("depths", "widths", "cardinality", "base_width")
        values = {k: [v] if k in lists[2:] and type(v) is int else v for k, v in data.items()}
        try:
            return from_mapping(cls, values, where)
        except ArchError as error:
            raise ArchError(f"{where}: {error}") from None

    def to_yaml(self, **extra: Any) -> str:
        """Renders as an architecture file. `extra` may hold `provenance`, a mapping that is kept as a record."""
        return dump_yaml({"schema": SCHEMA, "name": self.name, **self.to_dict(), **extra})


def _drop_later(data: dict[str, Any]) -> None:
    """Removes the fields that were added later, where they have the values that all networks had before."""
    for name, before in _LATER.items():
        if data[name] == before:
            del data[name]


def _divisible(exact: float, divisor: int, least: int) -> int:
    """Returns a multiple of the divisor: the nearest one that is at least so much and 0.9 of the exact number."""
    rounded = max(least, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded


def _check_range(name: str, values: tuple[int, ...], low: int, high: int) -> None:
    for value in values:
        if type(value) is not int or not low <= value <= high:
            raise ArchError(f"{name}: {value!r} is not a whole number between {low} and {high}")


def _check_stage(stage: Stage) -> None:
    if stage.bottleneck > _MAX_WIDTH:
        raise ArchError(f"stage {stage.index + 1}: bottleneck of {stage.bottleneck} channels is past {_MAX_WIDTH}")
    if stage.radix == 0:
        return
    if stage.group_width % stage.radix:
        raise ArchError(
            f"stage {stage.index + 1}: group width {stage.group_width} is not divisible by radix {stage.radix}"
        )
    if stage.attention % stage.cardinality:
        raise ArchError(
            f"stage {stage.index + 1}: {stage.attention} attention channels are not divisible "
            f"by the cardinality {stage.cardinality}"
        )
