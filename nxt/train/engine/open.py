"""A full training as a run directory, new or continued exactly.

run.yaml  metrics.jsonl  tensorboard/  card.yaml  CARD.md
checkpoints/last.pt previous.pt (whole states)  best.pt epoch-NNNN.pt (weights)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch

from nxt.compute.mode import by_rule
from nxt.compute.ranks import Ranks
from nxt.compute.sync_bn import synchronised
from nxt.config import dump_yaml, to_mapping
from nxt.data.dataset import Source, open_source
from nxt.data.placement import Choice
from nxt.data.readable import without_bad
from nxt.errors import CheckpointError, RunError
from nxt.files import LOCK, data_place, is_file, locked, new_run_directory, write_text
from nxt.mistaken import nearby
from nxt.train.checkpoint import Checkpoint
from nxt.train.checkpoint_folder import LAST, Keeper
from nxt.train.engine.autotune import tuned
from nxt.train.engine.session import Training, Watcher
from nxt.train.engine.setup import Inputs, network_for, open_inputs, start_from
from nxt.train.engine.trainer import Trainer
from nxt.train.history import METRICS
from nxt.train.request import TrainRequest, at_size


@contextmanager
def prepared(
    request: TrainRequest,
    device: torch.device,
    resume: bool = False,
    watcher: Watcher | None = None,
    ranks: Ranks | None = None,
) -> Iterator[Training]:
    """Check a request, load the data, and make or reopen the run directory; then give the training, ready to run.

    Args:
        request: What was asked.
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
    if resume and not is_file(request.out / "run.yaml"):
        raise RunError(f"{request.out}: not a run directory (no run.yaml in it){nearby(request.out)}")
    with ExitStack() as stack:
        out = stack.enter_context(new_run_directory(request.out, LOCK) if new else nullcontext(request.out.resolve()))
        if leads:
            stack.enter_context(_held(out))
        source = ranks.agree(lambda: _source(request, watcher))
        request = dataclasses.replace(request, recipe=at_size(request.recipe, source.size, request.spec))
        keeper = Keeper(out / "checkpoints", request.recipe.saving)
        previous = keeper.newest(watcher.note) if resume else None
        identity = source.identity()
        if previous is not None:
            _check_same(request, previous, identity, out)
        elif is_file(out / METRICS):
            raise CheckpointError(f"{keeper.folder / LAST}: no such checkpoint; train into a new --out")
        request, trainer = _trainer(request, source, device, ranks, previous is None, watcher)
        if previous is not None:
            _restore(trainer, previous)
        elif new:
            write_text(out / "run.yaml", dump_yaml(request.record()))
        if leads:
            keeper.folder.mkdir(exist_ok=True)
        metrics = [] if previous is None else [dict(row) for row in previous.metrics]
        yield Training(request, out, source, identity, trainer, keeper, metrics, watcher)


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Hold a run directory for this process alone."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out / LOCK))
        except BlockingIOError:
            where = f"{out}: another training is writing there"
            raise RunError(f"{where}; wait for it to end, or use another --out") from None
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror})") from None
        try:
            yield
        finally:
            if not is_file(out / "run.yaml"):
                (out / LOCK).unlink(missing_ok=True)  # nothing came of it


def _source(request: TrainRequest, watcher: Watcher) -> Source:
    source = open_source(request.data, request.download)
    if not request.skip_bad:
        return source
    return without_bad(source, lambda problem: watcher.note(f"left out: {problem}"), watcher.reading)


def _trainer(
    request: TrainRequest, source: Source, device: torch.device, ranks: Ranks, fresh: bool, watcher: Watcher
) -> tuple[TrainRequest, Trainer]:
    """Build the network, give it its images, and choose how to compute; return the request with what was chosen."""
    recipe, size = request.recipe, request.recipe.sides[0]
    network = network_for(request.spec, len(source.classes), recipe, request.seed)
    if request.freeze:
        network.freeze(request.freeze)
    if request.weights and fresh:
        watcher.note(start_from(network, request.weights))

    def inputs(choices: Mapping[str, Choice]) -> Inputs:
        return open_inputs(
            source, recipe, size, device, choices=choices, processes=ranks.local, on_progress=watcher.reading
        )

    mine = inputs(request.inputs) if ranks.rank == 0 else None  # it makes caches, too
    choices = ranks.agree(lambda: dict(mine.choices) if mine is not None else {})
    mine = mine or inputs(choices)
    if request.compute is None and request.tune:
        steps = recipe.epochs * max(1, len(mine.train) // recipe.batch)
        preprocess = mine.train.preprocess
        compute = ranks.agree(lambda: tuned(network, recipe, preprocess, device, steps, watcher.note, ranks.world))
    else:
        compute = request.compute or by_rule(device)
    if recipe.sync_bn and ranks.world > 1:
        network = synchronised(network, device)
    trainer = Trainer(
        network, mine.train, mine.val, recipe, request.seed, mirror=source.mirror, compute=compute, ranks=ranks
    )
    return dataclasses.replace(request, compute=compute, inputs=choices), trainer


def _check_same(request: TrainRequest, previous: Checkpoint, identity: str, out: Path) -> None:
    """Raise CheckpointError unless a checkpoint is of the network and the data that are to be gone on with."""
    name = request.spec.name
    if previous.spec.fingerprint != request.spec.fingerprint:
        problem = f"holds {previous.spec.name}, not {name}; train that one, or choose another --out"
    elif previous.identity != identity:
        problem = (
            f"{data_place(request.data)} is no longer the data of this run: images were added, removed or changed; "
            "put them back, or train into a new --out"
        )
    elif changed := _changed(request, previous):
        problem = f"run.yaml has another {changed} than the checkpoint; undo that, or train into a new --out"
    else:
        return
    raise CheckpointError(f"{out}: {problem}")


def _changed(request: TrainRequest, previous: Checkpoint) -> str:
    """Return what a run's record says otherwise than its checkpoint; empty if nothing that a training depends on."""
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
            f"the checkpoint does not fit this training ({problem}); train into a new --out"
        ) from None
