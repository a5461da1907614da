"""Draws the main figures of a report for papers with matplotlib, each as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nxt.analysis.error_distribution import population
from nxt.errors import RunError
from nxt.report.matplotlib_figures import distribution_figure, plot_front, save, single_plot
from nxt.report.report_data import ReportData
from nxt.search.trial import Outcome

_COLOURS = {Outcome.DONE: "#1f4e8c", Outcome.STOPPED: "0.6", Outcome.RUNNING: "#3f7d20"}
_FAILED = "#c2410c"


def draw_figures(data: ReportData, folder: Path) -> list[Path]:
    """Draws front, error distribution and learning curves, if a run has their data, and returns the files.

    Raises:
        RunError: if a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be created ({error.strerror}); choose another `figures`") from None
    written = []
    for name, draw in _drawable(data):
        for suffix in (".png", ".svg"):
            draw(folder / f"{name}{suffix}")
            written.append(folder / f"{name}{suffix}")
    return written


def _drawable(data: ReportData) -> Iterator[tuple[str, Callable[[Path], None]]]:
    if data.run.front:
        yield "front", lambda path: plot_front(data.run, path)
    if any(not trial.family for trial in data.first):
        yield "errors", lambda path: plot_errors(data, path)
    if any(trial.curve for trial in data.run.trials):
        yield "curves", lambda path: plot_trials(data, path)


def plot_errors(data: ReportData, path: Path) -> None:
    """Draws the error distribution function of the sampled architectures, with its 95 % bootstrap band.

    Raises:
        RunError: if no sampled architecture has reached the last epoch, or the file cannot be written.
    """
    errors = population(data.run, data.run.objective).errors
    share = f"share of {len(errors)} architectures with at most that error"
    save(distribution_figure({"": (errors, np.ones(len(errors)))}, share), path)


def plot_trials(data: ReportData, path: Path) -> None:
    """Draws the accuracy of all trials by epoch, coloured by how they ended, with the rungs.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, axes = single_plot()
    trials = [trial for trial in data.run.trials if trial.curve]
    alpha = 0.8 if len(trials) < 60 else 0.3
    for outcome in Outcome:
        label = str(outcome)
        for trial in (trial for trial in trials if trial.outcome is outcome):
            epochs, accuracies = zip(*((row.epoch, row.accuracy) for row in trial.curve), strict=True)
            colour, mark = _COLOURS.get(outcome, _FAILED), "o" if len(epochs) == 1 else ""
            axes.plot(
                epochs, accuracies, color=colour, alpha=alpha, linewidth=1, marker=mark, markersize=3, label=label
            )
            label = "_nolegend_"
    for rung in data.setup.rungs:
        axes.axvline(rung, color="0.5", linestyle=":", linewidth=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{data.measure}, {data.run.record.val_images} validation images")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.legend(fontsize=8, loc="best")
    save(figure, path)
