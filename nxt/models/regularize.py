"""DropBlock: regularisation of convolutional maps, with a probability that may change during training.

torchvision's DropBlock2d has its probability as a Python number: torch.compile compiles again at every change and gives
up after eight changes. It also refuses maps of even sides that are smaller than the block.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def drop_block(x: Tensor, p: Tensor, size: int) -> Tensor:
    """Sets square blocks of each map of x (B, C, H, W) to zero and scales up the rest.

    Ghiasi et al. 2018 (arXiv 1810.12890) sec. 3: `p` () is the approximate share of elements to drop, and `size` the
    odd side of the blocks in pixels; smaller maps have blocks of the largest odd side that fits.
    """
    height, width = x.shape[2:]
    side = min(size, height, width)
    side -= 1 - side % 2
    rows, columns = height - side + 1, width - side + 1  # possible positions of a block
    rate = p * (height * width / (side * side * rows * columns))
    corners = torch.rand(x.shape[0], x.shape[1], rows, columns, device=x.device) < rate
    dropped = F.max_pool2d(F.pad(corners.float(), [side // 2] * 4), side, stride=1, padding=side // 2)
    kept = 1 - dropped
    return x * (kept * (kept.numel() / kept.sum().clamp(min=1))).to(x.dtype)


torch.fx.wrap("drop_block")  # feature extractors trace around it


class DropBlock(nn.Module):
    """Applies `drop_block` in training mode, and nothing in evaluation mode.

    The probability is a tensor, so that a compiled network is not compiled again when it changes. It is not part of
    the state dict.

    Args:
        p: Share of elements to drop.
        size: Odd side of a block in pixels.
    """

    p: Tensor

    def __init__(self, p: float, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("p", torch.tensor(p), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to the same shape."""
        return drop_block(x, self.p, self.size) if self.training else x
