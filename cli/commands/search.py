"""`nxt search`: the main job."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxt.files import place

from .. import complete, options
from ..terminal import tables as render

if TYPE_CHECKING:
    from nxt.search.engine.execute import Where
    from nxt.search.engine.search import Search
    from nxt.search.request import SearchRequest

TRIALS = 20
EXAMPLE = "give a budget, such as --flops 4.1G or --like resnext50_32x4d"


def search(
    space: Annotated[
        str | None,
        typer.Argument(
            help="imagenet (the default), resnest, cifar, smoke, or a YAML file.", autocompletion=complete.spaces
        ),
    ] = None,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    like: options.Like = None,
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
    trials: Annotated[int | None, typer.Option(help="How many trials to explore.", show_default=str(TRIALS))] = None,
    hours: Annotated[
        float | None, typer.Option(help="Stop in time to have an answer after so many hours.", min=0)
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            help="How many of the best to train again with fresh seeds.", min=0, metavar="K", show_default="3"
        ),
    ] = None,
    seed: options.Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to create; default: a new one under results/.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the search in this run directory.", metavar="RUN")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Take over finished trials of this run, where they are the same.", metavar="RUN")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it would cost, and stop.")] = False,
    workers: Annotated[int | None, typer.Option(help="Trials at a time; default: as many as fit.")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs per trial; a fraction shares one; default: 1 where there are any.")
    ] = None,
    address: options.Address = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Keep trial checkpoints here: a path or URI that every machine reaches.", metavar="PLACE"),
    ] = None,
    download: options.Download = False,
    settings: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Search a design space inside a budget and write the Pareto front of architectures.

    Settings for --set: proxy.(size scale stem width share epochs recipe), recipe.(lr batch ...),
    search.(sampler scheduler eta grace control confirm_seeds retries patience keep).
    """
    _check(workers, gpus_per_trial, hours)
    if plan and replay is not None:
        raise typer.BadParameter("--plan counts nothing as taken over: leave out --replay")
    costs = {"flops": flops, "params": params, "acts": acts, "memory": memory}
    if resume is not None:
        given = {"SPACE": space, "--like": like, "--arch": archs, "--out": out, "--seed": seed}
        given |= {f"--{key}": value for key, value in costs.items()} | {"--set": settings, "--storage": storage}
        options.refuse_with_resume(given | {"--repeats": repeats, "--plan": plan or None})
        request, out = _continued(resume, trials, hours, confirm, data), resume
    else:
        given = {"SPACE": space, "--like": like, "--trials": trials, "--confirm": confirm}
        _check_purpose(archs, repeats, given | {f"--{key}": value for key, value in costs.items()})
        from nxt.space.arch_list import load_list
        from nxt.space.space import DEFAULT, load_space

        chosen = load_list(archs) if archs else load_space(space or DEFAULT)
        budget = options.budget_of(costs, like)
        from nxt.search.request import UNLIMITED, make_request  # after what is quick to refuse: it imports torch

        request = make_request(
            chosen,
            budget,
            data="digits" if data is None else data,
            trials=trials if trials is not None else TRIALS if hours is None else UNLIMITED,
            seed=seed or 0,
            settings=[*(settings or []), *([] if confirm is None else [f"search.confirm={confirm}"])],
            repeats=1 if repeats is None else repeats,
            storage=_absolute(storage),
        )
        out = out or _default_out(request)
    from nxt.search.engine.execute import Where
    from nxt.search.engine.search import Search
    from nxt.search.results.run import load_run

    job = Search(request, out, download, None if replay is None else load_run(replay))
    if plan:
        from .search_plan import print_plan

        print_plan(job, workers, hours, as_json)
        return
    where = Where(workers=workers, gpus_per_trial=gpus_per_trial, address=address, hours=hours)
    carry_out(job, where, new=resume is None, as_json=as_json)


def carry_out(job: Search, where: Where, new: bool, as_json: bool) -> None:
    """Run a search, or go on with one, and print what came out; end this process where it is not complete."""
    from nxt.analysis import trust
    from nxt.errors import RunError
    from nxt.report.matplotlib_figures import plot_front
    from nxt.search.results.run import load_run

    from .show import print_run

    try:
        complete = _run(job, where, new)
        run = load_run(job.out)
        plot_front(run, job.out / "front.png")
        print_run(run, as_json, trust.between_epochs(run))
    except KeyboardInterrupt:  # more than once: Ray takes the first
        if (job.out / "run.yaml").exists():
            _go_on(job, where.hours, "Interrupted")
        raise typer.Exit(130) from None
    if not complete and not job.pace.time_is_up:
        _go_on(job, where.hours, "Interrupted")
        raise typer.Exit(130)
    if not complete or job.cut_short:
        _go_on(job, where.hours, "The hours are over")
    if run.best is None:
        raise RunError(
            f"{job.out}: no trial was trained to the end; nxt show {shlex.quote(str(place(job.out)))} says why"
        )


def _go_on(job: Search, hours: float | None, why: str) -> None:
    """Say how to go on with a search that is not complete."""
    kind = "train" if job.request.proxy.full else "search"
    command = f"nxt {kind} --resume {shlex.quote(str(place(job.out)))}" + (" --hours H" if hours is not None else "")
    render.err().print(f"{why}. Go on with: {command}", soft_wrap=True)


def _check_purpose(archs: list[str] | None, repeats: int | None, given: Mapping[str, object]) -> None:
    """Raise a usage error unless there is something to search inside, or a list to train, but not both."""
    if archs:
        for name, value in given.items():
            if value is not None:
                raise typer.BadParameter(f"{name} cannot be given with --arch: nothing is searched")
    elif repeats is not None:
        raise typer.BadParameter("--repeats needs --arch: the trainings of a search differ in their architectures")
    elif not any(value for name, value in given.items() if name not in ("SPACE", "--trials", "--confirm")):
        raise typer.BadParameter(EXAMPLE)


def _continued(
    run: Path, trials: int | None, hours: float | None, confirm: int | None, data: str | None
) -> SearchRequest:
    import dataclasses

    from nxt.search.request import UNLIMITED, load_request
    from nxt.space.arch_list import ArchList

    request = load_request(run)
    if isinstance(request.space, ArchList) and (trials is not None or confirm is not None):
        raise typer.BadParameter("--trials and --confirm cannot be given for a list: nothing is searched")
    if request.trials == UNLIMITED and trials is None and hours is None:
        raise typer.BadParameter("hours limited this search: give --hours again, or the number of --trials")
    if confirm is not None:
        request = dataclasses.replace(request, settings=dataclasses.replace(request.settings, confirm=confirm))
    trials = request.trials if trials is None else trials
    return dataclasses.replace(request, trials=trials, data=data or request.data)


def _default_out(request: SearchRequest) -> Path:
    texts = [limit.text.replace(" ", "-") for limit in request.budget.limits]
    kind = request.data.partition(":")[0]
    return options.free_run(request.space.name, *texts, kind)


def _absolute(storage: str | None) -> str:
    """Make a path mean the same for every worker; a URI does already."""
    return "" if storage is None else storage if "://" in storage else str(Path(storage).resolve())


def _check(workers: int | None, gpus_per_trial: float | None, hours: float | None) -> None:
    if workers is not None and workers < 1:
        raise typer.BadParameter(f"--workers {workers}: at least one is needed")
    if gpus_per_trial is not None and not 0 <= gpus_per_trial <= 1024:
        raise typer.BadParameter(f"--gpus-per-trial {gpus_per_trial:g}: not a number of GPUs")
    if hours is not None and not 0 < hours <= 24 * 366:
        raise typer.BadParameter(f"--hours {hours:g}: give a time from seconds (0.01) to a year")


def _run(job: Search, where: Where, new: bool) -> bool:
    """Run the trials and return whether all of them have ended."""
    from nxt.search.engine.execute import execute

    from ..terminal.search_progress import Progress

    progress = Progress()
    with progress.waiting():
        done = execute(job, where, progress, new)
    if done and not progress.begun:
        more = "" if job.feasible is None else "; --trials N explores more"
        render.err().print(f"All that was asked for was done already{more}.", soft_wrap=True)
    return done
