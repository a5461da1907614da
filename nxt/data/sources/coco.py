"""Images with boxes, and perhaps outlines, from COCO's instances files.

Format: https://cocodataset.org/#format-data. Boxes there are left, top, width, height; outlines are polygons or
run-length codes, which pycocotools reads.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import ADVICE
from nxt.data.sources.image_files import Found, OnDisk, Rows
from nxt.errors import DataError, first_line
from nxt.files import is_folder, names_in

_SLACK = 1.0  # pixels by which a box may reach beyond its image without a word: what rounding makes


def in_coco(root: Path, to_train: bool = True) -> Found:
    """Finds the images that `annotations/instances_*.json` list, with "train", "val" or "test" in the file's name.

    They lie in a folder of the rest of that name (`train2017/`), or of the split, also inside `images/`; in `images/`,
    or in `root` itself.

    Raises:
        DataError: if files are missing, are none of COCO's instances files or contradict themselves, or too few of the
            images are there.
    """
    if importlib.util.find_spec("pycocotools") is None:
        raise DataError("coco: reading it takes the package `pycocotools`; pip install 'nxt[dense]'")
    parts = {split: _read(file) for split, file in _annotation_files(root, to_train).items()}
    first, *others = parts.values()
    for other in others:
        if other.categories != first.categories:
            raise DataError(f"{other.file}: its categories are not those of {first.file.name}")
    names: list[str] = []
    splits, left_out, numbered = {}, dict[str, set[str]](), []
    for split, part in parts.items():
        present = _present(root, part, split)
        here = np.array([name is not None for name in present], dtype=bool)
        missing = [str(image["file_name"]) for image, there in zip(part.images, here, strict=True) if not there]
        if missing:
            left_out.setdefault("images that are not there", set()).update(missing)
        if part.degenerate:
            left_out.setdefault("boxes of no width or height", set()).update(part.degenerate)
        numbers = np.where(here, len(names) + here.cumsum() - 1, -1)
        objects = np.bincount(part.image[part.iscrowd == 0], minlength=len(here))
        splits[split] = Rows(numbers[here], (objects == 0)[here].astype(np.int64))
        numbered.append((part, numbers))
        names += [name for name in present if name is not None]
    classes = tuple(first.categories.values())
    notes = tuple(note for part in parts.values() for note in part.notes)
    files = OnDisk(root, names)
    return Found(files, classes, splits, left_out, root, Boxes(files, numbered), notes)


@dataclass(frozen=True)
class _Part:
    """What an annotation file has. Arrays have a row for each box that is used."""

    file: Path
    digest: str
    categories: dict[Any, str]  # names by id, in the order of ids
    images: list[dict[str, Any]]
    sizes: NDArray[np.int64]  # (images, 2) widths and heights
    image: NDArray[np.int64]  # which image of the list
    boxes: NDArray[np.float32]  # corners
    labels: NDArray[np.int64]  # from 1
    iscrowd: NDArray[np.int64]
    area: NDArray[np.float64]
    outlines: list[Any] | None
    degenerate: list[str]
    notes: list[str]


class Boxes:
    """The targets of images, by number; see `nxt.data.sources.image_files.Targets`. Outlines are kept compressed.

    Args:
        files: The images.
        parts: Annotation files, each with the number among the files of each of its images; -1 for one that is not.
    """

    def __init__(self, files: OnDisk, parts: Sequence[tuple[_Part, NDArray[np.int64]]]) -> None:
        self._files = files
        self._digests = [part.digest for part, _ in parts]
        self._sizes = np.concatenate([part.sizes[numbers >= 0] for part, numbers in parts])
        owners = np.concatenate([numbers[part.image] for part, numbers in parts])
        order = np.argsort(owners, kind="stable")[np.count_nonzero(owners < 0) :]
        self._starts = np.searchsorted(owners[order], np.arange(len(self._sizes) + 1)).tolist()
        self._columns = {
            name: np.concatenate([getattr(part, name) for part, _ in parts])[order]
            for name in ("boxes", "labels", "iscrowd", "area")
        }
        self._outlines: list[bytes] | None = None
        if all(part.outlines is not None for part, _ in parts):
            outlines = [outline for part, _ in parts for outline in part.outlines or ()]
            self._outlines = [
                zlib.compress(json.dumps([outlines[box] for box in order[start:end]]).encode(), 1)
                for start, end in pairwise(self._starts)
            ]

    def read(self, number: int, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
        file = self._files.open(number)
        said = tuple(self._sizes[number].tolist())
        if size != said:
            given, wanted = (f"{width} x {height}" for width, height in (size, said))
            raise DataError(f"{file}: {given} pixels, and its annotations are of {wanted}{ADVICE}")
        rows = slice(self._starts[number], self._starts[number + 1])
        target: dict[str, NDArray[Any]] = {name: column[rows] for name, column in self._columns.items()}
        if self._outlines is not None:
            outlines = json.loads(zlib.decompress(self._outlines[number]))
            masks = np.zeros((len(outlines), size[1], size[0]), dtype=np.uint8)
            for mask, outline in zip(masks, outlines, strict=True):
                try:
                    mask[:] = _decoded(outline, size)
                except Exception as error:  # whatever pycocotools makes of what is no outline
                    raise DataError(f"{file}: the outline of a box is damaged ({first_line(error)}){ADVICE}") from None
            target["masks"] = masks
        return target

    def identity(self) -> Iterator[str]:
        yield from self._digests


def _decoded(outline: Any, size: tuple[int, int]) -> Any:
    """Returns polygons or a run-length code as a mask (h, w)."""
    from pycocotools import mask as codes

    width, height = size
    if isinstance(outline, list):
        polygons = [polygon for polygon in outline if len(polygon) >= 6]  # fewer corners have no area
        code = codes.merge(codes.frPyObjects(polygons, height, width)) if polygons else None
        return 0 if code is None else codes.decode(code)
    if outline["size"] != [height, width]:
        raise ValueError(f"of {outline['size'][1]} x {outline['size'][0]} pixels")
    return codes.decode(codes.frPyObjects(outline, height, width) if isinstance(outline["counts"], list) else outline)


def _annotation_files(root: Path, to_train: bool) -> dict[str, Path]:
    """Returns the annotation file of each split, that of "train" first."""
    folder = root / "annotations"
    if not is_folder(folder):
        raise DataError(f"{root}: no folder 'annotations' in it; expected annotations/instances_train.json")
    found: dict[str, Path] = {}
    for split in ("train", "val", "test"):
        for file in sorted(folder.glob(f"instances_*{split}*.json")):
            if file in found.values():  # such as instances_trainval.json
                continue
            if split in found:
                raise DataError(f"{folder}: {found[split].name} and {file.name} are both of {split}; keep one of them")
            found[split] = file
    if not found or (to_train and "train" not in found):
        there = names_in(folder)
        some = f"; there is {', '.join(there[:3])}{' ...' if len(there) > 3 else ''}" if there else ""
        raise DataError(f"{folder}: no file instances_*{'train' if to_train else ''}*.json{some}")
    return found


def _read(file: Path) -> _Part:
    """Reads an annotation file. Raises DataError if it is none, or contradicts itself."""
    try:
        content = file.read_bytes()
        data = json.loads(content)
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"{file}: not readable as JSON ({first_line(error)})") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise DataError(f"{file}: no list of {key!r} in it, so that it is no instances file of COCO")
    images, annotations = data["images"], data["annotations"]
    categories = dict(sorted(zip(*(_column(data["categories"], key, file) for key in ("id", "name")), strict=True)))
    position = {image: row for row, image in enumerate(_column(images, "id", file))}
    for what, ids, records in (("image", position, images), ("category", categories, data["categories"])):
        if len(ids) < len(records) or not records:
            raise DataError(f"{file}: {'two of its ids are the same' if records else 'there is none'}, of {what}")
    _column(images, "file_name", file)
    sizes = _numbers([_column(images, key, file) for key in ("width", "height")], "the size of an image", file).T
    label = {category: number for number, category in enumerate(categories, 1)}
    owners = _column(annotations, "image_id", file)
    kinds = _column(annotations, "category_id", file)
    for record, owner, kind in zip(annotations, owners, kinds, strict=True):
        if owner not in position or kind not in label:
            wrong = f"image {owner}" if owner not in position else f"category {kind}"
            raise DataError(f"{file}: annotation {record.get('id', '?')} is of {wrong}, which is not in the file")
    row = np.array([position[owner] for owner in owners], dtype=np.int64)
    boxes = _numbers(_column(annotations, "bbox", file), "a box", file).reshape(len(row), -1 if len(row) else 4)
    inside, notes = _corners(boxes, sizes[row], file)
    used = np.flatnonzero(((inside[:, 2:] - inside[:, :2]) > 0).all(axis=1)).tolist()
    areas = [
        record.get("area", width * height) for record, (_, _, width, height) in zip(annotations, boxes, strict=True)
    ]
    outlines = [annotations[box].get("segmentation") for box in used]
    without = sum(not outline for outline in outlines)
    if 0 < without < len(used):
        notes.append(f"{file}: {without:,} of its {len(used):,} boxes have no outline, so that none is read")
    present = {kinds[box] for box in used}
    empty = [name for kind, name in categories.items() if kind not in present]
    if empty:
        notes.append(f"{file}: {len(empty)} of its {len(categories)} categories have no box, such as {empty[0]!r}")
    return _Part(
        file=file,
        digest=hashlib.sha256(content).hexdigest(),
        categories=categories,
        images=images,
        sizes=sizes.astype(np.int64),
        image=row[used],
        boxes=inside[used].astype(np.float32),
        labels=np.array([label[kinds[box]] for box in used], dtype=np.int64),
        iscrowd=np.array([int(annotations[box].get("iscrowd", 0)) for box in used], dtype=np.int64),
        area=np.array(areas, dtype=np.float64)[used],
        outlines=None if without else outlines,
        degenerate=[f"annotation {annotations[box].get('id', box)}" for box in set(range(len(row))).difference(used)],
        notes=notes,
    )


def _column(records: list[Any], key: str, file: Path) -> list[Any]:
    """Returns what all records of a list have. Raises DataError if one has it not."""
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict) or key not in record:
            raise DataError(
                f"{file}: no {key!r} in entry {number} of a list that has it in instances files of COCO; captions, "
                "keypoints and panoptic files are not read"
            )
    return [record[key] for record in records]


def _numbers(values: list[Any], what: str, file: Path) -> NDArray[np.float64]:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{file}: {what} has not as many numbers as it should") from None


def _corners(
    boxes: NDArray[np.float64], sizes: NDArray[np.float64], file: Path
) -> tuple[NDArray[np.float64], list[str]]:
    """Returns boxes as corners inside their images, and a note if some had to be cut."""
    if boxes.shape[1:] != (4,) and len(boxes):
        raise DataError(f"{file}: a box of {boxes.shape[1]} numbers, where left, top, width and height are expected")
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    inside = corners.clip(0, np.tile(sizes, 2))
    cut = int((np.abs(corners - inside) > _SLACK).any(axis=1).sum())
    note = f"{file}: {cut:,} of its {len(boxes):,} boxes reach beyond their images, and are cut"
    return inside, [note] if cut else []


def _present(root: Path, part: _Part, split: str) -> list[str | None]:
    """Returns where below the root each image of a file is; None for those that are not there."""
    own = part.file.stem.removeprefix("instances_")
    folders = list(dict.fromkeys(Path(above, name) for name in (own, split, "") for above in ("", "images")))
    listed: dict[Path, set[str]] = {}

    def is_there(path: Path) -> bool:
        if path.parent not in listed:  # one look at a folder, not one at each of its files
            folder = root / path.parent
            listed[path.parent] = set(names_in(folder))
        return path.name in listed[path.parent]

    names = [
        next((str(folder / name) for folder in folders if is_there(folder / name)), None)
        for name in (str(image["file_name"]) for image in part.images)
    ]
    missing = [str(image["file_name"]) for image, name in zip(part.images, names, strict=True) if name is None]
    if 2 * len(missing) > len(names):
        where = ", ".join(f"{folder}/" for folder in folders if folder.name and is_folder(root / folder))
        raise DataError(
            f"{part.file}: {len(missing):,} of its {len(names):,} images are not there, such as {missing[0]}; looked "
            f"for in {where or 'the folder itself'} of {root}"
        )
    return names
