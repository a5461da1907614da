"""Reads and loads weights: files of nxt, torchvision, timm and the ResNeSt release.

Networks of nxt have torchvision's keys (ResNet, ResNeXt) and timm's (ResNeSt, as in the ResNeSt release), so of keys
only prefixes are taken off, and a convolution that timm joins with its batch norm is taken apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nxt.arch.costs import MAX_CLASSES, cost
from nxt.arch.zoo import ZOO
from nxt.errors import CheckpointError
from nxt.files import is_folder
from nxt.models.network import Network, build
from nxt.models.tensors import read_safetensors, read_tensors

HEAD = ("fc.weight", "fc.bias")
# Keys of weights in the checkpoints of training scripts, with the kind of the weights.
_WRAPPERS = {
    **dict.fromkeys(("state_dict_ema", "model_ema", "params_ema"), "ema"),
    **dict.fromkeys(("state_dict", "model", "model_state_dict", "net", "params"), "raw"),
}
_PREFIX = re.compile(r"^((module|_orig_mod|model|net|network|backbone)\.)+")  # of what wraps a network
_JOINED = re.compile(r"^(layer\d+\.\d+)\.conv([13])\.(conv|bn)\.")  # in timm's blocks with selective kernels
_COUNTER = "num_batches_tracked"  # of batch norms; missing in old files, and without effect on the network
_STATISTICS = ("running_mean", "running_var")  # of batch norms: no parameters


@dataclass(frozen=True)
class Loaded:
    """The origin of each of a network's weights, as keys of its state dict."""

    where: str
    loaded: tuple[str, ...]  # unchanged from the file
    adapted: tuple[str, ...]  # changed to fit the network's input channels
    fresh: tuple[str, ...]  # still freshly initialised

    def __str__(self) -> str:
        adapted = f", {', '.join(self.adapted)} adapted to the input channels" if self.adapted else ""
        fresh = f", {', '.join(self.fresh)} left new" if self.fresh else ""
        return f"{len(self.loaded)} tensors from {self.where}{adapted}{fresh}"


def read_weights(path: Path | str, kind: str | None = None) -> dict[str, Tensor]:
    """Reads a network's weights by name onto the CPU.

    Reads checkpoints of nxt and its run directories, plain state dicts (zip archives or the older pickles), the
    checkpoints of training scripts (such as torchvision's and timm's), and safetensors. Keys become those of nxt.

    Args:
        path: The file, or a run directory with `checkpoints/last.pt`.
        kind: "raw" or "ema"; None: the more accurate ones of a checkpoint of nxt, the averaged ones of others.

    Raises:
        CheckpointError: if there is no such file, or it is damaged, would run code, or has no weights of that kind.
    """
    path = Path(path)
    if is_folder(path):
        path = path / "checkpoints" / "last.pt"
    plain = path.suffix == ".safetensors"
    weights: Mapping[str, Any] = read_safetensors(path)[0] if plain else _chosen(read_tensors(path), kind, path)
    state = {own_key(str(key)): value for key, value in weights.items()}
    state.pop("n_averaged", None)  # of torch.optim.swa_utils.AveragedModel
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others or not state:
        problem = f" ({others[0]!r} is no tensor)" if others else ""
        raise CheckpointError(f"{path}: holds no weights by name{problem}")
    return state


def own_key(key: str) -> str:
    """Returns the key in a network of nxt for one of elsewhere.

    Without prefixes, such as those of DataParallel, torch.compile and modules that hold the network; and in blocks with
    selective kernels `conv1.conv` and `conv1.bn` are `conv1` and `bn1`.
    """
    return _JOINED.sub(lambda found: f"{found[1]}.{found[3]}{found[2]}.", _PREFIX.sub("", key))


def _chosen(content: Mapping[str, Any], kind: str | None, path: Path) -> Mapping[str, Any]:
    """Returns the weights of a kind from the content of a file."""
    own = content["state"].get("weights") if isinstance(content.get("state"), dict) else None
    if isinstance(own, dict) and own:
        accuracies = content.get("accuracies") or {}
        sets, preferred = own, max(own, key=lambda name: accuracies.get(name, 0.0))
    else:
        sets = {}
        for key, key_kind in _WRAPPERS.items():
            if isinstance(content.get(key), dict):
                sets.setdefault(key_kind, content[key])
        sets, preferred = sets or {"raw": content}, "ema" if "ema" in sets else "raw"
    weights = sets.get(kind or preferred)
    if not isinstance(weights, dict):
        raise CheckpointError(f"{path}: has no {kind or preferred} weights, only {' and '.join(map(str, sets))}")
    return weights


def load_weights(network: Network, state: Mapping[str, Tensor], where: str) -> Loaded:
    """Loads weights into a network: all of them, or none if they do not fit.

    A last layer for another number of classes, or none at all, leaves the network's own; a network without one takes
    none. A stem for RGB is adapted to
    other input channels as timm does: summed for one channel, else repeated and scaled by 3 / channels.

    Args:
        network: The network.
        state: Weights by name, as `read_weights` returns them.
        where: Their name in messages.

    Raises:
        CheckpointError: if anything else is missing, unexpected or of another shape. The message names the first such
            key and the network of the zoo whose weights these are, if there is one.
    """
    own = network.state_dict()
    weights = {key: value for key, value in state.items() if key in own or not key.endswith(_COUNTER)}
    adapted, fresh = _fit_stem(weights, own), _fit_head(weights, own)
    weights |= {key: value for key, value in own.items() if key.endswith(_COUNTER) and key not in weights}
    problems = list(_differences(weights, own))
    if problems:
        more = f", and {len(problems) - 1} more such" if len(problems) > 1 else ""
        names = _zoo_names(state)
        hint = f"; they are those of {' or '.join(names)}" if names and network.spec.name not in names else ""
        raise CheckpointError(f"{where}: not the weights of {network.spec.name}: {problems[0]}{more}{hint}")
    network.load_state_dict(weights)
    changed = {*adapted, *fresh}
    return Loaded(where, tuple(key for key in own if key in state and key not in changed), adapted, fresh)


def _fit_stem(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Adapts a stem for RGB to the network's input channels; returns its key if it was adapted."""
    key = "conv1.weight" if "conv1.weight" in own else "conv1.0.weight"
    if key not in weights or weights[key].ndim != 4:
        return ()
    channels = own[key].shape[1]
    if weights[key].shape[1] != 3 or channels == 3:
        return ()
    weight = weights[key].float()
    repeated = weight.repeat(1, math.ceil(channels / 3), 1, 1)[:, :channels] * (3 / channels)
    weights[key] = weight.sum(dim=1, keepdim=True) if channels == 1 else repeated
    return (key,)


def _fit_head(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Puts the network's own last layer for none, or one of other classes; returns the keys if it did."""
    there = [key for key in HEAD if key in weights]
    if HEAD[0] not in own:  # the backbone of another head
        for key in there:
            del weights[key]
        return ()
    if there:
        if len(there) < len(HEAD) or weights[HEAD[0]].ndim != 2:
            return ()
        theirs, ours = weights[HEAD[0]].shape, own[HEAD[0]].shape
        if theirs[0] == ours[0] or theirs[1] != ours[1]:
            return ()
    weights.update({key: own[key] for key in HEAD})
    return HEAD


def _differences(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterable[str]:
    """Yields differences of keys and shapes in words: other shapes first, then missing, then unexpected keys."""
    for key, value in own.items():
        if key in weights and weights[key].shape != value.shape:
            yield f"{key} is {_shape(weights[key])} in the file and {_shape(value)} in the network"
    for key, value in own.items():
        if key not in weights:
            yield f"{key} ({_shape(value)}) is missing in the file"
    for key in weights:
        if key not in own:
            yield f"{key} ({_shape(weights[key])}) is not in the network"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _zoo_names(state: Mapping[str, Tensor]) -> list[str]:
    """Returns the networks of the zoo that have these keys and shapes, with any number of classes."""
    classes = len(state[HEAD[1]]) if HEAD[1] in state and state[HEAD[1]].ndim == 1 else 0
    if not 1 <= classes <= MAX_CLASSES:
        return []
    shapes = _shapes(state)
    params = sum(shape.numel() for key, shape in shapes.items() if not key.endswith(_STATISTICS))
    names = [name for name, entry in ZOO.items() if cost(entry.spec, classes=classes).params == params]
    with torch.device("meta"):
        return [name for name in names if _shapes(build(name, classes).state_dict()) == shapes]


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items() if not key.endswith(_COUNTER)}
