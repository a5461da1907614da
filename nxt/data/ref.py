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

SCENES = {  # images with more to find than one class, and which task that is
    "coco": "detection",
    "masks": "segmentation",
    "ade20k": "segmentation",
    "cityscapes": "segmentation",
}
OWN = ("folder", "table", "hf", "shards", *SCENES)  # a user's own images, wherever their files lie
KINDS = ("digits", "cifar10", "cifar100", *OWN)
KNOWN = (
    "digits, cifar10[:PATH], cifar100[:PATH], folder:PATH (also a zip or tar, or a URI), table:FILE.csv, hf:PATH or "
    "shards:PATTERN.tar; with boxes, coco:PATH; with masks, masks:PATH, ade20k:PATH or cityscapes:PATH"
)
_ENDINGS = re.compile(r"(?i)(\.tar)?\.(zip|tar|tgz|gz|bz2|xz|csv|tsv|parquet)$")
_PATTERN = re.compile(r"[\W_]*[*?{\[].*")  # from where a name is a pattern of shards


@dataclass(frozen=True)
class DataRef:
    """A data set by its kind, one of `KINDS`, and the path it lies at; an empty path stands for the kind's default."""

    kind: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> DataRef:
        """Reads `digits`, `cifar10[:PATH]`, `folder:PATH` or `folder:URI`, `table:FILE`, `hf:PATH`, `shards:TARS`,
        `coco:PATH`, `masks:PATH`, `ade20k:PATH` or `cityscapes:PATH`.

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
    def task(self) -> str:
        """What is learnt from it: "classification", "detection" or "segmentation"."""
        return SCENES.get(self.kind, "classification")

    @property
    def is_uri(self) -> bool:
        """Whether its path is a URI, such as `s3://BUCKET/mine`."""
        return "://" in self.path

    @property
    def name(self) -> str:
        """The data set in a file's name: its kind, or the own name of a folder, file or pattern, without its ending."""
        path = Path(self.path)
        own = _PATTERN.sub("", _ENDINGS.sub("", path.name)) or path.parent.name
        return (own if self.is_own else "") or self.kind

    def absolute(self) -> DataRef:
        """Returns the reference with an absolute path, so that it means the same from any folder."""
        if self.is_uri:
            return self
        try:
            whole = expanded(self.path).absolute()
            path = str(whole.resolve() if ".." in whole.parts else whole) if self.path else ""
        except OSError:  # no current folder any more
            return self
        return dataclasses.replace(self, path=path)

    @property
    def display(self) -> str:
        """The reference as one would type it here: its path is relative where it lies in the current folder."""
        local = self.path and not self.is_uri
        return str(dataclasses.replace(self, path=str(display_path(Path(self.path)))) if local else self)


def _meant(text: str) -> str:
    """Returns what was probably meant by text that names no data set."""
    if text and is_folder(Path(text)):
        return f"; for the images in that folder write {kind_of_folder(Path(text))}:{text}"
    if is_file(Path(text)):
        kind = "table" if text.lower().endswith((".csv", ".tsv", ".parquet")) else "folder"
        return f"; for the images in that file write {kind}:{text}"
    return suggestion(text.partition(":")[0].lower(), KINDS) or f"; known are {KNOWN}"


def kind_of_folder(folder: Path) -> str:
    """Returns what the images in a folder are probably read as."""
    if any(is_folder(place / "images") and is_folder(place / "masks") for place in (folder, folder / "train")):
        return "masks"
    return "coco" if any(folder.glob("annotations/instances_*.json")) else "folder"
