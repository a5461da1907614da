"""Compares the closed-form cost with independent counts of the built network."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from nxt.arch.costs import Cost, cost
from nxt.arch.heads import DETECTIONS, PROPOSALS, PYRAMID, SEGMENTERS, blocks_with_head
from nxt.arch.layers import Side, Size, blocks
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError
from nxt.models.network import build


def residuals(
    spec: ArchSpec, size: Size, classes: int, form: str = "c", output_stride: int | None = None, head: str | None = None
) -> dict[str, int]:
    """Builds the network and returns the closed form minus each count. All values are 0 if nxt is right.

    `macs`, `params` and `acts` are compared with `counted`, `fvcore_total` with fvcore's total, and `flop_counter`
    with half the count of torch's FlopCounterMode; `flop_counter_layers` is the sum of the absolute differences by
    layer. With a head the network is run as `Inference` does. Built in form a or b (see `nxt.models.forms`) it has
    other layers, so that only its sums are compared.

    Raises:
        ArchError: if the network is too large for this machine.
    """
    try:
        network = _built(spec, classes, form, output_stride, head).eval()
        count, total = _by_fvcore(network, size)
        by_layer = _by_flop_counter(network, size)
    except (RuntimeError, MemoryError) as error:
        raise _too_large(spec, size, error) from None
    own = cost(spec, size, classes, output_stride=output_stride, head=head)
    if form != "c":
        sums = {"macs": own.macs - count.macs, "params": own.params - count.params}
        return {**sums, "flop_counter": own.macs - by_layer[""] // 2}
    if head is None:
        groups = blocks(spec, size, classes, output_stride)
    else:
        groups = blocks_with_head(spec, head, size, classes, output_stride)
    layers = [layer for _, _, group in groups for layer in group]
    prefix = "" if head is None else "model."
    return {
        "macs": own.macs - count.macs,
        "params": own.params - count.params,
        "acts": own.acts - count.acts,
        "fvcore_total": sum(layer.fvcore for layer in layers) - total,
        "flop_counter": own.macs - by_layer.pop("") // 2,
        "flop_counter_layers": sum(abs(layer.macs - by_layer.pop(prefix + layer.name, 0) // 2) for layer in layers),
    }


class Inference(nn.Module):
    """What of a network with a head is counted: all its layers, with as many proposals as `nxt.arch.heads` says."""

    def __init__(self, model: Any, head: str) -> None:
        super().__init__()
        self.model, self.head = model, head
        if head == "fpn":
            self.model.rpn = self.model.roi_heads = nn.Identity()

    def forward(self, x: Tensor) -> Any:
        """Maps images (B, 3, H, W) to whatever the layers give."""
        if self.head in SEGMENTERS:
            return self.model(x)["out"]
        maps = list(self.model.backbone(x).values())
        if self.head in ("fpn", "retinanet"):
            return tuple(maps if self.head == "fpn" else self.model.head(maps).values())
        found = [map_ for maps_ in self.model.rpn.head(maps) for map_ in maps_]
        heads = self.model.roi_heads
        for stage in (*getattr(heads, "earlier", ()), heads):
            found += stage.box_predictor(stage.box_head(x.new_zeros(PROPOSALS, PYRAMID, 7, 7)))
        if heads.has_mask():
            found.append(heads.mask_predictor(heads.mask_head(x.new_zeros(DETECTIONS, PYRAMID, 14, 14))))
        return tuple(found)


def _built(spec: ArchSpec, classes: int, form: str, output_stride: int | None, head: str | None) -> nn.Module:
    if head is None:
        return build(spec, classes, form=form, output_stride=output_stride)
    from nxt.models.heads import build_with_head  # here, since it takes torchvision a while

    kind = "faster-rcnn" if head == "fpn" else head
    return Inference(build_with_head(spec, kind, classes, output_stride=output_stride, aux=False).model, head)


def counted(spec: ArchSpec, size: Size, classes: int) -> Cost:
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


def _too_large(spec: ArchSpec, size: Size, error: Exception) -> ArchError:
    # On a CPU torch raises RuntimeError if memory runs out.
    return ArchError(f"{spec.name} cannot be built here at {Side.of(size)} px ({str(error).splitlines()[0]})")


def _by_fvcore(network: nn.Module, size: Size) -> tuple[Cost, int]:
    """Returns the counted cost, and fvcore's total over all operators that it knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's notices about what fvcore imports from it
        from fvcore.nn import FlopCountAnalysis
    elements: list[int] = []

    def count_elements(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        elements.append(output.numel())

    image = torch.zeros(1, 3, *Side.of(size)[:2])
    hooks = [
        m.register_forward_hook(count_elements)
        for m in network.modules()
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))
    ]
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


def _by_flop_counter(network: nn.Module, size: Size) -> dict[str, int]:
    """Returns torch's count of floating-point operations by module name; the network itself has an empty name."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, *Side.of(size)[:2]))
    root = type(network).__name__
    counts = {name: sum(by.values()) for name, by in counter.get_flop_counts().items()}
    return {"" if name == root else name.removeprefix(f"{root}."): count for name, count in counts.items()}
