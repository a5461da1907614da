"""Makes the interactive figures of a report with plotly. The page sets the colours of text and grid.

plotly interprets some HTML in labels, so every name is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from plotly import graph_objects as go

from nxt.analysis.error_distribution import Population, bands, edf, steps_of
from nxt.analysis.timeline import Bar
from nxt.arch.costs import COST_NAMES, Cost
from nxt.report.published import published
from nxt.report.report_data import ReportData
from nxt.search.ranking import UNPROVEN, RankedArch
from nxt.search.results.front_table import accuracy_text
from nxt.search.trial import Outcome, Trial
from nxt.units import format_cost, format_count, plural

BLUE, ORANGE, GREY = "#3a80d0", "#d5671b", "#8a8a8a"
COLOURS = {
    "done": BLUE, "control": "#0f9d8a", "stopped": GREY, "running": "#3f9d3f", "oom": "#c2185b", "diverged": ORANGE,
    "crashed": "#d32f2f", "killed": "#7b3fa0", "timeout": "#a37c00",
}  # fmt: skip
_WIDE = 6.0  # factor between costs from which on their axis is logarithmic
_BESIDE = 1.25  # published networks are drawn up to this factor outside the range of costs
_MOST = 60_000  # points of curves; with more, epochs are left out
_HEAVY = 20_000  # points; with more, WebGL draws them


def figure(traces: Iterable[Any], **layout: Any) -> go.Figure:
    """Returns a figure with the layout that all of them share."""
    shared = {
        "template": "none",
        "margin": {"l": 60, "r": 12, "t": 12, "b": 48},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "closest",
        "autosize": True,
    }
    return go.Figure(list(traces), {**shared, **layout})


def front(data: ReportData) -> go.Figure:
    """Returns accuracy against cost of all finished architectures, with the front and its standard errors."""
    run = data.run
    members = {entry.spec.fingerprint for entry in run.front}
    others = [entry for entry in run.entries if entry.spec.fingerprint not in members]
    references = [entry for entry in run.entries if entry.family]
    faint = {"color": BLUE, "opacity": 0.5, "size": 8}
    hollow = {"symbol": "circle-open", "color": BLUE, "size": 8}
    square = {"symbol": "square-open", "color": ORANGE, "size": 15, "line": {"width": 2}}
    traces = [
        _entries(data, [e for e in others if not e.unproven], "dominated", mode="markers", marker=faint),
        _entries(
            data,
            run.front,
            "front",
            mode="lines+markers",
            marker={"color": BLUE, "size": 11},
            line={"shape": "hv", "color": BLUE, "width": 1.5},
            error_y={"array": [run.error(entry) for entry in run.front], "thickness": 1.2, "width": 4},
        ),
        _entries(data, references, "references", mode="markers", marker=square),
        _entries(data, [e for e in others if e.unproven], UNPROVEN, mode="markers", marker=hollow),
        _context(data),
    ]
    costs = [_cost(data, entry) for entry in run.entries]
    chart = figure([trace for trace in traces if len(trace.x)], showlegend=True)
    unit = {"ticksuffix": "s"} if run.objective == "latency" else {}
    chart.update_xaxes(title=COST_NAMES[run.objective], **cost_axis(costs), **unit)
    chart.update_yaxes(title=data.measure, tickformat=".0%" if _spread(run.entries) > 0.05 else ".1%")
    if run.best:
        x = float(_cost(data, run.best))
        at = math.log10(x) if chart.layout.xaxis.type == "log" else x
        chart.add_annotation(x=at, y=run.best.accuracy, text="best", ax=-38, ay=-14, arrowwidth=1, arrowhead=0)
    return chart


def cost_axis(costs: Sequence[float]) -> dict[str, Any]:
    """Returns the settings of an axis of costs: with G, M or K, and logarithmic if the range is wide."""
    if min(costs) * _WIDE > max(costs):
        return {"tickformat": "~s", "nticks": 7}
    return {"type": "log", "dtick": "D2" if max(costs) / min(costs) < 100 else 1, "tickformat": "~s"}


def curves(data: ReportData) -> go.Figure:
    """Returns the accuracy of all trials by epoch, coloured by how they ended, with the rungs."""
    groups: dict[str, list[Trial]] = {name: [] for name in COLOURS}
    for trial in data.run.trials:
        if trial.curve:
            groups[_kind(trial)].append(trial)
    total = sum(len(trial.curve) for trial in data.run.trials)
    every = math.ceil(total / _MOST)
    kind = go.Scattergl if total / every > _HEAVY else go.Scatter
    alpha = 0.8 if len(data.run.trials) < 60 else 0.5
    traces = []
    for name, trials in groups.items():
        if trials:
            x, y, numbers = _broken(trials, max(1, every))
            short = all(len(trial.curve) == 1 for trial in trials)
            style = {"mode": "markers" if short else "lines", "line": {"color": COLOURS[name], "width": 1.3}}
            traces.append(
                kind(
                    x=x, y=y, customdata=numbers, name=_label(name, trials, data.run.active), opacity=alpha,
                    marker={"color": COLOURS[name]}, connectgaps=False, **style,
                    hovertemplate="trial %{customdata}: %{y:.1%} after epoch %{x}<extra></extra>",
                )
            )  # fmt: skip
    chart = figure(traces, showlegend=True)
    for rung in data.setup.rungs:
        chart.add_vline(x=rung, line={"dash": "dot", "width": 1, "color": GREY}, annotation={"text": f"rung {rung}"})
    longest = max((len(trial.curve) for trial in data.run.trials), default=0)
    chart.update_xaxes(title="epoch", tickformat="d", dtick=1 if longest <= 16 else None)
    chart.update_yaxes(title=data.measure, tickformat=".0%")
    return chart


def errors(population: Population, weights: Sequence[float]) -> go.Figure:
    """Returns the error distribution function of a population, with its 95 % bootstrap band."""
    at = steps_of(population.errors)
    low, high = bands(population.errors, weights, at)
    step = {"shape": "hv", "width": 0}
    chart = figure(
        [
            go.Scatter(x=at, y=low, mode="lines", line=step, showlegend=False, hoverinfo="skip"),
            go.Scatter(
                x=at, y=high, mode="lines", line=step, fill="tonexty", fillcolor="rgba(58,128,208,0.22)",
                name="95 % band", hoverinfo="skip",
            ),
            go.Scatter(
                x=at, y=edf(population.errors, weights, at), mode="lines", line={"shape": "hv", "color": BLUE},
                name=f"architectures ({len(population.errors)})",
                hovertemplate="%{y:.0%} have an error of at most %{x:.1%}<extra></extra>",
            ),
        ]
    )  # fmt: skip
    chart.update_xaxes(title="error after the last epoch", tickformat=".0%" if at[-1] - at[0] > 0.05 else ".1%")
    chart.update_yaxes(title="share of architectures", tickformat=".0%", range=[0, 1.02])
    return chart


def growth(
    points: Sequence[tuple[float, float]],
    other: Sequence[tuple[float, ...]] = (),
    names: tuple[str, str] = ("", ""),
) -> go.Figure:
    """Returns the hypervolume against the time since the search began.

    Args:
        points: (seconds, share of the hypervolume) of this run.
        other: The same for the run to compare with; or (seconds, mean, low, high) over random orders of its trials.
        names: Names of this run and the other one for the legend.
    """
    unit, seconds = time_unit(max(row[0] for row in (*points, *other)))

    def curve(rows: Sequence[tuple[float, ...]], at: int, name: str, **style: Any) -> go.Scatter:
        hover = {"hovertemplate": "%{y:.1%} after %{x:.2f} " + unit + f"<extra>{escape(name)}</extra>"}
        times, shares = np.array([row[0] / seconds for row in rows]), np.array([row[at] for row in rows])
        return go.Scatter(x=times, y=shares, name=escape(name), **{**hover, **style})

    step = {"shape": "hv", "color": BLUE}
    mode = "lines+markers" if len(points) < 60 else "lines"
    traces = [curve(points, 1, names[0], mode=mode, line=step)]
    if other and len(other[0]) > 2:
        edge = {"mode": "lines", "line": {"shape": "hv", "width": 0}, "hoverinfo": "skip", "hovertemplate": None}
        fill = {"fill": "tonexty", "fillcolor": "rgba(138,138,138,0.25)"}
        traces += [
            curve(other, 2, "", showlegend=False, **edge),
            curve(other, 3, "9 of 10 orders", **edge, **fill),
            curve(other, 1, f"{names[1]}, mean over orders", mode="lines", line={**step, "color": GREY}),
        ]
    elif other:
        traces.append(curve(other, 1, names[1], mode=mode, line={**step, "color": GREY}))
    chart = figure(traces, showlegend=bool(other))
    chart.update_xaxes(title=f"{unit} since the first trial began", rangemode="tozero")
    chart.update_yaxes(title="share of the hypervolume", tickformat=".0%", range=[0, 1.04])
    return chart


def timeline(bars: Sequence[Bar], active: bool) -> go.Figure:
    """Returns trials as bars in lanes over time, coloured by how they ended; `active`: the search is at work."""
    unit, seconds = time_unit(max(bar.ended for bar in bars))
    traces = []
    for name, colour in COLOURS.items():
        own = [bar for bar in bars if _kind(bar.trial) == name]
        if own:
            traces.append(
                go.Bar(
                    orientation="h", name=_label(name, own, active),
                    base=np.array([bar.begun / seconds for bar in own]),
                    x=np.array([(bar.ended - bar.begun) / seconds for bar in own]),
                    y=np.array([bar.lane + 1 for bar in own]),
                    customdata=[[bar.trial.number, escape(bar.trial.spec.name)] for bar in own],
                    marker={"color": colour, "line": {"width": 0.5, "color": "rgba(128,128,128,0.6)"}},
                    hovertemplate="trial %{customdata[0]}, %{customdata[1]}: %{x:.2f} " + unit + "<extra></extra>",
                )
            )  # fmt: skip
    chart = figure(traces, barmode="overlay", bargap=0.25, showlegend=True)
    chart.update_xaxes(title=f"{unit} since the first trial began")
    chart.update_yaxes(title="lane", tickformat="d", dtick=1 if max(bar.lane for bar in bars) < 16 else None)
    chart.update_yaxes(autorange="reversed")
    return chart


def _label(kind: str, trials: Sequence[object], active: bool) -> str:
    """Returns the legend's text of trials; those that run where nothing is at work were cut off."""
    return f"{'cut off' if kind == 'running' and not active else kind} ({len(trials)})"


def time_unit(most: float) -> tuple[str, float]:
    """Returns a suitable unit for a time of `most` seconds, and the seconds of the unit."""
    return ("seconds", 1.0) if most < 180 else ("minutes", 60.0) if most < 3 * 3600 else ("hours", 3600.0)


def _entries(data: ReportData, entries: Sequence[RankedArch], name: str, **style: Any) -> go.Scatter:
    return go.Scatter(
        x=np.array([_cost(data, entry) for entry in entries], dtype=np.float64),
        y=np.array([entry.accuracy for entry in entries]),
        text=[_hover(data, entry) for entry in entries],
        name=f"{name} ({len(entries)})",
        hovertemplate="%{text}<extra></extra>",
        **style,
    )


def _context(data: ReportData) -> go.Scatter:
    """Returns published networks of similar cost as ticks below the points; their height says nothing."""
    run = data.run
    costs = [_cost(data, entry) for entry in run.entries]
    known = [(entry, _value(run.objective, cost)) for entry, cost in published(run)]
    near = [(entry, spent) for entry, spent in known if min(costs) / _BESIDE <= spent <= max(costs) * _BESIDE]
    floor = min(entry.accuracy - run.error(entry) for entry in run.entries)
    return go.Scatter(
        x=np.array([spent for _, spent in near], dtype=np.float64),
        y=np.full(len(near), floor - 0.05 * (max(_spread(run.entries), 0.01))),
        text=[
            f"<b>{escape(entry.name)}</b><br>{format_count(spent, 4)} {COST_NAMES[run.objective]}"
            for entry, spent in near
        ],
        name=f"published networks ({len(near)})",
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": GREY, "line": {"width": 2}},
        hovertemplate="%{text}<br>its accuracy is of other data<extra></extra>",
    )


def _hover(data: ReportData, entry: RankedArch) -> str:
    """Returns the text for hovering over an architecture."""
    stage, objective = next(entry.spec.stages()), data.run.objective
    lines = [
        f"<b>{escape(entry.spec.name)}</b>" + (f" ({escape(entry.family)} reference)" if entry.family else ""),
        f"{accuracy_text(data.run, entry)}, {plural(entry.seeds, 'seed')}",
        f"{format_cost(objective, getattr(entry.cost, objective), 4)} {COST_NAMES[objective]}",
        f"depths {'-'.join(map(str, entry.spec.depths))}, {stage.cardinality}x{stage.group_width}d, "
        f"radix {stage.radix}",
    ]
    return "<br>".join(lines)


def _broken(trials: Sequence[Trial], every: int) -> tuple[Any, Any, Any]:
    """Returns epochs, accuracies and trial numbers of all curves in one array each, with a gap after each curve.

    Of each trial, every `every`-th epoch and the last one are kept.
    """
    x: list[float] = []
    y: list[float] = []
    numbers: list[int] = []
    for trial in trials:
        kept = [row for at, row in enumerate(trial.curve) if at % every == 0 or row is trial.curve[-1]]
        x += [*(row.epoch for row in kept), math.nan]
        y += [*(row.accuracy for row in kept), math.nan]
        numbers += [trial.number] * (len(kept) + 1)
    return np.array(x, dtype=np.float32), np.array(y, dtype=np.float32), np.array(numbers, dtype=np.int32)


def _kind(trial: Trial) -> str:
    return "control" if trial.control_rung and trial.outcome is Outcome.DONE else str(trial.outcome)


def _cost(data: ReportData, entry: RankedArch) -> float:
    return _value(data.run.objective, entry.cost)


def _value(objective: str, cost: Cost) -> float:
    """Returns a cost as it is drawn: a latency in seconds, any other as it is counted."""
    value = getattr(cost, objective)
    return 1e-9 * value if objective == "latency" else float(value)


def _spread(entries: Sequence[RankedArch]) -> float:
    return max(entry.accuracy for entry in entries) - min(entry.accuracy for entry in entries)
