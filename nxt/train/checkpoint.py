"""Checkpoints: written whole or not at all, read without running pickled code.

A checkpoint holds everything needed to go on or to use the network elsewhere: architecture, classes, preprocessing,
recipe, and the state of the training. It is a file of torch's own format with tensors and plain data only, or, to use
the network but not to go on, a safetensors file that `nxt export` wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nxt.arch.heads import task_of
from nxt.arch.spec import ArchSpec
from nxt.config import check_record, from_mapping, to_mapping
from nxt.data.dataset import VAL_SHARE
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError, NxtError, RunError, expecting, first_line
from nxt.files import is_folder, replacing
from nxt.models.network import Network
from nxt.models.tensors import read_safetensors
from nxt.models.tensors import read_tensors as read_tensors
from nxt.train.model import Model, built
from nxt.train.recipe import Recipe

FORMAT = 2
WEIGHTS = ("raw", "ema")
_RECORD = {
    **dict.fromkeys(("format", "seed"), int),
    **dict.fromkeys(("classes", "metrics"), list),
    **dict.fromkeys(("arch", "preprocess", "recipe", "state"), dict),
    **dict.fromkeys(("data", "identity"), str),
    "accuracies": dict,
}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A training's state with what it belongs to; or weights from elsewhere, which have an `origin` (see `trained`).

    `accuracies` are top-1 on the validation split, in 0..1, by the kind of weights: "raw", and "ema" where the
    recipe averages them; empty inside an epoch.
    """

    spec: ArchSpec
    classes: tuple[str, ...]
    data: DataRef
    identity: str  # of the data: `Source.identity`
    preprocess: Preprocess
    recipe: Recipe | None  # None: of weights from elsewhere
    seed: int
    accuracies: Mapping[str, float]
    metrics: Sequence[Mapping[str, Any]] = ()  # one row for each whole epoch
    state: dict[str, Any]
    origin: str = ""  # of weights that nxt did not train, such as "torchvision:IMAGENET1K_V2"

    @property
    def holdout(self) -> float:
        """The share of the training images that were held out, where the data holds out none itself."""
        return VAL_SHARE if self.recipe is None else self.recipe.holdout

    @property
    def epoch(self) -> int:
        """Whole epochs trained."""
        return int(self.state["epoch"])

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of weights in it: "raw", and "ema" where the recipe averages them."""
        weights = self.state.get("weights")
        return tuple(kind for kind in WEIGHTS if isinstance(weights, dict) and kind in weights)

    @property
    def better(self) -> str:
        """The kind of weights with the higher accuracy on the validation split."""
        return max(self.kinds, key=lambda kind: self.accuracies.get(kind, 0.0), default=WEIGHTS[0])

    def only(self, kind: str | None = None) -> Checkpoint:
        """Returns it with one kind of weights: "raw" or "ema"; None: the better ones.

        Raises:
            CheckpointError: if it has no weights of that kind.
        """
        kind = kind or self.better
        if kind not in self.kinds:
            raise CheckpointError(f"it has no {kind} weights, only {' and '.join(self.kinds) or 'none'}")
        return replace(self, state={**self.state, "weights": {kind: self.state["weights"][kind]}})

    @property
    def task(self) -> str:
        """What it was trained for: "classification", "detection" or "segmentation"."""
        return task_of("" if self.recipe is None else self.recipe.head)

    def network(self, kind: str | None = None) -> Network:
        """Builds the classifier as `model` does. Raises CheckpointError also if it is none."""
        model = self.model(kind)
        if isinstance(model, Network):
            return model
        raise CheckpointError(f"it was trained for {self.task}, with a head {model.head}; a classifier was expected")

    def model(self, kind: str | None = None) -> Model:
        """Builds the network, with its head, and the checkpoint's weights, in evaluation mode.

        Args:
            kind: "raw" or "ema"; None: the better ones.

        Raises:
            CheckpointError: if it has no weights of that kind, or they are not those of its architecture.
        """
        (weights,) = self.only(kind).state["weights"].values()
        network = built(self.spec, len(self.classes), self.recipe)
        try:
            network.load_state_dict(weights)
        except (RuntimeError, KeyError, TypeError, AttributeError) as error:
            problem = str(error).splitlines()[0]
            raise CheckpointError(f"the weights do not fit the checkpoint's architecture ({problem})") from None
        return network.eval()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint whole or not at all.

    Raises:
        RunError: if it cannot be written.
    """
    with replacing(path) as file:
        try:
            torch.save({**record(checkpoint), "state": checkpoint.state}, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # what the system said, which torch's own words hide
                raise error.__context__ from None
            raise RunError(f"{path}: cannot be written ({first_line(error)})") from None


def record(checkpoint: Checkpoint) -> dict[str, Any]:
    """Returns all of a checkpoint but its state, as plain data."""
    return {
        "format": FORMAT,
        "arch": checkpoint.spec.to_dict(),
        "classes": list(checkpoint.classes),
        "data": str(checkpoint.data),
        "identity": checkpoint.identity,
        "preprocess": to_mapping(checkpoint.preprocess),
        "recipe": to_mapping(checkpoint.recipe) or {},
        "seed": checkpoint.seed,
        "accuracies": dict(checkpoint.accuracies),
        "metrics": [dict(row) for row in checkpoint.metrics],
        **({"origin": checkpoint.origin} if checkpoint.origin else {}),
    }


def read(path: Path | str) -> Checkpoint:
    """Reads a checkpoint onto the CPU.

    Args:
        path: The file, or a run directory that has `checkpoints/last.pt`.

    Raises:
        CheckpointError: if there is none, or it is damaged or of another kind.
    """
    with expecting("checkpoint", path):
        return _read(Path(path))


def _read(path: Path) -> Checkpoint:
    if is_folder(path):
        path = path / "checkpoints" / "last.pt"
    content = _exported(path) if path.suffix == ".safetensors" else read_tensors(path)
    if {"format", "state"}.isdisjoint(content):
        raise CheckpointError(f"{path}: not a checkpoint of nxt; {_advice(path)}")
    origin = str(content.get("origin", ""))
    try:
        check_record(content, _RECORD, str(path))
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {content['format']!r} is not known to this version of nxt")
        check_record(content["state"], {"epoch": int, "weights": dict}, f"{path}: state")
        return Checkpoint(
            spec=ArchSpec.from_dict(content["arch"], str(path)),
            classes=tuple(content["classes"]),
            data=DataRef.parse(content["data"]),
            identity=content["identity"],
            preprocess=from_mapping(Preprocess, content["preprocess"], str(path)),
            recipe=None if origin else from_mapping(Recipe, content["recipe"], str(path)),
            seed=content["seed"],
            accuracies=content["accuracies"],
            metrics=tuple(content["metrics"]),
            state=content["state"],
            origin=origin,
        )
    except CheckpointError:
        raise
    except NxtError as error:
        raise CheckpointError(f"{path}: not a checkpoint of nxt, or damaged ({error})") from None


def _exported(path: Path) -> dict[str, Any]:
    """Returns what a safetensors file of `nxt export` holds, as a checkpoint with one kind of weights."""
    tensors, header = read_safetensors(path)
    try:
        content = json.loads(header["nxt"])
        kind, epoch = WEIGHTS[WEIGHTS.index(content.pop("kind"))], int(content.pop("epoch"))
        return {**content, "state": {"epoch": epoch, "weights": {kind: tensors}}}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{path}: not an export of nxt; {_advice(path)}") from None


def _advice(path: Path) -> str:
    return f"if it holds weights of a network, name the network, and give it as `weights` {path}"
