"""Writes files completely or not at all, and locks them."""

from __future__ import annotations

import difflib
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

from nxt.errors import RunError


def is_file(path: Path) -> bool:
    """Returns whether a path is an existing file; False also for an invalid path, such as a very long name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Returns whether a path is an existing folder; False also for an invalid path."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Returns whether there is something at a path; False also where that cannot be seen."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def names_in(folder: Path) -> list[str]:
    """Returns the names of what is in a folder, sorted; none if there is no such folder.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise RunError(f"{folder}: cannot be read ({getattr(error, 'strerror', error)})") from None


def nearest(path: Path | str) -> str:
    """Returns `; did you mean X?` with the path most like one that is not there; empty if none is like it."""
    missing = Path(path)
    found = _nearest(missing)
    return "" if found is None or found == missing else f"; did you mean {str(found)!r}?"


def _nearest(path: Path) -> Path | None:
    if exists(path) or path == path.parent:
        return path
    parent = _nearest(path.parent)
    if parent is None:
        return None
    try:
        names = [entry.name for entry in parent.iterdir()]
    except (OSError, ValueError):
        return None
    near = path.name if path.name in names else next(iter(difflib.get_close_matches(path.name, names, 1, 0.6)), None)
    return None if near is None else parent / near


def cache_folder() -> Path:
    """Returns where caches of decoded images lie: `$NXT_CACHE`, or `~/.cache/nxt/decoded`."""
    return expanded(os.environ.get("NXT_CACHE") or "~/.cache/nxt/decoded")


def expanded(path: str | Path) -> Path:
    """Returns a path with its leading ~ or ~user replaced; unchanged where there is no such user."""
    try:
        return Path(path).expanduser()
    except (OSError, RuntimeError, ValueError):
        return Path(path)


def inside(place: str, name: str) -> str:
    """Returns a folder inside a folder or a URI; of a URI before its query, as in `s3://BUCKET/nxt?region=eu-west-1`."""
    path, mark, query = place.partition("?") if "://" in place else (place, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def display_path(path: Path) -> Path:
    """Returns a path for messages: relative if it lies in the current folder, else unchanged."""
    try:
        return path.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):  # it lies elsewhere, or the current folder is deleted
        return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Locks a file for this process, and creates it if it is missing. The lock ends with the process in any case.

    Raises:
        BlockingIOError: if another process holds the lock.
        OSError: if the file cannot be opened for writing.
    """
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def is_locked(path: Path) -> bool:
    """Returns whether a process holds a lock on a file."""
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
    """Opens a temporary file beside `path`; if the block succeeds, syncs it and renames it to `path`.

    So `path` always has the old content or the new, never a part, even if this process is killed.

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
    """Writes a text file completely or not at all. Raises RunError as `replacing` does."""
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def distinct_names(files: Iterable[Path]) -> Iterator[str]:
    """Yields a name for each file, without its suffix; those of files of one name are numbered."""
    taken = set[str]()
    for file in files:
        numbered = (f"{file.stem}-{number}" for number in count(2))
        name = next(name for name in chain([file.stem], numbered) if name not in taken)
        taken.add(name)
        yield name
