"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from nxt.errors import RunError


def is_file(path: Path) -> bool:
    """Tells whether a path is an existing file; False also for what cannot be a path, such as a very long name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Tells whether a path is an existing folder; False also for what cannot be a path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def display_path(path: Path) -> Path:
    """Returns a path as one would type it: relative to the current folder, where it lies in there."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere; or there is no current folder any more
        return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock on a file, created if need be, for this process; the lock goes with the process, however it ends.

    Raises:
        BlockingIOError: if another process holds it.
        OSError: if the file cannot be opened for writing.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_locked(path: Path) -> bool:
    """Tells whether some process holds a lock on a file."""
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
    """Opens a temporary file beside `path`; on success sync it and rename it over `path`.

    A reader, or a process killed at any moment, sees the old content or the new, never a part.

    Raises:
        RunError: if the file cannot be written (no space, no permission).
    """
    if not path.name:
        raise RunError(f"'{path}': not the name of a file; give another `out`")
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
    """Writes a text file whole or not at all. Raises RunError as `replacing` does."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))
