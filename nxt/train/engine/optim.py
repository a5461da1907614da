"""Optimizers and the moving average of weights, as a recipe asks for them."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from nxt.train.model import Model, backbone_of
from nxt.train.recipe import Recipe


def optimizer(network: Model, recipe: Recipe) -> torch.optim.Optimizer:
    """Returns the recipe's optimizer over the parameters that are trained.

    All parameters are updated by one kernel, which on two CPU cores takes ResNeXt-50 a sixth of the time. It wants
    gradients in their parameters' memory layout, as autograd makes them.
    """
    groups = _parameter_groups(network, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.peak, betas=(recipe.betas[0], recipe.betas[1]), fused=True)
    return torch.optim.SGD(groups, lr=recipe.peak, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


def _parameter_groups(network: Model, recipe: Recipe) -> list[dict[str, Any]]:
    """Returns the parameters by weight decay and by the share (`scale`) of the rate that they learn at."""
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    backbone = {id(parameter) for parameter in backbone_of(network).parameters()}
    for parameter in network.parameters():
        if parameter.requires_grad:
            decay = recipe.weight_decay if recipe.decay_all or parameter.ndim > 1 else 0.0
            scale = 1.0 if id(parameter) in backbone else recipe.head_lr
            group = groups.setdefault((decay, scale), {"params": [], "weight_decay": decay, "scale": scale})
            group["params"].append(parameter)
    return list(groups.values())


class MovingAverage:
    """An exponential moving average of a network's weights and BN statistics.

    The decay begins low, min(decay, (1 + n) / (10 + n)) at the n-th update: else the first, random weights would weigh
    on short trainings for long.

    Args:
        network: What is averaged; a copy of it is made.
        decay: Share of the average that an update keeps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network)  # has the average
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Takes in the network as it is now; the first time, copies it. What counts (whole numbers) is copied."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        kept, fresh = (_values(each, floats=True) for each in (self.module, network))
        if self.updates:
            torch._foreach_lerp_(kept, fresh, 1 - decay)
        else:
            torch._foreach_copy_(kept, fresh)
        kept, fresh = (_values(each, floats=False) for each in (self.module, network))
        if kept:
            torch._foreach_copy_(kept, fresh)
        self.updates += 1


def _values(network: nn.Module, floats: bool) -> list[Tensor]:
    every = chain(network.parameters(), network.buffers())
    return [value for value in every if value.is_floating_point() == floats]
