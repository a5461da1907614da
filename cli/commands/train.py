"""`nxt train`: trains one network or several fully."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxt.config import parse_settings, read_yaml, require
from nxt.errors import RunError

from .. import complete, options
from ..terminal import tables
from ..terminal.status_text import how_to_test, measured, resume_command
from . import train_many

if TYPE_CHECKING:
    from nxt.train.engine.session import TrainResult
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
            help="quick, finetune, resnext-cifar, resnext-imagenet, resnest-imagenet, torchvision-long; "
            "quick-detection, detection-1x, resnext-detection, resnest-detection; quick-segmentation, resnest-ade20k, "
            "resnest-cityscapes; or a YAML file",
            show_default="quick; with --weights finetune; quick-TASK",
            autocompletion=complete.recipes,
        ),
    ] = None,
    head: options.Head = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs, instead of the recipe's.")] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Image side in pixels; default: the recipe's, the file's, the data's or the network's."),
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
    out: options.NewRun = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this training run.", metavar="RUN")] = None,
    resume_or_new: Annotated[
        bool, typer.Option("--resume-or-new", help="Go on with the training in --out if it has begun, else begin it.")
    ] = False,
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
    track: options.Track = None,
    as_json: options.Json = False,
) -> None:
    """Train a network fully. Killed at any moment, it goes on with --resume as if nothing had happened.

    Several networks, or one several times, are a study like a search's: see nxt show.

    Settings for --set are the recipe's: batch, accumulate, lr, optimizer, weight_decay, mixup, ema, augment.policy,
    saving.every and so on; see docs/TRAINING.md.
    """
    from nxt.train.options import TrainOptions

    require(tune in (None, "auto", "off"), "--tune", f"{tune!r} is not auto or off")
    networks = networks or []
    chosen = TrainOptions(
        network=networks[0] if networks else None,
        data=data,
        recipe=recipe,
        head=head,
        epochs=epochs,
        size=size,
        weights=weights,
        freeze=freeze,
        settings=parse_settings(settings or []),
        seed=seed,
        out=out,
        resume=resume,
        resume_or_new=resume_or_new,
        workers=workers,
        tune=None if tune is None else tune == "auto",
        skip_bad=skip_bad,
        download=download,
        track=track,
    )
    if train_many.is_for_several(networks, resume, top, repeats):
        train_many.train(networks, chosen, top, repeats, device, address, as_json)
        return
    chosen = chosen.settled()
    request = chosen.request()
    again = {"device": None if device == "auto" else device, "address": address, "track": track}
    result = _run(request, device, chosen.resume is not None, again)
    _show(request, result, as_json)


def _run(request: TrainRequest, device: str, resume: bool, again: Mapping[str, str | None]) -> TrainResult:
    """Trains with progress on stderr; raises typer.Exit with the signal's exit code if a signal stops the training."""
    from nxt.train.engine.session import Watcher
    from nxt.train.engine.train import carry_out
    from nxt.train.signals import StoppedError

    from ..terminal.train_progress import TrainProgress

    try:
        with TrainProgress() as progress:
            watcher = Watcher(progress.note, progress.reading, progress.begin, progress.step, progress.epoch)
            return carry_out(request, device, resume, watcher, again["address"], again["track"])
    except StoppedError as stopped:
        command = resume_command(request.out, full=True, **again)
        tables.err().print(f"{str(stopped).capitalize()}. Go on with: {command}", soft_wrap=True)
        raise typer.Exit(128 + stopped.signal) from None
    except KeyboardInterrupt:  # before the training began, or pressed twice
        raise typer.Exit(130) from None


def _show(request: TrainRequest, result: TrainResult, as_json: bool) -> None:
    """Draws the curves, and prints the result."""
    from nxt.report.matplotlib_figures import plot_curves
    from nxt.train.history import judged_on, measures_of
    from nxt.train.model_card import GUESSES

    try:
        plot_curves(f"{request.spec.name} on {request.data.display}", result.metrics, result.out / "curves.png")
    except RunError as error:
        tables.err().print(f"nxt: {error}", soft_wrap=True)  # no reason to fail: the training is done
    if as_json:
        tables.print_json(
            {
                "run": str(result.out),
                "name": request.spec.name,
                "epochs": result.last.epoch,
                "accuracy": result.last.accuracy,
                "ema_accuracy": result.last.ema_accuracy,
                "best_accuracy": result.best_accuracy,
                "best_epoch": result.best_epoch,
                "measures": measures_of(result.metrics[-1]),
                "split": result.last.split,
            }
        )
        return
    last, best = result.metrics[-1], tables.percent(result.best_accuracy)
    line = f"{request.spec.name}: {measured(last)} on {judged_on(last)} (best {best} in epoch {result.best_epoch})"
    if (training := last.get("train_accuracy")) is not None:
        line += f"; {tables.percent(training)} on the training images"
    tables.out().print(line, soft_wrap=True)
    if read_yaml(result.out / "card.yaml")["results"].get("guesses"):
        tables.out().print(GUESSES, soft_wrap=True)
    tables.out().print(how_to_test(result.out, result.last.epoch, result.best_epoch), soft_wrap=True)
