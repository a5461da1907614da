"""Exports trained networks for other programs, in the formats of `nxt.inference.formats`.

Each file is made in memory and compared with the network on images before it is written. ONNX files and programs take
normalised images (B, 3, size, size) with any B; of a segmenter (B, 3, H, W) of any sides; of a detector one (3, H, W).
All files contain what `describe` returns; those for other programs without the epochs' log and the path of the data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models._utils import IntermediateLayerGetter

from nxt.config import require, to_mapping
from nxt.data.dataset import Split
from nxt.data.resident import Batches
from nxt.data.scenes.stream import SceneStream
from nxt.data.sources.open import open_source
from nxt.errors import CheckpointError, DataError, RunError
from nxt.files import exists, is_folder, names_in, replacing
from nxt.inference.agreement import difference, difference_of_objects
from nxt.inference.formats import FORMATS, Job, TensorsAlone, tensors_alone
from nxt.inference.hub import push as push_folder
from nxt.inference.precision import PRECISIONS, Judged, reduced
from nxt.train.checkpoint import WEIGHTS, Checkpoint, record
from nxt.train.trained import open_trained

_IMAGES = 8
_NOISE = 0.1  # standard deviations of the pixels


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A written file or folder. `difference` is the largest absolute difference of its outputs from the network's.

    That of ONNX in fewer bits is the difference of the 32-bit file that it was made from; `judged` says what it lost.
    """

    path: Path
    bytes: int
    name: str  # of the network
    epoch: int | None  # of the checkpoint; None: of weights from elsewhere
    kind: str  # of weights; of those from elsewhere, what they are
    size: int  # image side in pixels
    outputs: tuple[str, ...]
    difference: float
    images: str  # description of the images that were compared
    precision: str = "fp32"
    judged: Judged | None = None
    pushed: str | None = None  # address on the Hugging Face Hub


def export(
    checkpoint: Checkpoint,
    target: str,
    out: Path,
    kind: str | None = None,
    size: int | None = None,
    features: bool = False,
    precision: str = "fp32",
    push: str | None = None,
) -> Exported:
    """Writes a checkpoint's network for another program; whole, and equal to the network, or not at all.

    Args:
        checkpoint: What was trained.
        target: A name of `FORMATS`: "onnx", "torch" (a program of torch.export), "safetensors" (which `nxt.load` reads,
            too), "timm", "hub" or "openvino".
        out: The file or folder; replaced if it exists.
        kind: "raw" or "ema" weights; None: the better ones.
        size: Image side in pixels; None: as evaluated in training.
        features: Whether to output the features of each stage, by stride, instead of logits.
        precision: "fp32", or for ONNX "fp16" or "int8"; see `precision.reduced`.
        push: USER/NAME on the Hugging Face Hub to upload a hub folder to.

    Raises:
        ConfigError: for an unknown target or one without what was asked, and for a size out of range.
        CheckpointError: if the checkpoint has no weights of that kind, or they do not fit.
        DataError: if int8 has no images to be calibrated on.
        RunError: if packages are missing, the outputs differ, or the file cannot be written or pushed.
    """
    _check(target, kind, features, precision, push, checkpoint.task)
    kind, how = kind or checkpoint.better, FORMATS[target]
    if size is not None:
        checkpoint = replace(checkpoint, preprocess=replace(checkpoint.preprocess, size=size))
    if (
        how.is_folder
        and exists(out)
        and (not is_folder(out) or "config.json" not in (names_in(out) or ["config.json"]))
    ):
        raise RunError(f"{out}: holds something else; give another `out`")
    network = checkpoint.model(kind)
    model = tensors_alone(network)
    names: tuple[str, ...] = model.names if isinstance(model, TensorsAlone) else ("logits",)
    if features:
        strides = checkpoint.network(kind).strides
        names = tuple(f"stride{stride}" for stride in strides)
        model = IntermediateLayerGetter(network, {f"layer{n}": name for n, name in enumerate(names, 1)}).eval()
    batches, which = _batches(checkpoint)
    about = describe(checkpoint, kind)
    del about["metrics"]  # the log is for those who go on training
    about["data"] = str(replace(checkpoint.data, path=Path(checkpoint.data.path).name))
    if checkpoint.task == "classification":
        about["preprocess"] |= {"resized": checkpoint.preprocess.resized}
    job = Job(checkpoint=checkpoint, network=network, model=model, images=batches[0], names=names, about=about)
    judged = None
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporters' notices about themselves
        files, run = how.write(job)
        compare = difference_of_objects if checkpoint.task == "detection" else difference
        apart = compare(model, run, batches, out)
        if precision != "fp32":
            files[".onnx"], judged = reduced(job, files[".onnx"], precision)
    _write(out, files, how.is_folder)
    return Exported(
        path=out,
        bytes=sum(map(len, files.values())),
        name=checkpoint.spec.name,
        epoch=None if checkpoint.origin else checkpoint.epoch,
        kind=checkpoint.origin or kind,
        size=checkpoint.preprocess.size,
        outputs=names,
        difference=apart,
        images=which,
        precision=precision,
        judged=judged,
        pushed=push_folder(out, list(files), push) if push else None,
    )


def _check(target: str, kind: str | None, features: bool, precision: str, push: str | None, task: str) -> None:
    """Raises ConfigError for what is not possible, before anything is made."""
    require(target in FORMATS, "`target`", f"{target!r} is not one of {', '.join(FORMATS)}")
    possible = ", ".join(name for name, one in FORMATS.items() if task in one.tasks)
    require(task in FORMATS[target].tasks, "`target`", f"{target} is not for networks of {task}; those are {possible}")
    plain = task == "classification"
    require(plain or not features, "`features`", f"they are of classifiers, not of networks of {task}; leave it out")
    require(
        plain or precision == "fp32", "`precision`", f"{precision} is for classifiers; networks of {task} stay fp32"
    )
    can = ", ".join(name for name, one in FORMATS.items() if one.features)
    require(not features or FORMATS[target].features, "`features`", f"{target} holds weights; write `target` {can}")
    require(kind is None or kind in WEIGHTS, "`weights`", f"{kind!r} is not one of {', '.join(WEIGHTS)}")
    require(precision in PRECISIONS, "`precision`", f"{precision!r} is not one of {', '.join(PRECISIONS)}")
    lower = precision != "fp32"
    require(not lower or (target == "onnx" and not features), "`precision`", f"{precision} is for logits in ONNX alone")
    require(push is None or target == "hub", "`push`", "only a folder of `target` hub can be pushed")


def _write(out: Path, files: dict[str, bytes], folder: bool) -> None:
    """Writes files into a folder, or beside each other with the name of the first."""
    if folder:
        try:
            out.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror})") from None
    for name, content in files.items():
        first = name == next(iter(files))
        path = out / name if folder else out if first else out.with_suffix(name)
        with replacing(path) as file:
            file.write(content)


def export_file(
    checkpoint: str | Path,
    target: str,
    out: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    size: int | None = None,
    features: bool = False,
    precision: str = "fp32",
    push: str | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Exported:
    """Writes the network of a checkpoint file for another program; see `export`.

    Args:
        checkpoint: A checkpoint, or a training's run directory for its last one, or the name or file of a network
            whose `weights` come from elsewhere.
        target: "onnx", "torch", "safetensors", "timm", "hub" or "openvino".
        out: The file or folder; by default beside the checkpoint, with the suffix of the target.
        weights: "raw" or "ema"; by default those that are better on the validation split. Of a network "torchvision" or
            a file, as in `nxt.load`.
        size: Image side in pixels; by default as trained.
        features: Whether to output the features of each stage instead of logits.
        precision: "fp32", or for ONNX "fp16" or "int8" (calibrated on the validation split).
        push: USER/NAME on the Hugging Face Hub to upload a hub folder to; a new repository is private.
        note: Called with what should be known of the checkpoint, such as that its training has not ended.

    Raises:
        RunError: if the suffix of the file is wrong for the target, or the file is the checkpoint itself.
        NxtError: as `export` and reading the checkpoint do.
    """
    file = Path(checkpoint)
    loaded = open_trained(file, weights, note)
    suffix = FORMATS[target].suffix if target in FORMATS else ""
    if out is None:
        stem = file / loaded.spec.name if is_folder(file) else file.with_suffix("")
        more = ("_features" if features else "") + (f"_{precision}" if precision != "fp32" else "")
        path = stem.with_name(stem.name + more + suffix)
    else:
        path = Path(out)
    if suffix.startswith(".") and path.suffix != suffix:
        raise RunError(f"{path}: a file of this kind is called NAME{suffix}; give another `out`")
    if path.resolve() == file.resolve():
        raise RunError(f"{path}: is what is to be exported; give another `out`")
    try:
        return export(loaded, target, path, None, size, features, precision, push)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None


def describe(checkpoint: Checkpoint, kind: str) -> dict[str, Any]:
    """Returns what users of an exported network need to know, as plain data."""
    accuracies = {key: value for key, value in checkpoint.accuracies.items() if key == kind}
    about: dict[str, Any] = {"name": checkpoint.spec.name, "kind": kind}
    about |= {"epoch": checkpoint.epoch, "task": checkpoint.task}
    about |= {**record(checkpoint), "accuracies": accuracies}
    if checkpoint.recipe is None or not checkpoint.recipe.head:
        return about
    return about | {"head": checkpoint.recipe.head, "scene": to_mapping(checkpoint.recipe.scene)}


def _batches(checkpoint: Checkpoint) -> tuple[list[Tensor], str]:
    """Returns normalised images as the network takes them, to trace with and to compare outputs on, and what they are.

    Those of a classifier are a batch and one alone; of a segmenter a batch of noise, to trace with, and each alone.
    """
    preprocess, recipe = checkpoint.preprocess, checkpoint.recipe
    images: Any
    try:
        source = open_source(checkpoint.data)
        labels = source.labels("train")
        rows = np.unique(np.linspace(0, len(labels) - 1, _IMAGES).astype(np.int64))
        which = f"{len(rows)} training images of {checkpoint.data.display}"
        if checkpoint.task == "classification":
            split = Split(source.images("train", rows, preprocess.resized), labels[rows])
            images, _ = next(iter(Batches(split, preprocess, torch.device("cpu")).plain(len(rows))))
        else:
            assert recipe is not None  # with a head it was trained by nxt
            scenes = SceneStream(source, "train", rows, preprocess, recipe.scene, torch.device("cpu"), workers=0)
            images = [image for (image,), _ in scenes.plain(1)]
    except DataError:
        images = torch.randn(_IMAGES, 3, preprocess.size, preprocess.size, generator=torch.Generator().manual_seed(0))
        which = f"{_IMAGES} random images"
    if checkpoint.task == "detection":  # a little noise: among equal patches programs choose differently
        chance = torch.Generator().manual_seed(0)
        return [image + _NOISE * torch.randn(image.shape, generator=chance) for image in images], which
    if checkpoint.task == "segmentation":
        step, chance = checkpoint.spec.strides[-1], torch.Generator().manual_seed(0)
        return [torch.randn(2, 3, 4 * step, 5 * step, generator=chance), *(image[None] for image in images)], which
    return [images, images[:1]], which
