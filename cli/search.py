"""`nxt search`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, render

if TYPE_CHECKING:
    from nxt.search.request import SearchRequest
    from nxt.search.run import Search

TRIALS = 20
EXAMPLE = "give a budget, such as --flops 4.1G or --like resnext50_32x4d"


def search(
    space: Annotated[
        str | None, typer.Argument(help="imagenet (the default), resnest, cifar, smoke, or a YAML file.")
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
        ),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(help="With --arch: how often each, with seeds of their own.", show_default="1")
    ] = None,
    data: options.Data = None,
    trials: Annotated[int | None, typer.Option(help="How many trials to explore.", show_default=str(TRIALS))] = None,
    hours: Annotated[
        float | None, typer.Option(help="Stop in time to have an answer after so many hours.", min=0)
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(help="How many of the best to train again with fresh seeds.", metavar="K", show_default="3"),
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
    address: Annotated[
        str | None, typer.Option(help="Join the Ray cluster there instead of this machine alone.", metavar="HOST:PORT")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Keep trial checkpoints here: a path or URI that every machine reaches.", metavar="PLACE"),
    ] = None,
    download: options.Download = False,
    settings: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Search a design space inside a budget and write the Pareto front of architectures.

    Settings for --set: proxy.(size stem width share epochs recipe), recipe.(lr batch ...),
    search.(sampler eta grace control confirm_seeds retries keep).
    """
    _check(workers, gpus_per_trial, hours)
    costs = {"flops": flops, "params": params, "acts": acts, "memory": memory}
    if resume is not None:
        given = {"SPACE": space, "--like": like, "--arch": archs, "--out": out, "--data": data, "--seed": seed}
        given |= {f"--{key}": value for key, value in costs.items()} | {"--set": settings, "--storage": storage}
        options.refuse_with_resume(given | {"--repeats": repeats, "--plan": plan or None})
        request, out = _continued(resume, trials, confirm), resume
    else:
        request = _fresh(
            space, archs, costs, like, data, (trials, hours, repeats, confirm), seed or 0, storage, settings
        )
        out = out or _default_out(request)
    from nxt.search.results import load_run
    from nxt.search.run import Search

    job = Search(request, out, download, None if replay is None else load_run(replay))
    if plan:
        from .plan import print_plan

        print_plan(job, workers, as_json)
        return
    complete = _run(job, workers, gpus_per_trial, address, hours, new=resume is None)
    from nxt.report.plots import plot_front

    from .show import print_run

    run = load_run(job.out)
    plot_front(run, job.out / "front.png")
    print_run(run, as_json)
    if not complete:
        why = "The hours are over" if job.pace.time_is_up else "Interrupted"
        render.err().print(f"{why}. Go on with: nxt search --resume {job.out}", soft_wrap=True)
        if not job.pace.time_is_up:
            raise typer.Exit(130)


def _fresh(
    space: str | None,
    archs: list[str] | None,
    costs: dict[str, str | None],
    like: str | None,
    data: str | None,
    counts: tuple[int | None, float | None, int | None, int | None],
    seed: int,
    storage: str | None,
    settings: list[str] | None,
) -> SearchRequest:
    from nxt.archlist import load_list
    from nxt.search.request import UNLIMITED, make_request
    from nxt.space import DEFAULT, load_space

    trials, hours, repeats, confirm = counts
    if archs:
        given = {"SPACE": space, "--like": like, "--trials": trials, "--confirm": confirm}
        for name, value in (given | {f"--{key}": text for key, text in costs.items()}).items():
            if value is not None:
                raise typer.BadParameter(f"{name} cannot be given with --arch: nothing is searched")
    elif repeats is not None:
        raise typer.BadParameter("--repeats needs --arch: the trainings of a search differ in their architectures")
    elif not like and not any(costs.values()):
        raise typer.BadParameter(EXAMPLE)
    return make_request(
        load_list(archs) if archs else load_space(space or DEFAULT),
        options.budget_of(costs, like),
        "digits" if data is None else data,
        trials if trials is not None else TRIALS if hours is None else UNLIMITED,
        seed,
        [*(settings or []), *([] if confirm is None else [f"search.confirm={confirm}"])],
        1 if repeats is None else repeats,
        _absolute(storage),
    )


def _continued(run: Path, trials: int | None, confirm: int | None) -> SearchRequest:
    import dataclasses

    from nxt.search.request import load_request

    request = load_request(run)
    if confirm is not None:
        request = dataclasses.replace(request, settings=dataclasses.replace(request.settings, confirm=confirm))
    return request if trials is None else dataclasses.replace(request, trials=trials)


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


def _run(
    job: Search, workers: int | None, gpus_per_trial: float | None, address: str | None, hours: float | None, new: bool
) -> bool:
    """Run the trials and return whether all of them have ended."""
    from nxt.search.execute import Where, execute

    from .live import Progress

    where = Where(workers=workers, gpus_per_trial=gpus_per_trial, address=address, hours=hours)
    progress = Progress()
    with progress.waiting():
        return execute(job, where, progress, new)
