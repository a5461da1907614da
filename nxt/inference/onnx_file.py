"""Opens ONNX files of `nxt export`, in any precision, as checkpoints that evaluation and prediction take."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nxt.arch.spec import ArchSpec
from nxt.config import from_mapping, require
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError, NxtError, RunError, first_line
from nxt.train.checkpoint import Checkpoint
from nxt.train.recipe import Recipe
from nxt.train.trained import open_trained


class OnnxNetwork(nn.Module):
    """An ONNX file as a classifier: maps normalised images (B, 3, size, size) to logits (B, K), on the CPU.

    Args:
        session: ONNX Runtime's session of the file.
        spec: The architecture that it was made from.
        num_classes: K.
    """

    def __init__(self, session: Any, spec: ArchSpec, num_classes: int) -> None:
        super().__init__()
        self.spec, self.num_classes, self._session = spec, num_classes, session

    def forward(self, images: Tensor) -> Tensor:
        """Maps images to logits, which lie on the device of the images."""
        (logits,) = self._session.run(["logits"], {"images": images.contiguous().cpu().numpy()})
        return torch.from_numpy(logits).to(images.device)


@dataclass(frozen=True, kw_only=True)
class OnnxCheckpoint(Checkpoint):
    """A classifier in an ONNX file, as a checkpoint without tensors. Of its data it knows the name, not the path."""

    precision: str  # "fp32", "fp16" or "int8"
    session: Any = field(repr=False)

    def network(self, kind: str | None = None) -> OnnxNetwork:  # type: ignore[override]  # used as a `Network`
        """Returns what runs the file."""
        return OnnxNetwork(self.session, self.spec, len(self.classes))

    def require_views(self, path: Path, size: int, kind: str) -> None:
        """Raises ConfigError for views that the file cannot take: it has one size of images."""
        own = self.preprocess.size
        require(size == own, "`size`", f"{path} takes images of {own} pixels alone; leave it out")
        require(kind != "dense", "`views`", f"{path} takes images of {own} pixels alone; write center or ten")


def open_model(
    given: str | Path, weights: str | Path | None = None, note: Callable[[str], None] = lambda text: None
) -> Checkpoint:
    """Returns an ONNX file that nxt exported as a checkpoint; all else as `open_trained` does.

    Raises:
        ConfigError: if weights are chosen for an ONNX file, which has one kind.
        CheckpointError: if the file cannot be read, or is no classifier that nxt exported.
        RunError: if ONNX Runtime is missing.
        NxtError: as `open_trained` does.
    """
    if Path(given).suffix != ".onnx":
        return open_trained(given, weights, note)
    require(weights is None, "`weights`", f"{given} has one kind of weights; leave it out")
    return _read(Path(given))


def _read(path: Path) -> OnnxCheckpoint:
    try:
        import onnxruntime
    except ImportError:
        raise RunError("ONNX files need onnxruntime: pip install 'nxt[onnx]'") from None
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
        said = session.get_modelmeta().custom_metadata_map
        if (task := said.get("task", "classification")) != "classification":
            raise CheckpointError(f"{path}: is for {task}; give the checkpoint that it was made from")
        shown = json.loads(said["preprocess"])
        shown.pop("resized", None)
        recipe = json.loads(said["recipe"])
        checkpoint = OnnxCheckpoint(
            spec=ArchSpec.from_dict(json.loads(said["arch"]), str(path)),
            classes=tuple(json.loads(said["classes"])),
            data=DataRef.parse(said["data"]),
            identity=said["identity"],
            preprocess=from_mapping(Preprocess, shown, str(path)),
            recipe=from_mapping(Recipe, recipe, str(path)) if recipe else None,
            seed=int(said["seed"]),
            accuracies=json.loads(said["accuracies"]),
            state={"epoch": int(said["epoch"]), "weights": {said["kind"]: {}}},
            origin=said.get("origin", ""),
            precision=said.get("precision", "fp32"),
            session=session,
        )
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, NxtError):
        raise CheckpointError(f"{path}: not an export of nxt: it does not say its classes and preprocessing") from None
    except Exception as error:  # ONNX Runtime has a class for each way in which a file is damaged
        raise CheckpointError(f"{path}: no ONNX file, or damaged ({first_line(error)})") from None
    if [output.name for output in session.get_outputs()] != ["logits"]:
        raise CheckpointError(f"{path}: gives features, not logits; export it without `features`")
    return checkpoint
