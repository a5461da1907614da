"""Makes plotly figures by axis of a space: what its values are worth, and what a budget leaves of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plotly import graph_objects as go

from nxt.analysis.effects import Effect
from nxt.report.plotly_figures import BLUE, GREY, figure
from nxt.space.coverage import Axis

_TIGHT = {"margin": {"l": 44, "r": 8, "t": 8, "b": 32}, "showlegend": False}
_LONG = 16  # values of an axis, from which on it is drawn as numbers, not as names


def main_effects(axes: Mapping[str, Sequence[Effect]]) -> dict[str, go.Figure]:
    """Returns for each axis the effect of its values in points, with intervals, all to one scale."""
    reach = [100 * end for effects in axes.values() for one in effects for end in (one.mean, *(one.interval or ()))]
    edge = 0.06 * (max(reach) - min(reach)) or 1.0
    limits = [min(*reach, 0.0) - edge, max(*reach, 0.0) + edge]
    figures = {}
    for name, effects in axes.items():
        ends = [one.interval or (one.mean, one.mean) for one in effects]
        made = figure(
            [
                go.Scatter(
                    x=labels([one.value for one in effects]),
                    y=[100 * one.mean for one in effects],
                    error_y={
                        "array": [100 * (high - one.mean) for one, (_, high) in zip(effects, ends, strict=True)],
                        "arrayminus": [100 * (one.mean - low) for one, (low, _) in zip(effects, ends, strict=True)],
                        "thickness": 1.2,
                        "width": 3,
                    },
                    text=[_effect_text(one) for one in effects],
                    mode="markers",
                    marker={"color": BLUE, "size": 8},
                    hovertemplate=f"{name} %{{x}}: %{{text}}<extra></extra>",
                )
            ],
            **_TIGHT,
        )
        made.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"})
        made.update_yaxes(range=limits, zeroline=False)
        made.update_xaxes(**_ticks([one.value for one in effects]))
        figures[name] = made
    return figures


def heat_map(effects: Sequence[Effect]) -> go.Figure:
    """Returns the effects of pairs (cardinality, radix) in points, as coloured cells."""
    across, up = (sorted({one.value[side] for one in effects}) for side in (0, 1))
    cells = {one.value: one for one in effects}
    rows = [[cells.get((c, r)) for c in across] for r in up]
    most = max(100 * abs(one.mean) for one in effects) or 1.0
    made = figure(
        [
            go.Heatmap(
                x=list(map(str, across)),
                y=list(map(str, up)),
                z=[[None if one is None else 100 * one.mean for one in row] for row in rows],
                text=[
                    ["" if one is None else f"{100 * one.mean:+.1f}<br>n={one.count}" for one in row] for row in rows
                ],
                customdata=[["" if one is None else _effect_text(one) for one in row] for row in rows],
                texttemplate="%{text}",
                hovertemplate="cardinality %{x}, radix %{y}: %{customdata}<extra></extra>",
                colorscale="RdBu",
                zmid=0,
                zmin=-most,
                zmax=most,
                hoverongaps=False,
                xgap=2,
                ygap=2,
                colorbar={"title": "points", "thickness": 12},
            )
        ],
    )
    made.update_xaxes(title="cardinality", type="category", showgrid=False)
    made.update_yaxes(title="radix", type="category", showgrid=False)
    return made


def gate(name: str, axis: Axis) -> go.Figure:
    """Returns the shares of an axis's values in the whole space and inside the budget; counts are in the hover."""
    traces = []
    for spread, colour, label in ((axis.before, GREY, "whole space"), (axis.after, BLUE, "inside the budget")):
        counts = list(spread.counts.values())
        traces.append(
            go.Bar(
                x=labels(list(spread.counts)),
                y=[count / spread.total for count in counts],
                text=[f"{count:,} of {spread.total:,}" for count in counts],
                name=label,
                marker={"color": colour},
                textposition="none",
                hovertemplate=f"{name} %{{x}}: %{{text}} ({label})<extra></extra>",
            )
        )
    made = figure(traces, **_TIGHT, barmode="group", bargap=0.15)
    made.update_xaxes(**_ticks(list(axis.before.counts)))
    made.update_yaxes(tickformat=".0%", nticks=4)
    return made


def labels(values: Sequence[Any]) -> list[Any]:
    """Returns an axis's values as they are drawn: as names, or where there are many as numbers."""
    return list(values) if len(values) >= _LONG else [str(value).lower() for value in values]


def _ticks(values: Sequence[Any]) -> dict[str, Any]:
    return {"nticks": 8} if len(values) >= _LONG else {"type": "category"}


def _effect_text(one: Effect) -> str:
    ends = (
        "too few for an interval" if one.interval is None else " to ".join(f"{100 * end:+.1f}" for end in one.interval)
    )
    return f"{100 * one.mean:+.1f} points ({ends}), {one.count} architecture{'s' * (one.count > 1)}"
