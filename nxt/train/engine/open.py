"""A full training as a run directory, new or continued exactly.

run.yaml  metrics.jsonl  tensorboard/  card.yaml  CARD.md
checkpoints/last.pt previous.pt (whole states)  best.pt epoch-NNNN.pt (weights)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from nxt.compute.mode import by_rule
from nxt.compute.ranks import Ranks
from nxt.compute.sync_bn import synchronised
from nxt.config import to_mapping
from nxt.data.dataset import ImagePlacement, Source, divided
from nxt.data.readable import without_bad
from nxt.data.sources.open import open_source
from nxt.errors import CheckpointError
from nxt.files import is_file
from nxt.models.network import Network
from nxt.rundir import hold_run_directory, read_run_record
from nxt.train.checkpoint import Checkpoint
from nxt.train.checkpoint_folder import LAST, CheckpointFolder
from nxt.train.engine.autotune import tuned
from nxt.train.engine.session import Training, Watcher
from nxt.train.engine.setup import Inputs, network_for, open_inputs, start_from
from nxt.train.engine.trainer import Trainer
from nxt.train.history import METRICS
from nxt.train.model import backbone_of
from nxt.train.request import TrainRequest, at_size
from nxt.units import format_count


@contextmanager
def prepared(
    request: TrainRequest,
    device: torch.device,
    resume: bool = False,
    watcher: Watcher | None = None,
    ranks: Ranks | None = None,
) -> Iterator[Training]:
    """Checks a request, loads the data, and makes or reopens the run directory; gives the training, ready to run.

    Args:
        request: What to train.
        device: Where to compute.
        resume: Go on with an existing run.
        watcher: Who follows.
        ranks: This worker's place among several; only the first one writes.

    Raises:
        RunError: if the run directory exists (or, to resume, does not), cannot be written, or is in use.
        DataError: as the data does.
        CheckpointError: if the checkpoint is damaged, or of another architecture or other data.
    """
    watcher, ranks = watcher or Watcher(), ranks or Ranks()
    leads, new = ranks.rank == 0, ranks.rank == 0 and not resume
    if resume:
        read_run_record(request.out, "train")
    with ExitStack() as stack:
        out = request.out.resolve()
        if leads:
            directory = stack.enter_context(hold_run_directory(request.out, "train", new))
        source = ranks.agree(lambda: _source(request, watcher))
        images = len(divided(source, holdout=request.recipe.holdout)[0])
        recipe = at_size(request.recipe, source.size or request.spec.size).with_images(images)
        request = dataclasses.replace(request, recipe=recipe)
        folder = CheckpointFolder(out / "checkpoints", request.recipe.saving)
        previous = folder.newest(watcher.note) if resume else None
        identity = source.identity()
        if previous is not None:
            _check_same(request, previous, identity, out)
        elif is_file(out / METRICS):
            raise CheckpointError(f"{folder.path / LAST}: no such checkpoint; train into a new `out`")
        request, trainer = _trainer(request, source, device, ranks, previous is None, watcher)
        if previous is not None:
            _restore(trainer, previous)
        elif new:
            directory.write_record(request.record())
        if leads:
            folder.path.mkdir(exist_ok=True)
        metrics = [] if previous is None else [dict(row) for row in previous.metrics]
        yield Training(request, out, source, identity, trainer, folder, metrics, watcher)


def _source(request: TrainRequest, watcher: Watcher) -> Source:
    source = open_source(request.data, request.download)
    for note in source.notes:
        watcher.note(note)
    if not request.skip_bad:
        return source
    return without_bad(source, lambda problem: watcher.note(f"left out: {problem}"), watcher.reading)


def _trainer(
    request: TrainRequest, source: Source, device: torch.device, ranks: Ranks, fresh: bool, watcher: Watcher
) -> tuple[TrainRequest, Trainer]:
    """Builds the network, opens its images, and chooses how to compute; returns the request with those choices."""
    recipe, size = request.recipe, request.recipe.sides[0]
    network = network_for(request.spec, len(source.classes), recipe, request.seed)
    if request.freeze:
        backbone_of(network).freeze(request.freeze)
    if request.weights and fresh:
        watcher.note(start_from(network, request.weights))
    if request.freeze:
        trained, every = (sum(p.numel() for p in network.parameters() if p.requires_grad or kind) for kind in (0, 1))
        watcher.note(
            f"frozen up to {request.freeze}: {format_count(trained)} of {format_count(every)} parameters are trained"
        )

    def inputs(placements: Mapping[str, ImagePlacement]) -> Inputs:
        return open_inputs(
            source, recipe, size, device, placements=placements, processes=ranks.local, on_progress=watcher.reading
        )

    mine = inputs(request.inputs) if ranks.rank == 0 else None  # it makes caches, too
    placements = ranks.agree(lambda: dict(mine.placements) if mine is not None else {})
    mine = mine or inputs(placements)
    if request.compute is None and request.tune and isinstance(network, Network):
        steps = recipe.epochs * max(1, len(mine.train) // recipe.batch)
        preprocess = mine.train.preprocess
        compute = ranks.agree(
            lambda: tuned(backbone_of(network), recipe, preprocess, device, steps, watcher.note, ranks.world)
        )
    else:
        compute = request.compute or by_rule(device)
    if recipe.sync_bn and ranks.world > 1:
        network = synchronised(network, device)
    trainer = Trainer(
        network, mine.train, mine.val, recipe, request.seed, mirror=source.mirror, compute=compute, ranks=ranks,
        full=True,
    )  # fmt: skip
    return dataclasses.replace(request, compute=compute, inputs=placements), trainer


def _check_same(request: TrainRequest, previous: Checkpoint, identity: str, out: Path) -> None:
    """Raises CheckpointError unless a checkpoint is of the network and the data of the request."""
    name = request.spec.name
    if previous.spec.fingerprint != request.spec.fingerprint:
        problem = f"holds {previous.spec.name}, not {name}; train that one, or choose another `out`"
    elif previous.identity != identity:
        problem = (
            f"{request.data.display} is no longer the data of this run: images were added, removed or changed; "
            "put them back, or train into a new `out`"
        )
    elif changed := _changed(request, previous):
        problem = f"run.yaml has another {changed} than the checkpoint; undo that, or train into a new `out`"
    else:
        return
    raise CheckpointError(f"{out}: {problem}")


def _changed(request: TrainRequest, previous: Checkpoint) -> str:
    """Returns the first value in which a run's record and its checkpoint differ; empty if they agree."""
    if request.seed != previous.seed:
        return "seed"
    now, before = (to_mapping(recipe) for recipe in (request.recipe, previous.recipe))
    return next((key for key in now if key not in ("about", "saving", "epochs") and now[key] != before[key]), "")


def _restore(trainer: Trainer, previous: Checkpoint) -> None:
    try:
        trainer.restore(previous.state)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        problem = str(error).splitlines()[0]
        raise CheckpointError(
            f"the checkpoint does not fit this training ({problem}); train into a new `out`"
        ) from None
