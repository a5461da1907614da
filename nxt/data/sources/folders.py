"""Images with a folder for each class, on disk or in an archive: its layouts, and what is left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from nxt.data.dataset import check_classes
from nxt.data.sources.image_files import SPLITS, SUFFIXES, Files, Found, OnDisk, Rows, roles
from nxt.errors import DataError
from nxt.files import is_folder

_LOOSE = " (`nxt predict` takes images without classes)"
_JUNK = ("__MACOSX",)  # folders that are as good as hidden
LeftOut = dict[str, set[str]]  # names by what they are


class Entry(NamedTuple):
    """What is in a folder: a name, and whether it is a "file", a "folder", a "dead link", a "device", or a
    "link" inside an archive."""

    name: str
    kind: str
    is_link: bool = False

    @property
    def is_hidden(self) -> bool:
        return self.name.startswith(".") or self.name in _JUNK

    @property
    def is_image(self) -> bool:
        """Whether it counts as an image; a dead link with such a name is one that cannot be read."""
        return not self.is_hidden and self.kind in ("file", "dead link") and self.name.lower().endswith(SUFFIXES)


class Tree(Protocol):
    """Folders in folders."""

    root: Path

    def scan(self, folder: Path) -> list[Entry]:
        """Returns what is in a folder, sorted by name. Raises DataError if that cannot be seen."""

    def files(self, names: list[str]) -> Files:
        """Returns the files with those paths below the root, in that order."""


class DiskTree:
    """Folders on disk. Links are followed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def scan(self, folder: Path) -> list[Entry]:
        try:
            with os.scandir(folder) as entries:
                return sorted(Entry(entry.name, _kind(entry), entry.is_symlink()) for entry in entries)
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror})") from None

    def files(self, names: list[str]) -> Files:
        return OnDisk(self.root, names)


def in_folders(tree: Tree, to_train: bool = True) -> Found:
    """Finds the images of `train/CLASS/...`, with `val/` and `test/` beside it if there are any, or of `CLASS/...`.

    If they are not `to_train`, `val/` or `test/` alone will do; it may also be the folder itself, with others beside.

    Raises:
        DataError: if folders are missing or empty, or do not have the same classes as train.
    """
    root, left_out = tree.root, LeftOut()
    inside = _folders(tree, root, left_out, tuple(SPLITS))
    called = [name for name in SPLITS if name in inside]
    beside = [name for name in SPLITS if root.name in SPLITS and name != root.name and is_folder(root.parent / name)]
    itself = not to_train and SPLITS.get(root.name) in ("val", "test")
    if (
        not called
        and (itself or not beside)
        and any(entry.is_image for name in inside for entry in tree.scan(root / name))
    ):
        folders = {"test" if beside else "train": root}
    elif "train" not in called and (to_train or not called):
        split = "train" if to_train or beside else "val"
        expected = f"expected {split}/CLASS/image files, or CLASS/image files"
        hint = f"did you mean folder:{root.parent}?" if beside else expected
        hint += _LOOSE * any(entry.is_image for entry in tree.scan(root))
        raise DataError(f"{root}: no folder {split!r} in it; {hint}")
    else:
        folders = {role: root / name for role, name in roles(called, root).items()}
        for name in set(inside).difference(called):
            left_out.setdefault("folders that are no split", set()).add(name)
    classes = _classes(tree, folders.get("train", next(iter(folders.values()))))
    names: list[str] = []
    splits = {}
    for role, where in folders.items():
        prefix, images = "" if where == root else f"{where.name}/", _images(tree, where, classes, left_out)
        numbers = np.arange(len(names), len(names) + len(images), dtype=np.int64)
        names += [prefix + name for name, _ in images]
        splits[role] = Rows(numbers, np.array([label for _, label in images], dtype=np.int64), prefix)
    return Found(tree.files(names), classes, splits, left_out, root)


def _folders(tree: Tree, where: Path, left_out: LeftOut, needed: tuple[str, ...] | None = None) -> list[str]:
    """Returns the names of the folders in a folder, sorted, without hidden ones.

    Raises:
        DataError: if it cannot be read, or a link in it that may have been a folder (one of those `needed`) leads
            nowhere.
    """
    entries = tree.scan(where)
    _note_hidden(entries, "" if where == tree.root else f"{where.name}/", left_out)
    for entry in entries:
        wanted = entry.name in needed if needed is not None else not entry.name.lower().endswith(SUFFIXES)
        if wanted and entry.kind == "dead link" and not entry.is_hidden:
            raise DataError(f"{where / entry.name}: a link that leads nowhere; repair or remove it")
    return [entry.name for entry in entries if entry.kind == "folder" and not entry.is_hidden]


def _classes(tree: Tree, train: Path) -> tuple[str, ...]:
    names = _folders(tree, train, {})
    if not names and any(entry.is_image for entry in tree.scan(train)):
        raise DataError(f"{train}: images, but no class folders; expected {train.name}/CLASS/image files{_LOOSE}")
    empty = [name for name in names if not any(entry.is_image for entry in tree.scan(train / name))]
    if names and len(empty) == len(names):
        raise DataError(f"{train}: no images in any of its {len(names)} folders")
    if empty:
        raise DataError(f"{train / empty[0]}: no images in this class; add some, or remove the folder")
    check_classes(names, str(train))
    return tuple(names)


def _images(tree: Tree, where: Path, classes: tuple[str, ...], left_out: LeftOut) -> list[tuple[str, int]]:
    """Returns the names of a split's images, relative to its folder, with their labels; notes what is none."""
    present = _folders(tree, where, left_out)
    for name in sorted(set(present).difference(classes)):
        raise DataError(f"{where / name}: the training images have no class {name!r}; add them to train, or remove it")
    images: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        entries = tree.scan(where / name) if name in present else []
        images += [(f"{name}/{entry.name}", label) for entry in entries if entry.is_image]
        _note_hidden(entries, f"{where.name}/{name}/", left_out)
        for kind, other in _others(tree, where / name, entries):
            left_out.setdefault(kind, set()).add(f"{where.name}/{name}/{other}")
    if outside := {f"{where.name}/{entry.name}" for entry in tree.scan(where) if entry.is_image}:
        left_out["images outside the class folders"] = outside | left_out.get("images outside the class folders", set())
    if not images:
        raise DataError(f"{where}: no images; expected {where.name}/CLASS/image files")
    missing = [name for name in classes if name not in present]
    if missing:
        more = f" (nor for {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(
            f"{where}: no folder for the class {missing[0]!r} of the training images{more}; add it, "
            "empty if there are no such images"
        )
    return images


def _note_hidden(entries: list[Entry], prefix: str, left_out: LeftOut) -> None:
    for entry in entries:
        if entry.is_hidden:
            left_out.setdefault("hidden files or folders", set()).add(prefix + entry.name)


def _others(tree: Tree, where: Path, entries: list[Entry]) -> Iterator[tuple[str, str]]:
    """Yields what in a class's folder is no image of it, except what is hidden: its kind, and its name."""
    for entry in entries:
        if entry.is_hidden or entry.is_image:
            continue
        if entry.kind == "link":
            yield "links inside the archive", entry.name
        elif entry.kind != "folder":
            yield "files of other kinds", entry.name
        else:
            images = _inside(tree, where / entry.name)
            yield from (("images in folders inside class folders", f"{entry.name}/{image}") for image in images)


def _inside(tree: Tree, where: Path) -> Iterator[str]:
    """Yields the images in a folder and in those inside it, as far as they can be seen; links are not followed."""
    entries = []
    with suppress(DataError):
        entries = tree.scan(where)
    for entry in entries:
        if entry.is_image:
            yield entry.name
        elif entry.kind == "folder" and not entry.is_link:
            yield from (f"{entry.name}/{image}" for image in _inside(tree, where / entry.name))


def _kind(entry: os.DirEntry[str]) -> str:
    """Returns "file", "folder" or "dead link" (one that leads nowhere, in a circle, or behind a closed door)."""
    try:
        kind = "folder" if entry.is_dir() else "file" if entry.is_file() else ""
        return kind or ("dead link" if entry.is_symlink() else "device")
    except OSError:
        return "dead link"
