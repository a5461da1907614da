"""How far a search is, in the words that its live view and `nxt show` share."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nxt.files import place

if TYPE_CHECKING:
    from nxt.search.results.run import Run
    from nxt.search.strategy.agenda import Agenda
    from nxt.search.trial import Trial


@dataclass(frozen=True)
class Standing:
    """Where a recorded search stands. `seconds` is how long it still takes; None: not known."""

    state: str  # running, ended or interrupted
    phase: str
    seconds: float | None

    def sentence(self, run: Run) -> str:
        """Say it in one line, with what to do about it."""
        from nxt.units import format_seconds

        if self.state == "ended":
            return "Ended: all that was asked for is done."
        if self.state == "interrupted":
            return f"Interrupted while {self.phase}. Go on with: {resume_command(run)}"
        left = "" if self.seconds is None else f", about {format_seconds(self.seconds)} left by the epochs so far"
        return f"Running: {self.phase}{left}."


def tally(trials: Collection[Trial], running: str = "running") -> str:
    """Say how trials ended: `8 done, 2 running, 3 stopped (2 at epoch 2, 1 at epoch 4), 1 failed (1 oom)`."""
    from nxt.search.trial import Outcome

    counts = Counter(trial.outcome for trial in trials)
    parts = [f"{counts[Outcome.DONE]} done", f"{counts[Outcome.RUNNING]} {running}"]
    rungs = sorted(Counter(len(trial.curve) for trial in trials if trial.outcome is Outcome.STOPPED).items())
    stopped = ", ".join(f"{number} at epoch {epoch}" for epoch, number in rungs)
    parts.append(f"{counts[Outcome.STOPPED]} stopped ({stopped})")
    failed = {outcome: number for outcome, number in counts.items() if outcome.failed}
    kinds = ", ".join(f"{number} {outcome}" for outcome, number in failed.items())
    parts.append(f"{sum(failed.values())} failed ({kinds})")
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "none begun"


def phase_of(trials: Collection[Trial], spared: int, is_list: bool) -> str:
    """Say what is done now; `spared` is the number of trials that are yet to be explored."""
    from nxt.search.trial import Outcome

    if is_list:
        return "training a list"
    running = [trial.repeat for trial in trials if trial.outcome is Outcome.RUNNING]
    again = all(running) if running else any(trial.repeat for trial in trials)
    return "confirming" if again and not spared else "exploring"


def standing(run: Run) -> Standing:
    """Tell where a recorded search stands, also while another process runs it.

    Raises:
        ConfigError: if its record is damaged.
    """
    from nxt.search.request import UNLIMITED
    from nxt.search.strategy.agenda import Pause
    from nxt.search.strategy.eta import Pace
    from nxt.search.study.timestamps import read_times, slowdown, together
    from nxt.search.trial import Outcome

    agenda, active = _agenda(run), run.active
    spared, whole = agenda.left(run.trials)
    running = run.count(Outcome.RUNNING)
    by_hours = run.record["trials"] == UNLIMITED
    phase = phase_of(run.trials, 0 if by_hours else spared, is_list(run))
    if active:
        times = read_times(run.path / "study.db")
        known = slowdown(run.trials, times)
        workers = max(1, running, together(times))
        pace = Pace({trial.number: trial for trial in run.trials}, _epochs(run), workers, slowdown=known)
        return Standing("running", phase, None if by_hours else pace.left(agenda))
    over = not whole if by_hours else agenda.next(run.trials) is Pause.END
    return Standing("ended" if over and not running else "interrupted", phase, None)


def resume_command(run: Run) -> str:
    """Return the command that goes on with a run."""
    from nxt.search.request import UNLIMITED

    hours = " --hours H" if run.record["trials"] == UNLIMITED else ""
    return f"nxt {'train' if run.full else 'search'} --resume {shlex.quote(str(place(run.path)))}{hours}"


def is_list(run: Run) -> bool:
    """Tell whether a run goes through a plain list, where nothing is searched."""
    return "architectures" in run.record["space"]


def _epochs(run: Run) -> int:
    return int(run.record["proxy"]["epochs"])


def _agenda(run: Run) -> Agenda:
    """Return what the run is to train, made from its record."""
    from nxt.search.request import load_request
    from nxt.search.strategy.agenda import ListAgenda, SearchAgenda
    from nxt.search.strategy.sampler import FeasibleSampler
    from nxt.space.arch_list import ArchList
    from nxt.space.feasible import FeasibleSet

    request = load_request(run.path)
    if isinstance(request.space, ArchList):
        return ListAgenda(request.space, request.repeats)
    settings = request.settings
    roles = {trial.point: trial.role for trial in run.trials if trial.role}  # they are always tried first
    sampler = FeasibleSampler(FeasibleSet(request.space, request.budget), list(roles), settings.sampler, request.seed)
    return SearchAgenda(sampler, roles, request.trials, settings.confirm, settings.confirm_seeds)
