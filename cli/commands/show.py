"""`nxt show`: where a search stands and what it found."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxt.arch.costs import COST_LABELS
from nxt.errors import RunError
from nxt.files import display_path

from .. import options
from ..terminal import tables
from ..terminal.status_text import status_sentence
from .show_training import print_training

if TYPE_CHECKING:
    from nxt.analysis.trust import Trust
    from nxt.search.results.run import Run
    from nxt.search.results.status import Status


_ENOUGH = 16  # architectures from which on rank correlations say more than the sentence about them


def show(
    run: Annotated[Path, typer.Argument(help="Run directory of a search, or of a training.", metavar="RUN")],
    beside: Annotated[
        Path | None, typer.Argument(help="Another one: show both fronts side by side.", metavar="RUN_B")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Tell how well RUN's accuracies predict those of this run (trained longer).", metavar="RUN"),
    ] = None,
    trials: Annotated[bool, typer.Option("--trials", help="List the trials, too.")] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Add networks of about the front's cost with published accuracies.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Show where a search stands: its trials, the front, the best against the best reference, and whom to trust.

    Of a training: how far it is, and what its last epochs gave.
    """
    from nxt.train.history import is_training

    if is_training(run):
        if beside is not None or against is not None or published or trials:
            raise typer.BadParameter("RUN_B, --trials, --against and --published are for searches")
        print_training(run, as_json)
        return
    from nxt.analysis import trust
    from nxt.search.results.run import load_run
    from nxt.search.results.status import status_of

    from . import show_comparison

    found = load_run(run)
    if beside is not None:
        if against is not None or published or trials:
            raise typer.BadParameter("--trials, --against and --published are for one run")
        from nxt.analysis.compare_runs import RunPair

        show_comparison.print_both(RunPair(found, load_run(beside)), as_json)
        return
    other = None if against is None else load_run(against)
    told = trust.between_epochs(found) if other is None else trust.against(found, other)
    if other is not None and told is None:
        raise RunError(f"{against}: fewer than {trust.LEAST} architectures that both runs trained to the end")
    if trials and not as_json:
        _print_trials(found)
    more: dict[str, Any] = {"rows": found.rows()} if trials else {}
    more |= {"published": show_comparison.published(found)} if published else {}
    print_run(found, as_json, told, status_of(found), more)
    if told is not None and not as_json and (other is not None or told.judged.count >= _ENOUGH):
        print_trust(told)
    if published and not as_json:
        show_comparison.print_published(found)


def print_run(
    run: Run,
    as_json: bool,
    trust: Trust | None = None,
    stands: Status | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print a search's trials and front to stdout; with `stands`, or as JSON, also how far it is; there with `more`."""
    from nxt.search.results.status import status_of, tally
    from nxt.search.trial import Outcome

    if as_json:
        counts = {str(outcome): run.count(outcome) for outcome in Outcome}
        best, reference = run.best, run.best_reference
        stands = stands or status_of(run)
        document = {
            "run": str(run.path),
            "active": run.active,
            "state": stands.state,
            "phase": stands.phase,
            "seconds_left": stands.seconds,
            "budget": str(run.request.budget),
            "asked": run.request.trials,
            "explored": sum(not trial.replicate for trial in run.trials),
            "trials": counts,
            "best": run.row(best) | {"yaml": "best.yaml"} if best else None,
            "reference": run.row(reference) if reference else None,
            "seed_noise": run.noise.seeds,
            "verdict": run.verdict(),
            "stopping": run.stopping(),
            "trust": None if trust is None else trust.to_dict(),
            "front": [run.row(entry) for entry in run.front],
        }
        tables.print_json(document | dict(more or {}))
        return
    console = tables.out()
    counted = tally(run.trials, "running" if run.active else "cut off")
    tables.say(f"{display_path(run.path)}: {_asked(run)}; {counted}")
    if stands is not None:
        tables.say(status_sentence(run, stands))
    tables.say(f"{run.request.budget} ({run.request.convention})")
    if run.front:
        _print_front(run)
    for line in _failures(run):
        tables.say(line)
    tables.say(" ".join(text for text in (run.verdict(), run.stopping()) if text))
    if trust is not None:
        tables.say(trust.verdict())
    if run.best and run.full:
        first = max(run.best.trials, key=lambda trial: trial.accuracy or 0.0)
        weights = display_path(run.path) / "trials" / f"{first.number}.pt"
        console.print(f"Test it: nxt eval {shlex.quote(str(weights))}", soft_wrap=True)
    elif run.best:
        console.print(f"Train it: nxt train {shlex.quote(str(display_path(run.path) / 'best.yaml'))}", soft_wrap=True)


def print_trust(trust: Trust) -> None:
    """Prints how well each figure predicts the last epoch's accuracy, or full training's."""
    from nxt.analysis.trust import COLUMNS

    spare = ["Spearman", "tau, similar cost", "top fifth", "95 %"]
    tables.print_table(COLUMNS, trust.table(), spare, trust.caption)


def _asked(run: Run) -> str:
    explored = sum(not trial.replicate for trial in run.trials)
    again = len(run.trials) - explored
    if not explored and again:
        return f"{run.request.trials} trainings asked"
    trials = run.request.trials
    open_ended = trials is None or explored >= trials
    asked = f"{explored} trials" if open_ended else f"{trials} trials asked, {explored} begun"
    return asked + (f" and {again} more to confirm" if again else "")


def _print_front(run: Run) -> None:
    """Prints the front: on a terminal as many columns as there is room for."""
    from nxt.search.results.front_table import COLUMNS, front_table

    rows = []
    for entry, (_, *cells) in zip(run.front, front_table(run), strict=True):
        name = entry.spec.name + (" R" if entry.family else "") + (" *" if entry is run.best else "")
        rows.append([name, *cells])
    kind = "accuracy" if run.full else "proxy accuracy"
    title = f"Front of {kind} against {run.objective} (* best.yaml, R reference; a shared letter: no clear difference)"
    spare = ["reference", "seeds", "MACs" if run.objective == "acts" else "acts", "params", "P(front)"]
    tables.print_table(COLUMNS, rows, spare, title)


def _print_trials(run: Run) -> None:
    """Prints all trials in the order in which they were begun."""
    from nxt.units import format_count, format_seconds

    epochs = run.request.proxy.epochs
    rows = [
        [
            trial.number,
            trial.spec.name + (" R" if trial.family else ""),
            str(trial.outcome) if trial.outcome != "running" or run.active else "cut off",
            f"{len(trial.curve)}/{epochs}",
            tables.percent(trial.accuracy),
            trial.replicate or "",
            format_count(getattr(trial.cost, run.objective), 4),
            format_seconds(trial.seconds),
        ]
        for trial in run.trials
    ]
    cost = COST_LABELS[run.objective]
    columns = ["trial", "architecture", "state", "epochs", "accuracy", "fresh seed", cost, "trained"]
    tables.print_table(columns, rows, ["trained", cost, "fresh seed"], "Trials", left=["architecture", "state"])


def _failures(run: Run) -> list[str]:
    """Says which trials failed and why: the first of each kind in full."""
    lines = []
    for outcome in dict.fromkeys(trial.outcome for trial in run.trials if trial.outcome.failed):
        failed = [trial for trial in run.trials if trial.outcome is outcome]
        others = f" (and {len(failed) - 1} more, in trials.csv)" if len(failed) > 1 else ""
        lines.append(f"{outcome}: trial {failed[0].number}, {failed[0].spec.name}: {failed[0].message}{others}")
    return lines
