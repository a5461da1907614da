"""Training in one call: from what a user says to what comes out. The command line goes through here, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from nxt.arch.spec import ArchSpec
from nxt.compute.devices import choose
from nxt.data.ref import DataRef
from nxt.errors import UsageError
from nxt.train.engine.open import prepared
from nxt.train.engine.progress import train_bar
from nxt.train.engine.session import TrainResult, Watcher
from nxt.train.engine.tracked import tracked
from nxt.train.engine.trainer import EpochReport
from nxt.train.options import TrainOptions
from nxt.train.request import TrainRequest


def train(
    network: str | Path | ArchSpec | None = None,
    data: str | DataRef | None = None,
    recipe: str | Path | Mapping[str, Any] | None = None,
    *,
    head: str | None = None,
    epochs: int | None = None,
    size: int | None = None,
    weights: str | Path | None = None,
    freeze: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    resume_or_new: bool = False,
    device: str = "auto",
    workers: int | None = None,
    address: str | None = None,
    tune: bool | None = None,
    skip_bad: bool = False,
    download: bool = False,
    track: str | None = None,
    callback: Callable[[EpochReport], None] | None = None,
    watcher: Watcher | None = None,
) -> TrainResult:
    """Trains a network fully, into a run directory; blocks until the training is done.

    Example:
        >>> result = nxt.train("best.yaml", data="folder:mine", recipe="resnext-cifar", settings={"lr": 0.05})

    Args:
        network: A name, an architecture file, or a specification; None with `resume`.
        data: "digits", "cifar10[:PATH]", "cifar100[:PATH]", "folder:PATH" (also a URI), "table:FILE", "hf:PATH" or
            "shards:PATTERN"; with boxes "coco:PATH", with masks "masks:PATH", "ade20k:PATH" or "cityscapes:PATH"; by
            default what an architecture file was found on, else the digits. With `resume`, where the same data lies
            now.
        recipe: The name of a recipe of nxt, a YAML file, or a recipe's values; by default "quick", or with
            `weights` "finetune".
        head: What stands on the network for detection ("faster-rcnn", "mask-rcnn", "cascade-rcnn",
            "cascade-mask-rcnn", "retinanet") or segmentation ("deeplabv3", "fcn"), instead of the recipe's.
        epochs: Epochs, instead of the recipe's.
        size: Image side in pixels, in training and evaluation; by default the recipe's, the one at which the
            architecture file was counted, the data's or the network's.
        weights: What to start from: a file, or "torchvision" for its published weights; by default nothing.
        freeze: The last part that keeps the weights it starts from: "stem", "stage1", "stage2" and so on.
        settings: The recipe's values to change, such as `{"lr": 0.1, "augment": {"crop_area": 0.25}}`.
        seed: Decides everything that chance decides; by default 0.
        out: The run directory to create; by default a new one under results/.
        resume: A run directory to go on with. What its run.yaml says cannot be given again.
        resume_or_new: Go on with the run in `out` if there is one, asked for the same; else begin it there.
        device: "auto", "cpu", "cuda" or "cuda:N".
        workers: Devices that train together, each with its part of a batch; by default one.
        address: A Ray cluster for several workers, HOST:PORT; by default they all run on this machine.
        tune: Whether to measure how to compute fastest; by default yes. Else a rule decides.
        skip_bad: Whether to leave out images that cannot be read.
        download: Whether data may be downloaded if it is not there.
        track: A tracker that hears of it, too: "mlflow", "wandb" or "trackio". Where it is, its own variables say.
        callback: Is called with the report of each epoch.
        watcher: Follows the training in the place of the progress bar (on terminals, in notebooks) and of `callback`.

    Raises:
        UsageError: if arguments do not go together.
        StoppedError: if a signal stops the training; its state is saved, and `resume` goes on.
        NxtError: if something named is not there or cannot be used, or the training fails.
    """
    options = TrainOptions(
        network=network,
        data=None if data is None else DataRef.of(data),
        recipe=recipe,
        head=head,
        epochs=epochs,
        size=size,
        weights=weights,
        freeze=freeze,
        settings=settings or {},
        seed=seed,
        out=None if out is None else Path(out),
        resume=None if resume is None else Path(resume),
        resume_or_new=resume_or_new,
        workers=workers,
        tune=tune,
        skip_bad=skip_bad,
        download=download,
        track=track,
    ).settled()
    request, resumes = options.request(), options.resume is not None
    with train_bar(callback) if watcher is None else nullcontext(watcher) as follower:
        return carry_out(request, device, resumes, follower, address, track)


def carry_out(
    request: TrainRequest,
    device: str,
    resume: bool,
    watcher: Watcher,
    address: str | None = None,
    track: str | None = None,
) -> TrainResult:
    """Trains in this process or, with several workers, in one process for each.

    Args:
        request: What to train.
        device: "auto", "cpu", "cuda" or "cuda:N".
        resume: Whether to go on with an existing run.
        watcher: Follows the training.
        address: A Ray cluster for several workers; None: this machine.
        track: The name of a tracker; None: none.

    Raises:
        UsageError: if there is an address, but only one worker.
        StoppedError: if a signal stops the training; its state is saved.
        NxtError: as `prepared` and `Training.run` do.
    """
    if request.workers == 1 and address is not None:
        raise UsageError("`address` is for several `workers`, or several networks")
    with tracked(watcher, request.out, track) as watcher:
        if request.workers > 1:
            from nxt.train.engine import distributed  # imports Ray

            return distributed.train(request, device, resume, watcher, address)
        with prepared(request, choose(device), resume, watcher) as training:
            return training.run()
