"""Which data set is meant: a kind and a path, read from text such as `folder:mine` and written back as it.

Requests and records are made without torch, so nothing here imports it.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path

from nxt.errors import DataError, suggestion
from nxt.files import display_path, expanded, is_file, is_folder

OWN = ("folder", "table", "hf")  # a user's own images, wherever their files lie
KINDS = ("digits", "cifar10", "cifar100", *OWN)
KNOWN = "digits, cifar10[:PATH], cifar100[:PATH], folder:PATH (also a zip or tar), table:FILE.csv or hf:PATH"
_ENDINGS = re.compile(r"(?i)(\.tar)?\.(zip|tar|tgz|gz|bz2|xz|csv|tsv|parquet)$")


@dataclass(frozen=True)
class DataRef:
    """A data set by its kind, one of `KINDS`, and the path it lies at; an empty path stands for the kind's default."""

    kind: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> DataRef:
        """Reads `digits`, `cifar10[:PATH]`, `cifar100[:PATH]`, `folder:PATH`, `table:FILE` or `hf:PATH`.

        Raises:
            DataError: if there is no such kind of data.
        """
        kind, colon, path = text.partition(":")
        if kind not in KINDS or (kind == "digits" and colon):
            raise DataError(f"no data set is called {text!r}{_meant(text)}")
        return cls(kind, path)

    @classmethod
    def of(cls, data: str | DataRef) -> DataRef:
        """Returns the reference that a caller gives, also as text, with an absolute path. Raises as `parse` does."""
        return (cls.parse(data) if isinstance(data, str) else data).absolute()

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" if self.path else self.kind

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own images."""
        return self.kind in OWN

    @property
    def name(self) -> str:
        """The data set in a file's name: its kind, or the own name of a folder or file, without its ending."""
        return (_ENDINGS.sub("", Path(self.path).name) if self.is_own else "") or self.kind

    def absolute(self) -> DataRef:
        """Returns the reference with an absolute path, so that it means the same from any folder."""
        try:
            path = str(expanded(self.path).absolute()) if self.path else ""
        except OSError:  # no current folder any more
            return self
        return dataclasses.replace(self, path=path)

    @property
    def display(self) -> str:
        """The reference as one would type it here: its path is relative where it lies in the current folder."""
        return str(dataclasses.replace(self, path=str(display_path(Path(self.path)))) if self.path else self)


def _meant(text: str) -> str:
    """Returns what was probably meant by text that names no data set."""
    if text and is_folder(Path(text)):
        return f"; for the images in that folder write folder:{text}"
    if is_file(Path(text)):
        kind = "table" if text.lower().endswith((".csv", ".tsv", ".parquet")) else "folder"
        return f"; for the images in that file write {kind}:{text}"
    return suggestion(text.partition(":")[0].lower(), KINDS) or f"; known are {KNOWN}"
