"""`nxt show`: prints the state and the results of a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxt.arch.costs import COST_LABELS
from nxt.errors import RunError
from nxt.files import display_path

from .. import options
from ..terminal import tables
from ..terminal.status_text import shell_path, status_sentence
from .show_training import print_training

if TYPE_CHECKING:
    from nxt.analysis.trust import Trust
    from nxt.search.results.ablation import Compared
    from nxt.search.results.run import Run
    from nxt.search.results.status import Status


_ENOUGH = 16  # architectures; with fewer, the table of rank correlations is not printed


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
            raise typer.BadParameter(
                "RUN_B, --trials, --against and --published are for searches; for trainings: nxt report A --against B"
            )
        print_training(run, as_json)
        return
    from nxt.analysis import trust
    from nxt.search.results.run import load_run
    from nxt.search.results.status import status_of

    from . import show_comparison

    loaded = load_run(run)
    if beside is not None:
        if against is not None or published or trials:
            raise typer.BadParameter("--trials, --against and --published are for one run")
        from nxt.analysis.compare_runs import RunPair

        show_comparison.print_both(RunPair(loaded, load_run(beside)), as_json)
        return
    agreement = trust.between_epochs(loaded) if against is None else trust.against(loaded, load_run(against))
    if against is not None and agreement is None:
        raise RunError(f"{against}: fewer than {trust.LEAST} architectures that both runs trained to the end")
    if trials and not as_json:
        _print_trials(loaded)
    extra: dict[str, Any] = {"rows": loaded.rows()} if trials else {}
    extra |= {"published": show_comparison.published(loaded)} if published else {}
    print_run(loaded, as_json, agreement, status_of(loaded), extra)
    if agreement is not None and not as_json and (against is not None or agreement.judged.count >= _ENOUGH):
        print_trust(agreement)
    if published and not as_json:
        show_comparison.print_published(loaded)


def print_run(
    run: Run,
    as_json: bool,
    trust: Trust | None = None,
    status: Status | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Prints a search's trials and front to stdout; with `status`, or as JSON, also its state; `extra` is for JSON."""
    from nxt.search.results.ablation import ablation
    from nxt.search.results.status import status_of, tally
    from nxt.search.trial import Outcome

    compared = ablation(run)
    if as_json:
        counts = {str(outcome): run.count(outcome) for outcome in Outcome}
        best, reference = run.best, run.best_reference
        status = status or status_of(run)
        document = {
            "run": str(run.path),
            "active": run.active,
            "state": status.state,
            "phase": status.phase,
            "seconds_left": status.seconds,
            "budget": str(run.request.budget),
            "asked": run.request.trials,
            "explored": sum(not trial.replicate for trial in run.trials),
            "trials": counts,
            "best": run.row(best) | {"yaml": "best.yaml"} if best else None,
            "reference": run.row(reference) if reference else None,
            "seed_noise": run.noise.seeds,
            "verdict": run.verdict(),
            "stopping": run.stopping(),
            **({"latency": run.latency_note()} if run.request.latency is not None else {}),
            "trust": None if trust is None else trust.to_dict(),
            "front": [run.row(entry) for entry in run.front],
            **({"ablation": [row.to_dict() for row in compared]} if compared else {}),
        }
        tables.print_json(document | dict(extra or {}))
        return
    console = tables.out()
    outcomes = tally(run.trials, "running" if run.active else "cut off")
    tables.say(f"{display_path(run.path)}: {_requested(run)}; {outcomes}")
    if status is not None:
        tables.say(status_sentence(run, status))
    tables.say(f"{run.request.budget} ({run.request.convention})")
    tables.say(f"{'Full' if run.full else 'Proxy'} trainings: {run.record.trained}")
    if compared:
        _print_ablation(compared, run.request.measure)
    elif run.front:
        _print_front(run)
    if run.request.latency is not None:
        tables.say(run.latency_note())
    for line in _failures(run):
        tables.say(line)
    tables.say(" ".join(text for text in (run.verdict(), run.stopping()) if text))
    if trust is not None:
        tables.say(trust.verdict())
    if run.best and run.full:
        first = max(run.best.trials, key=lambda trial: trial.accuracy or 0.0)
        console.print(f"Test it: nxt eval {shell_path(run.path / 'trials' / f'{first.number}.pt')}", soft_wrap=True)
    elif run.best:
        console.print(f"Train it: nxt train {shell_path(run.path / 'best.yaml')}", soft_wrap=True)


def print_trust(trust: Trust) -> None:
    """Prints how well each measure predicts the accuracy of the last epoch, or of full training."""
    from nxt.analysis.trust import COLUMNS

    spare = ["Spearman", "tau, similar cost", "top fifth", "95 %"]
    tables.print_table(COLUMNS, trust.table(), spare, trust.caption)


def _requested(run: Run) -> str:
    """Returns how many trials were requested, and how many of them have begun."""
    explored = sum(not trial.replicate for trial in run.trials)
    confirming = len(run.trials) - explored
    trials = run.request.trials
    if not explored and confirming:
        return f"{trials} trainings asked"
    open_ended = trials is None or explored >= trials
    text = f"{explored} trials" if open_ended else f"{trials} trials asked, {explored} begun"
    return text + (f" and {confirming} more to confirm" if confirming else "")


def _print_front(run: Run) -> None:
    """Prints the front; on a narrow terminal with fewer columns."""
    from nxt.search.results.front_table import columns, front_table

    rows = []
    for entry, (_, *cells) in zip(run.front, front_table(run), strict=True):
        name = entry.spec.name + (" R" if entry.family else "") + (" *" if entry is run.best else "")
        rows.append([name, *cells])
    what = f"{run.measure} against {run.objective}"
    poor = f"; left out: {len(run.poor)} clearly poorer than every reference" if run.poor else ""
    title = f"Front of {what} (* best.yaml, R reference; a shared letter: no clear difference{poor})"
    costs = [
        label for name, label in COST_LABELS.items() if name in ("acts", "macs", "params") and name != run.objective
    ]
    names = [run.request.measure if name == "accuracy" else name for name in columns(run)]
    tables.print_table(names, rows, ["reference", "seeds", *costs, "P(front)"], title)


def _print_ablation(compared: list[Compared], measure: str) -> None:
    """Prints all networks of a list against its first one; on a narrow terminal with fewer columns."""
    from nxt.search.results.ablation import COLUMNS, ablation_table

    what = "Mean accuracies" if measure == "accuracy" else f"Means of {measure}"
    title = f"{what}, in points against the first network's (95 % intervals by Welch's t); also in ablation.csv"
    names = [measure if name == "accuracy" else name for name in COLUMNS]
    spare = ["best", "std", "seeds", "params", "training"]
    tables.print_table(names, ablation_table(compared), spare, title, left=["network", "against the first"])


def _print_trials(run: Run) -> None:
    """Prints all trials in the order of their start."""
    from nxt.units import format_cost, format_seconds

    epochs = run.request.proxy.epochs
    rows = [
        [
            trial.number,
            trial.spec.name + (" R" if trial.family else ""),
            str(trial.outcome) if trial.outcome != "running" or run.active else "cut off",
            f"{len(trial.curve)}/{epochs}",
            tables.percent(trial.accuracy),
            trial.replicate or "",
            format_cost(run.objective, getattr(trial.cost, run.objective), 4),
            format_seconds(trial.seconds),
        ]
        for trial in run.trials
    ]
    cost = COST_LABELS[run.objective]
    columns = ["trial", "architecture", "state", "epochs", run.request.measure, "fresh seed", cost, "trained"]
    tables.print_table(columns, rows, ["trained", cost, "fresh seed"], "Trials", left=["architecture", "state"])


def _failures(run: Run) -> list[str]:
    """Returns a line for each kind of failure, with the first trial of that kind and its message."""
    lines = []
    for outcome in dict.fromkeys(trial.outcome for trial in run.trials if trial.outcome.failed):
        failed = [trial for trial in run.trials if trial.outcome is outcome]
        more = f" (and {len(failed) - 1} more, in trials.csv)" if len(failed) > 1 else ""
        lines.append(f"{outcome}: trial {failed[0].number}, {failed[0].spec.name}: {failed[0].message}{more}")
    return lines
