"""The run of a search: its trials, the front, the best architecture, and sentences about them.

Only trials that reached the last epoch are compared; a stopped trial never enters the front.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxt.errors import RunError
from nxt.rundir import is_active
from nxt.search.noise import CLEAR, Noise, best_probability, front_probability, ties
from nxt.search.ranking import RankedArch, best_of, noise_of, pareto, ranked, rounds_of
from nxt.search.request import SearchRecord, SearchRequest, load_record
from nxt.search.results.front_table import columns, front_table
from nxt.search.results.measured_front import MeasuredFront, read_measured_front
from nxt.search.results.notebook import frame, html
from nxt.search.results.pick import Picked, pick
from nxt.search.study.database import read_trials
from nxt.search.trial import Outcome, Trial
from nxt.space.budget import MEASURED, parse_budget

if TYPE_CHECKING:
    import pandas as pd

TRIAL_COLUMNS = (
    "number", "state", "name", "fingerprint", "role", "repeat", "control", "replayed", "params", "macs", "acts",
    "epochs", "accuracy", "seconds", "message",
)  # fmt: skip

_NAMED = 3  # architectures named in a sentence


@dataclass(frozen=True, repr=False)
class Run:
    """A search's run directory, read. In a notebook: `nxt.load_run("results/...")`."""

    path: Path
    record: SearchRecord
    trials: list[Trial]

    @property
    def request(self) -> SearchRequest:
        """The request of the search."""
        return self.record.request

    @property
    def active(self) -> bool:
        """Whether a search is running there, as far as this machine can tell."""
        return is_active(self.path)

    @property
    def objective(self) -> str:
        """The cost that is minimised while accuracy is maximised."""
        return self.request.objective

    @property
    def full(self) -> bool:
        """Whether its trials are full trainings, not proxies."""
        return self.request.full

    @property
    def measure(self) -> str:
        """The name of the accuracies: "accuracy" or "mIoU" of full trainings, "proxy accuracy" and so on of a proxy."""
        return self.request.measure if self.full else f"proxy {self.request.measure}"

    @cached_property
    def entries(self) -> list[RankedArch]:
        """Architectures with finished trainings, the best first."""
        return ranked(self.trials, self.objective)

    @cached_property
    def noise(self) -> Noise:
        """The noise of the accuracies."""
        return noise_of(self.entries, self.record.val_images)

    @cached_property
    def front(self) -> list[RankedArch]:
        """The non-dominated entries that are not `poor`, by rising cost."""
        poor = {entry.spec.fingerprint for entry in self.poor}
        return pareto([entry for entry in self.entries if entry.spec.fingerprint not in poor], self.objective)

    @cached_property
    def poor(self) -> list[RankedArch]:
        """In a window of MACs, where all cost about the same, the entries clearly less accurate than every reference.

        Else the few of them that have the fewest activations would be on the front, and nobody asks for those.
        """
        references = [entry for entry in self.entries if entry.family]
        if not references or not self.request.budget.is_window:
            return []
        least = min(references, key=lambda entry: entry.standing)
        return [entry for entry in self.entries if self.clearly_ahead(least, entry)]

    def clearly_ahead(self, entry: RankedArch, other: RankedArch) -> bool:
        """Returns whether an entry stands above another by more than CLEAR standard errors of their difference."""
        return entry.standing - other.standing > CLEAR * math.hypot(self.error(entry), self.error(other))

    @property
    def best(self) -> RankedArch | None:
        """The most accurate entry; of those that stayed in the confirmation, if there was one."""
        return best_of(self.entries)

    @property
    def best_reference(self) -> RankedArch | None:
        """The most accurate entry that is a reference; of the confirmed ones, if there are any."""
        return best_of([entry for entry in self.entries if entry.family])

    def count(self, *outcomes: Outcome) -> int:
        """Returns how many trials have one of these outcomes."""
        return sum(trial.outcome in outcomes for trial in self.trials)

    def error(self, entry: RankedArch) -> float:
        """Returns the standard error of an entry's accuracy."""
        return self.noise.error(entry.accuracy, entry.seeds)

    @cached_property
    def probabilities(self) -> dict[str, float]:
        """Probability of each entry to be on the front, by fingerprint."""
        costs = [getattr(entry.cost, self.objective) for entry in self.entries]
        errors = [self.error(entry) for entry in self.entries]
        values = front_probability(costs, [entry.standing for entry in self.entries], errors)
        return {entry.spec.fingerprint: float(value) for entry, value in zip(self.entries, values, strict=True)}

    @cached_property
    def ties(self) -> dict[str, str]:
        """Letters of each front member, by fingerprint, as `noise.ties` gives them."""
        letters = ties([entry.accuracy for entry in self.front], [self.error(entry) for entry in self.front])
        return {entry.spec.fingerprint: text for entry, text in zip(self.front, letters, strict=True)}

    def row(self, entry: RankedArch) -> dict[str, Any]:
        """Returns an entry as plain data. Costs are the architecture's own; accuracies are the proxy's, in 0..1."""
        fingerprint = entry.spec.fingerprint
        return {
            "name": entry.spec.name,
            "fingerprint": fingerprint,
            "params": entry.cost.params,
            "macs": entry.cost.macs,
            "acts": entry.cost.acts,
            **self._latencies(entry),
            "accuracy": entry.accuracy,
            "accuracy_std": entry.deviation,
            "accuracy_error": self.error(entry),
            "epochs": entry.trials[0].curve[-1].epoch,
            "seeds": entry.seeds,
            "front_probability": self.probabilities[fingerprint],
            "ties": self.ties.get(fingerprint, ""),
            "yaml": f"pareto/{entry.spec.name}.yaml" if fingerprint in self.ties else None,
        }

    def verdict(self) -> str:
        """Returns the gain of the best entry over the best reference, how sure it is, and what was not confirmed."""
        parts = (self._gain(), self.certainty(), self.dropped(), self.unproven(), self.unconfirmed())
        return " ".join(text for text in parts if text)

    def certainty(self) -> str:
        """Returns how probable it is that the best entry is the best of those confirmed; empty if nothing tells."""
        compared = [entry for entry in self.entries if entry.confirmed and not entry.dropped]
        rounds, best, seeds = rounds_of(self.trials), self.best, {entry.seeds for entry in compared}
        if not rounds.finished or rounds.noise is None or best not in compared or len(compared) < 2 or len(seeds) > 1:
            return ""
        noise = Noise(rounds.noise, self.record.val_images)  # few seeds may agree by chance: see `confirmation`
        errors = [noise.error(entry.accuracy, entry.seeds) for entry in compared]
        probability = best_probability(compared.index(best), [entry.accuracy for entry in compared], errors)
        sure = "over 99%" if probability > 0.99 else f"{probability:.0%}"
        return (
            f"The probability that it is the best of the {len(compared)} compared by {_fresh(*seeds)} each is {sure}."
        )

    def dropped(self) -> str:
        """Names the architectures that dropped out of the confirmation as they fell behind; empty if none did."""
        names = [
            e.spec.name
            for e in self.entries
            if e.dropped and not any(o.failed for o in self._again[e.spec.fingerprint])
        ]
        return f"Fell behind after fewer seeds: {_some(names)}." if names else ""

    def unproven(self) -> str:
        """Names the architectures that are as accurate as the best, but were not confirmed; empty if there are none."""
        found = [entry for entry in self.entries if entry.unproven and not entry.dropped]
        names = [f"{entry.spec.name} ({entry.accuracy:.1%})" for entry in found]
        how = "as accurate by the training that the search chose by, and so not on the front"
        return f"Not confirmed, though {how}: {_some(names)}." if names else ""

    def unconfirmed(self) -> str:
        """Names the architectures with fewer finished trainings than others, since some failed; empty if none."""
        most = max((entry.seeds for entry in self.entries if entry.confirmed), default=1)
        wanted = self.request.repeats if self.request.is_list else most
        listed = []
        for entry in self.entries:
            own = self._again[entry.spec.fingerprint]
            failed = Counter(outcome for outcome in own if outcome.failed)
            if not failed or Outcome.RUNNING in own or own.count(Outcome.DONE) >= wanted:
                continue
            how = f"by {entry.seeds} of {wanted} trainings" if entry.confirmed else "unconfirmed"
            kinds = ", ".join(f"{number} {outcome}" for outcome, number in failed.items())
            listed.append(f"{entry.spec.name} ({how}; {kinds})")
        return f"Compared with fewer seeds than asked for: {_some(listed)}." if listed else ""

    @cached_property
    def _again(self) -> dict[str, list[Outcome]]:
        """The outcomes of the trainings with fresh seeds, by fingerprint."""
        again: dict[str, list[Outcome]] = defaultdict(list)
        for trial in self.trials:
            if trial.replicate:
                again[trial.spec.fingerprint].append(trial.outcome)
        return again

    def _gain(self) -> str:
        """Returns a sentence on the gain of the best entry over the best reference, compared with the noise."""
        best, reference = self.best, self.best_reference
        if best is None:
            return "No trial has reached the last epoch yet."
        start = f"Best: {best.spec.name} at {best.accuracy:.1%}"
        if reference is None:
            none = "" if self.request.is_list else " No reference reached the last epoch to compare with."
            noise = f", with a noise of {100 * self.error(best):.1f} points ({self.noise_sources()})"
            return f"{start}{_seeds(best)}{noise}.{none}{self._close(best)}"
        if best is reference:
            return (
                f"Nothing found beats the {reference.family} reference {reference.spec.name} "
                f"({reference.accuracy:.1%}{_seeds(reference)})."
            )
        gain, error = best.accuracy - reference.accuracy, math.hypot(self.error(best), self.error(reference))
        sure = "clearly better: more than" if gain > CLEAR * error else "not clearly better: within"
        compared = f"the best {'confirmed ' if reference.confirmed else ''}reference {reference.spec.name}"
        return (
            f"{start}{_seeds(best)}, {100 * gain:+.1f} points over {compared} "
            f"({reference.accuracy:.1%}{_seeds(reference)}); {sure} twice the noise of {100 * error:.1f} points "
            f"({self.noise_sources()})."
        )

    def _close(self, best: RankedArch) -> str:
        """Names, of a list, the networks that are not clearly worse than the best; empty if all are."""
        others = [entry for entry in self.entries if entry is not best] if self.request.is_list else []
        noise = {entry.spec.name: math.hypot(self.error(entry), self.error(best)) for entry in others}
        names = [e.spec.name for e in others if best.accuracy - e.accuracy <= CLEAR * noise[e.spec.name]]
        return f" Not clearly worse: {_some(names)}." if names else ""

    def noise_sources(self) -> str:
        """Returns the sources of the noise in words."""
        images = f"{self.noise.images} validation images"
        if self.noise.seeds is None:
            return f"{images}; the noise of seeds was not measured"
        return f"{images}, and {100 * self.noise.seeds:.1f} points between seeds"

    @cached_property
    def measured(self) -> MeasuredFront | None:
        """The latencies that were measured of the front's members; None if none were."""
        return read_measured_front(self.path)

    def _latencies(self, entry: RankedArch) -> dict[str, float | None]:
        """Returns the predicted and the measured latency in ms, if latencies are counted."""
        if self.request.latency is None:
            return {}
        found = None if self.measured is None else self.measured.latency(entry.spec.fingerprint)
        return {"latency_ms": entry.cost.latency / 1e6, "measured_ms": None if found is None else found / 1e6}

    def latency_note(self) -> str:
        """Says what the latencies are of, and whether the front's were measured; empty if latencies are not counted."""
        table = self.request.latency
        if table is None:
            return ""
        note = f"Latency is predicted for {table}"
        if self.measured is None:
            return f"{note}; nothing was measured yet."
        return f"{note}; {self.measured.note}."

    def stopping(self) -> str:
        """Returns how many trials were stopped early, and the result of the control group; empty without either."""
        control = [trial for trial in self.trials if trial.control_rung]
        stopped = self.count(Outcome.STOPPED)
        if not stopped and not control:
            return ""
        members = {entry.spec.fingerprint for entry in self.front}
        reached = sum(trial.spec.fingerprint in members for trial in control if trial.outcome is Outcome.DONE)
        start = f"Stopped early: {stopped}. "
        if not control:
            return start + "None due to stop ran on as a control."
        return f"{start}Ran on as a control although due to stop: {len(control)}, of which {reached} reached the front."

    def frame(self) -> pd.DataFrame:
        """Returns the trials as a pandas frame: a row per trial, with the columns of trials.csv.

        Raises:
            RunError: if pandas is not installed.
        """
        return frame(self.rows(), self.trial_columns)

    def front_frame(self) -> pd.DataFrame:
        """Returns the front as a pandas frame: a row per architecture with the keys of `row`. Raises as `frame`."""
        return frame([self.row(entry) for entry in self.front])

    def pick(
        self,
        *,
        flops: str | None = None,
        params: str | None = None,
        acts: str | None = None,
        memory: str | None = None,
        latency: str | None = None,
        throughput: str | None = None,
    ) -> Picked:
        """Picks the front's knee, or the most accurate of all architectures inside the limits, such as ":8M".

        A limit on latency or throughput needs a run of a search that counted latency.

        Raises:
            BudgetError: if a limit cannot be read.
            RunError: if no trial has reached the last epoch, or no architecture is inside the limits.
        """
        limits = {"flops": flops, "params": params, "acts": acts, "memory": memory}
        limits |= {"latency": latency, "throughput": throughput}
        if self.request.latency is None and (given := next((name for name in MEASURED if limits[name]), None)):
            raise RunError(f"`{given}`: {self.path} counted no latency: it was searched without `latency_table`")
        return pick(self, parse_budget(limits, table=self.request.latency))

    def rows(self) -> list[dict[str, Any]]:
        """Returns the trials as plain data: a row per trial, with the columns of trials.csv."""
        return [_trial_row(trial) for trial in self.trials]

    @property
    def trial_columns(self) -> tuple[str, ...]:
        """The columns of trials.csv: TRIAL_COLUMNS, and the latency if it is counted."""
        return TRIAL_COLUMNS if self.request.latency is None else (*TRIAL_COLUMNS, "latency_ms")

    def __repr__(self) -> str:
        best = "" if self.best is None else f", best {self.best.spec.name} at {self.best.accuracy:.1%}"
        return f"<Run {self.path}: {len(self.trials)} trials, {len(self.front)} on the front{best}>"

    def _repr_html_(self) -> str:
        about = f"{len(self.trials)} trials; {self.request.budget}"
        return html(self.path.name, about, columns(self), front_table(self), self.verdict())


def load_run(path: Path | str) -> Run:
    """Reads a search's run directory, also while the search runs.

    Raises:
        RunError: if it is not the run of a search, or is damaged.
        ConfigError: if run.yaml is damaged.
    """
    path = Path(path)
    record = load_record(path)
    return Run(path, record, read_trials(path / "study.db", record.request.space))


def _seeds(entry: RankedArch) -> str:
    if not entry.confirmed:
        return ""
    return ", one fresh seed" if entry.seeds == 1 else f", mean of {_fresh(entry.seeds)}"


def _fresh(seeds: int) -> str:
    return "one fresh seed" if seeds == 1 else f"{seeds} fresh seeds"


def _some(names: list[str]) -> str:
    """Lists the first names, and how many there are more."""
    return ", ".join(names[:_NAMED]) + (f", and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _trial_row(trial: Trial) -> dict[str, Any]:
    message = "; ".join(text for text in (trial.message, trial.remark) if text)
    values = (
        trial.number, trial.outcome, trial.spec.name, trial.spec.fingerprint, trial.family, trial.replicate,
        trial.control_rung or None, trial.replayed, trial.cost.params, trial.cost.macs, trial.cost.acts,
        len(trial.curve), trial.accuracy, round(trial.seconds, 2), message,
    )  # fmt: skip
    row = dict(zip(TRIAL_COLUMNS, values, strict=True))
    return row | ({"latency_ms": trial.cost.latency / 1e6} if trial.cost.latency else {})
