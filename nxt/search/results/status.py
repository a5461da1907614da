"""How far a search is: its state, what it does now, and how long it still takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from nxt.search.results.run import Run
from nxt.search.strategy.agenda import NothingToRun
from nxt.search.strategy.eta import Pace
from nxt.search.strategy.setup import SearchSetup
from nxt.search.study.timestamps import read_times, slowdown, together
from nxt.search.trial import Outcome, Trial


@dataclass(frozen=True)
class Status:
    """Where a recorded search stands. `seconds` is how long it still takes; None: not known."""

    state: str  # running, ended or interrupted
    phase: str
    seconds: float | None


def tally(trials: Collection[Trial], running: str = "running") -> str:
    """Says how trials ended: `8 done, 2 running, 3 stopped (2 at epoch 2, 1 at epoch 4), 1 failed (1 oom)`."""
    counts = Counter(trial.outcome for trial in trials)
    parts = [f"{counts[Outcome.DONE]} done", f"{counts[Outcome.RUNNING]} {running}"]
    rungs = sorted(Counter(len(trial.curve) for trial in trials if trial.outcome is Outcome.STOPPED).items())
    stopped = ", ".join(f"{number} at epoch {epoch}" for epoch, number in rungs)
    parts.append(f"{counts[Outcome.STOPPED]} stopped ({stopped})")
    failed = {outcome: number for outcome, number in counts.items() if outcome.failed}
    kinds = ", ".join(f"{number} {outcome}" for outcome, number in failed.items())
    parts.append(f"{sum(failed.values())} failed ({kinds})")
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "none begun"


def phase_of(trials: Collection[Trial], to_explore: int, is_list: bool) -> str:
    """Says what is done now; `to_explore` is the number of trials that are yet to be explored."""
    if is_list:
        return "training a list"
    running = [trial.replicate for trial in trials if trial.outcome is Outcome.RUNNING]
    again = all(running) if running else any(trial.replicate for trial in trials)
    return "confirming" if again and not to_explore else "exploring"


def status_of(run: Run) -> Status:
    """Returns where a recorded search stands, also while another process runs it.

    Raises:
        RunError: if the times of its trials cannot be read.
    """
    request, running = run.request, run.count(Outcome.RUNNING)
    families = {trial.point: trial.family for trial in run.trials if trial.family}  # they are always tried first
    agenda = SearchSetup(request).agenda(families=families)
    remaining = agenda.remaining(run.trials)
    by_hours = request.trials is None
    phase = phase_of(run.trials, 0 if by_hours else remaining.to_explore, request.is_list)
    if run.active:
        times = read_times(run.path / "study.db")
        known = slowdown(run.trials, times)
        workers = max(1, running, together(times))
        pace = Pace({trial.number: trial for trial in run.trials}, request.proxy.epochs, workers, slowdown=known)
        return Status("running", phase, None if by_hours else pace.left(agenda))
    over = not remaining.to_confirm if by_hours else agenda.next(run.trials) is NothingToRun.END
    return Status("ended" if over and not running else "interrupted", phase, None)
