"""Predicts the classes of image files without labels (`nxt.predict`), by a checkpoint or an exported ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nxt.compute.accelerator import accelerator
from nxt.compute.devices import choose
from nxt.compute.mode import Compute
from nxt.config import require
from nxt.data.dataset import ADVICE
from nxt.data.preprocess import Preprocess, without_warnings
from nxt.data.processes import Workers
from nxt.data.resident import Normalised
from nxt.data.sources.image_files import SUFFIXES, read_rgb
from nxt.data.transforms import evaluation
from nxt.errors import CheckpointError, DataError
from nxt.files import exists, is_folder, nearest
from nxt.inference.evaluation import batch_size, check_finite, readers
from nxt.inference.onnx_file import open_model
from nxt.inference.scene_prediction import ScenePredictions, predict_scenes
from nxt.train.checkpoint import Checkpoint

_Read = tuple[NDArray[np.uint8], dict[int, str]]  # the images that can be read, (n, 3, S, S), and why others cannot


@dataclass(frozen=True, kw_only=True, repr=False)
class ImagePredictions:
    """What a network takes images for."""

    network: dict[str, Any]  # checkpoint, name, epoch, weights and size, as plain data
    classes: tuple[str, ...]  # K names
    files: tuple[Path, ...]  # the N images that could be read, in order
    logits: NDArray[np.float32]  # (N, K)
    unreadable: tuple[str, ...]  # a sentence for each image or folder that could not be read
    top: int  # classes in a row

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """The softmax of the logits, (N, K)."""
        return torch.from_numpy(self.logits).softmax(dim=1).numpy()

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """For each image its file, and the most probable `classes` with their `probabilities`, highest first."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, : self.top]
        return [
            {
                "image": str(file),
                "classes": [self.classes[column] for column in columns],
                "probabilities": [float(value) for value in values[columns]],
            }
            for file, columns, values in zip(self.files, order, self.probabilities, strict=True)
        ]

    def __repr__(self) -> str:
        unreadable = f", {len(self.unreadable)} unreadable" * bool(self.unreadable)
        return f"<ImagePredictions of {len(self.files)} images by {self.network['name']}{unreadable}>"


@dataclass(frozen=True)
class _Model:
    """A network to predict with. `logits` maps uint8 images (n, 3, S, S) to (n, K)."""

    about: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    batch: int
    logits: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def predict(
    checkpoint: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    top: int = 5,
    weights: str | Path | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    note: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> ImagePredictions | ScenePredictions:
    """Predicts the classes of image files, which need no labels, with the preprocessing of evaluation.

    Of detectors and segmenters it finds objects, or the class of each pixel.

    Example:
        >>> nxt.predict("results/run", "photos").rows[0]["classes"][0]

    Args:
        checkpoint: A checkpoint, a training's run directory for its last one, or an ONNX file that nxt exported
            (which runs on the CPU), or the name or file of a network whose `weights` come from elsewhere.
        images: An image file or a folder, or several. Folders are walked through, without hidden files and folders.
        top: How many classes a row has, the most probable ones.
        weights: "raw" or "ema"; by default those that are better on the validation split. Of a network "torchvision" or
            a file, as in `nxt.load`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        out: Of detectors and segmenters, a folder for pictures with what they find drawn on them, and for masks.
        note: Called with each sentence that the user should read: what was left out, and each unreadable image.
        progress: Called after each batch with the number of images done, and the number of all.

    Raises:
        ConfigError: if a value is out of range.
        CheckpointError: if the checkpoint cannot be read, or its outputs are not finite.
        DataError: if there is no image, or none can be read.
        DeviceError: if this machine does not have the device.
        RunError: if ONNX Runtime is missing.
    """
    require(top >= 1, "`top`", f"{top} is not at least 1")
    target, path = choose(device), Path(checkpoint)
    trained = open_model(path, weights, note)
    given = [images] if isinstance(images, (str, Path)) else images
    files, unreadable = _files([Path(one) for one in given], note)
    if not files:
        raise DataError("; ".join(unreadable) or f"{', '.join(map(str, given)) or '`images`'}: no images")
    for why in unreadable:
        note(f"left out: {why}")
    if trained.task != "classification":
        folder = None if out is None else Path(out)
        rows, others = predict_scenes(trained, files, target, folder, note, progress)
        if not rows:
            raise DataError(f"none of the {len(files)} images can be read, such as {others[0]}")
        about = {"checkpoint": str(path), **_about(trained), "task": trained.task}
        return ScenePredictions(network=about, rows=rows, unreadable=(*unreadable, *others))
    require(out is None, "`out`", "pictures are drawn of detectors and segmenters alone; leave it out")
    model = _trained(path, trained, target)
    tasks = [files[start : start + model.batch] for start in range(0, len(files), model.batch)]
    workers = Workers(_Reader(model.preprocess), readers(len(files)))
    kept: list[Path] = []
    outputs: list[NDArray[np.float32]] = []
    done = 0
    for task, (pixels, problems) in zip(tasks, workers.map(tasks), strict=True):
        kept += [file for place, file in enumerate(task) if place not in problems]
        unreadable += problems.values()
        for why in problems.values():
            note(f"left out: {why}")
        if len(pixels):
            outputs.append(model.logits(pixels))
            check_finite(outputs[-1])
        done += len(task)
        progress(done, len(files))
    if not kept:
        raise DataError(f"none of the {len(files)} images can be read, such as {unreadable[0]}")
    return ImagePredictions(
        network={"checkpoint": str(checkpoint), **model.about},
        classes=model.classes,
        files=tuple(kept),
        logits=np.concatenate(outputs),
        unreadable=tuple(unreadable),
        top=top,
    )


@dataclass(frozen=True)
class _Reader:
    """Reads image files in a worker process."""

    preprocess: Preprocess

    def __call__(self, files: Sequence[Path]) -> _Read:
        images: list[NDArray[np.uint8]] = []
        problems: dict[int, str] = {}
        for place, file in enumerate(files):
            try:
                with without_warnings():
                    images.append(evaluation(self.preprocess)(read_rgb(file)).numpy())
            except DataError as error:
                problems[place] = str(error).removesuffix(ADVICE)
        return np.stack(images) if images else np.empty(0, np.uint8), problems


def _files(given: Sequence[Path], note: Callable[[str], None]) -> tuple[list[Path], list[str]]:
    """Returns the image files in what was given, and why a folder cannot be read; says what was left out.

    A file that is named is taken, whatever its suffix. Links are followed, but no folder is entered twice.
    """
    files: list[Path] = []
    unreadable: list[str] = []
    left_out: dict[str, list[str]] = {}
    for path in given:
        if not exists(path):
            unreadable.append(f"{path}: no such file or folder{nearest(path)}")
            continue
        if not is_folder(path):
            files.append(path)
            continue
        seen: set[str] = set()
        closed: list[OSError] = []
        for top, folders, names in os.walk(path, onerror=closed.append, followlinks=True):
            seen.add(os.path.realpath(top))
            hidden = [name for name in folders if name.startswith(".")]
            left_out.setdefault("hidden folders", []).extend(f"{top}/{name}" for name in hidden)
            inside = [name for name in sorted(folders) if name not in hidden]
            folders[:] = [name for name in inside if os.path.realpath(f"{top}/{name}") not in seen]
            for name in sorted(names):
                image = name.lower().endswith(SUFFIXES)
                if image and not name.startswith("."):
                    files.append(Path(top, name))
                else:
                    kind = "hidden files" if name.startswith(".") else "files of other kinds"
                    left_out.setdefault(kind, []).append(f"{top}/{name}")
        unreadable += [f"{error.filename}: cannot be read ({error.strerror})" for error in closed]
    for kind, names in left_out.items():
        if names:
            note(f"left out: {kind}: {len(names):,}, such as {min(names)}")
    return files, unreadable


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    kind, epoch = checkpoint.origin or checkpoint.better, None if checkpoint.origin else checkpoint.epoch
    return {"name": checkpoint.spec.name, "epoch": epoch, "weights": kind, "size": checkpoint.preprocess.size}


def _trained(path: Path, checkpoint: Checkpoint, device: torch.device) -> _Model:
    gpu, preprocess = accelerator(device), checkpoint.preprocess
    compute, normalised = Compute(channels_last=not gpu.is_gpu), Normalised(preprocess, device)
    try:
        network = checkpoint.network().to(device).to(memory_format=compute.memory_format)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None

    @torch.inference_mode()
    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = normalised(gpu.upload(torch.from_numpy(pixels))).contiguous(memory_format=compute.memory_format)
        with gpu.exact(), compute.autocast(device):
            return network(images).float().cpu().numpy()  # type: ignore[no-any-return]

    return _Model(
        _about(checkpoint), checkpoint.classes, preprocess, batch_size(network, preprocess.size, device), logits
    )
