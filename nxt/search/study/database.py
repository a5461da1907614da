"""The durable record of a search: an Optuna study in SQLite, written by the driver alone.

The driver commits each fact about a trial before it acts on it, so that the search can resume after a kill at any
moment. optuna-dashboard opens the file during the search or later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from nxt.arch.spec import ArchSpec
from nxt.errors import RunError, first_line
from nxt.files import is_file
from nxt.search.study.memory import DIRECTIONS, STATES, InMemoryStudy
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.space import Architectures, Point

_NAME = "nxt"
# Fields of a trial, and their names in the database.
_KEYS = {
    "family": "role", "replicate": "repeat", "control_rung": "control", "remark": "remark",
    "replayed": "replayed",
}  # fmt: skip
_MAGIC = b"SQLite format 3\0"
# What SQLAlchemy, Optuna and this module raise for a database that cannot be read or written, or has invalid rows.
_FAILURES = (
    sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, sqlite3.Error, OSError,
    LookupError, TypeError, ValueError, AttributeError, RuntimeError,
)  # fmt: skip


class DurableStudy(InMemoryStudy):
    """The trials of one search, in memory and on disk.

    Args:
        path: The database; created if it does not exist.
        space: The space of the trials' points.
        objective: The cost (a field of `Cost`) that is minimised while accuracy is maximised.

    Raises:
        RunError: if the database is damaged or cannot be written; so do all methods that write.
    """

    def __init__(self, path: Path, space: Architectures, objective: str) -> None:
        super().__init__(space, objective)
        self.path = path
        if os.path.lexists(path):
            _check_file(path)
            _check_integrity(path)
        with self._writing("opened"):
            if not os.path.lexists(path):
                _make(path, objective)
            self._study = _load(path)
            rows = self._study.get_trials(deepcopy=False)
            self.trials = {row.number: _trial(row, space) for row in rows}
            # Samplers read all trials again and again; from the database that takes 8 times as long.
            self._show(rows)
            self._row_ids = {row.number: row._trial_id for row in rows}

    def begin(self, sampler: BaseSampler, families: dict[Point, str], replicate: int = 0) -> Trial:
        """Asks a sampler for a point and records the trial of it, in one transaction.

        Raises:
            ExhaustedError: if the sampler has no untried architecture left.
        """
        trial = super().begin(sampler, families, replicate)
        seen = self._view.get_trials(deepcopy=False)[trial.number]
        facts = {
            "name": trial.spec.name,
            "role": trial.family,
            "repeat": replicate,
            "arch": trial.spec.to_dict(),
        }
        with self._writing():
            row = optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=seen.params,
                distributions=seen.distributions,
                user_attrs={key: value for key, value in facts.items() if value},
                system_attrs=seen.system_attrs,
            )
            self._row_ids[trial.number] = self._study._storage.create_new_trial(self._study._study_id, row)
        return trial

    def note(self, trial: Trial, **facts: Any) -> None:
        """Sets attributes of a trial (`control_rung`, `remark`, `replayed`) and records them."""
        super().note(trial, **facts)
        with self._writing():
            for name, value in facts.items():
                self._attribute(trial.number, _KEYS[name], value)

    def add_epoch(self, trial: Trial, epoch: Epoch) -> None:
        """Records an epoch."""
        super().add_epoch(trial, epoch)
        with self._writing():
            self._attribute(trial.number, "curve", [dataclasses.asdict(row) for row in trial.curve])

    def end(self, trial: Trial, outcome: Outcome, message: str = "") -> None:
        """Records the end of a trial. Only a trial that is done gets objective values."""
        super().end(trial, outcome, message)
        with self._writing():
            if message:
                self._attribute(trial.number, "message", message)
            if outcome not in STATES:
                self._attribute(trial.number, "outcome", str(outcome))
            values = self.objectives(trial) if outcome is Outcome.DONE else None
            self._study.tell(trial.number, values, state=STATES.get(outcome, TrialState.FAIL))

    def mark(self, complete: bool) -> None:
        """Records whether all that was asked is done, for whoever lists runs."""
        if self._study.user_attrs.get("complete") is not complete:
            with self._writing():
                self._study.set_user_attr("complete", complete)

    def back_up(self) -> None:
        """Copies the database to `study.db.bak`, consistently between two commits."""
        copy = backup_of(self.path)
        unfinished = copy.with_suffix(".tmp")
        with self._writing("copied"):
            try:
                unfinished.unlink(missing_ok=True)
                with (
                    contextlib.closing(sqlite3.connect(self.path)) as source,
                    contextlib.closing(sqlite3.connect(unfinished)) as target,
                ):
                    source.backup(target)
                unfinished.replace(copy)
            finally:
                unfinished.unlink(missing_ok=True)

    def _attribute(self, number: int, key: str, value: Any) -> None:
        self._study._storage.set_trial_user_attr(self._row_ids[number], key, value)

    @contextlib.contextmanager
    def _writing(self, action: str = "written") -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            after = "; what was recorded before is safe, go on with `resume` when that is mended"
            if action == "opened" and not _operational(error):
                after = _way_back(self.path)
            raise RunError(f"{self.path}: the study cannot be {action} ({_cause(error)}){after}") from None


def read_trials(path: Path, space: Architectures) -> list[Trial]:
    """Reads the trials of a study without changing it, also while a search writes to it.

    Raises:
        RunError: if there is no study, or it is damaged.
    """
    _check_file(path)
    try:
        return [_trial(row, space) for row in _load(path).get_trials(deepcopy=False)]
    except _FAILURES as error:
        raise RunError(f"{path}: the study cannot be read ({_cause(error)}){_way_back(path)}") from None


def backup_of(path: Path) -> Path:
    """Returns the path of a study's copy."""
    return path.with_name(f"{path.name}.bak")


def _make(path: Path, objective: str) -> None:
    """Makes the database of a study without trials, and gives it its name when it is whole.

    Optuna makes its tables in many transactions. Whoever reads meanwhile would make them too, and both would fail.
    """
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)  # of a search that was killed here
    storage = optuna.storages.RDBStorage(_url(unfinished))
    try:
        study = optuna.create_study(storage=storage, study_name=_NAME, directions=DIRECTIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["accuracy", objective])  # what optuna-dashboard shows
    finally:
        storage.remove_session()
        storage.engine.dispose()
    unfinished.replace(path)


def _load(path: Path) -> optuna.Study:
    """Returns the study of a database that is whole; nothing is written, not even what may be missing."""
    storage = optuna.storages.RDBStorage(_url(path), skip_table_creation=True)
    return optuna.load_study(study_name=_NAME, storage=storage)


def _check_file(path: Path) -> None:
    """Raises RunError unless the file is an SQLite database. (Optuna would make a database of an empty file.)"""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{path}: no such study; has the search begun?") from None
    except OSError as error:
        raise RunError(f"{path}: the study cannot be read ({error.strerror})") from None
    if magic != _MAGIC:
        raise RunError(f"{path}: the study is damaged (not an SQLite file){_way_back(path)}")


def _check_integrity(path: Path) -> None:
    """Raises RunError if SQLite finds damage in the file, before anything is written to it."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            (state,) = connection.execute("pragma integrity_check(1)").fetchone()
    except sqlite3.OperationalError as error:  # locked, read-only: not damage
        raise RunError(f"{path}: the study cannot be opened ({error})") from None
    except (sqlite3.DatabaseError, ValueError) as error:
        state = str(error)
    if state != "ok":
        raise RunError(f"{path}: the study is damaged ({str(state).splitlines()[-1]}){_way_back(path)}")


def _way_back(path: Path) -> str:
    """Returns the advice after damage: to use the copy, if there is one without damage. Changes nothing."""
    copy = backup_of(path)
    if not is_file(copy):
        return "; it was left as it is, and there is no copy of it: restore it from one of your own"
    try:
        with contextlib.closing(sqlite3.connect(f"{copy.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (state,) = connection.execute("pragma integrity_check(1)").fetchone()
            (ended,) = connection.execute("select count(*) from trials where state <> 'RUNNING'").fetchone()
    except (sqlite3.Error, ValueError) as error:
        state = str(error)
    if state != "ok":
        return f"; it was left as it is, and its copy {copy.name} is damaged too"
    return (
        f"; it was left as it is. {copy.name} is whole and has {ended} ended trial(s): keep the damaged file aside, "
        f"copy {copy.name} to {path.name}, and go on with `resume`"
    )


def _url(path: Path) -> str:
    """Returns the database's URL; the path may have any characters."""
    return sqlalchemy.URL.create("sqlite", database=str(path.resolve())).render_as_string()


def _trial(row: FrozenTrial, space: Architectures) -> Trial:
    attrs, outcome = row.user_attrs, _outcome(row)
    point = tuple(row.params[name] for name in space.axis_names)
    return Trial(
        number=row.number,
        point=point,
        spec=ArchSpec.from_dict(attrs["arch"]),
        cost=space.cost(point),
        curve=[Epoch(**epoch) for epoch in attrs.get("curve", [])],
        outcome=outcome,
        message=attrs.get("message", "") if outcome.failed or outcome is Outcome.STOPPED else "",
        **{name: attrs[key] for name, key in _KEYS.items() if key in attrs},
    )


def _outcome(row: FrozenTrial) -> Outcome:
    """Returns the outcome that a trial's state stands for; for a failed trial, the recorded one."""
    if row.state is TrialState.RUNNING:
        return Outcome.RUNNING
    by_state = {state: outcome for outcome, state in STATES.items()}
    return by_state.get(row.state) or Outcome(row.user_attrs["outcome"])


def _operational(error: BaseException | None) -> bool:
    """Tells whether an error, or its cause, is about the disk or a lock and not about the content."""
    operational = (sqlalchemy.exc.OperationalError, sqlite3.OperationalError, OSError)
    return error is not None and (isinstance(error, operational) or _operational(error.__cause__))


def _cause(error: Exception) -> str:
    """Returns the database's own message, without the text that SQLAlchemy and Optuna add."""
    cause: BaseException = error.__cause__ or error
    return first_line(getattr(cause, "orig", None) or cause)
