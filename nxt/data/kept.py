"""What nxt keeps on this machine to read it faster: decoded images, and plain copies of compressed archives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from nxt.errors import RunError, UsageError, suggestion
from nxt.files import cache_folder, exists, is_locked, locked, names_in

_TELLING = (".pixels", ".shapes", ".npz", ".tar")  # endings of files by which a cache is known; .npz is of before
_ALL = (*_TELLING, ".json")


@dataclass(frozen=True)
class Kept:
    """A cache. `images` of `of` are decoded; both are 0 if that is not known."""

    name: str
    what: str
    images: int
    of: int
    bytes: int
    used: float  # when last, in seconds since 1970
    busy: bool  # a process decodes images into it now

    @property
    def state(self) -> str:
        """How far it is, in some words."""
        if self.busy:
            return f"being made, {self.images:,} of {self.of:,}"
        return "whole" if self.images == self.of else f"{self.images:,} of {self.of:,}"


def kept(names: Sequence[str] = ()) -> list[Kept]:
    """Returns the caches of this machine, or those of certain names, by when they were used last.

    Raises:
        UsageError: if there is no cache of such a name.
        RunError: if their folder cannot be read.
    """
    folder = cache_folder()
    stems = {name.removesuffix(kind) for name in names_in(folder) for kind in _TELLING if name.endswith(kind)}
    for name in set(names).difference(stems):
        near = suggestion(name, sorted(stems)) or "; without a name all are listed"
        raise UsageError(f"{folder}: no cache is called {name!r}{near}")
    found = [_look(folder / stem) for stem in names or stems]
    return sorted(dict.fromkeys(found), key=lambda each: (each.used, each.name))


def remove(names: Sequence[str] = ()) -> list[Kept]:
    """Removes caches, all or those of certain names, and returns them. What is being made now stays.

    Who reads one now keeps it to the end.

    Raises:
        UsageError: if there is no cache of such a name.
        RunError: if files cannot be removed.
    """
    gone = []
    for each in kept(names):
        stem = cache_folder() / each.name
        try:
            with locked(_lock(stem)) if exists(_lock(stem)) else nullcontext():
                for kind in _ALL:
                    stem.with_name(stem.name + kind).unlink(missing_ok=True)
            gone.append(each)
        except BlockingIOError:
            continue
        except OSError as error:
            raise RunError(f"{stem}: cannot be removed ({error.strerror})") from None
    return gone


def _look(stem: Path) -> Kept:
    """Returns what is known of a cache; another process may remove it meanwhile."""
    size, used = {}, 0.0
    for kind in _ALL:
        with suppress(OSError):
            status = stem.with_name(stem.name + kind).stat()
            size[kind], used = status.st_size, max(used, status.st_mtime)
    what = "a compressed archive as a plain one" if ".tar" in size else "of no use any more"
    images = of = 0
    with suppress(OSError, ValueError, TypeError, KeyError):  # it is of before, or damaged
        about = json.loads(stem.with_name(f"{stem.name}.json").read_text())
        what, of = str(about["what"]), int(about["images"])
        images = min(of, size.get(".shapes", 0) // 4)
    return Kept(stem.name, what, images, of, sum(size.values()), used, is_locked(_lock(stem)))


def _lock(stem: Path) -> Path:
    return stem.with_name(f".{stem.name}.lock")
