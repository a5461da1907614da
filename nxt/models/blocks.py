"""Residual blocks: bottlenecks and basic ones, with their shortcuts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nxt.arch.spec import ArchSpec, Stage
from nxt.models.channel_attention import SelectiveKernel, SqueezeExcitation
from nxt.models.convolution import Conv2d
from nxt.models.split_attention import SplitAttention


class Block(nn.Module):
    """What all residual blocks have in common.

    BN follows each convolution and ReLU each BN, except the last ReLU, which follows the addition. With pre-activation,
    BN and ReLU precede each convolution instead (He et al. 2016, arXiv 1603.05027, fig. 1b), and a shortcut that
    changes the shape starts after the first ReLU.
    """

    bn1: nn.BatchNorm2d

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        self.preact, self.shortcut = spec.preact, spec.shortcut
        self.relu = nn.ReLU(inplace=True)
        self.drop_block: nn.Module = nn.Identity()  # see Network.regularize, also for the next line
        self.stochastic_depth: nn.Module = nn.Identity()

    def _close(self, spec: ArchSpec, stage: Stage, first: bool) -> None:
        """Adds what stands after the convolutions in a state dict."""
        self.se = SqueezeExcitation(stage) if spec.attention == "se" else None
        in_width, stride, _ = stage.block(first)
        changes = spec.shortcut and (in_width != stage.width or (first and stage.halves))
        self.downsample = _changed(spec, in_width, stage.width, stride) if changes else None

    @property
    def last(self) -> nn.Conv2d | nn.BatchNorm2d:
        """The last layer of the branch: a BN, with pre-activation a convolution."""
        raise NotImplementedError

    def branch(self, x: Tensor) -> Tensor:
        """Maps the block's input (B, C_in, H, W), normalised with pre-activation, to (B, C_out, H', W')."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H', W')."""
        start = self.relu(self.bn1(x)) if self.preact else x
        out = self.drop_block(self.branch(start))
        if self.se is not None:
            out = self.se(out)
        if self.shortcut:
            out = self.stochastic_depth(out)
            out += x if self.downsample is None else self.downsample(start)
        return out if self.preact else self.relu(out)  # type: ignore[no-any-return]


class BasicBlock(Block):
    """Residual block of two 3x3 convolutions (He et al. 2016, arXiv 1512.03385, fig. 5 left)."""

    def __init__(self, spec: ArchSpec, stage: Stage, first: bool) -> None:
        super().__init__(spec)
        in_width, stride, dilation = stage.block(first)
        mid = stage.bottleneck
        self.conv1 = Conv2d(in_width, mid, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(in_width if spec.preact else mid)
        self.conv2 = Conv2d(mid, stage.width, 3, 1, stage.dilation, stage.dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(mid if spec.preact else stage.width)
        self._close(spec, stage, first)

    @property
    def last(self) -> nn.Conv2d | nn.BatchNorm2d:
        """The last layer of the branch."""
        return self.conv2 if self.preact else self.bn2

    def branch(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H', W')."""
        if self.preact:
            out = self.drop_block(self.conv1(x))
            return self.conv2(self.relu(self.bn2(out)))  # type: ignore[no-any-return]
        out = self.relu(self.drop_block(self.bn1(self.conv1(x))))
        out = self.conv2(out)  # a separate line, so that its input is freed before bn2
        return self.bn2(out)  # type: ignore[no-any-return]


class Bottleneck(Block):
    """Residual block 1x1, 3x3 (or split attention, or a selective kernel), 1x1 (ResNeXt fig. 3c, ResNeSt fig. 2)."""

    def __init__(self, spec: ArchSpec, stage: Stage, first: bool) -> None:
        super().__init__(spec)
        in_width, stride, dilation = stage.block(first)
        pooled = spec.avd and first and stage.halves  # with stride 1 where the stage dilates
        mid = stage.bottleneck
        norms = (in_width, mid, mid) if spec.preact else (mid, mid, stage.width)
        self.conv1 = Conv2d(in_width, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(norms[0])
        self.avd_first = avd_pool(stride) if pooled and spec.avd_first else None
        self.conv2 = _spatial(spec, stage, 1 if pooled else stride, dilation)
        plain = isinstance(self.conv2, Conv2d)
        self.bn2 = nn.BatchNorm2d(norms[1]) if plain else None  # attention normalises inside
        self.avd_last = avd_pool(stride) if pooled and not spec.avd_first else None
        self.conv3 = Conv2d(mid, stage.width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(norms[2])
        self._close(spec, stage, first)

    @property
    def last(self) -> nn.Conv2d | nn.BatchNorm2d:
        """The last layer of the branch."""
        return self.conv3 if self.preact else self.bn3

    def branch(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H', W')."""
        if self.preact:
            return self._preactivated(x)
        out = self.relu(self.drop_block(self.bn1(self.conv1(x))))
        if self.avd_first is not None:
            out = self.avd_first(out)
        out = self.conv2(out)
        out = self.drop_block(out) if self.bn2 is None else self.relu(self.drop_block(self.bn2(out)))
        if self.avd_last is not None:
            out = self.avd_last(out)
        out = self.conv3(out)  # a separate line, so that its input is freed before bn3
        return self.bn3(out)  # type: ignore[no-any-return]

    def _preactivated(self, x: Tensor) -> Tensor:
        out = self.drop_block(self.conv1(x))
        if self.avd_first is not None:
            out = self.avd_first(out)
        assert self.bn2 is not None  # pre-activation and attention exclude each other
        out = self.drop_block(self.conv2(self.relu(self.bn2(out))))
        if self.avd_last is not None:
            out = self.avd_last(out)
        return self.conv3(self.relu(self.bn3(out)))  # type: ignore[no-any-return]


def block_of(spec: ArchSpec) -> type[BasicBlock] | type[Bottleneck]:
    """Returns the kind of a network's blocks."""
    return BasicBlock if spec.block == "basic" else Bottleneck


class PaddedShortcut(nn.Module):
    """A shortcut without weights: every other pixel, and zero channels where the width grows.

    Type A of He et al. 2016 (arXiv 1512.03385) sec. 3.3 and 4.1.
    """

    def __init__(self, spec: ArchSpec, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride
        self.pool = _down_pool(stride) if spec.avg_down and stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C + more, H', W')."""
        x = x[:, :, :: self.stride, :: self.stride] if self.pool is None else self.pool(x)
        return F.pad(x, (0, 0, 0, 0, 0, self.more)) if self.more else x


def _spatial(spec: ArchSpec, stage: Stage, stride: int, dilation: int) -> nn.Module:
    """Returns the 3x3 of a bottleneck, or what stands in its place."""
    if stage.radix:
        return SplitAttention(stage, stride, dilation)
    if spec.attention == "sk":
        return SelectiveKernel(stage, stride, dilation)
    mid = stage.bottleneck
    return Conv2d(mid, mid, 3, stride, dilation, dilation, stage.cardinality, bias=False)


def _changed(spec: ArchSpec, in_width: int, width: int, stride: int) -> nn.Module:
    """Returns a shortcut that changes the shape."""
    if spec.padded:
        return PaddedShortcut(spec, width - in_width, stride)
    norm = () if spec.preact else (nn.BatchNorm2d(width),)
    if not spec.avg_down:
        return nn.Sequential(Conv2d(in_width, width, 1, stride, bias=False), *norm)
    pool = nn.Identity() if stride == 1 else _down_pool(stride)
    return nn.Sequential(pool, Conv2d(in_width, width, 1, bias=False), *norm)


def avd_pool(stride: int) -> nn.Module:
    """Returns the pool that strides beside a 3x3."""
    return nn.AvgPool2d(3, stride, 1)  # counts the padding, unlike the pool of the shortcut: as released


def _down_pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
