"""What a search hands out: the front, the best architecture, and the files that say so.

Only trials that reached the last epoch are compared; a trial that was stopped never enters the front.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxt.config import check_record, from_mapping, read_yaml, require
from nxt.errors import RunError
from nxt.files import LOCK, is_file, is_locked, write_text
from nxt.mistaken import nearby
from nxt.search.noise import CLEAR, Noise, front_probability, ties
from nxt.search.proxy import Proxy
from nxt.search.ranking import Entry, best_of, noise_of, pareto, ranked
from nxt.search.results.notebook import frame, html
from nxt.search.study.database import read_trials
from nxt.search.trial import Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.space import Space

if TYPE_CHECKING:
    import pandas as pd

_RECORD = {
    **dict.fromkeys(("space_name", "budget_rule", "convention", "objective", "data", "storage"), str),
    **dict.fromkeys(("trials", "repeats", "seed", "train_images", "val_images"), int),
    **dict.fromkeys(("proxy", "recipe", "search", "space"), dict),
    "budget": list,
}
_TRIAL_COLUMNS = (
    "number", "state", "name", "fingerprint", "role", "repeat", "control", "replayed", "params", "macs", "acts",
    "epochs", "accuracy", "seconds", "message",
)  # fmt: skip
FRONT_COLUMNS = (
    "name", "fingerprint", "params", "macs", "acts", "accuracy", "accuracy_std", "accuracy_error", "epochs", "seeds",
    "front_probability", "ties", "yaml",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Run:
    """A search's run directory, read. In a notebook: `nxt.load_run("results/...")`."""

    path: Path
    record: dict[str, Any]
    trials: list[Trial]

    @property
    def active(self) -> bool:
        """Whether a search is at work there, as far as this machine can tell."""
        return is_locked(self.path / LOCK)

    @property
    def objective(self) -> str:
        """The cost that the front trades accuracy against."""
        return str(self.record["objective"])

    @cached_property
    def entries(self) -> list[Entry]:
        """Architectures with finished trainings, the most accurate first."""
        return ranked(self.trials, self.objective)

    @cached_property
    def noise(self) -> Noise:
        """What blurs the accuracies."""
        return noise_of(self.entries, self.record["val_images"])

    @cached_property
    def front(self) -> list[Entry]:
        """The non-dominated entries, by rising cost."""
        return pareto(self.entries, self.objective)

    @property
    def best(self) -> Entry | None:
        """The most accurate entry: of the confirmed ones, where there are any."""
        return best_of(self.entries)

    @property
    def best_reference(self) -> Entry | None:
        """The most accurate of the papers' templates that reached the last epoch."""
        return best_of([entry for entry in self.entries if entry.role])

    def count(self, *outcomes: Outcome) -> int:
        """Return how many trials ended (or stand) so."""
        return sum(trial.outcome in outcomes for trial in self.trials)

    def error(self, entry: Entry) -> float:
        """Return the standard error of an entry's accuracy."""
        return self.noise.error(entry.accuracy, entry.seeds)

    @cached_property
    def probabilities(self) -> dict[str, float]:
        """Probability of each entry to be on the front, by fingerprint."""
        costs = [getattr(entry.cost, self.objective) for entry in self.entries]
        errors = [self.error(entry) for entry in self.entries]
        found = front_probability(costs, [entry.accuracy for entry in self.entries], errors)
        return {entry.spec.fingerprint: float(p) for entry, p in zip(self.entries, found, strict=True)}

    @cached_property
    def ties(self) -> dict[str, str]:
        """Letters of each front member, by fingerprint, as `noise.ties` gives them."""
        letters = ties([entry.accuracy for entry in self.front], [self.error(entry) for entry in self.front])
        return {entry.spec.fingerprint: text for entry, text in zip(self.front, letters, strict=True)}

    @cached_property
    def full(self) -> bool:
        """Whether its trials are full trainings, not proxies."""
        return from_mapping(Proxy, self.record["proxy"], str(self.path / "run.yaml")).full

    def row(self, entry: Entry) -> dict[str, Any]:
        """Return an entry as plain data. Costs are the architecture's own; accuracies are the proxy's, in 0..1."""
        fingerprint = entry.spec.fingerprint
        return {
            "name": entry.spec.name,
            "fingerprint": fingerprint,
            "params": entry.cost.params,
            "macs": entry.cost.macs,
            "acts": entry.cost.acts,
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
        """Say in one sentence what the best found gains over the best reference, and how sure that is."""
        best, reference = self.best, self.best_reference
        if best is None:
            return "No trial has reached the last epoch yet."
        found = f"Best: {best.spec.name} at {best.accuracy:.1%}"
        if reference is None:
            none = (
                ""
                if "architectures" in self.record["space"]
                else " No reference reached the last epoch to compare with."
            )
            return f"{found}{_seeds(best)}.{none}"
        if best is reference:
            return (
                f"Nothing found beats the {reference.role} reference {reference.spec.name} "
                f"({reference.accuracy:.1%}{_seeds(reference)})."
            )
        gain, error = best.accuracy - reference.accuracy, math.hypot(self.error(best), self.error(reference))
        sure = "clearly better: more than" if gain > CLEAR * error else "not clearly better: within"
        compared = f"the best {'confirmed ' if reference.confirmed else ''}reference {reference.spec.name}"
        return (
            f"{found}{_seeds(best)}, {100 * gain:+.1f} points over {compared} "
            f"({reference.accuracy:.1%}{_seeds(reference)}); {sure} twice the noise of {100 * error:.1f} points "
            f"({self.noise_sources()})."
        )

    def noise_sources(self) -> str:
        """Say what the noise is made of."""
        images = f"{self.noise.images} validation images"
        if self.noise.seeds is None:
            return f"{images}; the noise of seeds was not measured"
        return f"{images}, and {100 * self.noise.seeds:.1f} points between seeds"

    def stopping(self) -> str:
        """Say what stopping trials early spared, and what the control group tells of its price; empty if none was."""
        control = [trial for trial in self.trials if trial.control]
        stopped = self.count(Outcome.STOPPED)
        if not stopped and not control:
            return ""
        members = {entry.spec.fingerprint for entry in self.front}
        reached = sum(trial.spec.fingerprint in members for trial in control if trial.outcome is Outcome.DONE)
        told = f"Stopped early: {stopped}. "
        if not control:
            return told + "None due to stop ran on as a control."
        return f"{told}Ran on as a control although due to stop: {len(control)}, of which {reached} reached the front."

    def frame(self) -> pd.DataFrame:
        """Return the trials as a pandas frame: a row a trial, with the columns of trials.csv.

        Raises:
            RunError: if pandas is not installed.
        """
        return frame(self.rows(), _TRIAL_COLUMNS)

    def rows(self) -> list[dict[str, Any]]:
        """Return the trials as plain data: a row a trial, with the columns of trials.csv."""
        return [_trial_row(trial) for trial in self.trials]

    def __repr__(self) -> str:
        best = "" if self.best is None else f", best {self.best.spec.name} at {self.best.accuracy:.1%}"
        return f"<Run {self.path}: {len(self.trials)} trials, {len(self.front)} on the front{best}>"

    def _repr_html_(self) -> str:
        return html(self)


def load_run(path: Path | str) -> Run:
    """Read a search's run directory, also while the search runs.

    Raises:
        RunError: if it is none, or damaged.
        ConfigError: if run.yaml is damaged.
    """
    path = Path(path)
    record = read_record(path)
    return Run(path, record, read_trials(path / "study.db", architectures(record, str(path / "run.yaml"))))


def architectures(record: dict[str, Any], where: str) -> Space | ArchList:
    """Return what a run chose from: a design space, or a plain list. Errors as `from_dict` of either."""
    if "architectures" in record["space"]:
        return ArchList.from_dict(record["space"], where)
    return Space.from_dict(record["space"], record["space_name"], where)


def read_record(run: Path) -> dict[str, Any]:
    """Read run.yaml of a search. Errors as for `load_run`."""
    path = run / "run.yaml"
    if not is_file(path):
        raise RunError(f"{run}: not a run directory (no run.yaml in it){nearby(run)}")
    record = read_yaml(path)
    if record.get("command") != "search":
        taken = "; nxt show, nxt eval and nxt train --resume take it" if record.get("command") == "train" else ""
        raise RunError(f"{run}: a run of {record.get('command')!r}, where a search was expected{taken}")
    check_record(record, _RECORD, str(path))
    from_mapping(Proxy, record.get("proxy", {}), str(path))  # what is wrong with it is said now
    require(record["objective"] in ("macs", "acts"), str(path), f"damaged; objective is {record['objective']!r}")
    return record


def write(run: Run) -> None:
    """Bring trials.csv, front.json, front.csv, pareto/ and best.yaml up to date, each whole or not at all.

    Raises:
        RunError: if they cannot be written.
    """
    rows = [run.row(entry) for entry in run.front]
    folder = run.path / "pareto"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be created ({error.strerror})") from None
    for entry, row in zip(run.front, rows, strict=True):
        write_text(run.path / row["yaml"], arch_file(entry, run))
    write_text(run.path / "front.json", json.dumps(rows, indent=1) + "\n")
    write_text(run.path / "front.csv", _csv(rows, FRONT_COLUMNS))
    write_text(run.path / "trials.csv", _csv(run.rows(), _TRIAL_COLUMNS))
    if run.best:
        write_text(run.path / "best.yaml", arch_file(run.best, run))
    current = {row["yaml"] for row in rows}
    for stale in folder.glob("*.yaml"):
        if f"pareto/{stale.name}" not in current:
            stale.unlink()


def arch_file(entry: Entry, run: Run) -> str:
    """Return an entry's architecture as a YAML file, with where it comes from."""
    kind = "" if run.full else "proxy_"
    provenance = {
        "run": run.path.resolve().name,
        "data": run.record["data"],
        "trials": [trial.number for trial in entry.trials],
        "reference": entry.role or None,
        f"{kind}accuracy": entry.accuracy,
        f"{kind}accuracy_std": entry.deviation,
        f"{kind}epochs": len(entry.trials[0].curve),
        "macs": entry.cost.macs,
        "params": entry.cost.params,
        "acts": entry.cost.acts,
        "size": entry.spec.size,
    }
    return entry.spec.to_yaml(provenance=provenance)


def _seeds(entry: Entry) -> str:
    if not entry.confirmed:
        return ""
    return ", one fresh seed" if entry.seeds == 1 else f", mean of {entry.seeds} fresh seeds"


def _trial_row(trial: Trial) -> dict[str, Any]:
    message = "; ".join(text for text in (trial.message, trial.remark) if text)
    values = (
        trial.number, trial.outcome, trial.spec.name, trial.spec.fingerprint, trial.role, trial.repeat,
        trial.control or None, trial.replayed, trial.cost.params, trial.cost.macs, trial.cost.acts, len(trial.curve),
        trial.accuracy, round(trial.seconds, 2), message,
    )  # fmt: skip
    return dict(zip(_TRIAL_COLUMNS, values, strict=True))


def _csv(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
