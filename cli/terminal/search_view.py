"""What the live view of a search shows: text for a terminal of any size. Drawing it is `live.py`'s part."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nxt.files import data_place
from nxt.units import format_count, format_seconds

from . import tables as render
from . import textplot

if TYPE_CHECKING:
    from rich.text import Text

    from nxt.search.ranking import Entry
    from nxt.search.results.run import Run
    from nxt.search.trial import Trial

_WIDEST_PLOT = 100
_PLOT_FROM = 56  # columns from which there is a plot
_ERRORS_FROM = 56  # and from which accuracies have their errors
_BAR = 16  # columns
_ROWS = 3, 4  # of the best and of those that run, at most
_ROWS_TALL = 8, 16  # on a terminal of _TALL lines or more
_TALL = 36
_TALLEST_PLOT = 18


@dataclass(frozen=True)
class View:
    """A search at one moment."""

    run: Run  # as of the trial that ended last
    running: Sequence[Trial]
    phase: str
    ended: int
    total: int | None  # trials; None: as many as the hours allow
    later: int  # of these, how many are to confirm what is found, and have not begun
    gone: float  # seconds since the trials of this session began
    left: float | None  # seconds; None: not known yet
    tally: str
    speed: str  # empty: not known yet
    latest: str  # what became of the trial that ended last


def lines_of(view: View, width: int, height: int) -> list[Text]:
    """Return the view for a terminal: fewer than `height` lines, each to be cut off at `width`.

    With less room the plot goes first, then columns and the errors of accuracies, then rows.
    """
    from rich.text import Text

    room = height - 1
    head = _head(view, width)
    most = _ROWS_TALL if height >= _TALL else _ROWS
    best, running = _best(view.run, width, most[0]), _running(view, width, most[1])
    running += [Text(line, style="dim") for line in [view.latest] if line]
    blank = [Text()] if height >= 22 else []
    below = [block for block in (best, running) if block]
    rest = room - len(head) - sum(len(blank) + len(block) for block in below) - len(blank)
    plot: list[Text] = []
    if width >= _PLOT_FROM and rest >= textplot.LEAST and len(view.run.entries) > 1:
        unit = render.COST_LABELS[view.run.objective]
        plot = textplot.front_plot(_points(view.run), unit, min(width, _WIDEST_PLOT), min(rest, _TALLEST_PLOT))
    found = head
    for block in (plot, *below):
        found = [*found, *blank, *block] if block else found
    return found[:room]


def _head(view: View, width: int) -> list[Text]:
    from rich.text import Text

    record = view.run.record
    title = Text.assemble((f"nxt search {record['space_name']}", "bold"), f"  {record['budget_rule']}")
    if view.run.full:
        title = Text.assemble(("nxt train", "bold"), f"  {record['space_name']} on {data_place(record['data'])}")
    count = f"{view.ended}" if view.total is None else f"{view.ended} of {view.total - view.later}"
    later = f" (then {view.later} to confirm)" if view.later and view.total else ""
    done, times = f"{view.phase}, {count} trials{later}", f"{format_seconds(view.gone)} gone"
    if view.left:
        times += f", about {format_seconds(view.left)} left"
    lines = [title]
    free = width - len(done) - len(times) - 4
    if free < 0:
        lines += [Text(done, style="bold"), Text(times)]
    elif view.total and free >= _BAR:
        lines.append(Text.assemble((done, "bold"), "  ", render.bar(view.ended / view.total, _BAR), "  ", times))
    else:
        lines.append(Text.assemble((done, "bold"), "  ", times))
    told = "; ".join(text for text in (view.tally, view.speed) if text)
    return [*lines, *map(Text, textwrap.wrap(told, width))]


def _best(run: Run, width: int, most: int) -> list[Text]:
    """Return the most accurate architectures as a table; `R` marks references, as in the plot."""
    rows = []
    for entry in run.entries[:most]:
        error = f" \u00b1 {100 * run.error(entry):.1f}" if width >= _ERRORS_FROM else ""
        costs = [format_count(getattr(entry.cost, key)) for key in (run.objective, "params")]
        name = entry.spec.name + (" R" if entry.role else "")
        rows.append([f"{entry.accuracy:.1%}{error}", name, *costs, str(entry.seeds)])
    columns = ["accuracy", "best so far", render.COST_LABELS[run.objective], "params", "seeds"]
    return _table(columns, rows, width, ["seeds", "params", render.COST_LABELS[run.objective]]) if rows else []


def _running(view: View, width: int, most: int) -> list[Text]:
    epochs = view.run.record["proxy"]["epochs"]
    rows = [
        [
            f"epoch {len(trial.curve)}/{epochs}",
            trial.spec.name + (" R" if trial.role else ""),
            render.percent(trial.accuracy) if trial.curve else "",
            f"fresh seed {trial.repeat}" if trial.repeat else "",
        ]
        for trial in view.running
    ]
    if len(rows) > most:
        more = len(rows) - most + 1
        rows = [*rows[: most - 1], ["...", f"and {more} more", "", ""]]
    return _table(["at", "running", "", " "], rows, width, [" "]) if rows else []


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, spare: Sequence[str]) -> list[Text]:
    from rich.text import Text

    header, fitted = render.fitting(columns, rows, width, spare, gap=2)
    first, *others = render.aligned([header, *fitted])
    return [Text(first, style="bold"), *(Text(line) for line in others)]


def _points(run: Run) -> list[textplot.Point]:
    front = {entry.spec.fingerprint for entry in run.front}

    def kind(entry: Entry) -> str:
        return "reference" if entry.role else "front" if entry.spec.fingerprint in front else "other"

    return [textplot.Point(getattr(e.cost, run.objective), e.accuracy, kind(e)) for e in run.entries]


def told(trial: Trial) -> str:
    """Say what became of a trial."""
    reached = f" {render.percent(trial.accuracy)}" if trial.curve else ""
    role = f" ({trial.role} reference)" if trial.role else ""
    again = f" with fresh seed {trial.repeat}" if trial.repeat else ""
    notes = [trial.message, trial.remark, trial.replayed and f"taken from {trial.replayed}"]
    message = "".join(f" {note}" for note in notes if note)
    return f"trial {trial.number} {trial.outcome}{again}{reached}{message}: {trial.spec.name}{role}"
