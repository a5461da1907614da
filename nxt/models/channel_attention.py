"""Relatives of split attention: squeeze-and-excitation, and selective kernels.

Split attention of radix 1 is squeeze-and-excitation applied to each cardinal group, and a selective kernel weighs two
paths as split attention of radix 2 weighs two splits (ResNeSt sec. 3.2, arXiv 2004.08955). Module names are timm's.
"""

from __future__ import annotations

from torch import Tensor, nn

from nxt.arch.spec import Stage
from nxt.models.convolution import Conv2d


class SqueezeExcitation(nn.Module):
    """Scales each channel by a number in 0..1 that follows from the means of all channels.

    Hu et al. 2018 (arXiv 1709.01507) sec. 3.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.fc1 = Conv2d(stage.width, stage.excitation, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = Conv2d(stage.excitation, stage.width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        scales = self.fc2(self.relu(self.fc1(_means(x)))).sigmoid()
        return x * scales.to(x.dtype)  # type: ignore[no-any-return]


class SelectiveKernel(nn.Module):
    """Two grouped 3x3 convolutions, one of them dilated to 5x5, and a learned weighted sum of both.

    Li et al. 2019 (arXiv 1903.06586) sec. 3.1; both see all channels, as in the paper (timm: `split_input=False`).
    """

    def __init__(self, stage: Stage, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.paths = nn.ModuleList(_Path(stage, stride, path * dilation) for path in (1, 2))
        self.attn = _Selection(stage)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H', W')."""
        first, second = (path(x) for path in self.paths)
        shares = self.attn(first + second).to(first.dtype)
        return (first * shares[:, 0]).addcmul_(second, shares[:, 1])  # type: ignore[no-any-return]


class _Selection(nn.Module):
    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.fc_reduce = Conv2d(stage.bottleneck, stage.selection, 1, bias=False)
        self.bn = nn.BatchNorm2d(stage.selection)
        self.relu = nn.ReLU(inplace=True)
        self.fc_select = Conv2d(stage.selection, 2 * stage.bottleneck, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the shares of both paths, (B, 2, C, 1, 1)."""
        hidden = self.relu(self.bn(self.fc_reduce(_means(x))))
        return self.fc_select(hidden).unflatten(1, (2, -1)).softmax(dim=1)  # type: ignore[no-any-return]


class _Path(nn.Module):
    def __init__(self, stage: Stage, stride: int, dilation: int) -> None:
        super().__init__()
        width, groups = stage.bottleneck, stage.cardinality
        self.conv = nn.Conv2d(width, width, 3, stride, dilation, dilation, groups, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))  # type: ignore[no-any-return]


def _means(x: Tensor) -> Tensor:
    """Returns the mean of each channel, (B, C, 1, 1); a sum, whose gradient is a view, unlike a mean's."""
    return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
