"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nxt.errors import RunError

LOCK = ".lock"  # in a run directory: held by the process that writes there


def is_file(path: Path) -> bool:
    """Tell whether a path is an existing file; False also for what cannot be a path, such as a very long name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Tell whether a path is an existing folder; False also for what cannot be a path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def place(path: Path) -> Path:
    """Return a path as one would type it: relative to the current folder, where it lies in there."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere; or there is no current folder any more
        return path


def data_from_anywhere(text: str) -> str:
    """Return what `--data` names so that it means the same in any folder: with an absolute path, if it has one."""
    kind, colon, path = text.partition(":")
    try:
        return f"{kind}:{Path(path).expanduser().absolute()}" if colon and path else text
    except (OSError, RuntimeError):  # no current folder any more; no such user
        return text


def data_place(text: str) -> str:
    """Return what `--data` names as one would type it: its path as `place` gives it."""
    kind, colon, path = text.partition(":")
    return f"{kind}:{place(Path(path))}" if colon and path else text


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file, created if need be, for this process; the lock goes with the process, however it ends.

    Raises:
        BlockingIOError: if another process holds it.
        OSError: if the file cannot be opened for writing.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_locked(path: Path) -> bool:
    """Tell whether some process holds a lock on a file."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success sync it and rename it over `path`.

    A reader, or a process killed at any moment, sees the old content or the new, never a part.

    Raises:
        RunError: if the file cannot be written (no space, no permission).
    """
    if not path.name:
        raise RunError(f"'{path}': not the name of a file; give another --out")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises RunError as `replacing` does."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def _other_out(path: Path) -> str:
    """Say what to do where a run directory was to be made and something is there already."""
    if is_file(path / "run.yaml"):
        return f"choose another --out, or continue that run with --resume {path}"
    inside = f", such as {path / 'NAME'}" if is_folder(path) else ""
    return f"it is no run to continue; choose another --out{inside}"


@contextmanager
def new_run_directory(path: Path, lock: str = "") -> Iterator[Path]:
    """Create a run directory and give its absolute path; if the block fails and left it empty, remove it again.

    The same goes for folders above it that had to be created. With `lock`, the name of a hidden file by which the
    caller keeps others out, a folder with that and no visible file counts as new: a run killed before it had begun
    left it.

    Raises:
        RunError: if it exists already, or cannot be created.
    """
    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        left = bool(lock) and (path / lock).exists()
        path.mkdir(parents=True, exist_ok=left)
        begun = left and any(not entry.name.startswith(".") for entry in path.iterdir())
    except FileExistsError:
        begun = True
    except OSError as error:
        raise RunError(f"{path}: cannot be created ({error.strerror}); choose another --out") from None
    if begun:
        raise RunError(f"{path}: exists already; {_other_out(path)}")
    try:
        yield path.resolve()
    except BaseException:
        with suppress(OSError):
            for folder in created:
                folder.rmdir()
        raise
