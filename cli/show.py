"""`nxt show`: where a search stands and what it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, render

if TYPE_CHECKING:
    from nxt.search.results import Run


def show(
    run: Annotated[Path, typer.Argument(help="Run directory of a search.", metavar="RUN")],
    as_json: options.Json = False,
) -> None:
    """Show where a search stands: its trials, the front, and the best against the best reference."""
    from nxt.search.results import load_run

    print_run(load_run(run), as_json)


def print_run(run: Run, as_json: bool) -> None:
    """Print a search's state and front to stdout."""
    from nxt.search.results import front_row
    from nxt.search.trial import Outcome

    counts = {str(outcome): run.count(outcome) for outcome in Outcome}
    if as_json:
        best = run.best
        render.print_json(
            {
                "run": str(run.path),
                "budget": run.record["budget_rule"],
                "asked": run.record["trials"],
                "trials": counts,
                "best": front_row(best) | {"yaml": "best.yaml"} if best else None,
                "reference": front_row(run.best_reference) | {"yaml": None} if run.best_reference else None,
                "verdict": run.verdict(),
                "front": [front_row(trial) for trial in run.front],
            }
        )
        return
    console = render.out()
    tally = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    console.print(f"{run.path}: {run.record['trials']} trials asked; {tally or 'none begun'}", soft_wrap=True)
    console.print(f"{run.record['budget_rule']} ({run.record['convention']})", soft_wrap=True)
    if run.front:
        console.print(_front(run))
    console.print(run.verdict(), soft_wrap=True)
    if run.best:
        console.print(f"Train it: nxt train {run.path / 'best.yaml'}", soft_wrap=True)


def _front(run: Run) -> object:
    from nxt.units import format_count

    rows = [
        [
            trial.spec.name + (" *" if trial is run.best else ""),
            *(format_count(getattr(trial.cost, key), 4) for key in ("macs", "params", "acts")),
            render.percent(trial.accuracy),
            trial.role or "",
        ]
        for trial in run.front
    ]
    title = f"Front of proxy accuracy against {run.objective} (* best.yaml)"
    return render.table(["architecture", "MACs", "params", "acts", "accuracy", "reference"], rows, title=title)
