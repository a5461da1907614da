"""Makes plotly figures for the axes of a space: effects of their values, and shares inside a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plotly import graph_objects as go

from nxt.analysis.effects import Effect
from nxt.report.plotly_figures import BLUE, GREY, figure
from nxt.space.coverage import Axis
from nxt.units import plural

_TIGHT = {"margin": {"l": 44, "r": 8, "t": 8, "b": 32}, "showlegend": False}
_LONG = 16  # values of an axis; with more, they are drawn as numbers, not as names


def main_effects(axes: Mapping[str, Sequence[Effect]]) -> dict[str, go.Figure]:
    """Returns for each axis the effects of its values in points with intervals, all on the same scale."""
    reach = [point for effects in axes.values() for effect in effects for point in _points(effect)]
    edge = 0.06 * (max(reach) - min(reach)) or 1.0
    limits = [min(*reach, 0.0) - edge, max(*reach, 0.0) + edge]
    figures = {}
    for name, effects in axes.items():
        points = [_points(effect) for effect in effects]
        chart = figure(
            [
                go.Scatter(
                    x=labels([effect.value for effect in effects]),
                    y=[mean for _, mean, _ in points],
                    error_y={
                        "array": [high - mean for _, mean, high in points],
                        "arrayminus": [mean - low for low, mean, _ in points],
                        "thickness": 1.2,
                        "width": 3,
                    },
                    text=[_effect_text(effect) for effect in effects],
                    mode="markers",
                    marker={"color": BLUE, "size": 8},
                    hovertemplate=f"{name} %{{x}}: %{{text}}<extra></extra>",
                )
            ],
            **_TIGHT,
        )
        chart.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"})
        chart.update_yaxes(range=limits, zeroline=False)
        chart.update_xaxes(**_ticks([effect.value for effect in effects]))
        figures[name] = chart
    return figures


def heat_map(effects: Sequence[Effect]) -> go.Figure:
    """Returns the effects of pairs (cardinality, radix) in points, as coloured cells."""
    cardinalities, radices = (sorted({effect.value[side] for effect in effects}) for side in (0, 1))
    cells = {effect.value: effect for effect in effects}
    rows = [[cells.get((c, r)) for c in cardinalities] for r in radices]
    most = max(100 * abs(effect.mean) for effect in effects) or 1.0
    chart = figure(
        [
            go.Heatmap(
                x=list(map(str, cardinalities)),
                y=list(map(str, radices)),
                z=[[100 * cell.mean if cell else None for cell in row] for row in rows],
                text=[[f"{100 * cell.mean:+.1f}<br>n={cell.count}" if cell else "" for cell in row] for row in rows],
                customdata=[[_effect_text(cell) if cell else "" for cell in row] for row in rows],
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
    chart.update_xaxes(title="cardinality", type="category", showgrid=False)
    chart.update_yaxes(title="radix", type="category", showgrid=False)
    return chart


def gate(name: str, axis: Axis) -> go.Figure:
    """Returns the shares of an axis's values in the whole space and inside the budget; hovering shows counts."""
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
    chart = figure(traces, **_TIGHT, barmode="group", bargap=0.15)
    chart.update_xaxes(**_ticks(list(axis.before.counts)))
    chart.update_yaxes(tickformat=".0%", nticks=4)
    return chart


def labels(values: Sequence[Any]) -> list[Any]:
    """Returns an axis's values as they are drawn: as names, or as numbers if there are many."""
    return list(values) if len(values) >= _LONG else [str(value).lower() for value in values]


def _ticks(values: Sequence[Any]) -> dict[str, Any]:
    return {"nticks": 8} if len(values) >= _LONG else {"type": "category"}


def _points(effect: Effect) -> tuple[float, float, float]:
    """Returns an effect in points: lower end, mean and upper end; without an interval, the mean three times."""
    low, high = effect.interval or (effect.mean, effect.mean)
    return 100 * low, 100 * effect.mean, 100 * high


def _effect_text(effect: Effect) -> str:
    interval = "too few for an interval"
    if effect.interval is not None:
        interval = " to ".join(f"{100 * end:+.1f}" for end in effect.interval)
    return f"{100 * effect.mean:+.1f} points ({interval}), {plural(effect.count, 'architecture')}"
