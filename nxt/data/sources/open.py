"""The data sets: bundled digits, CIFAR-10 and CIFAR-100, and a user's own images and scenes."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import SPLIT_SEED, Source, digest, stratified
from nxt.data.ref import DataRef, kind_of_folder
from nxt.data.sources.archives import ArchiveTree
from nxt.data.sources.coco import in_coco
from nxt.data.sources.folders import DiskTree, in_folders
from nxt.data.sources.hugging_face import in_hugging_face, is_hugging_face
from nxt.data.sources.image_files import Found, ImageFiles
from nxt.data.sources.masks import in_masks
from nxt.data.sources.remote import RemoteTree
from nxt.data.sources.shards import in_shards
from nxt.data.sources.tables import TABLES, in_table
from nxt.errors import DataError, suggestion
from nxt.files import exists, expanded, is_file, is_folder

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CIFAR = {  # mean and deviation of the training images' values, per channel
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def open_source(data: DataRef, download: bool = False, *, to_train: bool = True, hold_out: bool = True) -> Source:
    """Opens a data set. Images are read when they are needed, except those of CIFAR.

    Args:
        data: Which data set.
        download: Whether it may be downloaded if it is not there.
        to_train: Whether there must be images to train on. If not, folders of a test split alone will do.
        hold_out: Whether images are held out as the test split where there is none. If not, all are the test split.

    Raises:
        DataError: if the data set is not there, or is not usable.
    """
    if data.is_own:
        return own_images(data, to_train=to_train, hold_out=hold_out)
    return digits() if data.kind == "digits" else cifar(data.kind, data.path, download)


def digits() -> Source:
    """Returns the 1,797 hand-written digits (8x8, 16 grey levels) that come with nxt.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    CC BY 4.0; the subset that scikit-learn ships. A fixed fifth of every class is the test split.
    """
    with np.load(Path(__file__).parent.with_name("digits.npz"), allow_pickle=False) as file:
        grey, labels = file["images"], file["labels"].astype(np.int64)
    pixels = np.repeat((grey.astype(np.uint16) * 255 // 16).astype(np.uint8)[..., None], 3, axis=3)
    test, train = stratified(labels, 0.2, SPLIT_SEED)
    arrays = _Arrays({name: (pixels[rows], labels[rows]) for name, rows in (("train", train), ("test", test))})
    return arrays.source("digits", tuple("0123456789"), (0.305,) * 3, (0.376,) * 3, mirror=False)


def cifar(kind: str, path: str, download: bool) -> Source:
    """Returns CIFAR-10 or CIFAR-100 (its 100 fine classes) from torchvision's files.

    Args:
        kind: "cifar10" or "cifar100".
        path: The folder that torchvision keeps it in; by default `$NXT_DATA` or `~/.cache/nxt`.
        download: Whether it may be downloaded to there.

    Raises:
        DataError: if it is not there and may not be, or cannot be, downloaded.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    root = expanded(path or os.environ.get("NXT_DATA", "~/.cache/nxt"))
    opened = CIFAR10 if kind == "cifar10" else CIFAR100
    try:
        splits = {name: opened(root, train=name == "train", download=download) for name in ("train", "test")}
    except RuntimeError:
        raise DataError(f"{kind}: not in {root}; add `download`, or say where it is with {kind}:PATH") from None
    except OSError as error:
        raise DataError(f"{kind}: cannot be downloaded to {root} ({error})") from None
    arrays = _Arrays({name: (s.data, np.asarray(s.targets, dtype=np.int64)) for name, s in splits.items()})
    mean, std = _CIFAR[kind]
    return arrays.source(f"{kind}:{root}", tuple(splits["train"].classes), mean, std, mirror=True)


def own_images(data: DataRef, *, to_train: bool = True, hold_out: bool = True) -> Source:
    """Returns a data set of a user's own images or scenes: folders, archives, a table, shards, annotation files.

    With a test split and a validation split, the latter is used for selection. With one of them only, that one is the
    test split, and selection uses images held out from train. With none, images of train are held out for both.
    `to_train` and `hold_out` are those of `open_source`.

    Raises:
        DataError: if it is not there, or is not usable.
    """
    elsewhere = data.kind == "shards" or data.is_uri
    root, found = _found_elsewhere(data, to_train) if elsewhere else _found_here(data, to_train)
    files = ImageFiles(found, hold_out)
    return Source(
        name=f"{data.kind}:{root}",
        classes=files.classes,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        mirror=True,
        size=files.size,
        has_val=files.has_val,
        has_test=files.has_test,
        labels=files.labels,
        images=files.images,
        open=files.open,
        called=files.called,
        identity=files.identity,
        notes=files.notes,
        task=data.task,
        target=None if found.targets is None else files.target,
    )


def _found_elsewhere(data: DataRef, to_train: bool) -> tuple[str, Found]:
    """Returns where a reader looked at a URI or in shards, and what it found."""
    if not data.is_uri:
        return data.path, in_shards(data.path, to_train)
    if data.kind != "folder":
        raise DataError(f"{data}: at a URI images are read from folders alone: folder:{data.path}")
    return data.path, in_folders(RemoteTree(data.path), to_train)


def _found_here(data: DataRef, to_train: bool) -> tuple[Path, Found]:
    """Returns where a reader looked in a folder or file, and what it found."""
    try:
        root = Path(os.path.realpath(expanded(data.path)))  # `resolve` raises for a loop of links
    except (OSError, ValueError):  # no file can have that name
        root = Path(data.path)
    if not data.path or not exists(root):
        try:
            root.stat()
        except PermissionError as error:
            raise DataError(f"{data}: cannot be seen from here ({error.strerror})") from None
        except (OSError, ValueError):  # it is not there
            pass
        try:
            beside = [entry.name for entry in root.parent.iterdir()]
        except (OSError, ValueError):
            beside = []
        near = (data.path and suggestion(root.name, beside)) or f"; write {data.kind}:PATH"
        raise DataError(f"{data}: no such {'file' if data.kind == 'table' else 'folder'}{near}")
    if data.task != "classification":
        if not is_folder(root):
            raise DataError(f"{data}: a file, where the folder of the data set was expected")
        return root, in_coco(root, to_train) if data.kind == "coco" else in_masks(root, data.kind, to_train)
    is_table = root.suffix.lower() in TABLES and is_file(root)
    right = "table" if is_table else "hf" if is_hugging_face(root) else kind_of_folder(root)
    if right != data.kind != "hf":
        raise DataError(f"{data}: is read as {right}:{data.path}; write that")
    if data.kind == "hf":
        return root, in_hugging_face(root, to_train)
    if data.kind == "table":
        return root, in_table(root, to_train)
    return root, in_folders(DiskTree(root) if is_folder(root) else ArchiveTree(root), to_train)


class _Arrays:
    """Images in memory: for each split (N, H, W, 3) uint8, and the labels. The methods are those of a `Source`."""

    def __init__(self, splits: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> None:
        self._splits = splits

    def source(
        self,
        name: str,
        classes: tuple[str, ...],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        mirror: bool,
    ) -> Source:
        """Returns the images, of 32 px and with a test split, as a source."""
        return Source(
            name=name,
            classes=classes,
            mean=mean,
            std=std,
            mirror=mirror,
            size=32,
            has_val=False,
            labels=self.labels,
            images=self.images,
            open=self.open,
            identity=self.identity,
        )

    def labels(self, split: str) -> NDArray[np.int64]:
        return self._splits[split][1]

    def images(self, split: str, chosen: NDArray[np.int64], _side: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._splits[split][0][chosen].transpose(0, 3, 1, 2))

    def open(self, split: str, row: int) -> Image:
        from PIL import Image

        return Image.fromarray(self._splits[split][0][row])

    def identity(self) -> str:
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return digest(array for split in self._splits.values() for array in split)
