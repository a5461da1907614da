"""Scores of networks at their initialisation, which are said to tell how accurate they will be once trained.

Higher is meant to be better. They take a network as it is initialised, without `zero_last_gamma` (which would leave
residual branches without a gradient), and normalised images (b, 3, H, W) with labels (b,). BN uses the
statistics of the batch, except in `synflow`.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
_K = 1e-5  # keeps logarithm and inverse of jacov's eigenvalues finite


def gradient_scores(network: nn.Module, batches: Sequence[Batch]) -> dict[str, float]:
    """Return scores of the gradients of the cross entropy by the weights w of convolutions and linear layers.

    - zico (arXiv 2301.11300): the sum over layers of log sum_w mean |g_w| / std |g_w|, over at least two batches. (The
      paper's definition: its released code takes the deviation of g itself, and adds gradients up over the batches.)
    - grad_norm (arXiv 2101.08134): log of the sum over layers of the gradient's Euclidean norm, of the first batch.
    - snip (arXiv 1810.02340, summed up as in 2101.08134): log sum_w |w g_w|, of the first batch.
    """
    weights = _weights(network.train())
    gradients = [torch.autograd.grad(F.cross_entropy(network(images), labels), weights) for images, labels in batches]
    first, zico = gradients[0], 0.0
    for layer in zip(*gradients, strict=True):
        sizes = torch.stack(layer).double().abs_()
        mean, deviation = sizes.mean(0), sizes.std(0, correction=0)
        zico += _log(float((mean / deviation)[deviation > 0].sum()))
    return {
        "zico": zico,
        "grad_norm": _log(sum(float(g.norm()) for g in first)),
        "snip": _log(sum(float((w.detach() * g).abs().sum()) for w, g in zip(weights, first, strict=True))),
    }


def batch_scores(network: nn.Module, images: Tensor) -> dict[str, float]:
    """Return scores of how differently a network sees the images of one batch, N of them.

    - naswot (arXiv 2006.04647): log |K| with K_ij = A - d_H(c_i, c_j), where c_i says of each of the A outputs of ReLUs
      whether it is positive for image i, and d_H counts the differences.
    - jacov (the same, version 1; 2101.08134): -sum_i (log(v_i + k) + 1 / (v_i + k)), with the eigenvalues v of the
      (N, N) correlations of the images' gradients, those of the summed logits, and k = 1e-5.
    """
    kernel = np.zeros((len(images), len(images)))

    def count(module: nn.Module, given: object, output: Tensor) -> None:
        code = (output.detach() > 0).flatten(1).float()
        kernel.__iadd__((code @ code.T + (1 - code) @ (1 - code).T).numpy())

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, nn.ReLU)]
    images = images.clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(network.train()(images).sum(), images)
    for hook in hooks:
        hook.remove()
    values = np.linalg.eigvalsh(np.corrcoef(jacobian.flatten(1).double().numpy()))
    values = np.maximum(values, 0) + _K  # rounding can leave them below zero
    return {
        "naswot": float(np.linalg.slogdet(kernel)[1]),
        "jacov": float(-(np.log(values) + 1 / values).sum()),
    }


def synflow(network: nn.Module, size: int) -> dict[str, float]:
    """Return log sum_w |w| dR / d|w|, R the sum of the logits of an image of ones, all weights without their signs.

    arXiv 2006.05467, summed up as in 2101.08134. BN is as in evaluation, which changes nothing in a fresh network. In
    double precision; a sum beyond it (some 70 blocks) counts as its largest number.
    """
    positive = copy.deepcopy(network).double().eval()
    for module in positive.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    weights = _weights(positive)
    output = positive(torch.ones(1, 3, size, size, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(output, weights)
    total = sum(float((w.detach() * g).sum()) for w, g in zip(weights, gradients, strict=True))
    return {"synflow": math.log(total if math.isfinite(total) else sys.float_info.max)}


def _weights(network: nn.Module) -> list[Tensor]:
    return [module.weight for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]


def _log(value: float) -> float:
    """Return the logarithm; 0 where there is nothing to take it of, so that a layer without gradients adds nothing."""
    return math.log(value) if value > 0 else 0.0
