"""The network builder: `ArchSpec` -> `torch.nn.Module`.

State-dict keys are torchvision's for ResNet and ResNeXt and timm's for ResNeSt, and the outputs are equal for
equal weights, so published weights load unchanged. Stem, stages and head are children in forward order, as
feature extractors and detection heads expect them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from nxt.arch.load import resolve
from nxt.arch.spec import ArchSpec
from nxt.config import require
from nxt.errors import ArchError
from nxt.models.blocks import Block, block_of
from nxt.models.forms import PathsBlock, check_form
from nxt.models.regularize import DropBlock


class Network(nn.Module):
    """A network of the family, described by `spec`, `num_classes` and `in_channels`.

    A network from `nxt.load` also has `classes`, the names of its outputs, and `transform`, which turns a PIL image
    into its input.

    Args:
        spec: The architecture.
        num_classes: Outputs of the last layer.
        in_channels: Channels of the images.
        form: Of its blocks, as in `nxt.models.forms`: "a", "b" or "c".
        output_stride: The largest stride, as in `ArchSpec.stages`.

    Raises:
        ArchError: if the network has no such form or output stride.
    """

    classes: tuple[str, ...] = ()
    transform: Callable[[Any], Tensor] | None = None

    def __init__(
        self,
        spec: ArchSpec,
        num_classes: int,
        in_channels: int = 3,
        form: str = "c",
        output_stride: int | None = None,
    ) -> None:
        super().__init__()
        check_form(spec, form)
        self.spec, self.num_classes, self.in_channels, self.form = spec, num_classes, in_channels, form
        self.output_stride = output_stride
        self.conv1 = _stem(spec, in_channels)
        self.bn1: nn.Module = nn.Identity() if spec.preact else nn.BatchNorm2d(spec.stem_width)
        self.relu: nn.Module = nn.Identity() if spec.preact else nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if spec.stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        made: Callable[..., Block] = block_of(spec) if form == "c" else partial(PathsBlock, form=form)
        for stage in spec.stages(output_stride):
            blocks = [made(spec, stage, first=i == 0) for i in range(stage.depth)]
            self.add_module(f"layer{stage.index + 1}", nn.Sequential(*blocks))
        self.norm = nn.Sequential(nn.BatchNorm2d(spec.widths[-1]), nn.ReLU(inplace=True)) if spec.preact else None
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout: nn.Module = nn.Identity()
        self.fc = nn.Linear(spec.widths[-1], num_classes)
        self._frozen: tuple[str, ...] = ()  # names of children
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (B, in_channels, H, W), normalised, to logits (B, num_classes)."""
        x = self._stem(x)
        for stage in self._stages():  # keeps one map at a time, unlike `features`
            x = stage(x)
        if self.norm is not None:
            x = self.norm(x)
        x = self.dropout(torch.flatten(self.avgpool(x), 1))
        if torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda"):
            with torch.autocast(x.device.type, enabled=False):  # in 16 bits logits would tie
                return self.fc(x.to(self.fc.weight.dtype))  # type: ignore[no-any-return]
        return self.fc(x)  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps images as `forward` takes them to the output of each stage, (B, widths[s], H', W') at `strides`.

        With pre-activation the last one is normalised, as for the pooling; the others are what the next stage takes.
        """
        maps = [self._stem(x)]
        for stage in self._stages():
            maps.append(stage(maps[-1]))
        if self.norm is not None:
            maps[-1] = self.norm(maps[-1])
        return tuple(maps[1:])

    def _stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))  # type: ignore[no-any-return]

    def _stages(self) -> list[nn.Module]:
        return [getattr(self, f"layer{index + 1}") for index in range(len(self.spec.depths))]

    @property
    def strides(self) -> tuple[int, ...]:
        """Total stride of each stage: pixels of the image, along a side, per pixel of its output."""
        return tuple(min(stride, self.output_stride or stride) for stride in self.spec.strides)

    def regularize(
        self, *, dropout: float = 0.0, drop_block: float = 0.0, block_size: int = 3, stochastic_depth: float = 0.0
    ) -> None:
        """Sets what training mode drops at random, with torch's global generator. Evaluation is unchanged.

        Args:
            dropout: Share of the features dropped before the last layer.
            drop_block: Share of the elements dropped in blocks in the last two stages, at the places of ResNeSt's
                released Gluon code: after bn1, after the 3x3's BN or split attention, and after bn3.
            block_size: Side of those blocks in pixels, odd.
            stochastic_depth: Share of the images for which the last block is only its shortcut; the share rises
                linearly from the first block (Huang et al. 2016, arXiv 1603.09382, eq. 4). No effect without shortcuts.

        Raises:
            ConfigError: for shares outside [0, 1) and for even blocks.
        """
        shares = {"dropout": dropout, "drop_block": drop_block, "stochastic_depth": stochastic_depth}
        for name, share in shares.items():
            require(0 <= share < 1, "regularisation", f"{name} is {share}; it lies in [0, 1)")
        require(block_size > 0 and block_size % 2 == 1, "regularisation", f"block_size {block_size} is not odd")
        from torchvision.ops import StochasticDepth  # here, so that devices that only infer need no torchvision

        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        before = len(blocks) - sum(self.spec.depths[-2:])
        for index, block in enumerate(blocks):
            block.drop_block = DropBlock(drop_block, block_size) if drop_block and index >= before else nn.Identity()
            share = stochastic_depth * (index + 1) / len(blocks)
            block.stochastic_depth = StochasticDepth(share, "row") if share else nn.Identity()
        self.to(next(self.parameters()).device).train(self.training)

    def set_drop_block(self, drop_block: float) -> None:
        """Changes the share of the elements dropped in blocks, if `regularize` has set one."""
        for module in self.modules():
            if isinstance(module, DropBlock):
                module.p.fill_(drop_block)

    def freeze(self, upto: str) -> None:
        """Excludes the stem and the stages up to `upto` from training, permanently.

        Their parameters need no gradients. They stay in evaluation mode also during training, so that BN uses its
        running statistics and does not change them.

        Args:
            upto: "stem", "stage1", "stage2" and so on.

        Raises:
            ArchError: if the network has no such part.
        """
        parts = ["stem", *(f"stage{stage.index + 1}" for stage in self.spec.stages())]
        if upto not in parts:
            raise ArchError(f"{self.spec.name} has no part {upto!r} to freeze; it has {', '.join(parts)}")
        self._frozen = ("conv1", "bn1", *(f"layer{n}" for n in range(1, parts.index(upto) + 1)))
        for child in self._frozen:
            self.get_submodule(child).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Sets training or evaluation mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for child in self._frozen:
            self.get_submodule(child).eval()
        return self

    def zero_last_gamma(self) -> None:
        """Sets the scale of each block's last BN to zero, so that every block starts as its shortcut.

        Goyal et al. 2017 (arXiv 1706.02677) sec. 5.1. With pre-activation a ReLU follows that BN, which would then
        never learn; the last convolution is set to zero instead. Has no effect on networks without shortcuts.
        """
        if self.spec.shortcut:
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.last.weight)


def build(
    network: str | Path | ArchSpec,
    num_classes: int | None = None,
    in_channels: int = 3,
    form: str = "c",
    output_stride: int | None = None,
) -> Network:
    """Builds a network with freshly initialised weights.

    Args:
        network: A name such as `resnext50_32x4d`, the path of an architecture file, or a specification.
        num_classes: Outputs of the last layer; by default 1000, or 10 for CIFAR networks.
        in_channels: Channels of the images.
        form: "c"; or "a" or "b", which compute the same by separate paths (ResNeXt fig. 3) and take the weights that
            `nxt.models.forms.converted` gives.
        output_stride: The largest stride, for dense prediction: 8, 16 or 32, as all networks with an ImageNet stem
            have it. Stages that would pass it are dilated, also their pooling loses its stride; the weights stay the
            same.

    Raises:
        ArchError: if there is no such network, form or output stride, or num_classes or in_channels is not positive.
        ConfigError: if the architecture file cannot be read.
    """
    spec = resolve(network)
    classes = spec.classes if num_classes is None else num_classes
    if classes < 1:
        raise ArchError(f"{classes} classes: at least one is needed")
    if in_channels < 1:
        raise ArchError(f"{in_channels} input channels: at least one is needed")
    return Network(spec, classes, in_channels, form, output_stride)


def _stem(spec: ArchSpec, channels: int) -> nn.Module:
    width = spec.stem_width
    if spec.stem == "imagenet":
        return nn.Conv2d(channels, width, 7, 2, 3, bias=False)
    if spec.stem == "cifar":
        return nn.Conv2d(channels, width, 3, 1, 1, bias=False)
    half = width // 2
    return nn.Sequential(
        nn.Conv2d(channels, half, 3, 2, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, half, 3, 1, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, width, 3, 1, 1, bias=False),
    )


def _initialise(network: nn.Module) -> None:
    """Initialises as the papers' code does: He normal by fan-out, not divided by the groups; zero biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
