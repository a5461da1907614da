"""A convolution for use inside blocks that multiplies matrices on maps of one pixel.

Small images end in such maps (32 px after five strides), and the attention of ResNeSt has them at any image size. On
a CPU torch's convolutions then take 1.3 to 5 times as long as `linear`, mostly for the gradient of the weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` for odd kernels padded by half their size, with the same weights, outputs and gradients.

    On a single pixel only the centre of a larger kernel has an effect. This is used only if gradients are enabled, so
    that counters of operations, which run without gradients, see the whole kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H', W')."""
        height, width = x.shape[2], x.shape[3]
        traced = not isinstance(height, int)  # torch.fx and torch.jit pass symbols
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
        """Maps (B, C_in) to (B, C_out) by weights (C_out, C_in / groups)."""
        if self.groups == 1:
            return F.linear(pixels, weight, self.bias)
        width = weight.shape[1]
        out = torch.einsum("bgi,goi->bgo", pixels.view(-1, self.groups, width), weight.view(self.groups, -1, width))
        out = out.flatten(1)
        return out if self.bias is None else out + self.bias.to(out.dtype)
