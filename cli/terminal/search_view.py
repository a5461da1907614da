"""Makes the text of a search's live view for a terminal of any size; `live_region` draws it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nxt.arch.costs import COST_LABELS
from nxt.units import format_cost, format_seconds

from . import tables, textplot

if TYPE_CHECKING:
    from rich.text import Text

    from nxt.search.ranking import RankedArch
    from nxt.search.results.run import Run
    from nxt.search.trial import Trial

_WIDEST_PLOT = 100
_PLOT_FROM = 56  # columns; with fewer, there is no plot
_ERRORS_FROM = 56  # columns; with fewer, accuracies have no errors
_BAR = 16  # columns
_ROWS = 3, 4  # at most, of the best architectures and of running trials
_ROWS_TALL = 8, 16  # on a terminal of _TALL lines or more
_TALL = 36
_TALLEST_PLOT = 18


@dataclass(frozen=True)
class View:
    """A search at one moment."""

    run: Run  # after the trial that ended last
    running: Sequence[Trial]
    phase: str
    ended: int
    total: int | None  # trials; None: as many as the hours allow
    later: int  # trainings of these, at most, that will confirm the best and have not begun
    gone: float  # seconds since the trials of this session began
    left: float | None  # seconds; None: not known yet
    tally: str
    speed: str  # empty: not known yet
    latest: str  # how the trial that ended last ended


def lines_of(view: View, width: int, height: int) -> list[Text]:
    """Returns the view for a terminal as fewer than `height` lines; the caller cuts them off at `width`.

    On a smaller terminal the plot is left out first, then columns and the errors of accuracies, then rows.
    """
    from rich.text import Text

    room = height - 1
    head = _head(view, width)
    rows = _ROWS_TALL if height >= _TALL else _ROWS
    best, running = _best(view.run, width, rows[0]), _running(view, width, rows[1])
    running += [Text(line, style="dim") for line in [view.latest] if line]
    blank = [Text()] if height >= 22 else []
    below = [block for block in (best, running) if block]
    rest = room - len(head) - sum(len(blank) + len(block) for block in below) - len(blank)
    plot: list[Text] = []
    if width >= _PLOT_FROM and rest >= textplot.LEAST and len(view.run.entries) > 1:
        unit = COST_LABELS[view.run.objective]
        plot = textplot.front_plot(_points(view.run), unit, min(width, _WIDEST_PLOT), min(rest, _TALLEST_PLOT))
    lines = head
    for block in (plot, *below):
        lines = [*lines, *blank, *block] if block else lines
    return lines[:room]


def _head(view: View, width: int) -> list[Text]:
    from rich.text import Text

    request = view.run.request
    title = Text.assemble((f"nxt search {request.space.name}", "bold"), f"  {request.budget}")
    if view.run.full:
        title = Text.assemble(("nxt train", "bold"), f"  {request.space.name} on {request.data.display}")
    count = f"{view.ended}" if view.total is None else f"{view.ended} of {view.total - view.later}"
    later = f" (then up to {view.later} to confirm)" if view.later and view.total else ""
    progress, times = f"{view.phase}, {count} trials{later}", f"{format_seconds(view.gone)} gone"
    if view.left:
        times += f", about {format_seconds(view.left)} left"
    lines = [title]
    free = width - len(progress) - len(times) - 4
    if free < 0:
        lines += [Text(progress, style="bold"), Text(times)]
    elif view.total and free >= _BAR:
        lines.append(Text.assemble((progress, "bold"), "  ", tables.bar(view.ended / view.total, _BAR), "  ", times))
    else:
        lines.append(Text.assemble((progress, "bold"), "  ", times))
    counts = "; ".join(text for text in (view.tally, view.speed) if text)
    return [*lines, *map(Text, textwrap.wrap(counts, width))]


def _best(run: Run, width: int, most: int) -> list[Text]:
    """Returns the most accurate architectures as a table; `R` marks references, as in the plot."""
    rows = []
    for entry in run.entries[:most]:
        error = f" \u00b1 {100 * run.error(entry):.1f}" if width >= _ERRORS_FROM else ""
        costs = [format_cost(key, getattr(entry.cost, key)) for key in (run.objective, "params")]
        name = entry.spec.name + (" R" if entry.family else "")
        rows.append([f"{entry.accuracy:.1%}{error}", name, *costs, str(entry.seeds)])
    columns = [run.request.measure, "best so far", COST_LABELS[run.objective], "params", "seeds"]
    return _table(columns, rows, width, ["seeds", "params", COST_LABELS[run.objective]]) if rows else []


def _running(view: View, width: int, most: int) -> list[Text]:
    epochs = view.run.request.proxy.epochs
    rows = [
        [
            f"epoch {len(trial.curve)}/{epochs}",
            trial.spec.name + (" R" if trial.family else ""),
            tables.percent(trial.accuracy) if trial.curve else "",
            f"fresh seed {trial.replicate}" if trial.replicate else "",
        ]
        for trial in view.running
    ]
    if len(rows) > most:
        more = len(rows) - most + 1
        rows = [*rows[: most - 1], ["...", f"and {more} more", "", ""]]
    return _table(["at", "running", "", " "], rows, width, [" "]) if rows else []


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, spare: Sequence[str]) -> list[Text]:
    from rich.text import Text

    header, fitted = tables.fitting(columns, rows, width, spare, gap=2)
    first, *others = tables.aligned([header, *fitted])
    return [Text(first, style="bold"), *(Text(line) for line in others)]


def _points(run: Run) -> list[textplot.Point]:
    front = {entry.spec.fingerprint for entry in run.front}

    def kind(entry: RankedArch) -> str:
        return "reference" if entry.family else "front" if entry.spec.fingerprint in front else "other"

    return [textplot.Point(getattr(e.cost, run.objective), e.accuracy, kind(e)) for e in run.entries]


def trial_text(trial: Trial) -> str:
    """Returns the result of a trial in one line."""
    reached = f" {tables.percent(trial.accuracy)}" if trial.curve else ""
    family = f" ({trial.family} reference)" if trial.family else ""
    again = f" with fresh seed {trial.replicate}" if trial.replicate else ""
    notes = [trial.message, trial.remark, trial.replayed and f"taken from {trial.replayed}"]
    message = "".join(f" {note}" for note in notes if note)
    return f"trial {trial.number} {trial.outcome}{again}{reached}{message}: {trial.spec.name}{family}"
