"""Images in a zip or tar archive: they are read from it, and nothing is unpacked.

The members are indexed once. A process that reads images is sent the index, and reads from a file that it opens itself.
A compressed tar can only be read from its beginning; it is made a plain one in the cache (see `cache`).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nxt.data.dataset import digest
from nxt.data.sources.folders import Entry
from nxt.data.sources.image_files import SPLITS
from nxt.errors import DataError, RunError, first_line
from nxt.files import cache_folder, is_file, replacing

_TAR = -1  # in place of a zip's method: the bytes lie there as they are, without a header of their own
_LARGEST = 1 << 30  # bytes of an image file
_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {  # by how a file begins
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7z": lzma.open,
}


class _Member(NamedTuple):
    offset: int
    packed: int  # bytes in the archive
    size: int
    method: int
    crc: int


class ArchiveTree:
    """The folders in an archive; see `folders.Tree`. One folder around all others is passed over.

    Raises:
        DataError: if the archive is damaged or encrypted, is neither a zip nor a tar, or names files outside of it.
    """

    def __init__(self, archive: Path) -> None:
        self.archive = self.root = archive
        self._data = _plain_tar(archive)
        self._folders: dict[Path, dict[str, Entry]] = {archive: {}}
        self._members: dict[str, _Member] = {}
        if archive.suffix.lower() == ".zip" and not zipfile.is_zipfile(archive):
            raise DataError(f"{archive}: is no zip archive, or is cut off")
        try:
            members = list(_zip(self._data) if zipfile.is_zipfile(self._data) else tar_members(self._data))
        except (OSError, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
            what = "no folder, and not readable as a zip or tar archive"
            raise DataError(f"{archive}: {what} ({first_line(error)})") from None
        for name, kind, member in members:
            self._add(name, kind, member)
        while (inner := self._only_folder()) is not None:
            self.root = inner

    def scan(self, folder: Path) -> list[Entry]:
        return sorted(self._folders[folder].values())

    def files(self, names: list[str]) -> Packed:
        inside = [(self.root / name).relative_to(self.archive).as_posix() for name in names]
        return Packed(self.root, self._data, names, [self._members[name] for name in inside])

    def _add(self, name: str, kind: str, member: _Member) -> None:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts:
            raise DataError(f"{self.archive}: has a file {name!r}, outside of its own folder; pack it again")
        for depth, part in enumerate(parts):
            where = self.archive.joinpath(*parts[:depth])
            is_last = depth == len(parts) - 1
            self._folders.setdefault(where, {})[part] = Entry(part, kind if is_last else "folder")
        if kind == "folder":
            self._folders.setdefault(self.archive.joinpath(*parts), {})
        self._members["/".join(parts)] = member  # of several with one name the last counts, as in unpacking

    def _only_folder(self) -> Path | None:
        """Returns the folder that is around all others, if one is."""
        seen = [
            entry
            for entry in self.scan(self.root)
            if not entry.is_hidden and (entry.kind == "folder" or entry.is_image)
        ]
        if len(seen) != 1 or seen[0].kind != "folder" or seen[0].name in SPLITS:
            return None
        inner = self.root / seen[0].name
        return inner if any(entry.kind == "folder" and not entry.is_hidden for entry in self.scan(inner)) else None


class Packed:
    """Files in an archive; see `image_files.Files`."""

    def __init__(self, root: Path, data: Path, names: list[str], members: list[_Member]) -> None:
        self.root, self._data = root, data
        self._names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)
        self._members = np.array(members, dtype=np.int64).reshape(-1, len(_Member._fields))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_descriptor"}

    def name(self, number: int) -> str:
        return os.fsdecode(self._names[number])

    def size(self, number: int) -> int:
        return int(self._members[number][2])

    def open(self, number: int) -> BytesIO:
        offset, packed, size, method, crc = self._members[number].tolist()
        if max(packed, size) > _LARGEST:
            raise ValueError(f"it takes {size / 2**30:.0f} GiB, more than an image does")
        if method == _TAR:
            content = self._read(offset, size)
        else:
            header = self._read(offset, 30)  # of which the last fields are the lengths of a name and of extra fields
            skipped = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            content = self._read(offset + 30 + skipped, packed)
            if method == zipfile.ZIP_DEFLATED:
                content = _inflated(content, size)
            elif method != zipfile.ZIP_STORED:
                raise ValueError("compressed by another method than deflate; pack the archive again")
        if len(content) != size or (method != _TAR and zlib.crc32(content) != crc):
            raise ValueError("the archive is damaged here")
        return BytesIO(content)

    def _read(self, offset: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, offset)

    @cached_property
    def _descriptor(self) -> int:
        descriptor = os.open(self._data, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        return descriptor


def _inflated(content: bytes, size: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size + 1)
    except zlib.error:
        return b""


def _zip(path: Path) -> Iterator[tuple[str, str, _Member]]:
    """Yields the members of a zip: name, kind, and where the bytes are."""
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = info.filename
            if info.flag_bits & 1:
                raise ValueError(f"{name!r} is encrypted; pack it again without a password")
            if not info.flag_bits & 0x800:  # some programs write UTF-8 without saying so
                try:
                    name = name.encode("cp437").decode("utf-8")
                except UnicodeError:
                    pass
            is_link = stat.S_ISLNK(info.external_attr >> 16)
            kind = "link" if is_link else "folder" if name.endswith("/") else "file"
            member = _Member(info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
            yield name, kind, member


def tar_members(path: Path) -> Iterator[tuple[str, str, _Member]]:
    """Yields the members of an uncompressed tar, as `_zip` does. Raises ValueError if it is cut off."""
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            kind = "folder" if info.isdir() else "file" if info.isreg() and not info.issparse() else "link"
            yield info.name, kind, _Member(info.offset_data, info.size, info.size, _TAR, 0)
        end = archive.offset
    with path.open("rb") as file:
        file.seek(end)
        if file.read(512) != bytes(512):  # a block of zeros ends a tar; `tarfile` takes any other end without a word
            raise ValueError(f"it is cut off or damaged at byte {end:,}")


def _plain_tar(archive: Path) -> Path:
    """Returns the archive itself, or of a compressed tar a plain one in the cache."""
    try:
        with archive.open("rb") as file:
            start, status = file.read(3), os.fstat(file.fileno())
    except OSError as error:
        raise DataError(f"{archive}: cannot be read ({error.strerror})") from None
    opened = next((function for magic, function in _COMPRESSED.items() if start.startswith(magic)), None)
    if opened is None:
        return archive
    folder = cache_folder()
    plain = folder / f"{digest([str(archive), str(status.st_size), str(status.st_mtime_ns)])}.tar"
    if is_file(plain):
        return plain
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(plain) as target, opened(archive) as packed:
            try:
                shutil.copyfileobj(packed, target, 1 << 20)
            except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
                raise DataError(f"{archive}: is damaged ({first_line(error)})") from None
    except (OSError, RunError) as error:
        raise DataError(f"{first_line(error)}; set NXT_CACHE to another folder") from None
    return plain
