"""`nxt search`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, render

if TYPE_CHECKING:
    from nxt.search.run import Search, SearchRequest

TRIALS = 20
EXAMPLE = "give a budget, such as --flops 4.1G or --like resnext50_32x4d"


def search(
    space: Annotated[
        str | None, typer.Argument(help="imagenet (the default), resnest, cifar, smoke, or a YAML file.")
    ] = None,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    like: options.Like = None,
    data: options.Data = None,
    trials: Annotated[int | None, typer.Option(help="How many trials in all.", show_default=str(TRIALS))] = None,
    seed: options.Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to create; default: a new one under results/.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the search in this run directory.", metavar="RUN")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at a time; default: as many as fit.")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs per trial; a fraction shares one; default: 1 where there are any.")
    ] = None,
    download: options.Download = False,
    settings: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Search a design space inside a budget and write the Pareto front of architectures.

    Settings for --set: proxy.(size stem width share epochs recipe), recipe.(lr batch ...), search.(sampler eta grace).
    """
    if resume is not None:
        given = {"SPACE": space, "--flops": flops, "--params": params, "--acts": acts, "--like": like, "--out": out}
        options.refuse_with_resume(given | {"--data": data, "--seed": seed, "--set": settings})
        job = _continued(resume, trials, download)
    else:
        if not any((flops, params, acts, like)):
            raise typer.BadParameter(EXAMPLE)
        job = _fresh(
            space,
            (flops, params, acts, like),
            "digits" if data is None else data,
            TRIALS if trials is None else trials,
            seed or 0,
            out,
            download,
            settings or [],
        )
    _check_placement(workers, gpus_per_trial)
    interrupted = _run(job, workers, gpus_per_trial, fresh=resume is None)
    from nxt.report.plots import plot_front
    from nxt.search.results import load_run

    from .show import print_run

    run = load_run(job.out)
    plot_front(run, job.out / "front.png")
    print_run(run, as_json)
    if interrupted:
        render.err().print(f"Interrupted. Go on with: nxt search --resume {job.out}", soft_wrap=True)
        raise typer.Exit(130)


def _fresh(
    space: str | None,
    budget: tuple[str | None, str | None, str | None, str | None],
    data: str,
    trials: int,
    seed: int,
    out: Path | None,
    download: bool,
    settings: list[str] | None,
) -> Search:
    from nxt.search.run import Search, make_request
    from nxt.space import DEFAULT, load_space

    loaded = load_space(space or DEFAULT)
    request = make_request(loaded, options.budget_of(*budget), data, trials, seed, settings or [])
    return Search(request, out or _default_out(request), download)


def _continued(run: Path, trials: int | None, download: bool) -> Search:
    import dataclasses

    from nxt.search.run import Search, load_request

    request = load_request(run)
    if trials is not None:
        request = dataclasses.replace(request, trials=trials)
    return Search(request, run, download)


def _default_out(request: SearchRequest) -> Path:
    texts = [limit.text.replace(" ", "-") for limit in request.budget.limits]
    kind = request.data.partition(":")[0]
    return options.free_run(request.space.name, *texts, kind)


def _check_placement(workers: int | None, gpus_per_trial: float | None) -> None:
    if workers is not None and workers < 1:
        raise typer.BadParameter(f"--workers {workers}: at least one is needed")
    if gpus_per_trial is not None and not 0 <= gpus_per_trial <= 1024:
        raise typer.BadParameter(f"--gpus-per-trial {gpus_per_trial:g}: not a number of GPUs")


def _run(job: Search, workers: int | None, gpus_per_trial: float | None, fresh: bool) -> bool:
    """Run the trials and return whether that was interrupted."""
    from .live import Progress

    progress = Progress(job)
    with job.directory(new=fresh), progress.waiting():
        data = job.load_data()
        from nxt.search import ray_runner

        with ray_runner.cluster(data.train.images.nbytes + data.val.images.nbytes):
            placement = ray_runner.place(workers, gpus_per_trial)
            if fresh:
                job.write_record(data)
            with job.opened() as strategy:
                progress.begin(strategy, placement.workers)
                task = job.task(placement.device, placement.cpus, placement.gpus)
                with progress.shown():
                    ray_runner.run(strategy, task, data, placement, progress.update)
    return not strategy.complete
