"""`nxt train`: full training of one network, or of several."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nxt.errors import ConfigError, RunError
from nxt.files import data_place, is_folder, place

from .. import complete, options
from ..terminal import tables as render
from . import train_many as several

if TYPE_CHECKING:
    from nxt.train.engine.session import TrainResult
    from nxt.train.recipe import Recipe
    from nxt.train.request import TrainRequest


def train(
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            help="A name or an architecture file; or several, or a search's run (its front).",
            metavar="NAME_OR_YAML_OR_RUN...",
            autocompletion=complete.networks,
        ),
    ] = None,
    data: options.Data = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="quick, resnext-cifar, resnext-imagenet, resnest-imagenet, torchvision-long, or a YAML file.",
            show_default="quick",
            autocompletion=complete.recipes,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs, instead of the recipe's.")] = None,
    size: Annotated[
        int | None, typer.Option(help="Image side in pixels; default: the recipe's, the data's or the network's.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Start from these: a file, or torchvision (its published ones).", metavar="FILE"),
    ] = None,
    freeze: Annotated[
        str | None, typer.Option(help="Keep them up to here: stem, stage1, stage2 ...", metavar="PART")
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="Of a run, the K most accurate instead of its front.", min=1, metavar="K")
    ] = None,
    repeats: Annotated[int | None, typer.Option(help="How often each, with seeds of their own.", min=1)] = None,
    seed: options.Seed = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to create; default: a new one under results/.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this training run.", metavar="RUN")] = None,
    device: options.Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            help="Devices for one network, each with its part of a batch; of several networks, how many at a time.",
            min=1,
        ),
    ] = None,
    address: options.Address = None,
    tune: Annotated[
        str | None, typer.Option(help="auto: measure how to compute fastest; off: by rule.", show_default="auto")
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read.")] = False,
    download: options.Download = False,
    settings: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """Train a network fully. Killed at any moment, it goes on with --resume as if nothing had happened.

    Several networks, or one several times, are a study like a search's: see nxt show.

    Settings for --set are the recipe's: batch, accumulate, lr, optimizer, weight_decay, mixup, ema, augment.policy,
    saving.every and so on; see docs/TRAINING.md.
    """
    given: dict[str, Any] = {
        "--data": data,
        "--recipe": recipe,
        "--epochs": epochs,
        "--size": size,
        "--weights": weights,
    }
    given |= {"--freeze": freeze, "--workers": workers, "--seed": seed, "--out": out, "--tune": tune, "--set": settings}
    given |= {"--top": top, "--repeats": repeats, "--skip-bad": skip_bad or None}
    if resume is not None:
        options.refuse_with_resume(
            {name: value for name, value in given.items() if name not in ("--workers", "--data")}
        )
    if several.wanted(networks or [], resume, top, repeats):
        several.train(networks or [], resume, given, device, address, download, as_json)
        return
    if resume is not None:
        options.refuse_with_resume({"--workers": workers})
        request = _continued(resume, networks, download, data)
    elif not networks:
        raise typer.BadParameter("give the network to train, such as resnext50_32x4d or best.yaml")
    else:
        request = _fresh(networks[0], given, download)
    if address is not None and request.workers == 1:
        raise typer.BadParameter("--address is for several --workers, or several networks")
    result = _run(request, device, resume is not None, address)
    _show(request, result, as_json)


def _show(request: TrainRequest, result: TrainResult, as_json: bool) -> None:
    """Draw the curves, and say what came out."""
    from nxt.report.matplotlib_figures import plot_curves

    try:
        plot_curves(f"{request.spec.name} on {data_place(request.data)}", result.metrics, result.out / "curves.png")
    except RunError as error:
        render.err().print(f"nxt: {error}", soft_wrap=True)  # the training is done
    if as_json:
        render.print_json(
            {
                "run": str(result.out),
                "name": request.spec.name,
                "epochs": result.last.epoch,
                "accuracy": result.last.accuracy,
                "ema_accuracy": result.last.ema_accuracy,
                "best_accuracy": result.best_accuracy,
                "best_epoch": result.best_epoch,
                "split": "val",
            }
        )
        return
    last, best = render.percent(result.last.best), render.percent(result.best_accuracy)
    line = f"{request.spec.name}: {last} on the validation split (best {best} in epoch {result.best_epoch})"
    render.out().print(line, soft_wrap=True)
    render.out().print(f"Test it: nxt eval {shlex.quote(str(place(result.out)))}", soft_wrap=True)


def _run(request: TrainRequest, device: str, resume: bool, address: str | None) -> TrainResult:
    """Train, with progress on stderr; a training that is asked to stop ends this process as the signal would."""
    from nxt.compute.devices import choose
    from nxt.train.engine.open import prepared
    from nxt.train.engine.session import Watcher
    from nxt.train.signals import StoppedError

    from ..terminal.train_progress import TrainProgress

    try:
        with TrainProgress() as progress:
            watcher = Watcher(progress.note, progress.reading, progress.begin, progress.step, progress.epoch)
            if request.workers > 1:
                from nxt.train.engine import distributed

                return distributed.train(request, device, resume, watcher, address)
            with prepared(request, choose(device), resume, watcher) as training:
                return training.run()
    except StoppedError as stopped:
        command = f"nxt train --resume {shlex.quote(str(place(request.out)))}"
        render.err().print(f"{str(stopped).capitalize()}. Go on with: {command}", soft_wrap=True)
        raise typer.Exit(128 + stopped.signal) from None
    except KeyboardInterrupt:  # before the training began, or asked for twice
        raise typer.Exit(130) from None


def recipe_of(given: dict[str, Any], network: str) -> Recipe:
    """Return the recipe that the options ask for. Raises ConfigError."""
    from nxt.config import merged, parse_settings, require
    from nxt.train.recipe import load_recipe

    size, epochs = given["--size"], given["--epochs"]
    require(size is None or 4 <= size <= 4096, "--size", f"{size} is not between 4 and 4096 pixels")
    sizes = {} if size is None else {"size": size, "eval_size": size}
    settings = parse_settings(given["--set"] or [])
    for section in {"recipe", "proxy", "search"} & set(settings):
        raise ConfigError(f"--set {section}...: a training has no sections; write the key alone, such as --set lr=0.1")
    recipe = load_recipe(given["--recipe"] or "quick", merged(sizes, settings), network)
    return recipe if epochs is None else recipe.with_epochs(epochs)


def _fresh(network: str, given: dict[str, Any], download: bool) -> TrainRequest:
    from nxt.arch.names import resolve
    from nxt.config import require

    tune = given["--tune"]
    require(tune in (None, "auto", "off"), "--tune", f"{tune!r} is not auto or off")
    spec = resolve(network)
    data = given["--data"] or data_of(network)
    from nxt.train.request import TrainRequest  # after what is quick to refuse: it imports torch

    return TrainRequest(
        spec=spec,
        data=data,
        recipe=recipe_of(given, spec.name),
        seed=given["--seed"] or 0,
        out=given["--out"] or options.free_run("train", spec.name, data.partition(":")[0]),
        weights=given["--weights"] or "",
        freeze=given["--freeze"] or "",
        workers=given["--workers"] or 1,
        tune=tune != "off",
        download=download,
        skip_bad=bool(given["--skip-bad"]),
    )


def data_of(network: str) -> str:
    """Return the data that an architecture file was found on; the digits where it does not say.

    Raises:
        DataError: if that data is not here.
    """
    from nxt.config import read_yaml
    from nxt.errors import DataError

    if not network.endswith((".yaml", ".yml")):
        return "digits"
    provenance = read_yaml(network).get("provenance")
    data = str(provenance.get("data") or "digits") if isinstance(provenance, dict) else "digits"
    kind, _, path = data.partition(":")
    if kind == "folder" and not is_folder(Path(path)):
        raise DataError(f"{network}: was found on {data}, which is not here; say with --data what to train on")
    return options.anywhere(data) or data


def _continued(run: Path, networks: list[str] | None, download: bool, data: str | None) -> TrainRequest:
    import dataclasses

    from nxt.arch.names import resolve
    from nxt.train.request import load_request

    request = load_request(run)
    request = dataclasses.replace(request, download=download, data=data or request.data)
    return dataclasses.replace(request, spec=resolve(networks[0])) if networks else request
