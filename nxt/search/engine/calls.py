"""Searching in one call: from what a user says to the run that comes out. The command line goes through here, too."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nxt.arch.spec import ArchSpec
from nxt.data.ref import DataRef
from nxt.search.engine.execute import Ending, Observer, Resources
from nxt.search.engine.notices import notices
from nxt.search.engine.progress import SearchBar
from nxt.search.engine.search import Search, prepare_search
from nxt.search.engine.tracked import execute_tracked
from nxt.search.options import SearchOptions
from nxt.search.request import SearchRequest
from nxt.search.results.run import Run, load_run
from nxt.search.trial import Trial
from nxt.space.space import Space

NetworkRef = str | Path | ArchSpec


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def search(
    space: str | Path | Space | None = None,
    *,
    flops: str | None = None,
    params: str | None = None,
    acts: str | None = None,
    memory: str | None = None,
    latency: str | None = None,
    throughput: str | None = None,
    latency_table: Path | str | None = None,
    objectives: str | None = None,
    like: str | None = None,
    size: int | None = None,
    classes: int | None = None,
    archs: str | Path | ArchSpec | Sequence[str | Path | ArchSpec] = (),
    repeats: int | None = None,
    data: DataRef | str | None = None,
    head: str | None = None,
    trials: int | None = None,
    hours: float | None = None,
    confirm: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    resume_or_new: bool = False,
    replay: Path | str | None = None,
    storage: str | None = None,
    download: bool = False,
    skip_bad: bool = False,
    workers: int | None = None,
    gpus_per_trial: float | None = None,
    address: str | None = None,
    track: str | None = None,
    callback: Callable[[Trial], None] | None = None,
    observer: Observer | None = None,
) -> Run:
    """Searches a design space inside a budget; blocks until the search is done, and returns its run.

    Example:
        >>> run = nxt.search("cifar", flops="30M", data="folder:mine", settings={"proxy": {"epochs": 3}})

    Args:
        space: A design space: a name, a YAML file, or a `Space`; by default `imagenet`.
        flops: Limit on multiply-adds: "4.1G" (a window of +-8 %), "4.1G+-2%", "1G:4.1G", ":4.1G".
        params: Limit on parameters, in the same grammar.
        acts: Limit on the output elements of all convolutions.
        memory: Limit on the predicted bytes of a training step (batch 32, float32).
        latency: Limit on the predicted latency of a batch: ":5ms", "300us:2ms".
        throughput: Limit on the predicted images a second: "2000:".
        latency_table: The file of `nxt latency measure` by which latency is counted.
        objectives: "accuracy,COST" with flops, params, acts or latency; by default acts inside a window of `flops`,
            and else flops.
        like: A network whose multiply-adds become the window.
        size: Image side in pixels at which the budget is counted; by default what the space is made for.
        classes: Number of classes at which the budget is counted; by default what the space is made for.
        archs: Train these instead of searching: names, architecture files, runs (their fronts) or specifications;
            one alone, or several.
        repeats: Trainings of each of `archs`, with seeds of their own; by default 1.
        data: "digits" (bundled, the default), "cifar10[:PATH]", "cifar100[:PATH]", "folder:PATH" (also a
            URI), "table:FILE", "hf:PATH" or "shards:PATTERN"; with boxes "coco:PATH", with masks "masks:PATH",
            "ade20k:PATH" or "cityscapes:PATH".
        head: What stands on the networks for boxes or masks, instead of the proxy's recipe's; the budget counts it.
        trials: How many to explore; by default 20, or with `hours` as many as fit.
        hours: Stop in time to have an answer after so many hours.
        confirm: How many of the best, at most, are trained again with fresh seeds; by default 3.
        seed: The same seed and arguments give the same run; by default 0.
        settings: Values under "proxy", "recipe" and "search" in the place of the defaults.
        out: The run directory to create; by default a new one under results/.
        resume: Go on with the search in this run directory.
        resume_or_new: Go on with the run in `out` if there is one, asked for the same; else begin it there.
        replay: Take over the finished trials of this run, where they are the same.
        storage: Where trials keep their checkpoints: a path or URI that every machine reaches.
        download: Whether data may be downloaded if it is not there.
        skip_bad: Whether to leave out images that cannot be read.
        workers: Trials at a time; by default as many as fit.
        gpus_per_trial: Part of a GPU for each trial, at most 1, or 0 for the CPU; by default what each needs.
        address: HOST:PORT of a Ray cluster to join; by default this machine alone.
        track: A tracker that hears of it, too: "mlflow", "wandb" or "trackio". Where it is, its own variables say.
        callback: Is called with each trial that has ended.
        observer: Follows the search in the place of the progress bar, on terminals and in notebooks, and of `callback`.

    Raises:
        UsageError: for arguments that do not go together.
        NxtError: if something is missing, unreadable or does not fit.
        KeyboardInterrupt: as `finished` does.
    """
    options = SearchOptions(
        space=space,
        flops=flops,
        params=params,
        acts=acts,
        memory=memory,
        latency=latency,
        throughput=throughput,
        latency_table=_path(latency_table),
        objectives=objectives,
        like=like,
        size=size,
        classes=classes,
        archs=listed(archs),
        repeats=repeats,
        data=None if data is None else DataRef.of(data),
        head=head,
        trials=trials,
        hours=hours,
        confirm=confirm,
        seed=seed,
        settings=settings or {},
        out=_path(out),
        resume=_path(resume),
        resume_or_new=resume_or_new,
        replay=_path(replay),
        storage=storage,
        download=download,
        skip_bad=skip_bad,
        workers=workers,
        gpus_per_trial=gpus_per_trial,
        address=address,
        track=track,
    ).settled()
    job = prepare(options, options.request())
    if options.resume is None and observer is None:
        for text in notices(job):
            _to_stderr(f"note: {text}")
    return finished(job, run_search(job, options, observer or SearchBar(callback)))


def prepare(options: SearchOptions, request: SearchRequest, say: Callable[[str], None] = _to_stderr) -> Search:
    """Opens what a request of these options needs; writes nothing. Raises NxtError as `prepare_search` does."""
    if request.trials is None and options.hours is None and options.resume is not None:
        tried = sum(not trial.replicate for trial in load_run(options.resume).trials)
        request = dataclasses.replace(request, trials=max(1, tried))  # those are confirmed, and no others tried
    replay = None if options.replay is None else load_run(options.replay)
    return prepare_search(request, options.directory(request), options.download, replay, say)


def run_search(job: Search, options: SearchOptions, observer: Observer) -> Ending:
    """Runs a prepared search where the options say. Errors as `execute` has them."""
    resources = Resources(
        workers=options.workers,
        gpus_per_trial=options.gpus_per_trial,
        address=options.address,
        hours=options.hours,
    )
    return execute_tracked(job, resources, observer, options.resume is None, options.track)


def finished(job: Search, ending: Ending) -> Run:
    """Returns the run of a search that has ended; raises KeyboardInterrupt if Ctrl-C or SIGTERM stopped it."""
    if ending is Ending.INTERRUPTED:
        raise KeyboardInterrupt(f"{job.out}: stopped before its end; it goes on with `resume`")
    return load_run(job.out)


def listed(networks: NetworkRef | Sequence[NetworkRef]) -> tuple[NetworkRef, ...]:
    """Returns networks as a tuple; a single network becomes a tuple of one."""
    return (networks,) if isinstance(networks, NetworkRef) else tuple(networks)


def _path(given: Path | str | None) -> Path | None:
    return None if given is None else Path(given)
