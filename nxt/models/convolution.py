"""Convolutions inside blocks, which on maps of one pixel are products of matrices.

Small images end in such maps (32 px after five strides), and the attention of ResNeSt works on them at any size. There
torch's convolutions on a CPU take 1.3 to 5 times as long as `linear`, most of it for the gradient of the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` for odd kernels with half their size as padding: the same weights, outputs and gradients.

    Of a larger kernel only the centre meets a single pixel. That is used only where gradients are asked for, so that
    who counts operations, without gradients, finds the whole kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W')."""
        height, width = x.shape[2], x.shape[3]
        traced = not isinstance(height, int)  # torch.fx and torch.jit have symbols there
        if traced or not self._sees_one_pixel(height, width):
            return super().forward(x)
        centre = self.kernel_size[0] // 2
        weight = self.weight[:, :, centre, centre] if centre else self.weight.flatten(1)
        return self._product(x[:, :, :1, :1].flatten(1), weight)[:, :, None, None]

    def _sees_one_pixel(self, height: int, width: int) -> bool:
        if self.kernel_size[0] == 1:
            return max(height, width) <= self.stride[0]
        return height == width == 1 and torch.is_grad_enabled()

    def _product(self, pixels: Tensor, weight: Tensor) -> Tensor:
        """Map (B, C_in) to (B, C_out) by weights (C_out, C_in / groups)."""
        if self.groups == 1:
            return F.linear(pixels, weight, self.bias)
        width = weight.shape[1]
        out = torch.einsum("bgi,goi->bgo", pixels.view(-1, self.groups, width), weight.view(self.groups, -1, width))
        out = out.flatten(1)
        return out if self.bias is None else out + self.bias.to(out.dtype)
