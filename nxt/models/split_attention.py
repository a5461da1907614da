"""Split attention (ResNeSt sec. 3.1, arXiv 2004.08955), in the radix-major form of its released code.

Shapes: B images, C channels of the bottleneck, R radix, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nxt.arch import Stage


class SplitAttention(nn.Module):
    """Grouped 3x3 convolution into R splits per cardinal group, then a learned weighted sum of the splits.

    With radix 1 there is one split and its weight is a sigmoid, which is squeeze-and-excitation per cardinal
    group. Module names are timm's, so its weights load unchanged.
    """

    def __init__(self, stage: Stage, stride: int) -> None:
        super().__init__()
        width, groups, radix = stage.bottleneck, stage.cardinality, stage.radix
        self.radix, self.cardinality = radix, groups
        self.conv = nn.Conv2d(width, width * radix, 3, stride, 1, groups=groups * radix, bias=False)
        self.bn0 = nn.BatchNorm2d(width * radix)
        self.fc1 = nn.Conv2d(width, stage.attention, 1, groups=groups)
        self.bn1 = nn.BatchNorm2d(stage.attention)
        self.fc2 = nn.Conv2d(stage.attention, width * radix, 1, groups=groups)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H', W')."""
        x = self.relu(self.bn0(self.conv(x)))
        splits = x.chunk(self.radix, dim=1)  # R views of (B, C, H', W'): summing views spares a 5-D copy
        pooled = splits[0]
        for index in range(1, self.radix):  # by number, which torch.fx can trace
            pooled = pooled + splits[index]
        hidden = self.relu(self.bn1(self.fc1(pooled.mean((2, 3), keepdim=True))))
        weights = self._weights(self.fc2(hidden)).chunk(self.radix, dim=1)
        out = splits[0] * weights[0]
        for index in range(1, self.radix):
            out = torch.addcmul(out, splits[index], weights[index])
        return out

    def _weights(self, logits: Tensor) -> Tensor:
        """Turn cardinality-major logits into radix-major weights, both (B, R * C, 1, 1)."""
        if self.radix == 1:
            return logits.sigmoid()
        batch = logits.shape[0]
        grouped = logits.view(batch, self.cardinality, self.radix, -1).transpose(1, 2)
        return grouped.softmax(dim=1).reshape(batch, -1, 1, 1)
