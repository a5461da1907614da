"""Computes the exact cost of one step up in each number of an architecture: depth, cardinality, width, pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nxt.arch.costs import Cost, cost, resolution
from nxt.arch.layers import Side, Size
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

_PIXELS = 7  # a step of the image's side is a seventh of it: 32 of 224
_TRIES = 64  # step sizes tried until one makes a network


@dataclass(frozen=True, slots=True)
class Step:
    """A small change of an architecture and the cost that it adds."""

    change: str
    macs: int
    params: int
    acts: int


def steps(
    spec: ArchSpec, size: Size | None = None, classes: int | None = None, output_stride: int | None = None
) -> list[Step]:
    """Returns the costs of the smallest possible steps up from an architecture. Arguments and errors as for `cost`.

    If a step makes no network, such as a cardinality that does not divide the channels of split attention, larger
    steps are tried, up to 64 times as large; if none makes a network, the step is left out.
    """
    size, classes = resolution(spec, size, classes)

    def counted(spec: ArchSpec, size: Size = size) -> Cost:
        return cost(spec, size, classes, output_stride=output_stride)

    now = counted(spec)
    result = []
    for stage, depth in enumerate(spec.depths):
        deeper = spec.replace(depths=tuple(n + (s == stage) for s, n in enumerate(spec.depths)))
        result.append(_step(f"stage {stage + 1}: {depth} -> {depth + 1} blocks", now, counted(deeper)))
    for label, change in _CHANGES.items():
        for step_size in range(1, _TRIES + 1):
            try:
                text, larger = change(spec, step_size)
            except ArchError:
                continue
            result.append(_step(f"{label} {text}", now, counted(larger)))
            break
    side = Side.of(size)
    height, width = (pixels + max(1, pixels // _PIXELS) for pixels in side[:2])
    text = f"image {side} -> {Side.of((height, width))} px"
    result.append(_step(text, now, counted(spec, (height, width))))
    return result


def _step(change: str, now: Cost, then: Cost) -> Step:
    return Step(change, then.macs - now.macs, then.params - now.params, then.acts - now.acts)


def _by_stage(field: str, spec: ArchSpec, size: int) -> tuple[str, ArchSpec]:
    """Adds to a field with one value per stage."""
    values = getattr(spec, field)
    larger = tuple(value + size for value in values)
    same = len(set(values)) == 1
    text = f"{values[0]} -> {larger[0]}" if same else f"{list(values)} -> {list(larger)}"
    return text, spec.replace(**{field: larger})


def _width(spec: ArchSpec, size: int) -> tuple[str, ArchSpec]:
    """Widens all stages by one factor, in steps of 4 channels of the first stage's base width; bottlenecks stay."""
    first = spec.widths[0]
    wider = first + 4 * spec.expansion * size
    if any(width * wider % first for width in spec.widths):
        raise ArchError("no whole numbers of channels")
    widths = tuple(width * wider // first for width in spec.widths)
    return f"{spec.width} -> {wider // spec.expansion}", spec.replace(widths=widths)


def _radix(spec: ArchSpec, size: int) -> tuple[str, ArchSpec]:
    return f"{spec.radix} -> {spec.radix + size}", spec.replace(radix=spec.radix + size)


_CHANGES: dict[str, Callable[[ArchSpec, int], tuple[str, ArchSpec]]] = {
    "cardinality": partial(_by_stage, "cardinality"),
    "base width": partial(_by_stage, "base_width"),
    "stage base width": _width,
    "radix": _radix,
}
