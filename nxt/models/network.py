"""The network builder: `ArchSpec` -> `torch.nn.Module`.

State-dict keys are torchvision's for ResNet and ResNeXt and timm's for ResNeSt, and the outputs are equal for
equal weights, so published weights load unchanged. Stem, stages and head are children in forward order, as
feature extractors and detection heads expect them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nxt.arch import ArchSpec, Stage
from nxt.errors import ArchError
from nxt.models.split_attention import SplitAttention
from nxt.names import parse_name


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3 (grouped, or split attention), 1x1 (ResNeXt fig. 3c, ResNeSt fig. 2).

    BN follows each convolution and ReLU each BN, except the last, where it follows the addition.
    """

    def __init__(self, spec: ArchSpec, stage: Stage, first: bool) -> None:
        super().__init__()
        in_width = stage.in_width if first else stage.width
        stride = stage.stride if first else 1
        pooled = spec.avd and stride > 1
        mid = stage.bottleneck
        self.conv1 = nn.Conv2d(in_width, mid, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.avd_first = _avd_pool(stride) if pooled and spec.avd_first else None
        self.conv2: nn.Module
        if stage.radix:
            self.conv2 = SplitAttention(stage, 1 if pooled else stride)
            self.bn2 = None  # split attention normalises inside
        else:
            groups = stage.cardinality
            self.conv2 = nn.Conv2d(mid, mid, 3, 1 if pooled else stride, 1, groups=groups, bias=False)
            self.bn2 = nn.BatchNorm2d(mid)
        self.avd_last = _avd_pool(stride) if pooled and not spec.avd_first else None
        self.conv3 = nn.Conv2d(mid, stage.width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(stage.width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = spec.shortcut
        projects = spec.shortcut and (stride > 1 or in_width != stage.width)
        self.downsample = _projection(spec, in_width, stage.width, stride) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W')."""
        out = self.relu(self.bn1(self.conv1(x)))
        if self.avd_first is not None:
            out = self.avd_first(out)
        out = self.conv2(out)
        if self.bn2 is not None:
            out = self.relu(self.bn2(out))
        if self.avd_last is not None:
            out = self.avd_last(out)
        out = self.bn3(self.conv3(out))
        if self.shortcut:
            out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)  # type: ignore[no-any-return]


class Network(nn.Module):
    """A network of the family. `spec` and `num_classes` tell what it is.

    Args:
        spec: The architecture.
        num_classes: Outputs of the last layer.
    """

    def __init__(self, spec: ArchSpec, num_classes: int) -> None:
        super().__init__()
        self.spec, self.num_classes = spec, num_classes
        self.conv1 = _stem(spec)
        self.bn1 = nn.BatchNorm2d(spec.stem_width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if spec.stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        for stage in spec.stages():
            blocks = [Bottleneck(spec, stage, first=i == 0) for i in range(stage.depth)]
            self.add_module(f"layer{stage.index + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(spec.widths[-1], num_classes)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W), normalised, to logits (B, num_classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for index in range(len(self.spec.depths)):
            x = getattr(self, f"layer{index + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]

    def zero_last_gamma(self) -> None:
        """Set the scale of each block's last BN to zero, so that every block starts as its shortcut.

        Goyal et al. 2017 (arXiv 1706.02677) sec. 5.1. Does nothing to networks without shortcuts.
        """
        if self.spec.shortcut:
            for module in self.modules():
                if isinstance(module, Bottleneck):
                    nn.init.zeros_(module.bn3.weight)


def build(network: str | ArchSpec, num_classes: int | None = None) -> Network:
    """Build a network with freshly initialised weights.

    Args:
        network: A name such as `resnext50_32x4d`, or a specification.
        num_classes: Outputs of the last layer; by default 1000, or 10 for CIFAR networks.

    Raises:
        ArchError: if there is no such network, or num_classes is not positive.
    """
    spec = parse_name(network) if isinstance(network, str) else network
    classes = spec.classes if num_classes is None else num_classes
    if classes < 1:
        raise ArchError(f"{classes} classes: at least one is needed")
    return Network(spec, classes)


def _stem(spec: ArchSpec) -> nn.Module:
    width = spec.stem_width
    if spec.stem == "imagenet":
        return nn.Conv2d(3, width, 7, 2, 3, bias=False)
    if spec.stem == "cifar":
        return nn.Conv2d(3, width, 3, 1, 1, bias=False)
    half = width // 2
    return nn.Sequential(
        nn.Conv2d(3, half, 3, 2, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, half, 3, 1, 1, bias=False),
        nn.BatchNorm2d(half),
        nn.ReLU(inplace=True),
        nn.Conv2d(half, width, 3, 1, 1, bias=False),
    )


def _avd_pool(stride: int) -> nn.Module:
    return nn.AvgPool2d(3, stride, 1)  # counts the padding, unlike the pool of the shortcut: as released


def _projection(spec: ArchSpec, in_width: int, width: int, stride: int) -> nn.Sequential:
    norm = nn.BatchNorm2d(width)
    if not spec.avg_down:
        return nn.Sequential(nn.Conv2d(in_width, width, 1, stride, bias=False), norm)
    pool = nn.Identity() if stride == 1 else nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, nn.Conv2d(in_width, width, 1, bias=False), norm)


def _initialise(network: nn.Module) -> None:
    """Initialise as the papers' code does: He normal by fan-out, not divided by the groups; no bias."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
