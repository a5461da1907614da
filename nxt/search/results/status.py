"""The status of a search: its state, its phase, and the time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from nxt.search.results.run import Run
from nxt.search.strategy.agenda import Agenda, NothingToRun
from nxt.search.strategy.eta import Pace
from nxt.search.strategy.setup import SearchSetup
from nxt.search.study.timestamps import read_times, slowdown, together
from nxt.search.trial import Outcome, Trial


@dataclass(frozen=True)
class Status:
    """The status of a recorded search. `seconds` is the time left; None: not known."""

    state: str  # running, ended or interrupted
    phase: str
    seconds: float | None


def tally(trials: Collection[Trial], running: str = "running") -> str:
    """Counts outcomes in words: `8 done, 2 running, 3 stopped (2 at epoch 2, 1 at epoch 4), 1 failed (1 oom)`."""
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
    """Returns the phase of a search in words; `to_explore` is the number of trials still to explore."""
    if is_list:
        return "training a list"
    running = [trial.replicate for trial in trials if trial.outcome is Outcome.RUNNING]
    confirming = all(running) if running else any(trial.replicate for trial in trials)
    return "confirming" if confirming and not to_explore else "exploring"


def is_complete(setup: SearchSetup, trials: Collection[Trial]) -> bool:
    """Tells whether a search that does not run any more has done all that was asked."""
    if any(trial.outcome is Outcome.RUNNING for trial in trials):
        return False
    return _agenda(setup, trials, setup.request.trials is None).next(trials) is NothingToRun.END


def _agenda(setup: SearchSetup, trials: Collection[Trial], over: bool) -> Agenda:
    """Returns what is left to do; `over` tells whether exploring has ended if nobody said how many trials."""
    families = {trial.point: trial.family for trial in trials if trial.family}  # always tried first
    return setup.agenda(lambda _: over, families)


def status_of(run: Run) -> Status:
    """Returns the status of a recorded search, also while another process runs it.

    Raises:
        RunError: if the times of its trials cannot be read.
    """
    request, running = run.request, run.count(Outcome.RUNNING)
    by_hours = request.trials is None
    active = run.active
    # Without a number of trials, exploring has ended where nothing runs any more.
    setup = SearchSetup(request)
    agenda = _agenda(setup, run.trials, by_hours and not active)
    remaining = agenda.remaining(run.trials)
    phase = phase_of(run.trials, 0 if by_hours else remaining.to_explore, request.is_list)
    if active:
        times = read_times(run.path / "study.db")
        workers = max(1, running, together(times))
        trials = {trial.number: trial for trial in run.trials}
        pace = Pace(trials, request.proxy.epochs, workers, slowdown=slowdown(run.trials, times))
        return Status("running", phase, None if by_hours else pace.left(agenda))
    return Status("ended" if is_complete(setup, run.trials) else "interrupted", phase, None)
