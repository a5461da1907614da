"""`nxt search`: searches a design space, or resumes a search."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import complete, options
from ..messages import as_options
from ..terminal import live_region, tables
from ..terminal.status_text import resume_command, shell_path

if TYPE_CHECKING:
    from nxt.search.engine.execute import Ending, Observer
    from nxt.search.engine.search import Search


def search(
    space: Annotated[
        str | None,
        typer.Argument(
            help="imagenet (the default), mobile, resnest, cifar, smoke, or a YAML file.",
            autocompletion=complete.spaces,
        ),
    ] = None,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    latency: options.Latency = None,
    throughput: options.Throughput = None,
    latency_table: options.LatencyTable = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            help="What the front is of: accuracy and one of flops, params, acts, latency.",
            metavar="accuracy,COST",
            show_default="acts in a window of FLOPs, else flops",
        ),
    ] = None,
    like: options.Like = None,
    size: options.Size = None,
    classes: options.Classes = None,
    archs: Annotated[
        list[str] | None,
        typer.Option(
            "--arch",
            help="Train this instead of searching: a name, a YAML file, or a run (its front); may be repeated.",
            metavar="NAME_OR_YAML_OR_RUN",
            autocompletion=complete.networks,
        ),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="With --arch: how often each, with seeds of their own.", min=1, show_default="1")
    ] = None,
    data: options.Data = None,
    head: options.Head = None,
    trials: Annotated[
        int | None,
        typer.Option(help="How many trials to explore.", show_default="20; with --hours, as many as they allow"),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(help="Stop in time to have an answer after so many hours; with --resume, so many more.", min=0),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            help="How many of the best to train again with fresh seeds.", min=0, metavar="K", show_default="3"
        ),
    ] = None,
    seed: options.Seed = None,
    out: options.NewRun = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the search in this run directory.", metavar="RUN")
    ] = None,
    resume_or_new: Annotated[
        bool, typer.Option("--resume-or-new", help="Go on with the search in --out if it has begun, else begin it.")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option(help="Take over finished trials of this run, where they are the same.", metavar="RUN")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would cost, and stop.")] = False,
    workers: Annotated[int | None, typer.Option(help="Trials at a time; default: as many as fit.")] = None,
    gpus_per_trial: options.GpusPerTrial = None,
    address: options.Address = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Keep trial checkpoints here: a path or URI that every machine reaches.", metavar="PLACE"),
    ] = None,
    download: options.Download = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    settings: options.Set = None,
    track: options.Track = None,
    as_json: options.Json = False,
) -> None:
    """Search a design space inside a budget and write the Pareto front of architectures.

    Settings for --set: proxy.(size scale stem width share epochs recipe), recipe.(lr batch ...),
    search.(sampler scheduler eta grace control confirm_seeds retries patience keep).
    """
    if plan and replay is not None:
        raise typer.BadParameter("--plan counts nothing as taken over: leave out --replay")
    if plan and (resume is not None or resume_or_new):
        raise typer.BadParameter("--plan is for a new search; nxt show RUN tells where one stands")
    with live_region.busy(tables.err(), lambda: "counting what fits"):
        from nxt.config import parse_settings
        from nxt.search.options import SearchOptions

        chosen = SearchOptions(
            space=space,
            flops=flops,
            params=params,
            acts=acts,
            memory=memory,
            latency=latency,
            throughput=throughput,
            latency_table=latency_table,
            objectives=objectives,
            like=like,
            size=size,
            classes=classes,
            archs=tuple(archs or ()),
            repeats=repeats,
            data=data,
            head=head,
            trials=trials,
            hours=hours,
            confirm=confirm,
            seed=seed,
            settings=parse_settings(settings or []),
            out=out,
            resume=resume,
            resume_or_new=resume_or_new,
            replay=replay,
            storage=storage,
            download=download,
            skip_bad=skip_bad,
            workers=workers,
            gpus_per_trial=gpus_per_trial,
            address=address,
            track=track,
        ).settled()
        request = chosen.request()  # finds wrong options before torch is imported
        from nxt.search.engine.calls import prepare, run_search
        from nxt.search.engine.notices import notices

        job = prepare(chosen, request)
        told = [] if chosen.resume is not None else notices(job)
    for text in told:
        tables.err().print(f"note: {as_options(text)}", soft_wrap=True)
    if plan:
        from .search_plan import print_plan

        print_plan(job, workers, hours, gpus_per_trial, as_json)
        return
    again: dict[str, object] = {"hours": None if hours is None else _HoursLeft(hours), "workers": workers}
    again |= {"gpus_per_trial": gpus_per_trial, "address": address, "track": track}
    carry_out(job, lambda observer: run_search(job, chosen, observer), again, as_json)


class _HoursLeft:
    """What is left of so many hours whenever it is printed."""

    def __init__(self, hours: float) -> None:
        self._hours, self._begun = hours, time.monotonic()

    def __str__(self) -> str:
        left = self._hours - (time.monotonic() - self._begun) / 3600
        return "H" if left <= 0 else f"{max(left, 0.01):.2f}"


def carry_out(
    job: Search, run_search: Callable[[Observer], Ending], again: Mapping[str, object], as_json: bool
) -> None:
    """Starts or resumes a search and prints the result; raises typer.Exit or RunError if the search is not complete.

    `again` has the options to give again when it is resumed.
    """
    from nxt.errors import RunError
    from nxt.files import is_file
    from nxt.search.engine.execute import Ending
    from nxt.search.results.plain_words import plain_words
    from nxt.search.results.run import load_run

    from ..terminal.search_progress import Progress
    from .show import print_run

    progress = Progress(again)
    try:
        with progress.waiting():
            ending = run_search(progress)
        if ending is Ending.COMPLETE and not progress.begun:
            more = "" if job.request.is_list else "; --trials N explores more"
            tables.err().print(f"All that was asked for was done already{more}.", soft_wrap=True)
        with live_region.busy(tables.err(), lambda: "drawing the front"):
            from nxt.analysis import trust
            from nxt.report.matplotlib_figures import plot_front

            run = load_run(job.out)
            plot_front(run, job.out / "front.png")
            trusted = trust.between_epochs(run)
        print_run(run, as_json, trusted)
        if not as_json and (words := plain_words(run)):
            where = shell_path(job.out)
            tables.say(as_options(words))
            tables.say(f"Picture: {where}/front.png. More: nxt report {where}; nxt show {where} --trials")
    except KeyboardInterrupt:  # pressed again: Ray handles the first one
        if is_file(job.out / "run.yaml"):
            _print_resume(job, again, "Interrupted")
        raise typer.Exit(130) from None
    if ending is Ending.INTERRUPTED:
        _print_resume(job, again, "Interrupted")
        raise typer.Exit(130)
    if ending is Ending.OUT_OF_TIME:
        _print_resume(job, {**again, "hours": again.get("hours") and "H"}, "The hours are over")
    if run.best is None:
        why = f"; nxt show {shell_path(job.out)} says why" if run.trials else ""
        raise RunError(f"{job.out}: no trial was trained to the end{why}")


def _print_resume(job: Search, again: Mapping[str, object], reason: str) -> None:
    """Prints why a search has stopped, and the command that resumes it."""
    command = resume_command(job.out, job.request.full, **again)
    tables.err().print(f"{reason}. Go on with: {command}", soft_wrap=True)
