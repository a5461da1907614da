"""Creates and locks run directories of searches and trainings, and reads and writes the record in them."""

from __future__ import annotations

import atexit
import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nxt.config import dump_yaml, read_yaml
from nxt.errors import RunError, expecting
from nxt.files import exists, is_file, is_folder, is_locked, locked, write_text

RECORD = "run.yaml"  # the request of the run
LOCK = ".lock"  # locked by the process that writes there
_KINDS = {"search": "search", "train": "training"}  # by the command that a record names


@dataclass(frozen=True)
class RunDirectory:
    """A run directory that only this process writes, by its absolute path; see `hold_run_directory`."""

    path: Path

    @property
    def begun(self) -> bool:
        """Whether the run has a record, so that it can be resumed."""
        return is_file(self.path / RECORD)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Writes run.yaml completely or not at all. Raises RunError if it cannot be written."""
        write_text(self.path / RECORD, dump_yaml(record))


@contextmanager
def hold_run_directory(path: Path, command: str, new: bool) -> Iterator[RunDirectory]:
    """Locks a run directory for this process. The lock ends with the process in any case.

    If the block fails before there is a record, a new directory is removed, with the folders created for it.

    Args:
        path: The run directory.
        command: The command that writes there, "search" or "train".
        new: Whether to create the directory.

    Raises:
        RunError: if it exists already, cannot be created or written, or another process writes there.
    """
    with _created(path) if new else nullcontext(path.resolve()) as absolute, _held(absolute, _KINDS[command]):
        directory = RunDirectory(absolute)
        if new and directory.begun:
            raise RunError(f"{path}: another {_KINDS[command]} has just been there; choose another `out`")
        try:
            yield directory
        finally:
            if not directory.begun:
                (absolute / LOCK).unlink(missing_ok=True)


def is_active(path: Path) -> bool:
    """Returns whether a process of this machine writes in a run directory."""
    return is_locked(path / LOCK)


def read_run_record(path: Path, command: str) -> dict[str, Any]:
    """Reads run.yaml of a run that a command made.

    Raises:
        RunError: if the directory contains no run, or a run of another command.
        ConfigError: if the record cannot be read.
    """
    with expecting("run", path):
        if not is_file(path / RECORD):
            raise RunError(f"{path}: not a run directory (no {RECORD} in it)")
        record = read_yaml(path / RECORD)
        if record.get("command") != command:
            raise RunError(f"{path}: a run of {record.get('command')!r}, where a {_KINDS[command]} was expected")
    return record


def check_same(asked: Mapping[str, Any], before: Mapping[str, Any], path: Path) -> None:
    """Raises RunError, which names the first difference, unless a run directory's request is the one that is asked."""
    for key in {**before, **asked}:
        now, then, name = asked.get(key), before.get(key), key
        if isinstance(now, Mapping) and isinstance(then, Mapping) and now != then:
            inner = next(inner for inner in {**then, **now} if now.get(inner) != then.get(inner))
            now, then, name = now.get(inner), then.get(inner), f"{key}.{inner}"
        if now != then:
            values = f"{_shown(then)}, not {_shown(now)}"
            advice = "ask for the same, or begin a new run with another `out`"
            raise RunError(f"{path}: the run there has {name} {values}; {advice}")


def _shown(value: object) -> str:
    """Returns a value for a message; what is long or nested is only hinted at."""
    text = "none" if value in (None, "") else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


@contextmanager
def _held(path: Path, kind: str) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path / LOCK))
        except BlockingIOError:
            where = f"{path}: another {kind} is writing there"
            raise RunError(f"{where}; wait for it to end, or use another `out`") from None
        except OSError as error:
            raise RunError(f"{path}: cannot be written ({error.strerror})") from None
        yield


@contextmanager
def _created(path: Path) -> Iterator[Path]:
    """Creates a run directory and yields its absolute path; removes what it created if the block fails.

    A folder with a lock and no visible file counts as new: it is left over from a run that was killed early.
    """
    created = [folder for folder in (path, *path.parents) if not exists(folder)]
    try:
        left_over = exists(path / LOCK)
        path.mkdir(parents=True, exist_ok=left_over)
        taken = left_over and any(not entry.name.startswith(".") for entry in path.iterdir())
    except FileExistsError:
        taken = True
    except OSError as error:
        raise RunError(f"{path}: cannot be created ({error.strerror}); choose another `out`") from None
    if taken:
        raise RunError(f"{path}: exists already; {_advice(path)}")
    try:
        yield path.resolve()
    except BaseException:
        with suppress(OSError):
            for folder in created:
                folder.rmdir()
        raise


def _advice(path: Path) -> str:
    """Returns what to do if a new run directory exists already."""
    if is_file(path / RECORD):
        return f"choose another `out`, or continue that run with `resume` {path}"
    inside = f", such as {path / 'NAME'}" if is_folder(path) else ""
    return f"it is no run to continue; choose another `out`{inside}"


_reserved: set[Path] = set()  # directories created by `free_run_directory`, absolute


def free_run_directory(*parts: str) -> Path:
    """Returns a new directory under results/ that no other process gets, named by the parts and a number.

    It is created at once, and removed when this process ends if no run has begun in it.
    """
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in "_".join(parts))
    paths = (Path("results", f"{stem}_{number}") for number in itertools.count(1))
    return next(path for path in paths if _reserve(path.absolute()))


def _reserve(path: Path) -> bool:
    """Creates a directory for this process as if a run had left it before it began; False if it is another's."""
    ours = path in _reserved and not is_file(path / RECORD)
    try:
        path.mkdir(parents=True, exist_ok=ours)
        (path / LOCK).touch()
    except FileExistsError:
        return False
    except OSError:
        return True  # the run that is to begin there says what is wrong
    _reserved.add(path)
    return True


@atexit.register
def remove_unused_directories() -> None:
    """Removes the directories of `free_run_directory` without a run, as the end of the process does."""
    while _reserved:
        path = _reserved.pop()
        if not is_file(path / RECORD):
            with suppress(OSError):
                (path / LOCK).unlink(missing_ok=True)
                path.rmdir()
                path.parent.rmdir()
