"""Images with a folder for each class where pyarrow's file systems reach: `s3://`, `gs://`, `hdfs://`, `abfs://`, `file://`."""

from __future__ import annotations

import os
import re
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from nxt.data.sources.folders import Entry
from nxt.errors import DataError, first_line

_PATIENCE = 30  # seconds


class Uri(type(Path())):  # type: ignore[misc]
    """A URI that is joined and split like a path; a path itself would make one slash of its two."""

    def __str__(self) -> str:
        text = re.sub(r"^(\w+):/(?!/)", r"\1://", super().__str__())
        return re.sub("^file://", "file:///", text)  # of no host


class RemoteTree:
    """Folders at a URI; see `folders.Tree`.

    Raises:
        DataError: if there is no such folder, or it cannot be reached.
    """

    def __init__(self, uri: str) -> None:
        self.root: Path = Uri(uri.partition("?")[0])  # names need no query
        self._uri, self._sizes = uri, dict[str, int]()
        try:
            self._system, self._path = _opened(uri)
            kind = self._system.get_file_info(self._path).type.name
        except (OSError, ValueError) as error:  # pyarrow's own errors are among them
            raise DataError(f"folder:{uri}: cannot be reached ({first_line(error)})") from None
        if kind != "Directory":
            what = "no such folder" if kind == "NotFound" else "a file; at a URI images are read from folders alone"
            raise DataError(f"folder:{uri}: {what}")

    def scan(self, folder: Path) -> list[Entry]:
        from pyarrow.fs import FileSelector

        inside = _below(self.root, folder)
        try:
            found = self._system.get_file_info(FileSelector(f"{self._path}/{inside}".rstrip("/")))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder}: cannot be read ({first_line(error)})") from None
        self._sizes |= {f"{inside}/{info.base_name}".lstrip("/"): info.size for info in found if info.is_file}
        return sorted(Entry(info.base_name, "file" if info.is_file else "folder") for info in found)

    def files(self, names: list[str]) -> RemoteFiles:
        return RemoteFiles(self.root, self._uri, names, [self._sizes[name] for name in names])


class RemoteFiles:
    """Files at a URI; see `image_files.Files`. Each process connects for itself."""

    def __init__(self, root: Path, uri: str, names: list[str], sizes: list[int]) -> None:
        self.root, self._uri = root, uri
        self._names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
        self._sizes = np.array(sizes, dtype=np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_place"}

    def name(self, number: int) -> str:
        return os.fsdecode(self._names[number])

    def size(self, number: int) -> int:
        return int(self._sizes[number])

    def open(self, number: int) -> BytesIO:
        system, path = self._place
        with system.open_input_file(f"{path}/{self.name(number)}") as file:
            return BytesIO(file.read())

    @cached_property
    def _place(self) -> tuple[Any, str]:
        return _opened(self._uri)


def _opened(uri: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    if uri.startswith("gs://") and "retry_limit_seconds" not in uri:  # by itself it would try for a quarter of an hour
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={_PATIENCE}"
    system, path = FileSystem.from_uri(uri)
    return system, path.rstrip("/")


def _below(root: Path, folder: Path) -> str:
    inside = str(folder.relative_to(root))
    return "" if inside == "." else inside
