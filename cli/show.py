"""`nxt show`: where a search stands and what it found."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxt.errors import RunError

from . import options, render

if TYPE_CHECKING:
    from nxt.search.results import Run
    from nxt.search.trust import Trust


def show(
    run: Annotated[Path, typer.Argument(help="Run directory of a search.", metavar="RUN")],
    against: Annotated[
        Path | None,
        typer.Option(help="Tell how well RUN's accuracies predict those of this run (trained longer).", metavar="RUN"),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show where a search stands: its trials, the front, the best against the best reference, and whom to trust."""
    from nxt.search import trust
    from nxt.search.results import load_run

    found = load_run(run)
    other = None if against is None else load_run(against)
    told = trust.between_epochs(found) if other is None else trust.against(found, other)
    if other is not None and told is None:
        raise RunError(f"{against}: fewer than {trust.LEAST} architectures that both runs trained to the end")
    print_run(found, as_json, told)
    if told is not None and not as_json:
        print_trust(told)


def print_run(run: Run, as_json: bool, trust: Trust | None = None) -> None:
    """Print a search's state and front to stdout."""
    from nxt.search.request import UNLIMITED
    from nxt.search.trial import Outcome

    counts = {str(outcome): run.count(outcome) for outcome in Outcome}
    if as_json:
        best, reference = run.best, run.best_reference
        render.print_json(
            {
                "run": str(run.path),
                "active": run.active,
                "budget": run.record["budget_rule"],
                "asked": None if run.record["trials"] == UNLIMITED else run.record["trials"],
                "explored": sum(not trial.repeat for trial in run.trials),
                "trials": counts,
                "best": run.row(best) | {"yaml": "best.yaml"} if best else None,
                "reference": run.row(reference) if reference else None,
                "seed_noise": run.noise.seeds,
                "verdict": run.verdict(),
                "stopping": run.stopping(),
                "trust": None if trust is None else trust.to_dict(),
                "front": [run.row(entry) for entry in run.front],
            }
        )
        return
    console = render.out()
    states = {state: "cut off" if state == "running" and not run.active else state for state in counts}
    tally = ", ".join(f"{number} {states[state]}" for state, number in counts.items() if number)
    console.print(f"{run.path}: {_asked(run)}; {tally or 'none begun'}", soft_wrap=True)
    console.print(f"{run.record['budget_rule']} ({run.record['convention']})", soft_wrap=True)
    if run.front:
        console.print(_front(run))
    for line in _failures(run):
        console.print(line, soft_wrap=True)
    console.print(" ".join(text for text in (run.verdict(), run.stopping()) if text), soft_wrap=True)
    if trust is not None:
        console.print(trust.verdict(), soft_wrap=True)
    if run.best and run.full:
        first = max(run.best.trials, key=lambda trial: trial.accuracy or 0.0)
        place = run.path / "trials" / f"{first.number}.pt"
        console.print(f"Test it: nxt eval {shlex.quote(str(place))}", soft_wrap=True)
    elif run.best:
        console.print(f"Train it: nxt train {shlex.quote(str(run.path / 'best.yaml'))}", soft_wrap=True)


def print_trust(trust: Trust) -> None:
    """Print how well each figure predicts the last epoch's accuracy, or full training's."""
    rows = [
        [
            one.name,
            _figure(one.tau),
            " to ".join(map(_figure, one.interval)),
            *map(_figure, (one.banded, one.spearman, one.recall)),
        ]
        for one in (*trust.proxies, *trust.baselines)
    ]
    ceiling = "not measured" if trust.ceiling is None else f"{trust.ceiling:.2f}"
    title = f"How well the order by {trust.of} is predicted (by another seed's training: tau {ceiling})"
    columns = ["by", "tau", "95 %", "tau, similar cost", "Spearman", "top fifth"]
    render.out().print(render.table(columns, rows, title=title))


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _asked(run: Run) -> str:
    from nxt.search.request import UNLIMITED

    explored = sum(not trial.repeat for trial in run.trials)
    again = len(run.trials) - explored
    if not explored and again:
        return f"{run.record['trials']} trainings asked"
    wanted = run.record["trials"]
    open_ended = wanted == UNLIMITED or explored >= wanted
    asked = f"{explored} trials" if open_ended else f"{wanted} trials asked, {explored} begun"
    return asked + (f" and {again} more to confirm" if again else "")


def _front(run: Run) -> object:
    from nxt.units import format_count

    rows = []
    for entry in run.front:
        row = run.row(entry)
        rows.append(
            [
                entry.spec.name + (" *" if entry is run.best else ""),
                *(format_count(getattr(entry.cost, key), 4) for key in ("macs", "params", "acts")),
                f"{entry.accuracy:.1%} \u00b1 {100 * row['accuracy_error']:.1f}",
                entry.seeds,
                row["ties"],
                f"{row['front_probability']:.0%}",
                entry.role,
            ]
        )
    kind = "accuracy" if run.full else "proxy accuracy"
    title = f"Front of {kind} against {run.objective} (* best.yaml; a shared letter: no clear difference)"
    columns = ["architecture", "MACs", "params", "acts", "accuracy", "seeds", "tie", "P(front)", "reference"]
    return render.table(columns, rows, title=title)


def _failures(run: Run) -> list[str]:
    """Say which trials failed and why: the first of each kind in full."""
    lines = []
    for outcome in dict.fromkeys(trial.outcome for trial in run.trials if trial.outcome.failed):
        failed = [trial for trial in run.trials if trial.outcome is outcome]
        others = f" (and {len(failed) - 1} more, in trials.csv)" if len(failed) > 1 else ""
        lines.append(f"{outcome}: trial {failed[0].number}, {failed[0].spec.name}: {failed[0].message}{others}")
    return lines
