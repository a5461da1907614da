"""Batch norm over the images of all workers."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nxt.compute.accelerator import accelerator

Module = TypeVar("Module", bound=nn.Module)


def synchronised(network: Module, device: torch.device) -> Module:
    """Returns the network with its BN statistics taken over all workers; state-dict keys stay.

    torch's own form is for GPUs alone, so that on CPUs a plain one takes its place.
    """
    if accelerator(device).collectives == "nccl":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return,no-untyped-call]
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
    return network


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BN whose mean and variance in training are those of all workers' images (b, C, H, W) together."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (b, C, H, W); all workers must call it together."""
        if not self.training:
            return super().forward(x)
        dtype, x = x.dtype, x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        values = torch.tensor(float(x.numel() // x.shape[1]))
        dist.all_reduce(values)  # workers may have images of other sizes
        count = values.item()
        mean = _total(x.sum((0, 2, 3))) / count
        centred = x - mean.view(1, -1, 1, 1)
        variance = _total(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None and self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1), share)
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(dtype)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all workers. Each worker's loss depends on it, so the gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _total(gradients[0])


def _total(value: Tensor) -> Tensor:
    return _Sum.apply(value)  # type: ignore[no-any-return]
