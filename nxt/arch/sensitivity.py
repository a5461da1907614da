"""What one step in each of an architecture's numbers costs, exactly: more depth, cardinality, width, pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nxt.arch.costs import Cost, cost, resolution
from nxt.arch.names import EXPANSION
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

_PIXELS = 7  # a step of the image's side is this part of it: 32 of 224
_TRIES = 64  # steps tried until one makes a network


@dataclass(frozen=True, slots=True)
class Step:
    """A small change of an architecture, and what it adds to the cost."""

    change: str
    macs: int
    params: int
    acts: int


def steps(spec: ArchSpec, size: int | None = None, classes: int | None = None) -> list[Step]:
    """Returns what the smallest possible steps up from an architecture cost. Arguments and errors as for `cost`.

    A step that makes no network, such as a cardinality by which the channels of split attention cannot be divided, is
    enlarged until it does; what none of 64 steps can do is left out.
    """
    size, classes = resolution(spec, size, classes)
    now = cost(spec, size, classes)
    found = []
    for stage, depth in enumerate(spec.depths):
        deeper = spec.replace(depths=tuple(n + (s == stage) for s, n in enumerate(spec.depths)))
        found.append(_step(f"stage {stage + 1}: {depth} -> {depth + 1} blocks", now, cost(deeper, size, classes)))
    for label, change in _CHANGES.items():
        made = next(_valid(spec, change), None)
        if made is not None:
            text, larger = made
            found.append(_step(f"{label} {text}", now, cost(larger, size, classes)))
    larger_size = size + max(1, size // _PIXELS)
    found.append(_step(f"image {size} -> {larger_size} px", now, cost(spec, larger_size, classes)))
    return found


def _step(change: str, now: Cost, then: Cost) -> Step:
    return Step(change, then.macs - now.macs, then.params - now.params, then.acts - now.acts)


def _valid(spec: ArchSpec, change: Callable[[ArchSpec, int], tuple[str, ArchSpec]]) -> Iterator[tuple[str, ArchSpec]]:
    for size in range(1, _TRIES + 1):
        try:
            yield change(spec, size)
        except ArchError:
            continue


def _cardinality(spec: ArchSpec, size: int) -> tuple[str, ArchSpec]:
    larger = tuple(value + size for value in spec.cardinality)
    return _text(spec.cardinality, larger), spec.replace(cardinality=larger)


def _base_width(spec: ArchSpec, size: int) -> tuple[str, ArchSpec]:
    larger = tuple(value + size for value in spec.base_width)
    return _text(spec.base_width, larger), spec.replace(base_width=larger)


def _width(spec: ArchSpec, size: int) -> tuple[str, ArchSpec]:
    """Widens all stages by one factor, in steps of four channels of the first stage's base; bottlenecks stay."""
    first = spec.widths[0]
    wider = first + 4 * EXPANSION * size
    if any(width * wider % first for width in spec.widths):
        raise ArchError("no whole numbers of channels")
    made = spec.replace(widths=tuple(width * wider // first for width in spec.widths))
    return f"{first // EXPANSION} -> {wider // EXPANSION}", made


def _radix(spec: ArchSpec, size: int) -> tuple[str, ArchSpec]:
    return f"{spec.radix} -> {spec.radix + size}", spec.replace(radix=spec.radix + size)


def _text(now: tuple[int, ...], then: tuple[int, ...]) -> str:
    uniform = len(set(now)) == 1
    return f"{now[0]} -> {then[0]}" if uniform else f"{list(now)} -> {list(then)}"


_CHANGES: dict[str, Callable[[ArchSpec, int], tuple[str, ArchSpec]]] = {
    "cardinality": _cardinality,
    "base width": _base_width,
    "stage base width": _width,
    "radix": _radix,
}
