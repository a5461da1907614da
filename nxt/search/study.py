"""The durable record of a search: an Optuna study in SQLite, written by the driver alone.

Every fact about a trial is committed before anything is done about it, so that a driver killed at any moment leaves a
study from which the search goes on. optuna-dashboard opens the file while the search runs or after.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

from nxt.arch import ArchSpec
from nxt.costs import Cost, cost
from nxt.errors import RunError
from nxt.search.sampler import ABANDONED, FeasibleSampler, distributions
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space import Space

_NAME = "nxt"
_MAGIC = b"SQLite format 3\0"
_DESCRIPTION = "arch"  # user attribute of a trial, written last: its presence says that the trial is fully described
_STATES = {Outcome.DONE: TrialState.COMPLETE, Outcome.STOPPED: TrialState.PRUNED}


class StudyRecord:
    """The trials of one search, in memory and on disk.

    Args:
        path: The database; created if it does not exist.
        space: What the trials' points mean.
        objective: The cost (a field of `Cost`) that is minimised while accuracy is maximised.

    Raises:
        RunError: if the database is damaged or cannot be written.
    """

    def __init__(self, path: Path, space: Space, objective: str) -> None:
        self.space, self.objective = space, objective
        if path.exists():
            _check_file(path)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve()}")
            self._study = optuna.create_study(
                storage=storage,
                study_name=_NAME,
                directions=["maximize", "minimize"],
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.set_metric_names(["accuracy", objective])  # what optuna-dashboard shows
            for row in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if _DESCRIPTION not in row.user_attrs:  # killed between being asked for and being described
                    self._attribute(row.number, ABANDONED, True)
                    self._study.tell(row.number, state=TrialState.FAIL)
            self.trials = {trial.number: trial for trial in _trials(self._study, space)}
        except (sqlalchemy.exc.DatabaseError, optuna.exceptions.StorageInternalError, KeyError, ValueError) as error:
            raise RunError(f"{path}: the study cannot be opened ({_first_line(error)})") from None

    def begin(self, sampler: FeasibleSampler, roles: dict[tuple[int, ...], str]) -> Trial:
        """Ask the sampler for a point and record the trial that it becomes.

        Raises:
            ExhaustedError: if no untried architecture is left.
        """
        self._study.sampler = sampler
        asked = self._study.ask(distributions(self.space))
        point = tuple(asked.params[name] for name in self.space.axis_names)
        spec = self.space.spec(point)
        trial = Trial(number=asked.number, point=point, spec=spec, cost=cost(spec), role=roles.get(point, ""))
        for key, value in {
            "name": spec.name,
            "fingerprint": spec.fingerprint,
            "role": trial.role,
            **dataclasses.asdict(trial.cost),
            "outcome": str(Outcome.RUNNING),
            _DESCRIPTION: spec.to_dict(),
        }.items():
            asked.set_user_attr(key, value)
        self.trials[trial.number] = trial
        return trial

    def add_epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Record an epoch."""
        trial.curve.append(epoch)
        self._attribute(trial.number, "curve", [dataclasses.asdict(row) for row in trial.curve])

    def end(self, trial: Trial, outcome: Outcome, message: str = "") -> None:
        """Record how a trial ended. Only a trial that is done gets objective values."""
        trial.outcome, trial.message = outcome, message
        self._attribute(trial.number, "message", message)
        self._attribute(trial.number, "outcome", str(outcome))
        values = [trial.accuracy, getattr(trial.cost, self.objective)] if outcome is Outcome.DONE else None
        self._study.tell(trial.number, values, state=_STATES.get(outcome, TrialState.FAIL))

    def _attribute(self, number: int, key: str, value: Any) -> None:
        storage, study_id = self._study._storage, self._study._study_id
        storage.set_trial_user_attr(storage.get_trial_id_from_study_id_trial_number(study_id, number), key, value)


def read_trials(path: Path, space: Space) -> list[Trial]:
    """Read the trials of a study without changing it, also while a search is writing it.

    Raises:
        RunError: if there is none, or it is damaged.
    """
    _check_file(path)
    try:
        return _trials(optuna.load_study(study_name=_NAME, storage=f"sqlite:///{path.resolve()}"), space)
    except (sqlalchemy.exc.DatabaseError, optuna.exceptions.StorageInternalError, KeyError, ValueError) as error:
        raise RunError(f"{path}: the study cannot be read ({_first_line(error)})") from None


def _check_file(path: Path) -> None:
    """Raise RunError unless the file is an SQLite database. (Optuna would make an empty file one.)"""
    try:
        with path.open("rb") as file:
            whole = file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        raise RunError(f"{path}: no such study; has the search begun?") from None
    if not whole:
        raise RunError(f"{path}: the study is damaged (not an SQLite file); restore it from a copy")


def _trials(study: optuna.Study, space: Space) -> list[Trial]:
    return [_trial(row, space) for row in study.get_trials(deepcopy=False) if _DESCRIPTION in row.user_attrs]


def _trial(row: FrozenTrial, space: Space) -> Trial:
    attrs = row.user_attrs
    state = Outcome(attrs["outcome"])
    return Trial(
        number=row.number,
        point=tuple(row.params[name] for name in space.axis_names),
        spec=ArchSpec.from_dict(attrs[_DESCRIPTION]),
        cost=Cost(**{field.name: attrs[field.name] for field in dataclasses.fields(Cost)}),
        role=attrs.get("role", ""),
        curve=[Epoch(**epoch) for epoch in attrs.get("curve", [])],
        outcome=state if row.state is not TrialState.RUNNING else Outcome.RUNNING,
        message=attrs.get("message", ""),
    )


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).splitlines()[0]
