"""One training on many devices: Ray Train starts the workers, torch's DDP keeps them in step.

Every worker runs the same `Training`, with its own part of every batch; the first one writes the run directory, which
all of them must reach to go on with a run (one machine, or a shared folder). A worker that dies ends its group, and
a new one goes on from the last checkpoint: the same way as a training that is resumed.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from nxt.compute.ray_cluster import cluster  # isort: skip  # first: it sets what Ray reads when it is imported

import ray
import torch
import torch.distributed as dist
from ray import train as ray_train
from ray.exceptions import RayError
from ray.train.backend import Backend
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Queue

from nxt import errors
from nxt.compute.accelerator import accelerator
from nxt.compute.accelerator import gpus as gpu_kind
from nxt.compute.devices import choose
from nxt.compute.ranks import Ranks
from nxt.errors import DeviceError, NxtError, RunError, first_line
from nxt.files import is_file, is_folder
from nxt.train.engine.open import prepared
from nxt.train.engine.session import Position, TrainResult, Watcher
from nxt.train.request import TrainRequest
from nxt.train.signals import Stop, StoppedError, stopping

RESTARTS = 3  # of a group in which a worker died, without an epoch in between
_INTERVAL = 0.5  # seconds between two messages about steps
_PATIENCE = 4 * 3600  # seconds that workers wait for each other: the first one may have a million images to decode
STOP = ".stop"  # a file by which the driver asks the workers to stop


@dataclass(frozen=True)
class _Task:
    request: TrainRequest
    resume: bool
    threads: int
    mail: Queue
    meeting: str  # a file by which workers on one machine find each other; empty: by the network


@dataclass
class _NoMeeting(TorchConfig):  # type: ignore[misc]  # Ray has no types
    """Leaves the process group to the workers: torch's own store for it listens on all interfaces of a machine."""

    @property
    def backend_cls(self) -> Any:
        return Backend


def train(request: TrainRequest, device: str, resume: bool, watcher: Watcher, address: str | None) -> TrainResult:
    """Trains with `request.workers` workers, and returns what came out.

    Args:
        request: What to train.
        device: `auto`, `cpu` or `cuda`: the kind that each worker gets one of.
        resume: Go on with an existing run.
        watcher: Who follows.
        address: Of a Ray cluster; None: a Ray instance of our own on this machine.

    Raises:
        DeviceError: if there are not so many devices.
        StoppedError: if a signal stops it; the state is saved.
        RunError: if workers die again and again.
        NxtError: what `prepared` and `Training.run` raise.
    """
    with cluster(0, address), stopping() as stop:
        gpus = _placed(request.workers, device)
        threads = max(1, int(ray.cluster_resources().get("CPU", 1)) // request.workers)
        deaths = 0
        while True:
            if stop.signal is None:
                (request.out / STOP).unlink(missing_ok=True)  # of a driver that was killed
            mail = Queue(actor_options={"num_cpus": 0})
            post = _Post(mail, watcher, request, stop)
            try:
                scratch = _scratch(request)
                scratch.mkdir(parents=True, exist_ok=True)
                meeting = "" if address else str(scratch / uuid.uuid4().hex)
                _carry_out(_Task(request, resume, threads, mail, meeting), gpus, post)
            except RayError as error:  # what holds the devices is gone, and will not give them back to another group
                post.raise_failure()
                raise RunError(
                    f"{request.out}: a process of Ray's own died ({first_line(error)}); `resume` goes on"
                ) from None
            except ray_train.TrainingFailedError as error:  # a worker died, or said why it could not go on
                post.raise_failure()
                deaths = 1 if post.epochs else deaths + 1
                if deaths > RESTARTS:
                    raise RunError(
                        f"{request.out}: the workers died {deaths} times in a row ({_cause(error)})"
                    ) from None
                watcher.note("a worker died; going on from the last checkpoint")
                resume = is_file(request.out / "run.yaml")
                continue
            finally:
                shutil.rmtree(_scratch(request), ignore_errors=True)
                (request.out / STOP).unlink(missing_ok=True)
            post.raise_failure()
            if post.result is not None:
                return post.result
            resume = True  # it has ended, but nobody could tell


def _scratch(request: TrainRequest) -> Path:
    """Returns a folder for Ray's own files: beside the run directory, which all workers reach."""
    out = request.out.resolve()
    return out.with_name(f".{out.name}.ray")


def _carry_out(task: _Task, gpus: bool, post: _Post) -> None:
    """Runs the workers, and delivers their messages. In the main thread Ray would take Ctrl-C for itself."""
    failures: list[Exception] = []

    def fit() -> None:
        try:
            _fit(task, gpus)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=fit, daemon=True)
    thread.start()
    while thread.is_alive():
        post.deliver()
        thread.join(0.1)
    post.deliver()
    if failures:
        raise failures[0]


def _fit(task: _Task, gpus: bool) -> None:
    by_network = TorchConfig(backend=gpu_kind().collectives if gpus else "gloo", timeout_s=_PATIENCE)
    TorchTrainer(
        _work,
        train_loop_config={"task": task},
        torch_config=_NoMeeting() if task.meeting else by_network,
        scaling_config=ray_train.ScalingConfig(num_workers=task.request.workers, use_gpu=gpus),
        run_config=ray_train.RunConfig(name="train", storage_path=str(_scratch(task.request))),
    ).fit()


def _placed(workers: int, device: str) -> bool:
    """Tells whether the workers get a GPU each. Raises DeviceError if the cluster has not got that many devices."""
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"`device` {device}: with several workers write auto, cpu or cuda")
    have = ray.cluster_resources()
    gpus = device == "cuda" or (device == "auto" and have.get("GPU", 0) > 0)
    kind, count = ("GPU", have.get("GPU", 0)) if gpus else ("CPU", have.get("CPU", 0))
    if workers > count:
        raise DeviceError(f"`workers` {workers}: there are {count:g} {kind}s here, one for each; use fewer")
    return gpus


def _work(config: dict[str, Any]) -> None:
    """Trains as one of the workers; the first one sends the driver what happens."""
    task: _Task = config["task"]
    context = ray_train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size(), context.get_local_world_size())
    torch.set_num_threads(task.threads)
    watcher = _mailing(task.mail) if ranks.rank == 0 else Watcher()
    device = _own_device()
    if task.meeting:
        _meet(task.meeting, ranks, device)
    try:
        with prepared(task.request, device, task.resume, watcher, ranks) as training:
            training.stop_file = training.out / STOP
            result = training.run()
    except NxtError as error:
        task.mail.put(("error", (type(error).__name__, str(error), getattr(error, "signal", 0))))
        raise
    if ranks.rank == 0:
        task.mail.put(("result", result))
    if task.meeting:
        dist.destroy_process_group()


def _own_device() -> torch.device:
    """Returns this worker's device. Ray Train shows each worker the GPUs of all workers on its machine."""
    own = [str(number) for number in ray.get_gpu_ids()]
    if not own:
        return choose("cpu")
    visible = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    return choose(f"cuda:{visible.index(own[0])}")


def _meet(place: str, ranks: Ranks, device: torch.device) -> None:
    """Forms a process group with the other workers on this machine, on its loopback interface alone."""
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        accelerator(device).collectives,
        init_method=f"file://{place}",
        rank=ranks.rank,
        world_size=ranks.world,
        timeout=timedelta(seconds=_PATIENCE),
    )


def _mailing(mail: Queue) -> Watcher:
    """Returns a watcher that sends everything to the driver."""
    last_sent = 0.0

    def step(position: Position) -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent > _INTERVAL:
            last_sent = time.monotonic()
            mail.put(("step", (position,)))

    def reading(done: int, total: int) -> None:
        nonlocal last_sent
        if time.monotonic() - last_sent > _INTERVAL:
            last_sent = time.monotonic()
            mail.put(("reading", (done, total)))

    return Watcher(
        note=lambda text: mail.put(("note", (text,))),
        reading=reading,
        begin=lambda position: mail.put(("begin", (position,))),
        step=step,
        epoch=lambda report: mail.put(("epoch", (report,))),
    )


class _Post:
    """The first worker's messages on their way to the watcher."""

    def __init__(self, mail: Queue, watcher: Watcher, request: TrainRequest, stop: Stop) -> None:
        self.mail, self.watcher, self.request, self.stop = mail, watcher, request, stop
        self.result: TrainResult | None = None
        self.epochs = 0  # trained meanwhile
        self._failure: tuple[str, str, int] | None = None

    def raise_failure(self) -> None:
        """Raises the error that a worker sent, if any did."""
        if self._failure is None:
            return
        name, text, number = self._failure
        if name == StoppedError.__name__:
            raise StoppedError(text, self.stop.signal or number)
        raise getattr(errors, name, RunError)(text)

    def deliver(self) -> None:
        """Passes the workers' messages to the watcher, and a wish to stop to the workers."""
        if self.stop.signal is not None and is_folder(self.request.out):
            (self.request.out / STOP).touch()
        try:
            messages = self.mail.get_nowait_batch(self.mail.qsize())
        except RayError:  # the mail's own process has died; the first worker will not get far
            return
        for kind, value in messages:
            if kind == "result":
                self.result = value
            elif kind == "error":
                self._failure = self._failure or value
            else:
                self.epochs += kind == "epoch"
                getattr(self.watcher, kind)(*value)


def _cause(error: ray_train.TrainingFailedError) -> str:
    failures = getattr(error, "worker_failures", {})
    return first_line(next(iter(failures.values()), error))[:200]
