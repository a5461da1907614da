"""The data sets: bundled digits, CIFAR-10, and folders of images with a class a folder."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nxt.data.dataset import SPLIT_SEED, Source, check_classes, stratified
from nxt.errors import DataError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif"}
_MEMORY = 16 << 30  # bytes of decoded images that may be resident


def digits() -> Source:
    """Return the 1,797 hand-written digits (8x8, 16 grey levels) that come with nxt.

    Source: Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository,
    CC BY 4.0; the subset that scikit-learn ships. A fixed fifth of every class is the test split.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        grey, labels = file["images"], file["labels"].astype(np.int64)
    pixels = np.repeat((grey.astype(np.uint16) * 255 // 16).astype(np.uint8)[:, None], 3, axis=1)
    test, train = stratified(labels, 0.2, SPLIT_SEED)
    rows = {"train": train, "test": test}
    return Source(
        name="digits",
        classes=tuple("0123456789"),
        mean=(0.305,) * 3,
        std=(0.376,) * 3,
        mirror=False,
        size=32,
        has_val=False,
        labels=lambda split: labels[rows[split]],
        images=lambda split, chosen, _side: pixels[rows[split][chosen]],
    )


def cifar10(path: str, download: bool) -> Source:
    """Return CIFAR-10 from torchvision's files in `path`, by default `$NXT_DATA` or `~/.cache/nxt`.

    Raises:
        DataError: if it is not there and may not be, or cannot be, downloaded.
    """
    from torchvision.datasets import CIFAR10

    root = Path(path or os.environ.get("NXT_DATA", "~/.cache/nxt")).expanduser()
    try:
        splits = {name: CIFAR10(root, train=name == "train", download=download) for name in ("train", "test")}
    except RuntimeError:
        raise DataError(f"cifar10: not in {root}; add --download, or say where it is with cifar10:PATH") from None
    except OSError as error:
        raise DataError(f"cifar10: cannot be downloaded to {root} ({error})") from None
    return Source(
        name=f"cifar10:{root}",
        classes=tuple(splits["train"].classes),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        mirror=True,
        size=32,
        has_val=False,
        labels=lambda split: np.asarray(splits[split].targets, dtype=np.int64),
        images=lambda split, chosen, _side: np.ascontiguousarray(splits[split].data[chosen].transpose(0, 3, 1, 2)),
    )


def folder(path: str) -> Source:
    """Return a data set of image files: `train/CLASS/*.jpg`, with `val/`, `validation/` or `test/` beside it.

    With both a test folder and a val folder, val is used for selection. With one of them only, that one is the test
    split, and selection uses images held out from train.

    Raises:
        DataError: if the folders are missing or empty, or have other classes than train.
    """
    root = Path(path).expanduser().resolve()
    if not path or not root.is_dir():
        raise DataError(f"folder:{path}: no such folder; write folder:PATH")
    if not (root / "train").is_dir():
        raise DataError(f"{root}: no folder 'train' in it; expected train/CLASS/image files")
    present = [name for name in ("val", "validation", "test") if (root / name).is_dir()]
    if not present:
        raise DataError(f"{root}: no folder 'test', 'val' or 'validation' beside 'train'")
    folders = {"train": root / "train", "test": root / present[-1]}
    if len(present) > 1:
        folders["val"] = root / present[0]
    classes = _class_names(folders["train"])
    files = {name: _image_files(where, classes) for name, where in folders.items()}
    labels = {name: np.array([label for _, label in found], dtype=np.int64) for name, found in files.items()}
    with _open(files["train"][0][0]) as image:
        side = min(image.size)
    return Source(
        name=f"folder:{root}",
        classes=classes,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        mirror=True,
        size=side if side <= 64 else None,
        has_val="val" in files,
        labels=labels.__getitem__,
        images=lambda split, chosen, size: _decode([files[split][i][0] for i in chosen], size),
    )


def _class_names(train: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in train.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    with_images = [name for name in names if any(_is_image(file) for file in (train / name).iterdir())]
    empty = sorted(set(names) - set(with_images))
    if names and not with_images:
        raise DataError(f"{train}: no images in any of its {len(names)} folders")
    if empty:
        raise DataError(f"{train / empty[0]}: no images in this class; add some, or remove the folder")
    check_classes(names, str(train))
    return tuple(names)


def _image_files(where: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    unknown = [e.name for e in where.iterdir() if e.is_dir() and e.name not in classes and not e.name.startswith(".")]
    if unknown:
        raise DataError(f"{where / unknown[0]}: the training images have no class {unknown[0]!r}")
    found = [
        (file, label)
        for label, name in enumerate(classes)
        if (where / name).is_dir()
        for file in sorted((where / name).iterdir())
        if _is_image(file)
    ]
    if not found:
        raise DataError(f"{where}: no images; expected {where.name}/CLASS/image files")
    return found


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def _decode(files: list[Path], side: int) -> NDArray[np.uint8]:
    """Decode files into (n, 3, side, side): short side resized, centre cropped. One unreadable file is an error."""
    needed = len(files) * 3 * side * side
    if needed > _MEMORY:
        raise DataError(
            f"{len(files)} images at {side} px take {needed / 2**30:.0f} GiB in memory, more than {_MEMORY >> 30}; "
            "use a smaller size or share of the data"
        )
    images = np.empty((len(files), 3, side, side), dtype=np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for index, image in enumerate(pool.map(partial(_decode_one, side=side), files)):
            images[index] = image
    return images


def _decode_one(file: Path, side: int) -> NDArray[np.uint8]:
    from PIL import Image

    with _open(file) as image:
        try:
            image.draft("RGB", (side, side))  # lets JPEG decode at a fraction of its size
            rgb = image.convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{file}: not readable as an image ({error}); repair or remove it") from None
    width, height = rgb.size
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.BILINEAR, box=box)
    return np.asarray(rgb).transpose(2, 0, 1)


def _open(file: Path):  # type: ignore[no-untyped-def]  # PIL.Image.Image, imported late
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file)
    except UnidentifiedImageError:
        raise DataError(f"{file}: not readable as an image; repair or remove it") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not readable as an image ({error}); repair or remove it") from None
