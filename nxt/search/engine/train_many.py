"""Training several networks fully: a study of a plain list under the search's own engine, with nothing shrunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nxt.arch.families import family, is_family
from nxt.arch.load import counted
from nxt.arch.spec import ArchSpec
from nxt.compute.devices import choose
from nxt.config import refuse_given
from nxt.data.ref import DataRef
from nxt.errors import ConfigError, DeviceError, RunError, UsageError, expecting
from nxt.files import is_folder
from nxt.rundir import free_run_directory
from nxt.search.engine.calls import NetworkRef, finished, listed
from nxt.search.engine.execute import Ending, Observer, Resources
from nxt.search.engine.progress import SearchBar
from nxt.search.engine.search import Search, prepare_search
from nxt.search.engine.tracked import execute_tracked
from nxt.search.new_request import full_request
from nxt.search.request import SearchRequest, load_record
from nxt.search.results.run import Run, load_run
from nxt.search.trial import Trial
from nxt.space.arch_list import ArchList, load_list
from nxt.train.options import RECIPES, TrainOptions, data_of

_FOR_ONE = ("weights", "freeze", "tune", "skip_bad", "resume_or_new")  # what is for the training of one network alone


def train_many(
    networks: str | Path | ArchSpec | Sequence[str | Path | ArchSpec] = (),
    data: str | DataRef | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    head: str | None = None,
    epochs: int | None = None,
    size: int | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    repeats: int | None = None,
    top: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
    address: str | None = None,
    download: bool = False,
    track: str | None = None,
    callback: Callable[[Trial], None] | None = None,
    observer: Observer | None = None,
) -> Run:
    """Trains several networks fully, each as often as asked; blocks until that is done, and returns the run.

    Args:
        networks: Names, architecture files, runs of searches (their fronts), families (`cardinality:resnet50`; see
            `nxt.arch.families`) or specifications; one alone, or several. The first one is what the others are compared
            with.
        repeats: Trainings of each network, with seeds of their own; by default 1.
        top: Of each run, the most accurate so many instead of its front.
        workers: Trainings at a time; by default as many as fit.
        callback: Is called with each training that has ended.
        observer: Follows in the place of the progress bar and of `callback`.
        data, recipe, head, epochs, size, settings, seed, out, resume, device, address, download, track: As for
            `nxt.train`.

    Raises:
        UsageError: for arguments that do not go together.
        NxtError: if something named is not there or cannot be used.
        KeyboardInterrupt: as `finished` does.
    """
    options = TrainOptions(
        data=None if data is None else DataRef.of(data),
        recipe=recipe,
        head=head,
        epochs=epochs,
        size=size,
        settings=settings or {},
        seed=seed,
        out=None if out is None else Path(out),
        resume=None if resume is None else Path(resume),
        workers=workers,
        download=download,
        track=track,
    )
    job = prepare(listed(networks), options, top, repeats)
    return finished(job, run_trainings(job, options, device, address, observer or SearchBar(callback)))


def prepare(networks: Sequence[NetworkRef], options: TrainOptions, top: int | None, repeats: int | None) -> Search:
    """Opens what the trainings need, of a new study or of the one to resume; writes nothing.

    Raises:
        UsageError: for arguments that do not go together.
        NxtError: if something named is not there or cannot be used.
    """
    if options.resume is None:
        request = _request(networks, options, top, repeats)
        out = options.out or free_run_directory("train", f"{request.space.size}-networks", request.data.name)
        return prepare_search(request, out, options.download)
    for name, given in {"networks": networks, "`top`": top, "`repeats`": repeats}.items():
        if given:
            raise UsageError(f"{name} cannot be given with `resume`: run.yaml has what was asked")
    request = load_record(options.resume).request
    if not request.full:
        with expecting("run", options.resume):
            raise RunError(f"{options.resume}: a run of 'search', where a training was expected")
    request = dataclasses.replace(request, data=options.data or request.data)
    return prepare_search(request, options.resume, options.download)


def run_trainings(job: Search, options: TrainOptions, device: str, address: str | None, observer: Observer) -> Ending:
    """Runs the prepared trainings. Raises DeviceError if there is no such device, and what `execute` raises."""
    resources = Resources(workers=options.workers, gpus_per_trial=_gpus(device, address), address=address)
    return execute_tracked(job, resources, observer, options.resume is None, options.track)


def _request(
    networks: Sequence[NetworkRef], options: TrainOptions, top: int | None, repeats: int | None
) -> SearchRequest:
    refuse_given(options, _FOR_ONE, "is for the training of one network")
    networks = [each for name in networks for each in (family(str(name)) if is_family(str(name)) else [name])]
    if not networks:
        raise UsageError("give the networks to train: names, architecture files, or a search's run")
    runs = [Path(name) for name in networks if not isinstance(name, ArchSpec) and is_folder(Path(name))]
    if top is not None and not runs:
        raise UsageError("`top` chooses from a search's run; give one")
    specs: list[ArchSpec] = []
    for network in networks:
        if top is not None and not isinstance(network, ArchSpec) and Path(network) in runs:
            specs += [entry.spec for entry in load_run(network).entries[:top]]
        else:
            specs += load_list([network]).specs
    distinct = ArchList(tuple({spec.fingerprint: spec for spec in specs}.values()))
    side = options.size or _side_of(networks, runs)
    data = options.data or _data_of(networks, runs)
    recipes = [options.recipe_for(spec.name, side, data.task) for spec in distinct.specs]
    for spec, recipe in zip(distinct.specs, recipes, strict=True):
        if recipe != recipes[0]:
            pair = f"{distinct.specs[0].name} and {spec.name}"
            raise ConfigError(f"{options.recipe}: has values of their own for {pair}; train them one by one")
    return full_request(
        distinct,
        data,
        str(options.recipe or RECIPES[data.task][bool(options.weights)]),
        recipes[0],
        options.seed or 0,
        repeats or 1,
        [str(run.resolve()) for run in runs],
    )


def _data_of(networks: Sequence[NetworkRef], runs: Sequence[Path]) -> DataRef:
    """Returns the data that the searches used and files were found on, if that is the same; else the digits."""
    used = {load_record(run).request.data for run in runs}
    used |= {data_of(name) for name in networks if str(name).endswith((".yaml", ".yml"))}  # names say nothing
    return used.pop() if len(used) == 1 else DataRef("digits")


def _side_of(networks: Sequence[NetworkRef], runs: Sequence[Path]) -> int | None:
    """Returns the image side in pixels at which searches and files say that they counted the networks.

    Raises:
        ConfigError: if they say different ones.
    """
    sides = {load_record(run).request.space.counted[0] for run in runs}
    sides |= {counted(name)[0] for name in networks if isinstance(name, ArchSpec) or Path(name) not in runs}
    known = sorted(side for side in sides if side is not None)
    if len(known) > 1:
        each = ", ".join(map(str, known))
        raise ConfigError(f"the networks were counted at {each} px; give the `size` at which to train them all")
    return known[0] if known else None


def _gpus(device: str, address: str | None) -> float | None:
    """Returns the GPUs of each training; None: one where there are any, as a cluster may have what is not here."""
    if device.startswith("cuda:"):
        raise DeviceError(f"`device` {device}: with several networks write auto, cpu or cuda")
    if device != "auto" and address is None:
        choose(device)
    return {"cpu": 0.0, "cuda": 1.0}.get(device)
