"""Draws figures of searches and of a training with matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxt.arch.costs import COST_NAMES
from nxt.files import replacing
from nxt.search.ranking import UNPROVEN
from nxt.search.trial import Outcome, Trial
from nxt.units import format_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nxt.analysis.error_distribution import Comparison, Values
    from nxt.search.ranking import RankedArch
    from nxt.search.results.run import Run

_AXIS_NAMES = COST_NAMES | {"macs": f"{COST_NAMES['macs']} of conv and linear layers"}


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as SVG if the name ends in .svg, else as PNG. The same figure gives the same bytes.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib import rc_context

    svg = path.suffix.lower() == ".svg"
    with replacing(path) as file, rc_context({"svg.hashsalt": "nxt"}):
        figure.savefig(file, format="svg" if svg else "png", metadata={"Date": None} if svg else None)


def single_plot() -> tuple[Figure, Axes]:
    """Returns an empty figure of the usual size with one plot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.8), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.25)
    return figure, axes


def plot_front(run: Run, path: Path) -> None:
    """Draws accuracy against the cost objective: the front with standard errors, and all other architectures.

    Stopped trials have accuracies of fewer epochs, so only their costs are shown, at the lower edge.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    figure, axes = single_plot()

    def draw(entries: list[RankedArch], **style: Any) -> None:
        if entries:
            axes.scatter([_cost(run, e) for e in entries], [e.accuracy for e in entries], **style)

    others = [e for e in run.entries if e not in run.front]
    draw([e for e in others if not e.unproven], color="#8fb3d9", label="dominated", zorder=2)
    draw([e for e in others if e.unproven], facecolors="none", edgecolors="#8fb3d9", label=UNPROVEN, zorder=2)
    draw(run.front, color="#1f4e8c", label="front", zorder=4, s=55)
    draw([e for e in run.entries if e.family], marker="s", facecolors="none", edgecolors="#c2410c", s=120,
         label="reference", zorder=5)  # fmt: skip
    if run.front:
        steps = [_cost(run, e) for e in run.front], [e.accuracy for e in run.front]
        axes.step(*steps, where="post", color="#1f4e8c", zorder=3)
        bars = [run.error(e) for e in run.front]
        axes.errorbar(*steps, yerr=bars, fmt="none", ecolor="#1f4e8c", elinewidth=1, capsize=3, zorder=3)
    stopped = [_cost(run, t) for t in run.trials if t.outcome is Outcome.STOPPED]
    if stopped:
        edge = axes.get_xaxis_transform()
        axes.scatter(stopped, [0.0] * len(stopped), label="stopped early", zorder=6, transform=edge, clip_on=False,
                     marker="x", color="0.55")  # fmt: skip
    if run.trials:
        costs = [_cost(run, t) for t in run.trials]
        margin = 0.05 * (max(costs) - min(costs)) or 1
        axes.set_xlim(min(costs) - margin, max(costs) + margin)
    if run.best:
        place = (_cost(run, run.best), run.best.accuracy)
        left, right = axes.get_xlim()
        side = "right" if place[0] > (left + right) / 2 else "left"
        axes.annotate(run.best.spec.name, place, (0, 9), textcoords="offset points", ha=side, fontsize=8)
    axes.set_xlabel(_AXIS_NAMES[run.objective])
    axes.set_ylabel(f"{run.measure}, {run.record.val_images} validation images")
    request = run.request
    axes.set_title(f"{request.space.name}, {request.budget}, {request.data.display}", fontsize=10)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_cost(run.objective, value)))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.margins(y=0.15)
    if run.entries or stopped:
        axes.legend(fontsize=8, loc="best")
    save(figure, path)


def plot_edf(comparison: Comparison, path: Path) -> None:
    """Draws the error distribution functions of two populations at equal cost, with 95 % bootstrap bands.

    Raises:
        RunError: if the file cannot be written.
    """
    samples = {f"{side.name} ({len(side.errors)})": (side.errors, side.weights) for side in comparison.sides}
    share = f"share with at most that error, at equal {COST_NAMES[comparison.cost]}"
    save(distribution_figure(samples, share, comparison.verdict()), path)


def distribution_figure(samples: Mapping[str, tuple[Values, Values]], share: str, title: str = "") -> Figure:
    """Returns a figure of error distribution functions, with 95 % bootstrap bands.

    Args:
        samples: By label, the errors of n architectures, in 0..1, and their weights, both (n,).
        share: Label of the vertical axis.
        title: Title of the figure.
    """
    from matplotlib.ticker import PercentFormatter

    from nxt.analysis.error_distribution import bands, edf, steps_of

    figure, axes = single_plot()
    at = steps_of(*(errors for errors, _ in samples.values()))
    for (label, (errors, weights)), colour in zip(samples.items(), ("#1f4e8c", "#c2410c"), strict=False):
        axes.step(at, edf(errors, weights, at), where="post", color=colour, label=label)
        low, high = bands(errors, weights, at)
        axes.fill_between(at, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("error after the last epoch")
    axes.set_ylabel(share)
    axes.set_title(title, fontsize=9, wrap=True)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(at[0], at[-1])
    if len(samples) > 1:
        axes.legend(fontsize=8, loc="best")
    return figure


def plot_curves(title: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws a training's accuracies, loss and rate by epoch.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(7.5, 5.6), dpi=140, layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    epochs, marker = [row["epoch"] for row in rows], "o" if len(rows) < 40 else ""
    for key, label, colour in (("accuracy", "weights", "#1f4e8c"), ("ema_accuracy", "averaged weights", "#c2410c")):
        values = [row[key] for row in rows]
        if None not in values:
            upper.plot(epochs, values, color=colour, label=label, marker=marker, markersize=3)
    upper.set_ylabel(f"{next(iter(rows[-1].get('measures') or {'accuracy': 0}))}, validation split")
    upper.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    upper.legend(fontsize=8, loc="lower right")
    upper.set_title(title, fontsize=10)
    lower.plot(epochs, [row["loss"] for row in rows], color="#1f4e8c", label="loss", marker=marker, markersize=3)
    lower.set_ylabel("training loss")
    lower.set_xlabel("epoch")
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    rate = lower.twinx()
    rate.plot(epochs, [row["lr"] for row in rows], color="0.6", linestyle="--", label="rate")
    rate.set_ylabel("rate at the epoch's end", color="0.4")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
    save(figure, path)


def _cost(run: Run, entry: RankedArch | Trial) -> int:
    return int(getattr(entry.cost, run.objective))
