"""All runs in a folder, each in short. Only what that needs is read, and neither torch nor Ray imported: it is fast."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nxt.config import check_record, read_yaml
from nxt.errors import NxtError, RunError
from nxt.files import is_file, is_folder
from nxt.rundir import RECORD, is_active
from nxt.search.results.run import load_run
from nxt.search.results.status import status_of
from nxt.train.history import METRICS, accuracy_of, load_history

_STUDY = "study.db"
_ENDED = "select count(*) from trials where state <> 'RUNNING'"
_COMPLETE = "select value_json from study_user_attributes where key = 'complete'"


@dataclass(frozen=True)
class RunSummary:
    """A search or a training in short. What is not known, as of a damaged run, is None or empty."""

    path: Path
    kind: str = ""  # search, list (of networks) or training
    state: str = "damaged"  # running, interrupted, complete or damaged
    done: int | None = None  # trials that have ended, those that confirm included; of a training, epochs
    asked: int | None = None  # trials to explore; of a training, epochs
    best: str = ""  # the name of the best network
    accuracy: float | None = None  # its accuracy on the validation split, in 0..1; of a search, by the proxy
    age: float | None = None  # seconds since something was recorded
    problem: str = ""  # what is wrong with a damaged run

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as plain data."""
        return {**vars(self), "path": str(self.path)}


def list_runs(folder: Path | str = "results") -> list[RunSummary]:
    """Finds all searches and trainings in a folder and those inside it; the one with the latest record comes first.

    A directory with a run.yaml that is damaged, or not of nxt, is listed with what is wrong.

    Raises:
        RunError: if there is no such folder.
    """
    if ":/" in str(folder):
        raise RunError(f"{folder}: a URI; runs lie on disks that can lock files, so give a folder")
    folder = Path(folder)
    if not is_folder(folder):
        raise RunError(f"{folder}: no such folder")
    summaries = [_summary(path) for path in _directories(folder)]
    return sorted(summaries, key=lambda summary: (summary.age is None, summary.age, summary.path))


def _directories(folder: Path) -> Iterator[Path]:
    """Finds run directories; what is hidden, or inside a run, is not looked at."""
    for root, folders, files in os.walk(folder):
        if RECORD in files:
            yield Path(root)
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]


def _summary(path: Path) -> RunSummary:
    age = _age(path)
    try:
        record = read_yaml(path / RECORD)
        if record.get("command") == "train":
            return _training(path, age)
        if record.get("command") != "search":
            raise RunError(f"{path / RECORD}: names no command of nxt")
        return _search(path, record, age)
    except NxtError as error:
        return RunSummary(path, problem=str(error).removeprefix(f"{path}/").removeprefix(f"{path}: "), age=age)


def _age(path: Path) -> float | None:
    times = []
    for name in (RECORD, _STUDY, METRICS):
        with contextlib.suppress(OSError):
            times.append((path / name).stat().st_mtime)
    return max(0.0, time.time() - max(times)) if times else None


def _training(path: Path, age: float | None) -> RunSummary:
    history = load_history(path)
    best = None if history.best is None else accuracy_of(history.best)
    state = "complete" if history.state == "ended" else history.state
    name = str(history.record["name"])
    return RunSummary(path, "training", state, len(history.rows), history.epochs, name, best, age)


def _search(path: Path, record: dict[str, Any], age: float | None) -> RunSummary:
    check_record(record, {"trials": (int, type(None)), "space": dict}, str(path / RECORD))
    kind = "list" if "architectures" in record["space"] else "search"
    ended, complete = _study(path / _STUDY)
    best, accuracy = _best(path / "best.yaml")
    if is_active(path):
        state = "running"
    elif complete is None and ended:  # recorded before searches said so
        state = "complete" if status_of(load_run(path)).state == "ended" else "interrupted"
    else:
        state = "complete" if complete else "interrupted"
    return RunSummary(path, kind, state, ended, record["trials"], best, accuracy, age)


def _study(path: Path) -> tuple[int, bool | None]:
    """Returns how many trials have ended, and whether the search said that it is complete; None: it said nothing."""
    if not is_file(path):
        if is_file(path.with_name(f"{path.name}.bak")):
            raise RunError(f"{path}: gone, but its copy is there")
        return 0, False
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            (ended,) = connection.execute(_ENDED).fetchone()
            found = connection.execute(_COMPLETE).fetchone()
        return int(ended), None if found is None else bool(json.loads(found[0]))
    except (sqlite3.Error, ValueError) as error:
        raise RunError(f"{path}: the study cannot be read ({error})") from None


def _best(path: Path) -> tuple[str, float | None]:
    """Returns the name and the accuracy in a search's best.yaml; nothing where there is none yet."""
    if not is_file(path):
        return "", None
    found = read_yaml(path)
    provenance = found.get("provenance")
    facts = provenance if isinstance(provenance, dict) else {}
    accuracy = facts.get("proxy_accuracy", facts.get("accuracy"))
    return str(found.get("name", "")), accuracy if isinstance(accuracy, float) else None
