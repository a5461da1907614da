"""Draws architectures as inline SVG: stages are boxes, as high as their blocks and as wide as their channels."""

from __future__ import annotations

from collections.abc import Sequence

from nxt.arch.breakdown import Portion, portions
from nxt.arch.spec import ArchSpec
from nxt.report.markup import Html, escape
from nxt.units import plural

_BOX, _HEIGHT = 130.0, 260.0  # pixels of the widest stage, and of all blocks of the deepest network
_ROW, _LABEL, _MARGIN = 34.0, 150, 12  # pixels: height of two lines of text, their width, and the margin
_THIN = 12.0  # height of a stem or head


def draw(specs: Sequence[ArchSpec], size: int | None = None) -> list[Html]:
    """Returns drawings of networks, all on the same scale, for images of that side in pixels (None: their own)."""
    networks = [[part for part in portions(spec, size) if part.name != "head"] for spec in specs]
    widest = max((part.channels for network in networks for part in network), default=1)
    deepest = max((sum(spec.depths) for spec in specs), default=1)
    block = min(18.0, max(4.0, _HEIGHT / deepest))
    return [_drawn(spec, network, _BOX / widest, block) for spec, network in zip(specs, networks, strict=True)]


def _drawn(spec: ArchSpec, network: Sequence[Portion], channel: float, block: float) -> Html:
    """Draws one network from its input, on top, to its output: `channel` and `block` are pixels for one of each."""
    pieces, top = [], float(_MARGIN)
    for part, (first, second) in zip(network, _labels(spec, network), strict=True):
        height = _THIN if part.name == "stem" else block * part.blocks
        row = max(height, _ROW)
        width, middle = max(2.0, channel * part.channels), top + row / 2
        kind = "stem" if part.name == "stem" else "stage"
        left = _MARGIN + (_BOX - width) / 2
        pieces.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{middle - height / 2:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="2"/>'
        )
        pieces += [
            f'<line class="block" x1="{left:.1f}" x2="{left + width:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            for y in (middle - height / 2 + block * count for count in range(1, part.blocks if kind == "stage" else 1))
        ]
        text = 2 * _MARGIN + _BOX
        pieces.append(f'<text x="{text:.0f}" y="{middle - 4:.1f}">{escape(first)}</text>')
        pieces.append(f'<text class="second" x="{text:.0f}" y="{middle + 11:.1f}">{escape(second)}</text>')
        top += row + 6
    width, height = _BOX + _LABEL + 3 * _MARGIN, top + _MARGIN - 6
    title = f"{spec.name}: " + "; ".join(f"{first}, {second}" for first, second in _labels(spec, network))
    return Html(
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="img">'
        f"<title>{escape(title)}</title>{''.join(pieces)}</svg>"
    )


def _labels(spec: ArchSpec, network: Sequence[Portion]) -> list[tuple[str, str]]:
    """Returns two lines of text for the stem and each stage."""
    stem, *stages = network
    lines = [(f"{spec.stem} stem", f"{stem.channels} ch, {stem.side} px")]
    for part, stage in zip(stages, spec.stages(), strict=True):
        radix = f", radix {stage.radix}" if stage.radix else ""
        blocks = f"{plural(part.blocks, 'block')}"
        lines.append(
            (f"{blocks} {stage.cardinality}x{stage.group_width}d{radix}", f"{part.channels} ch, {part.side} px")
        )
    return lines
