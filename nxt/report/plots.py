"""Figures of a search, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nxt.files import replacing
from nxt.search.trial import Outcome
from nxt.units import format_count

if TYPE_CHECKING:
    from nxt.search.results import Run

_LABELS = {"macs": "multiply-adds of conv and linear layers", "acts": "activations", "params": "parameters"}


def plot_front(run: Run, path: Path) -> None:
    """Draw proxy accuracy against the cost objective as PNG: the front, the other trials, references, and the stopped.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    figure = Figure(figsize=(7.5, 4.8), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()

    def cost(trial: object) -> int:
        return int(getattr(getattr(trial, "cost"), run.objective))  # noqa: B009

    stopped = [trial for trial in run.trials if trial.outcome is Outcome.STOPPED]
    others = [trial for trial in run.done if trial not in run.front]
    references = [trial for trial in run.done if trial.role]
    for trials, style in (
        (stopped, {"marker": "x", "color": "0.7", "label": "stopped early (fewer epochs)", "zorder": 1}),
        (others, {"marker": "o", "color": "#8fb3d9", "label": "dominated", "zorder": 2}),
        (run.front, {"marker": "o", "color": "#1f4e8c", "label": "front", "zorder": 4, "s": 55}),
        (references, {"marker": "s", "facecolors": "none", "edgecolors": "#c2410c", "s": 120, "label": "reference"}),
    ):
        if trials:
            axes.scatter([cost(t) for t in trials], [t.accuracy or 0 for t in trials], **style)  # type: ignore[arg-type]
    if len(run.front) > 1:
        axes.step(
            [cost(t) for t in run.front], [t.accuracy or 0 for t in run.front], where="post", color="#1f4e8c", zorder=3
        )
    if run.best:
        axes.annotate(
            run.best.spec.name,
            (cost(run.best), run.best.accuracy or 0),
            textcoords="offset points",
            xytext=(0, 9),
            ha="center",
            fontsize=8,
        )
    axes.set_xlabel(_LABELS[run.objective])
    axes.set_ylabel(f"proxy accuracy, {run.record['val_images']} validation images")
    axes.set_title(f"{run.record['space_name']}, {run.record['budget_rule']}, {run.record['data']}", fontsize=10)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.25)
    axes.margins(y=0.12)
    if run.trials:
        axes.legend(fontsize=8, loc="lower right")
    with replacing(path) as file:
        figure.savefig(file, format="png")
