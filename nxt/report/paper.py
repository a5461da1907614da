"""The main figures of a report for papers: drawn with matplotlib, each as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nxt.analysis.error_distribution import bands, edf, population
from nxt.errors import RunError
from nxt.report.matplotlib_figures import plot_front, save
from nxt.report.report_data import Subject
from nxt.search.trial import Outcome

_COLOURS = {Outcome.DONE: "#1f4e8c", Outcome.STOPPED: "0.6", Outcome.RUNNING: "#3f7d20"}
_FAILED = "#c2410c"


def draw_figures(subject: Subject, folder: Path) -> list[Path]:
    """Draw what a run has the data for: front, error distribution, learning curves. Return the files.

    Raises:
        RunError: if they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be created ({error.strerror}); choose another --figures") from None
    written = []
    for name, draw in _wanted(subject):
        for suffix in (".png", ".svg"):
            draw(folder / f"{name}{suffix}")
            written.append(folder / f"{name}{suffix}")
    return written


def _wanted(subject: Subject) -> Iterator[tuple[str, Callable[[Path], None]]]:
    if subject.run.front:
        yield "front", lambda path: plot_front(subject.run, path)
    if any(not trial.role for trial in subject.first):
        yield "errors", lambda path: plot_errors(subject, path)
    if any(trial.curve for trial in subject.run.trials):
        yield "curves", lambda path: plot_trials(subject, path)


def plot_errors(subject: Subject, path: Path) -> None:
    """Draw the error distribution function of what was drawn from the space, with its 95 % bootstrap band.

    Raises:
        RunError: if no architecture that was drawn has reached the last epoch, or the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    found = population(subject.run, subject.run.objective)
    at, weights = np.unique(found.errors), np.ones(len(found.errors))
    edge = 0.03 * float(at[-1] - at[0]) or 0.01
    at = np.concatenate([[at[0] - edge], at, [at[-1] + edge]])
    figure = Figure(figsize=(7.5, 4.8), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    colour = _COLOURS[Outcome.DONE]
    axes.step(at, edf(found.errors, weights, at), where="post", color=colour)
    low, high = bands(found.errors, weights, at)
    axes.fill_between(at, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("error after the last epoch")
    axes.set_ylabel(f"share of {len(found.errors)} architectures with at most that error")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlim(at[0], at[-1])
    axes.grid(alpha=0.25)
    save(figure, path)


def plot_trials(subject: Subject, path: Path) -> None:
    """Draw the accuracy of all trials by epoch, coloured by how they ended, with the rungs.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(7.5, 4.8), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    trials = [trial for trial in subject.run.trials if trial.curve]
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
    for rung in subject.rungs:
        axes.axvline(rung, color="0.5", linestyle=":", linewidth=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{subject.measure}, {subject.run.record['val_images']} validation images")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="best")
    save(figure, path)
