"""Trained networks by what a user names: a checkpoint of nxt, or a network with weights from elsewhere.

Both become a `Checkpoint`, which evaluation, prediction and export take.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from nxt.arch.load import resolve
from nxt.arch.names import fields_of
from nxt.arch.spec import ArchSpec
from nxt.config import from_mapping, require
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.scenes.transforms import network_input as scene_input
from nxt.data.sources.open import IMAGENET_MEAN, IMAGENET_STD
from nxt.data.transforms import network_input
from nxt.errors import CheckpointError, NxtError
from nxt.files import exists, is_folder
from nxt.models.network import build
from nxt.models.published import Pretrained, find_weights, imagenet_classes
from nxt.models.weights import HEAD, load_weights
from nxt.train.checkpoint import WEIGHTS, Checkpoint, read
from nxt.train.model import Model

UNKNOWN = DataRef("folder")  # the data of weights from elsewhere; there is none at an empty path


def load(path: str | Path, weights: str | Path | None = None) -> Model:
    """Returns a trained network, ready for evaluation, on the CPU.

    Its `classes` are the names of its outputs, and its `transform` makes a PIL image its input:
    `network(network.transform(image)[None])`. What was trained with a head is a `DenseNetwork`; a detector takes a list
    of images, `network([network.transform(image)])`.

    Example:
        >>> nxt.load("resnext50_32x4d", weights="torchvision").classes[0]
        'tench'

    Args:
        path: A checkpoint, or a training's run directory for its last one; or the name or the file of a network.
        weights: Of a checkpoint "raw" or "ema", by default the better ones on the validation split. Of a network
            "torchvision" (or "torchvision:VERSION") for those that it publishes, or a file of torchvision, timm, the
            ResNeSt release or a training script. See `open_trained` for the classes and the preprocessing.

    Raises:
        CheckpointError: if the checkpoint or the weights cannot be read, or are not of this network.
        ArchError, ConfigError: if there is no such network.
    """
    checkpoint = open_trained(path, weights)
    network, recipe = checkpoint.model(), checkpoint.recipe
    network.classes, network.transform = checkpoint.classes, partial(network_input, checkpoint.preprocess)
    if recipe is not None and recipe.head:
        network.transform = partial(scene_input, checkpoint.preprocess, recipe.scene)
    return network


def open_trained(
    given: str | Path, weights: str | Path | None = None, note: Callable[[str], None] = lambda text: None
) -> Checkpoint:
    """Returns a checkpoint, or a network with weights from elsewhere as one, with one kind of weights.

    Weights from elsewhere have the preprocessing and the classes that torchvision says of them, or timm's config.json
    beside the file. Otherwise a network of 224 pixels gets the middle of 256, bilinear, and ImageNet's mean and
    deviation; 1,000 outputs are ImageNet's classes in their usual order, and others are numbered.

    Args:
        given: As in `load`.
        weights: As in `load`.
        note: Called with a sentence about what is taken for granted, and of a training that has not ended.

    Raises:
        CheckpointError, ArchError, ConfigError: as `load` does.
    """
    if not from_elsewhere(given, weights):
        if not exists(Path(given)) and _is_network(str(given)):
            advice = f"give some with `weights` torchvision or FILE, or train it: nxt train {given}"
            raise CheckpointError(f"{given}: a network without weights; {advice}")
        checkpoint = read(given)
        recipe = checkpoint.recipe
        if is_folder(Path(given)) and recipe is not None and checkpoint.epoch < recipe.epochs:
            note(f"{given}: not trained to the end, only for {checkpoint.epoch} of {recipe.epochs} epochs")
        try:
            return checkpoint.only(None if weights is None else str(weights))
        except CheckpointError as error:
            raise CheckpointError(f"{given}: {error}") from None
    spec = resolve(given)
    return _as_checkpoint(spec, find_weights(spec, str(weights)), note)


def from_elsewhere(given: str | Path, weights: str | Path | None) -> bool:
    """Returns whether weights come from elsewhere than a checkpoint.

    Raises:
        ConfigError: if they should, and what is given is a checkpoint with weights of its own.
    """
    if weights is None or str(weights) in WEIGHTS:
        return False
    name, own = str(given), f"{str(weights)!r} is not one of {', '.join(WEIGHTS)}"
    network = name.endswith((".yaml", ".yml")) or _is_network(name)
    problem = f"{own}: {given} has weights of its own" if exists(Path(weights)) else own
    require(network or not (exists(Path(name)) or Path(name).suffix), "`weights`", problem)
    return True


def _is_network(name: str) -> bool:
    """Returns whether a name is one of a network, though perhaps of one that does not exist."""
    try:
        return fields_of(name) is not None
    except NxtError:
        return True


def _as_checkpoint(spec: ArchSpec, found: Pretrained, note: Callable[[str], None]) -> Checkpoint:
    """Returns weights from elsewhere as a checkpoint; see `open_trained`."""
    bias = found.state.get(HEAD[1])
    count = len(bias) if bias is not None and bias.ndim == 1 else spec.classes
    network = build(spec, count)
    loaded = load_weights(network, found.state, found.name)
    if loaded.fresh:
        raise CheckpointError(f"{found.name}: has no last layer ({' and '.join(HEAD)}), so it tells no classes")
    crop = 1.0 if spec.stem == "cifar" else 0.875
    usual = Preprocess(size=spec.size, crop=crop, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    preprocess = from_mapping(Preprocess, found.preprocess, found.name) if found.preprocess else usual
    if not found.preprocess:
        how = f"the middle {usual.size} px of {usual.resized}, {usual.interpolation}, ImageNet's mean and deviation"
        note(f"note: {found.name} does not say how images become its input; taken as usual: {how}")
    usual_classes = imagenet_classes() if count == 1000 else tuple(map(str, range(count)))
    return Checkpoint(
        spec=spec,
        classes=found.classes if len(found.classes) == count else usual_classes,
        data=UNKNOWN,
        identity="",
        preprocess=preprocess,
        recipe=None,
        seed=0,
        accuracies={},
        state={"epoch": 0, "weights": {WEIGHTS[0]: network.state_dict()}},
        origin=found.name,
    )
