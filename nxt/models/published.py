"""Finds weights from elsewhere with the preprocessing that belongs to them: torchvision's downloads, and files.

A file says nothing of preprocessing itself. It is known where torchvision publishes a file of that name, and where
timm's config.json lies beside it, as in a folder of the Hugging Face Hub.
"""

from __future__ import annotations

import json
import pickle
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import ZOO
from nxt.errors import CheckpointError, first_line
from nxt.files import is_file, is_folder, nearest
from nxt.models.weights import read_weights

TORCHVISION = "torchvision"  # in the place of a file of weights: those that torchvision publishes


@dataclass(frozen=True)
class Pretrained:
    """Weights from elsewhere. `preprocess` has fields of `nxt.data.preprocess.Preprocess`; it is empty if unknown."""

    name: str
    state: dict[str, Tensor]
    preprocess: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()  # the names of the outputs; empty if unknown


def find_weights(spec: ArchSpec, weights: str | Path) -> Pretrained:
    """Returns weights that a user names.

    Args:
        spec: The network that they are to be loaded into.
        weights: "torchvision", "torchvision:VERSION", or a file as `read_weights` reads it.

    Raises:
        CheckpointError: if there are none, or they cannot be read.
    """
    kind, _, version = str(weights).partition(":")
    if kind == TORCHVISION:
        return published(spec, version or "DEFAULT")
    path = Path(weights)
    if not (is_file(path) or is_folder(path)):
        advice = nearest(path) or f"; for published weights write `weights` {TORCHVISION}"
        raise CheckpointError(f"`weights` {weights}: no such file{advice}")
    state = read_weights(path)
    known = [chosen for chosen in _versions(spec).values() if chosen.url.rpartition("/")[2] == path.name]
    if known:
        return Pretrained(str(weights), state, *_told(known[0]))
    config = path.with_name("config.json")
    told = _of_timm(config) if path.suffix == ".safetensors" and is_file(config) else ({}, ())
    return Pretrained(str(weights), state, *told)


def imagenet_classes() -> tuple[str, ...]:
    """Returns the names of ImageNet's 1,000 classes in their usual order, which is that of their sorted wnids."""
    from torchvision.models import ResNet50_Weights

    return tuple(ResNet50_Weights.DEFAULT.meta["categories"])


def published(spec: ArchSpec, version: str = "DEFAULT") -> Pretrained:
    """Returns torchvision's weights of a network. Downloads them, and checks their hash, if torch's cache lacks them.

    Args:
        spec: The network, one of the zoo.
        version: A name such as "IMAGENET1K_V1"; by default torchvision's newest.

    Raises:
        CheckpointError: if torchvision has no such weights, or they cannot be downloaded or read.
    """
    versions = _versions(spec)
    if not versions:
        names = ", ".join(sorted(name for name in ZOO if _versions(ZOO[name].spec)))
        raise CheckpointError(f"torchvision publishes no weights of {spec.name}; it does of {names}")
    if version not in versions:
        known = ", ".join(versions)
        raise CheckpointError(f"torchvision has no weights {version!r} of {spec.name}; it has {known}")
    chosen = versions[version]
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):  # torch prints what it downloads
            warnings.simplefilter("ignore")  # about unusual pickles: they are refused
            state = chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"torchvision's weights of {spec.name} cannot be had from {chosen.url} ({first_line(error)}); "
            "download that file elsewhere and give its path"
        ) from None
    return Pretrained(f"{TORCHVISION}:{chosen.name}", dict(state), *_told(chosen))


def _versions(spec: ArchSpec) -> dict[str, Any]:
    """Returns torchvision's weights of a network by the names of their versions; none if it publishes none."""
    from torchvision.models import get_model_weights, list_models

    known = spec.name in ZOO and spec.name in list_models()
    return dict(get_model_weights(spec.name).__members__) if known else {}


def _told(chosen: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns what torchvision says of weights: their preprocessing, and the names of the outputs."""
    transforms = chosen.transforms()
    preprocess = {
        "size": transforms.crop_size[0],
        "crop": transforms.crop_size[0] / transforms.resize_size[0],
        "interpolation": transforms.interpolation.value,
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
    }
    return preprocess, tuple(chosen.meta["categories"])


def _of_timm(config: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns what timm's config.json says of the weights beside it.

    Raises:
        CheckpointError: if it cannot be read.
    """
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
        told = content.get("pretrained_cfg", content)
        size = int(told["input_size"][-1])
        preprocess = {
            "size": size,
            "crop": size / int(size / float(told["crop_pct"])),  # timm rounds down
            "interpolation": told["interpolation"],
            "mean": tuple(map(float, told["mean"])),
            "std": tuple(map(float, told["std"])),
        }
        return preprocess, tuple(map(str, content.get("label_names") or ()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{config}: not timm's description of a network ({first_line(error)})") from None
