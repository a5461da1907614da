"""From a recipe to what is trained: the network as the recipe starts it, its images, and the trainer of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute, for_proxy
from nxt.data.dataset import Dataset, ImagePlacement, Source, divided
from nxt.data.placement import open_images
from nxt.data.preprocess import Preprocess
from nxt.data.resident import Batches, Images
from nxt.data.scenes.stream import SceneStream
from nxt.errors import CheckpointError
from nxt.models.published import find_weights
from nxt.models.weights import load_weights
from nxt.train.engine.trainer import Trainer
from nxt.train.model import Model, backbone_of, built
from nxt.train.recipe import Recipe


def network_for(spec: ArchSpec, classes: int, recipe: Recipe, seed: int) -> Model:
    """Builds a network, initialised by a seed, with what the recipe puts into it.

    Raises:
        ArchError: if the network cannot carry the recipe's head.
    """
    torch.manual_seed(seed)
    model = built(spec, classes, recipe)
    network = backbone_of(model)
    if recipe.zero_last_gamma:
        network.zero_last_gamma()
    network.regularize(dropout=recipe.dropout, drop_block=recipe.drop_block, stochastic_depth=recipe.stochastic_depth)
    return model


def start_from(model: Model, weights: str) -> str:
    """Loads the weights that a training starts from, and says in a sentence what was done.

    Args:
        model: The network; one with a head starts from the weights of a classifier.
        weights: A file, `torchvision`, or `torchvision:VERSION`.

    Raises:
        CheckpointError: if the weights are not there, or not of this network.
    """
    found = find_weights(model.spec, weights)
    loaded = load_weights(backbone_of(model), found.state, found.name)
    for name, value in model.state_dict().items():
        if not value.isfinite().all():
            raise CheckpointError(f"`weights` {weights}: {name!r} holds infinite or NaN values; use an earlier file")
    return f"started from {loaded}"


@dataclass(frozen=True)
class Inputs:
    """The images of a training, with how each split is kept, by "train" and "val"."""

    train: Images
    val: Images
    placements: Mapping[str, ImagePlacement]


def open_inputs(
    source: Source,
    recipe: Recipe,
    size: int,
    device: torch.device,
    *,
    share: float = 1.0,
    placements: Mapping[str, ImagePlacement] | None = None,
    processes: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> Inputs:
    """Makes a source's training and validation images ready.

    Args:
        source: The data.
        recipe: Says how images are made.
        size: Image side in training, in pixels.
        device: Where they go.
        share: Share of the training images to train on.
        placements: How each split was kept before; None: to be planned.
        processes: How many processes share this machine.
        on_progress: Is called with the number of images that were read beforehand, and of all.

    Raises:
        DataError: as the data does.
    """
    rows, split, held = divided(source, share, recipe.holdout)
    preprocess = recipe.preprocess(size, source.mean, source.std)
    judged = recipe.preprocess(recipe.eval_size or size, source.mean, source.std)
    if source.task != "classification":
        return _scenes(source, recipe, rows, (split, held), preprocess, judged, device)
    before = placements or {}
    train, chosen = open_images(
        source, "train", rows, preprocess, device, recipe.augment, passes=recipe.epochs, processes=processes,
        placement=before.get("train"), on_progress=on_progress,
    )  # fmt: skip
    val, also = open_images(
        source, split, held, judged, device, passes=recipe.epochs, processes=processes, placement=before.get("val"),
        on_progress=on_progress,
    )  # fmt: skip
    return Inputs(train, val, {"train": chosen, "val": also})


def _scenes(
    source: Source,
    recipe: Recipe,
    rows: NDArray[np.int64],
    held: tuple[str, NDArray[np.int64]],
    preprocess: Preprocess,
    judged: Preprocess,
    device: torch.device,
) -> Inputs:
    """Makes images with boxes or masks ready; `held` are a split and its rows."""
    masks = "mask" in recipe.head
    train = SceneStream(source, "train", rows, preprocess, recipe.scene, device, masks=masks)
    val = SceneStream(source, *held, judged, recipe.scene, device, masks=masks)
    sentences = {
        name: f"{name}: {len(each):,} images decoded whenever they are read"
        for name, each in {"train": train, "val": val}.items()
    }
    return Inputs(train, val, {name: ImagePlacement("streamed", 0, text) for name, text in sentences.items()})


def resident_trainer(
    spec: ArchSpec,
    data: Dataset,
    recipe: Recipe,
    size: int,
    device: torch.device,
    seed: int,
    *,
    compute: Compute | None = None,
    room: int | None = None,
) -> Trainer:
    """Returns a trainer of a proxy on images that live on the device, as far as they fit.

    Args:
        spec: The network.
        data: Training and validation images.
        recipe: Hyper-parameters.
        size: Image side in pixels.
        device: Where to train.
        seed: Decides everything that chance decides.
        compute: How to compute; None: by the rule for proxies.
        room: Bytes that images may take on the device; None: as many as they are. A split that does not fit stays in
            main memory, and is sent batch by batch; the numbers are the same.
    """
    network = network_for(spec, len(data.classes), recipe, seed)
    preprocess = recipe.preprocess(size, data.mean, data.std)
    train = Batches(data.train, preprocess, device, room)
    left = room - data.train.images.nbytes if room is not None and train.on_device else room
    val = Batches(data.val, preprocess, device, left)
    return Trainer(network, train, val, recipe, seed, mirror=data.mirror, compute=compute or for_proxy(device))


def source_trainer(
    spec: ArchSpec, source: Source, inputs: Inputs, recipe: Recipe, seed: int, full: bool = True
) -> Trainer:
    """Returns a trainer of a fresh network on a source's images; `full` is that of `Trainer`."""
    network = network_for(spec, len(source.classes), recipe, seed)
    return Trainer(network, inputs.train, inputs.val, recipe, seed, mirror=source.mirror, full=full)
