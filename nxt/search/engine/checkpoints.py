"""Where trials keep their checkpoints: a folder, or a URI of a file system, that every worker reaches."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nxt.errors import ConfigError, RunError, first_line
from nxt.files import names_in, replacing


class Storage:
    """Named files at one place, written whole or not at all.

    Args:
        place: An absolute path, or a URI of a file system that pyarrow reaches (s3://, gs://, hdfs://, file://).
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.folder = None if "://" in place else Path(place)

    def read(self, name: str) -> bytes | None:
        """Returns the content of a file, or None if there is none."""
        try:
            if self.folder is not None:
                return (self.folder / name).read_bytes()
            filesystem, root = self._remote
            with filesystem.open_input_stream(f"{root}/{name}") as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file. Raises RunError or OSError where that is not possible."""
        if self.folder is not None:
            with replacing(self.folder / name) as file:
                file.write(content)
            return
        filesystem, root = self._remote
        with filesystem.open_output_stream(f"{root}/{name}.tmp") as stream:
            stream.write(content)
        filesystem.move(f"{root}/{name}.tmp", f"{root}/{name}")

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        if self.folder is not None:
            (self.folder / name).unlink(missing_ok=True)
            return
        filesystem, root = self._remote
        try:
            filesystem.delete_file(f"{root}/{name}")
        except FileNotFoundError:
            pass

    def names(self) -> list[str]:
        """Returns the names of all files."""
        if self.folder is not None:
            return names_in(self.folder)
        from pyarrow.fs import FileSelector

        filesystem, root = self._remote
        return [info.base_name for info in filesystem.get_file_info(FileSelector(root))]

    def tidy(self) -> None:
        """Removes the folder, if nothing is in it."""
        with suppress(OSError):
            if self.folder is not None:
                self.folder.rmdir()
            elif not self.names():
                filesystem, root = self._remote
                filesystem.delete_dir(root)

    def prepare(self) -> None:
        """Creates the folder, and see that it can be written.

        Raises:
            ConfigError: if it cannot.
        """
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            else:
                filesystem, root = self._remote
                filesystem.create_dir(root, recursive=True)
            self.write(".probe", b"nxt")
            self.remove(".probe")
        except (OSError, ValueError, NotImplementedError, RunError) as error:  # pyarrow's errors are of these kinds
            raise ConfigError(f"{self.place}: checkpoints cannot be stored there ({first_line(error)})") from None

    def local(self, name: str) -> Path:
        """Returns a path on this machine that belongs to a file: beside it, or in the temporary folder."""
        if self.folder is not None:
            return self.folder / name
        return Path(tempfile.gettempdir()) / f"nxt-{quote(self.place, safe='')[-80:]}-{name}"

    @cached_property
    def _remote(self) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        filesystem, root = FileSystem.from_uri(self.place)
        return filesystem, root.rstrip("/")
