"""Compares the closed-form cost with independent counts of the built network."""

from __future__ import annotations

import logging
import warnings

import torch
from torch import Tensor, nn

from nxt.arch.costs import Cost, cost
from nxt.arch.layers import blocks
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.network import Network, build


def residuals(spec: ArchSpec, size: int, classes: int, form: str = "c") -> dict[str, int]:
    """Builds the network and returns the closed form minus each count. All values are 0 if nxt is right.

    `macs`, `params` and `acts` are compared with `counted`, `fvcore_total` with fvcore's total, and `flop_counter`
    with half the count of torch's FlopCounterMode; `flop_counter_layers` is the sum of the absolute differences by
    layer. Built in form a or b (see `nxt.models.forms`) it has other layers, so that only its sums are compared.

    Raises:
        ArchError: if the network is too large for this machine.
    """
    try:
        network = build(spec, classes, form=form).eval()
        count, total = _by_fvcore(network, size)
        by_layer = _by_flop_counter(network, size)
    except (RuntimeError, MemoryError) as error:
        raise _too_large(spec, size, error) from None
    own = cost(spec, size, classes)
    if form != "c":
        sums = {"macs": own.macs - count.macs, "params": own.params - count.params}
        return {**sums, "flop_counter": own.macs - by_layer[""] // 2}
    layers = [layer for _, _, group in blocks(spec, size, classes) for layer in group]
    return {
        "macs": own.macs - count.macs,
        "params": own.params - count.params,
        "acts": own.acts - count.acts,
        "fvcore_total": sum(layer.fvcore for layer in layers) - total,
        "flop_counter": own.macs - by_layer.pop("") // 2,
        "flop_counter_layers": sum(abs(layer.macs - by_layer.pop(layer.name, 0) // 2) for layer in layers),
    }


def counted(spec: ArchSpec, size: int, classes: int) -> Cost:
    """Builds the network and counts its cost.

    MACs come from fvcore (its conv and linear operators), parameters from numel, activations from hooks on the
    convolutions.

    Raises:
        ArchError: if the network is too large for this machine.
    """
    try:
        return _by_fvcore(build(spec, classes).eval(), size)[0]
    except (RuntimeError, MemoryError) as error:
        raise _too_large(spec, size, error) from None


def _too_large(spec: ArchSpec, size: int, error: Exception) -> ArchError:
    # On a CPU torch raises RuntimeError if memory runs out.
    return ArchError(f"{spec.name} cannot be built here at {size} px ({str(error).splitlines()[0]})")


def _by_fvcore(network: Network, size: int) -> tuple[Cost, int]:
    """Returns the counted cost, and fvcore's total over all operators that it knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notices about what fvcore imports from it
        from fvcore.nn import FlopCountAnalysis
    elements: list[int] = []

    def count_elements(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        elements.append(output.numel())

    image = torch.zeros(1, 3, size, size)
    hooks = [m.register_forward_hook(count_elements) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.inference_mode():
        network(image)
    for hook in hooks:
        hook.remove()
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch's notices about its own tracer
        analysis = FlopCountAnalysis(network, image).unsupported_ops_warnings(False)
        by_operator = analysis.by_operator()
        total = analysis.total()
    count = Cost(
        macs=int(by_operator["conv"] + by_operator["linear"]),
        params=sum(parameter.numel() for parameter in network.parameters()),
        acts=sum(elements),
    )
    return count, int(total)


def _by_flop_counter(network: Network, size: int) -> dict[str, int]:
    """Returns torch's count of floating-point operations by module name; the network itself has an empty name."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size))
    root = type(network).__name__
    counts = {name: sum(by.values()) for name, by in counter.get_flop_counts().items()}
    return {"" if name == root else name.removeprefix(f"{root}."): count for name, count in counts.items()}
