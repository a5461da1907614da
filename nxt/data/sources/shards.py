"""Images in tar shards in the layout of WebDataset: `000123.jpg` beside `000123.cls`, read where they lie in the tars.

Images are known by their names, not by where they are: in other shards, or in folders, they are divided alike.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nxt.data.sources.archives import tar_members
from nxt.data.sources.image_files import SPLITS, SUFFIXES, Found, found
from nxt.data.sources.tables import in_order
from nxt.errors import DataError, first_line
from nxt.files import expanded, is_file, is_folder

_CLASS = ".cls"
_AT_ONCE = 16  # shards whose members are listed at a time


class _Image(NamedTuple):
    key: str
    name: str  # CLASS/FILE, as in folders
    of_class: str
    split: str
    shard: int
    offset: int
    size: int


def in_shards(pattern: str, to_train: bool = True) -> Found:
    """Finds the images of shards: a pattern with `*` or `{000..099}`, or a folder of them.

    A shard with a word such as `train`, `val` or `test` in its name belongs to that split, all others to train.

    Raises:
        DataError: if there are no shards, one is damaged, or an image has no class or a class no image.
    """
    shards = _shards(pattern)
    where = Path(pattern)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        listed = pool.map(lambda item: list(_members(*item)), enumerate(shards))
        images = [image for some in listed for image in some]
    by_name: dict[tuple[str, str], _Image] = {}
    for image in images:
        twin = by_name.setdefault((image.split, image.key), image)
        if twin is not image:
            places = f"{shards[twin.shard].name} and {shards[image.shard].name}"
            raise DataError(f"{pattern}: {image.key!r} is twice in the {image.split or 'train'} split, in {places}")
    classes = in_order({image.of_class for image in images})
    position = {name: number for number, name in enumerate(classes)}
    images.sort(key=lambda image: (image.split, position[image.of_class], image.name))
    items = [(number, image.of_class, image.split) for number, image in enumerate(images)]
    return found(ShardFiles(where, shards, images), items, classes, {}, where, to_train)


class ShardFiles:
    """Files in shards; see `image_files.Files`."""

    def __init__(self, root: Path, shards: list[Path], images: list[_Image]) -> None:
        self.root, self._shards = root, shards
        self._names = np.array([os.fsencode(image.name) for image in images], dtype=np.bytes_)
        self._places = np.array([(image.shard, image.offset, image.size) for image in images], dtype=np.int64)

    def name(self, number: int) -> str:
        return os.fsdecode(self._names[number])

    def size(self, number: int) -> int:
        return int(self._places[number][2])

    def open(self, number: int) -> BytesIO:
        shard, offset, size = self._places[number].tolist()
        with self._shards[shard].open("rb") as file:
            content = os.pread(file.fileno(), size, offset)
        if len(content) != size:
            raise ValueError(f"{self._shards[shard].name} is cut off")
        return BytesIO(content)


def _shards(pattern: str) -> list[Path]:
    """Returns the files that a pattern means, sorted. Raises DataError if there are none, or one of a range is not."""
    path = expanded(pattern).absolute()
    if is_folder(path):
        shards = sorted(path.rglob("*.tar"))
    elif braces := re.search(r"\{(\d+)\.\.(\d+)\}", str(path)):
        first, last = braces.groups()
        numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
        shards = [Path(str(path).replace(braces[0], number)) for number in numbers]
    else:
        shards = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if not shards:
        raise DataError(
            f"shards:{pattern}: no such shards; write a folder of tars, or a pattern: train-{{000..099}}.tar"
        )
    if missing := [shard for shard in shards if not is_file(shard)]:
        raise DataError(f"{missing[0]}: no such shard; {len(shards) - len(missing)} of {len(shards)} are there")
    return shards


def _members(number: int, shard: Path) -> Iterator[_Image]:
    """Yields the images of a shard."""
    pictures: dict[str, tuple[str, int, int]] = {}
    classes: dict[str, str] = {}
    try:
        with shard.open("rb") as file:
            for path, kind, member in tar_members(shard):
                folder, _, name = path.rpartition("/")
                stem, _, ending = name.partition(".")
                key, ending = f"{folder}/{stem}".lstrip("./"), f".{ending.lower()}"
                if kind != "file" or not stem:
                    continue
                if ending == _CLASS:
                    classes[key] = os.pread(file.fileno(), member.size, member.offset).decode().strip()
                elif ending in SUFFIXES and pictures.setdefault(key, (name, member.offset, member.size))[0] != name:
                    raise DataError(f"{shard}: {key!r} has two images, {pictures[key][0]} and {name}")
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"{shard}: not readable as an uncompressed tar ({first_line(error)})") from None
    for key in sorted(pictures.keys() ^ classes.keys()):
        lacks = f"{pictures[key][0]} has no {_CLASS[1:]}" if key in pictures else f"{key}{_CLASS} has no image"
        raise DataError(f"{shard}: a member is missing: {lacks} beside it; pack it again")
    split = next((word for word in re.split(r"[\W\d_]+", shard.stem.lower()) if word in SPLITS), "")
    for key, (name, offset, size) in pictures.items():
        yield _Image(key, f"{classes[key]}/{name}", classes[key], split, number, offset, size)
