"""Split attention (ResNeSt sec. 3.1, arXiv 2004.08955), in the radix-major form of its released code.

Shapes: B images, C channels of the bottleneck, R radix, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable

from nxt.arch.spec import Stage
from nxt.models.convolution import Conv2d


class SplitAttention(nn.Module):
    """Grouped 3x3 convolution into R splits per cardinal group, then a learned weighted sum of the splits.

    With radix 1 there is one split whose weight is a sigmoid: squeeze-and-excitation per cardinal group. Module names
    are timm's, so its weights load unchanged.
    """

    def __init__(self, stage: Stage, stride: int, dilation: int = 1) -> None:
        super().__init__()
        width, groups, radix = stage.bottleneck, stage.cardinality, stage.radix
        self.radix, self.cardinality = radix, groups
        self.conv = Conv2d(width, width * radix, 3, stride, dilation, dilation, groups * radix, bias=False)
        self.bn0 = nn.BatchNorm2d(width * radix)
        self.fc1 = Conv2d(width, stage.attention, 1, groups=groups)
        self.bn1 = nn.BatchNorm2d(stage.attention)
        self.fc2 = Conv2d(stage.attention, width * radix, 1, groups=groups)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H', W')."""
        x = self.relu(self.bn0(self.conv(x)))
        # Sums pixels before splits. The gradient of a sum, unlike a mean's, is a view and needs no memory of its own.
        pooled = x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])
        pooled = _splits(pooled, self.radix).sum(1)
        hidden = self.relu(self.bn1(self.fc1(pooled)))
        return weighted_sum(x, self._weights(self.fc2(hidden)).to(x.dtype), self.radix)

    def _weights(self, logits: Tensor) -> Tensor:
        """Converts cardinality-major logits into radix-major weights, both (B, R * C, 1, 1)."""
        if self.radix == 1:
            return logits.sigmoid()
        batch = logits.shape[0]
        grouped = logits.view(batch, self.cardinality, self.radix, -1).transpose(1, 2)
        return grouped.softmax(dim=1).reshape(batch, -1, 1, 1)


def weighted_sum(x: Tensor, weights: Tensor, radix: int) -> Tensor:
    """Returns the weighted sum of the splits of x, (B, C, H, W).

    Args:
        x: (B, R * C, H, W), radix-major.
        weights: (B, R * C, 1, 1), of the same type.
        radix: R.
    """
    if torch.compiler.is_compiling() or not isinstance(x.shape[0], int):  # torch.jit traces shapes as tensors
        return _weighted_sum(x, weights, radix)
    return _WeightedSum.apply(x, weights, radix)  # type: ignore[no-any-return]


fx.wrap("weighted_sum")  # feature extractors trace around it


def _splits(x: Tensor, radix: int) -> Tensor:
    """Views (B, R * C, H, W) as (B, R, C, H, W)."""
    return x.unflatten(1, (radix, -1))  # type: ignore[no-any-return,no-untyped-call]


def _weighted_sum(x: Tensor, weights: Tensor, radix: int) -> Tensor:
    splits, shares = x.chunk(radix, dim=1), weights.chunk(radix, dim=1)
    out = splits[0] * shares[0]
    for split, share in zip(splits[1:], shares[1:], strict=True):
        out = out.addcmul_(split, share)
    return out


class _WeightedSum(torch.autograd.Function):
    """The weighted sum with a gradient in two passes; torch's own makes one per split and then concatenates them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, radix: int) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.radix = radix
        return _weighted_sum(x, weights, radix)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weights = ctx.saved_tensors
        grad = grad.unsqueeze(1)
        grad_x = torch.empty_like(x)  # in x's memory layout, which a product of five dimensions would lose
        torch.mul(_splits(weights, ctx.radix), grad, out=_splits(grad_x, ctx.radix))
        grad_weights = (_splits(x, ctx.radix) * grad).sum((3, 4), keepdim=True)
        return grad_x, grad_weights.flatten(1, 2), None
