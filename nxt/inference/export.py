"""Exports trained networks for other programs: as ONNX, torch.export programs, or safetensors.

Each file is made in memory and compared with the network on images before it is written. ONNX files and programs take
normalised images (B, 3, size, size) with any B. All files contain what `describe` returns; those
for other programs without the epochs' log and the path of the data.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from nxt.config import require
from nxt.data.dataset import Split
from nxt.data.resident import Batches
from nxt.data.sources.open import open_source
from nxt.errors import CheckpointError, DataError, RunError
from nxt.files import is_folder, replacing
from nxt.models.network import Network, build
from nxt.train.checkpoint import WEIGHTS, Checkpoint, read, record

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors"}
TOLERANCE = 1e-4  # largest difference of outputs, relative to the largest output if that is above 1
_IMAGES = 8
_ONNX = ("onnx", "onnxscript", "onnxruntime")
Outputs = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A written file. `difference` is the largest absolute difference between its outputs and the network's."""

    path: Path
    bytes: int
    name: str  # of the network
    epoch: int  # of the checkpoint
    kind: str  # of weights
    size: int  # image side in pixels
    outputs: tuple[str, ...]
    difference: float
    images: str  # description of the images that were compared


def export(
    checkpoint: Checkpoint,
    target: str,
    out: Path,
    kind: str | None = None,
    size: int | None = None,
    features: bool = False,
) -> Exported:
    """Writes a checkpoint's network for another program; whole, and equal to the network, or not at all.

    Args:
        checkpoint: What was trained.
        target: "onnx", "torch" (a program of torch.export) or "safetensors" (which `nxt.load` reads, too).
        out: The file; replaced if it exists.
        kind: "raw" or "ema" weights; None: the better ones.
        size: Image side in pixels; None: as evaluated in training.
        features: Whether to output the features of each stage, by stride, instead of logits.

    Raises:
        ConfigError: for an unknown target or one without features, and for a size out of range.
        CheckpointError: if the checkpoint has no weights of that kind, or they do not fit.
        RunError: if packages are missing, the outputs differ, or the file cannot be written.
    """
    require(target in SUFFIXES, "`target`", f"{target!r} is not one of {', '.join(SUFFIXES)}")
    require(
        not features or target != "safetensors", "`features`", "safetensors hold weights; write `target` onnx or torch"
    )
    require(kind is None or kind in WEIGHTS, "`weights`", f"{kind!r} is not one of {', '.join(WEIGHTS)}")
    kind = kind or checkpoint.better
    if size is not None:
        checkpoint = replace(checkpoint, preprocess=replace(checkpoint.preprocess, size=size))
    network = checkpoint.network(kind)
    images, which = _images(checkpoint)
    names = tuple(f"stride{stride}" for stride in network.strides) if features else ("logits",)
    model: nn.Module = network
    if features:
        layers = {f"layer{index + 1}": name for index, name in enumerate(names)}
        model = IntermediateLayerGetter(network, layers).eval()
    about = describe(checkpoint, kind)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporters' notices about themselves
        if target == "safetensors":
            content, run = _safetensors(network, about)
        else:
            del about["metrics"]  # the log is for those who go on training
            about["data"] = str(replace(checkpoint.data, path=Path(checkpoint.data.path).name))
            content, run = (_onnx if target == "onnx" else _program)(model, images[:2], names, about)
        difference = max(_difference(model, run, images, out), _difference(model, run, images[:1], out))
    with replacing(out) as file:
        file.write(content)
    return Exported(
        path=out,
        bytes=len(content),
        name=checkpoint.spec.name,
        epoch=checkpoint.epoch,
        kind=kind,
        size=checkpoint.preprocess.size,
        outputs=names,
        difference=difference,
        images=which,
    )


def export_file(
    checkpoint: str | Path,
    target: str,
    out: str | Path | None = None,
    *,
    weights: str | None = None,
    size: int | None = None,
    features: bool = False,
) -> Exported:
    """Writes the network of a checkpoint file for another program; see `export`.

    Args:
        checkpoint: A checkpoint, or a training's run directory for its last one.
        target: "onnx", "torch" or "safetensors".
        out: The file; by default beside the checkpoint, with the suffix of the target.
        weights: "raw" or "ema"; by default those that are better on the validation split.
        size: Image side in pixels; by default as trained.
        features: Whether to output the features of each stage instead of logits.

    Raises:
        RunError: if the suffix of the file is wrong for the target, or the file is the checkpoint itself.
        NxtError: as `export` and reading the checkpoint do.
    """
    file = Path(checkpoint)
    loaded = read(file)
    if out is None:
        stem = file / loaded.spec.name if is_folder(file) else file.with_suffix("")
        path = stem.with_name(stem.name + ("_features" if features else "") + SUFFIXES.get(target, ""))
    else:
        path = Path(out)
    if target in SUFFIXES and path.suffix != SUFFIXES[target]:
        raise RunError(f"{path}: a file of this kind is called NAME{SUFFIXES[target]}; give another `out`")
    if path.resolve() == file.resolve():
        raise RunError(f"{path}: is what is to be exported; give another `out`")
    try:
        return export(loaded, target, path, weights, size, features)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from None


def describe(checkpoint: Checkpoint, kind: str) -> dict[str, Any]:
    """Returns what users of an exported network need to know, as plain data."""
    accuracies = {key: value for key, value in checkpoint.accuracies.items() if key == kind}
    about = {"name": checkpoint.spec.name, "kind": kind, "epoch": checkpoint.epoch}
    return {**about, **record(checkpoint), "accuracies": accuracies}


def _images(checkpoint: Checkpoint) -> tuple[Tensor, str]:
    """Returns some normalised images to compare outputs on, and a description of them."""
    preprocess = checkpoint.preprocess
    try:
        source = open_source(checkpoint.data)
        labels = source.labels("train")
        rows = np.unique(np.linspace(0, len(labels) - 1, _IMAGES).astype(np.int64))
        split = Split(source.images("train", rows, preprocess.resized), labels[rows])
        images, _ = next(iter(Batches(split, preprocess, torch.device("cpu")).plain(len(rows))))
        which = f"{len(rows)} training images of {checkpoint.data.display}"
    except DataError:
        images = torch.randn(_IMAGES, 3, preprocess.size, preprocess.size, generator=torch.Generator().manual_seed(0))
        which = f"{_IMAGES} random images"
    return images, which


def _difference(model: nn.Module, run: Outputs, images: Tensor, out: Path) -> float:
    """Returns the largest difference between outputs. Raises RunError if it is too large."""
    worst = 0.0
    for expected, actual in zip(_listed(model(images)), run(images), strict=True):
        difference, largest = float((actual - expected).abs().max()), float(expected.abs().max())
        if not difference <= TOLERANCE * max(1.0, largest):
            raise RunError(
                f"{out}: not written: its outputs would differ from the network's by {difference:.2g}, "
                f"where the largest is {largest:.2g}"
            )
        worst = max(worst, difference)
    return worst


def _listed(outputs: Tensor | Mapping[str, Tensor]) -> list[Tensor]:
    return [outputs] if isinstance(outputs, Tensor) else list(outputs.values())


def _onnx(model: nn.Module, images: Tensor, names: tuple[str, ...], about: Mapping[str, Any]) -> tuple[bytes, Outputs]:
    missing = [name for name in _ONNX if find_spec(name) is None]
    if missing:
        raise RunError(f"ONNX needs {' and '.join(missing)}: pip install 'nxt[onnx]'")
    import onnxruntime

    program = torch.onnx.export(
        model,
        (images,),
        dynamo=True,
        verbose=False,
        dynamic_shapes=_DYNAMIC,
        input_names=["images"],
        output_names=names,
    )
    assert program is not None
    for key, value in about.items():
        program.model.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda batch: [torch.from_numpy(o) for o in session.run(None, {"images": batch.numpy()})]


def _program(
    model: nn.Module, images: Tensor, names: tuple[str, ...], about: Mapping[str, Any]
) -> tuple[bytes, Outputs]:
    program = torch.export.export(model, (images,), dynamic_shapes=_DYNAMIC)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={"nxt.json": json.dumps({**about, "outputs": names}, indent=1)})
    file.seek(0)
    loaded = torch.export.load(file).module()
    return file.getvalue(), lambda batch: _listed(loaded(batch))


def _safetensors(network: Network, about: Mapping[str, Any]) -> tuple[bytes, Outputs]:
    header = {"format": "pt", "nxt": json.dumps({key: value for key, value in about.items() if key != "name"})}
    content = safetensors.torch.save(network.state_dict(), header)
    loaded = build(network.spec, network.num_classes).eval()
    loaded.load_state_dict(safetensors.torch.load(content))
    return content, lambda batch: [loaded(batch)]


_DYNAMIC = ({0: torch.export.Dim("batch")},)
