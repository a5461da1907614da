"""Optimizers and the moving average of weights, as a recipe asks for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nxt.train.recipe import Recipe


def optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Returns the recipe's optimizer over the parameters that are trained.

    All parameters are updated by one kernel, which on two CPU cores takes ResNeXt-50 a sixth of the time. It wants
    gradients in their parameters' memory layout, as autograd makes them.
    """
    groups = _parameter_groups(network, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.peak, betas=(recipe.betas[0], recipe.betas[1]), fused=True)
    return torch.optim.SGD(groups, lr=recipe.peak, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


def _parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for parameter in network.parameters():
        if parameter.requires_grad:
            (decayed if recipe.decay_all or parameter.ndim > 1 else spared).append(parameter)
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups


def average(network: nn.Module, decay: float) -> AveragedModel:
    """Returns an exponential moving average of a network's weights and BN statistics.

    The decay begins low, min(decay, (1 + n) / (10 + n)) at the n-th update: else the first, random weights would weigh
    on short trainings for long.
    """

    def update(averaged: Any, current: Any, _updates: Any) -> None:
        count = int(model.n_averaged)  # on the CPU, where reading it waits for nothing
        get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(averaged, current, count)  # type: ignore[no-untyped-call]

    model = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    return model
