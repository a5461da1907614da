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
from typing import Any

from nxt.budget import COSTS
from nxt.config import check_record, read_yaml, require
from nxt.errors import RunError
from nxt.files import is_file, write_text
from nxt.pareto import front
from nxt.search.study import read_trials
from nxt.search.trial import Outcome, Trial
from nxt.space import Space

_RECORD = {
    **dict.fromkeys(("space_name", "budget_rule", "convention", "objective", "data"), str),
    **dict.fromkeys(("trials", "seed", "train_images", "val_images"), int),
    **dict.fromkeys(("proxy", "recipe", "search", "space"), dict),
    "budget": list,
}
_TRIAL_COLUMNS = (
    "number", "state", "name", "fingerprint", "role", "params", "macs", "acts", "epochs", "accuracy", "seconds",
    "message",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A search's run directory, read. In a notebook: `nxt.load_run("results/...")`."""

    path: Path
    record: dict[str, Any]
    trials: list[Trial]

    @property
    def objective(self) -> str:
        """The cost that the front trades accuracy against."""
        return str(self.record["objective"])

    @cached_property
    def done(self) -> list[Trial]:
        """Trials that reached the last epoch, the most accurate first."""
        return ranked(self.trials)

    @cached_property
    def front(self) -> list[Trial]:
        """The non-dominated trials among those that are done, by rising cost."""
        return pareto(self.trials, self.objective)

    @property
    def best(self) -> Trial | None:
        """The most accurate trial."""
        return self.done[0] if self.done else None

    @property
    def best_reference(self) -> Trial | None:
        """The most accurate of the papers' templates that reached the last epoch."""
        return next((trial for trial in self.done if trial.role), None)

    def count(self, *outcomes: Outcome) -> int:
        """Return how many trials ended (or stand) so."""
        return sum(trial.outcome in outcomes for trial in self.trials)

    def verdict(self) -> str:
        """Say in one sentence what the best found gains over the best reference, and how sure that is."""
        best, reference = self.best, self.best_reference
        if best is None or best.accuracy is None:
            return "No trial has reached the last epoch yet."
        if reference is None or reference.accuracy is None:
            return (
                f"Best: {best.spec.name} at {best.accuracy:.1%}. No reference reached the last epoch to compare with."
            )
        if best is reference:
            return (
                f"Nothing found beats the {reference.role} reference {reference.spec.name} ({reference.accuracy:.1%})."
            )
        gain, noise = best.accuracy - reference.accuracy, sampling_noise(best, reference, self.record["val_images"])
        found = f"Best: {best.spec.name} at {best.accuracy:.1%}, {100 * gain:+.1f} points over the best reference"
        against = f"{reference.spec.name} ({reference.accuracy:.1%})"
        sure = "more than" if gain > 2 * noise else "within"
        return (
            f"{found}, {against}; {sure} twice the sampling noise of {100 * noise:.1f} points "
            f"({self.record['val_images']} validation images, one seed each)."
        )


def load_run(path: Path | str) -> Run:
    """Read a search's run directory, also while the search runs.

    Raises:
        RunError: if it is none, or damaged.
        ConfigError: if run.yaml is damaged.
    """
    path = Path(path)
    record = read_record(path)
    space = Space.from_dict(record["space"], record["space_name"], str(path / "run.yaml"))
    return Run(path, record, read_trials(path / "study.db", space))


def read_record(run: Path) -> dict[str, Any]:
    """Read run.yaml of a search. Errors as for `load_run`."""
    path = run / "run.yaml"
    if not is_file(path):
        raise RunError(f"{run}: not a run directory (no run.yaml in it)")
    record = read_yaml(path)
    if record.get("command") != "search":
        raise RunError(f"{run}: a run of {record.get('command')!r}, where a search was expected")
    check_record(record, _RECORD, str(path))
    require(record["objective"] in COSTS.values(), str(path), f"damaged; objective is {record['objective']!r}")
    return record


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that are done, the most accurate first; of equals the cheaper, then the earlier one."""
    done = [trial for trial in trials if trial.outcome is Outcome.DONE]
    return sorted(done, key=lambda trial: (-(trial.accuracy or 0), trial.cost.macs, trial.number))


def pareto(trials: Sequence[Trial], objective: str) -> list[Trial]:
    """Return the non-dominated trials among those that are done, by rising cost."""
    done = ranked(trials)
    return [done[i] for i in front([(getattr(t.cost, objective), t.accuracy or 0.0) for t in done])]


def sampling_noise(first: Trial, second: Trial, images: int) -> float:
    """Return the standard deviation of a difference of two accuracies that comes from the finite number of images."""
    variances = [(t.accuracy or 0) * (1 - (t.accuracy or 0)) / images for t in (first, second)]
    return math.sqrt(sum(variances))


def write(out: Path, trials: Sequence[Trial], objective: str) -> None:
    """Bring trials.csv, front.json, front.csv, pareto/ and best.yaml up to date, each whole or not at all.

    Raises:
        RunError: if they cannot be written.
    """
    members = pareto(trials, objective)
    rows = [front_row(trial) for trial in members]
    folder = out / "pareto"
    folder.mkdir(exist_ok=True)
    for trial, row in zip(members, rows, strict=True):
        write_text(out / row["yaml"], arch_file(trial, out.name))
    write_text(out / "front.json", json.dumps(rows, indent=1) + "\n")
    write_text(out / "front.csv", _csv(rows, tuple(front_columns())))
    write_text(out / "trials.csv", _csv([_trial_row(trial) for trial in trials], _TRIAL_COLUMNS))
    if best := ranked(trials):
        write_text(out / "best.yaml", arch_file(best[0], out.name))
    current = {row["yaml"] for row in rows}
    for stale in folder.glob("*.yaml"):
        if f"pareto/{stale.name}" not in current:
            stale.unlink()


def front_row(trial: Trial) -> dict[str, Any]:
    """Return a front member as plain data. Costs are the architecture's own; accuracy is the proxy's, in 0..1."""
    return {
        "name": trial.spec.name,
        "fingerprint": trial.spec.fingerprint,
        "params": trial.cost.params,
        "macs": trial.cost.macs,
        "acts": trial.cost.acts,
        "accuracy": trial.accuracy,
        "accuracy_std": None,  # one seed
        "epochs": trial.curve[-1].epoch,
        "seeds": 1,
        "yaml": f"pareto/{trial.spec.name}.yaml",
    }


def front_columns() -> list[str]:
    """Return the keys of a front member, in order."""
    return ["name", "fingerprint", "params", "macs", "acts", "accuracy", "accuracy_std", "epochs", "seeds", "yaml"]


def arch_file(trial: Trial, run: str) -> str:
    """Return a trial's architecture as a YAML file, with where it comes from."""
    provenance = {
        "run": run,
        "trial": trial.number,
        "reference": trial.role or None,
        "proxy_accuracy": trial.accuracy,
        "proxy_epochs": len(trial.curve),
        "macs": trial.cost.macs,
        "params": trial.cost.params,
        "acts": trial.cost.acts,
        "size": trial.spec.size,
    }
    return trial.spec.to_yaml(provenance=provenance)


def _trial_row(trial: Trial) -> dict[str, Any]:
    values = (
        trial.number, trial.outcome, trial.spec.name, trial.spec.fingerprint, trial.role,
        trial.cost.params, trial.cost.macs, trial.cost.acts, len(trial.curve), trial.accuracy,
        round(trial.seconds, 2), trial.message,
    )  # fmt: skip
    return dict(zip(_TRIAL_COLUMNS, values, strict=True))


def _csv(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
