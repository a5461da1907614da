"""Checkpoints: written whole or not at all, read without running pickled code.

A checkpoint holds everything needed to go on or to use the network elsewhere: architecture, classes, preprocessing,
recipe, and the state of the training. It is a file of torch's own format with tensors and plain data only.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from nxt.arch import ArchSpec
from nxt.config import check_record, from_mapping, to_mapping
from nxt.errors import CheckpointError, NxtError
from nxt.files import replacing
from nxt.models.network import Network, build
from nxt.train.recipe import Recipe

FORMAT = 1
_RECORD = {
    **dict.fromkeys(("format", "size", "seed"), int),
    **dict.fromkeys(("classes", "mean", "std"), list),
    **dict.fromkeys(("arch", "recipe", "state"), dict),
    "data": str,
    "accuracy": float,
}


@dataclass(frozen=True)
class Checkpoint:
    """A training's state with what it belongs to. `accuracy` is on the validation split, in 0..1."""

    spec: ArchSpec
    classes: tuple[str, ...]
    data: str  # source, as given to --data
    size: int  # training image side in pixels
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Recipe
    seed: int
    accuracy: float
    state: dict[str, Any]

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return int(self.state["epoch"])

    def network(self) -> Network:
        """Build the network with the checkpoint's weights, in evaluation mode.

        Raises:
            CheckpointError: if the weights are not those of its architecture.
        """
        network = build(self.spec, len(self.classes))
        try:
            network.load_state_dict(self.state["network"])
        except (RuntimeError, KeyError, TypeError, AttributeError) as error:
            problem = str(error).splitlines()[0]
            raise CheckpointError(f"the weights do not fit the checkpoint's architecture ({problem})") from None
        return network.eval()


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        RunError: if it cannot be written.
    """
    content = {
        "format": FORMAT,
        "arch": checkpoint.spec.to_dict(),
        "classes": list(checkpoint.classes),
        "data": checkpoint.data,
        "size": checkpoint.size,
        "mean": list(checkpoint.mean),
        "std": list(checkpoint.std),
        "recipe": to_mapping(checkpoint.recipe),
        "seed": checkpoint.seed,
        "accuracy": checkpoint.accuracy,
        "state": checkpoint.state,
    }
    with replacing(path) as file:
        torch.save(content, file)


def read(path: Path | str) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Args:
        path: The file, or a run directory that has `checkpoints/last.pt`.

    Raises:
        CheckpointError: if there is none, or it is damaged or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoints" / "last.pt"
    content = read_tensors(path)
    try:
        check_record(content, _RECORD, str(path))
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {content['format']!r} is not known to this version of nxt")
        return Checkpoint(
            spec=ArchSpec.from_dict(content["arch"], str(path)),
            classes=tuple(content["classes"]),
            data=content["data"],
            size=content["size"],
            mean=tuple(content["mean"]),
            std=tuple(content["std"]),
            recipe=from_mapping(Recipe, content["recipe"], str(path)),
            seed=content["seed"],
            accuracy=content["accuracy"],
            state=content["state"],
        )
    except CheckpointError:
        raise
    except NxtError as error:
        raise CheckpointError(f"{path}: not a checkpoint of nxt, or damaged ({error})") from None


def read_tensors(source: Path | BinaryIO, name: str = "") -> dict[str, Any]:
    """Read a file of tensors and plain data, refusing anything that would run code.

    `name` is what messages call it; by default its path.

    Raises:
        CheckpointError: if it is missing, damaged, or holds more than that.
    """
    path = name or source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles: those are refused, or are of plain data
            content = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (pickle.UnpicklingError, AttributeError):
        raise CheckpointError(
            f"{path}: holds more than tensors and plain data, or is no checkpoint; not loaded"
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile, OSError):
        raise CheckpointError(
            f"{path}: truncated or damaged; use another checkpoint of the run, or train again"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of nxt")
    return content


def load(path: Path | str) -> Network:
    """Return the trained network of a checkpoint (or of a run directory), ready for evaluation, on the CPU.

    Raises:
        CheckpointError: as `read` does.
    """
    return read(path).network()
