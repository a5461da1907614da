"""The closed-form cost, held against the built network by independent counters."""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor, nn

from nxt.arch import ArchSpec
from nxt.costs import Cost
from nxt.errors import ArchError
from nxt.models.network import build


def counted(spec: ArchSpec, size: int, classes: int) -> Cost:
    """Build the network and count its cost: MACs by fvcore (its conv and linear operators), parameters by
    numel, activations by hooks on the convolutions.

    Raises:
        ArchError: if the network is too large for this machine.
    """
    try:
        return _counted(spec, size, classes)
    except (RuntimeError, MemoryError) as error:  # torch's word for no memory on a CPU is RuntimeError
        raise ArchError(f"{spec.name} cannot be built here at {size} px ({str(error).splitlines()[0]})") from None


def _counted(spec: ArchSpec, size: int, classes: int) -> Cost:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notices about what fvcore imports from it
        from fvcore.nn import FlopCountAnalysis
    network = build(spec, classes).eval()
    elements: list[int] = []

    def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        elements.append(output.numel())

    image = torch.zeros(1, 3, size, size)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's notices about its own tracer
        analysis = FlopCountAnalysis(network, image).unsupported_ops_warnings(False)
        by_operator = analysis.by_operator()
    return Cost(
        macs=int(by_operator["conv"] + by_operator["linear"]),
        params=sum(parameter.numel() for parameter in network.parameters()),
        acts=sum(elements),
    )
