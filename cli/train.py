"""`nxt train`: full training of one network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, render

if TYPE_CHECKING:
    from nxt.train.loop import EpochReport
    from nxt.train.run import TrainRequest


def train(
    network: Annotated[
        str | None, typer.Argument(help="A name or an architecture file.", metavar="NAME_OR_YAML")
    ] = None,
    data: options.Data = None,
    size: Annotated[
        int | None, typer.Option(help="Image side in pixels; default: the data's or the network's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs, instead of the recipe's.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="quick, resnext-cifar, resnext-imagenet, or a YAML file.", show_default="quick"),
    ] = None,
    seed: options.Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to create; default: a new one under results/.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this training run.", metavar="RUN")] = None,
    device: options.Device = "auto",
    download: options.Download = False,
    settings: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Train a network fully, with a checkpoint after every epoch."""
    if resume is not None:
        options.refuse_with_resume(
            {"--data": data, "--size": size, "--epochs": epochs, "--recipe": recipe, "--seed": seed, "--out": out}
            | {"--set": settings}
        )
        request = _continued(resume, network, download)
    elif network is not None:
        request = _fresh(
            network,
            "digits" if data is None else data,
            size,
            epochs,
            "quick" if recipe is None else recipe,
            seed or 0,
            out,
            download,
            settings or [],
        )
    else:
        raise typer.BadParameter("give the network to train, such as resnext50_32x4d or best.yaml")
    from nxt.train.devices import choose
    from nxt.train.run import prepared

    chosen = choose(device)
    with prepared(request, chosen, resume=resume is not None) as training:
        length = f"{request.recipe.epochs} epochs of batch {request.recipe.batch} at lr {request.recipe.lr:g}"
        head = f"training {request.spec.name} on {request.data} at {training.size} px, {length}, {chosen}"
        render.err().print(f"{head}, into {training.out}", soft_wrap=True)
        try:
            result = training.run(_reporter(request))
        except KeyboardInterrupt:
            render.err().print(f"Interrupted. Go on with: nxt train --resume {training.out}", soft_wrap=True)
            raise typer.Exit(130) from None
    if as_json:
        render.print_json(
            {
                "run": str(result.out),
                "name": request.spec.name,
                "epochs": result.last.epoch,
                "accuracy": result.last.accuracy,
                "best_accuracy": result.best_accuracy,
                "best_epoch": result.best_epoch,
                "split": "val",
            }
        )
        return
    shown = render.out()
    last, best = render.percent(result.last.accuracy), render.percent(result.best_accuracy)
    shown.print(f"{request.spec.name}: {last} on the validation split (best {best} in epoch {result.best_epoch})")
    shown.print(f"Test it: nxt eval {result.out / 'checkpoints' / 'last.pt'}", soft_wrap=True)


def _fresh(
    network: str,
    data: str,
    size: int | None,
    epochs: int | None,
    recipe: str,
    seed: int,
    out: Path | None,
    download: bool,
    settings: list[str],
) -> TrainRequest:
    from nxt.config import parse_settings, require
    from nxt.names import resolve
    from nxt.train.recipe import load_recipe
    from nxt.train.run import TrainRequest

    require(size is None or 4 <= size <= 4096, "--size", f"{size} is not between 4 and 4096 pixels")
    require(0 <= seed < 2**31, "--seed", f"{seed} is not between 0 and 2147483647")
    chosen = load_recipe(recipe, parse_settings(settings))
    spec = resolve(network)
    return TrainRequest(
        spec=spec,
        data=data,
        size=size,
        recipe=chosen if epochs is None else chosen.with_epochs(epochs),
        seed=seed,
        out=out or options.free_run("train", spec.name, data.partition(":")[0]),
        download=download,
    )


def _continued(run: Path, network: str | None, download: bool) -> TrainRequest:
    import dataclasses

    from nxt.names import resolve
    from nxt.train.run import load_request

    request = load_request(run)
    changes = {"spec": resolve(network)} if network is not None else {}
    return dataclasses.replace(request, download=download, **changes)  # type: ignore[arg-type]


def _reporter(request: TrainRequest):  # type: ignore[no-untyped-def]  # a closure over the console
    from nxt.units import format_seconds

    console = render.err()

    def report(epoch: EpochReport) -> None:
        left = format_seconds(epoch.seconds * (request.recipe.epochs - epoch.epoch))
        console.print(
            f"epoch {epoch.epoch}/{request.recipe.epochs}  loss {epoch.loss:.3f}  val {render.percent(epoch.accuracy)}"
            f"  {epoch.images_per_second:.0f} images/s  about {left} left"
        )

    return report
