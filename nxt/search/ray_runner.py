"""Ray Tune as the engine of a search: thin adapters from its searcher, scheduler and trainable to ours.

The study is the truth. Ray's own experiment state goes to a temporary folder and is never restored from: it loses and
repeats trials. Every start is a fresh Tuner over what the study says is left to do.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# Ray reads these when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # so that Ray listens on the loopback address alone
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from nxt.data.dataset import Dataset
from nxt.errors import DeviceError
from nxt.search.strategy import Strategy
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.search.worker import TrialRun, TrialTask

_ADDRESS = "127.0.0.1"
_OBJECT_STORE = 256 << 20  # bytes beside the data itself


@dataclass(frozen=True)
class Placement:
    """What each trial gets, and how many run at a time."""

    workers: int
    cpus: int  # per trial
    gpus: float  # per trial; a fraction shares a device

    @property
    def device(self) -> str:
        """The device that a worker computes on."""
        return "cuda" if self.gpus else "cpu"


def place(workers: int | None, gpus: float | None) -> Placement:
    """Decide the placement on the running cluster, checking that what was asked for exists.

    Args:
        workers: Trials at a time; None: as many as fit, one CPU each at least.
        gpus: GPUs per trial; None: one where there are any.

    Raises:
        DeviceError: if the cluster has not got that much. (Ray itself would wait for ever.)
    """
    resources = ray.cluster_resources()
    have_cpus, have_gpus = int(resources.get("CPU", 1)), float(resources.get("GPU", 0))
    if gpus is None:
        gpus = 1.0 if have_gpus else 0.0
    if gpus > have_gpus:
        raise DeviceError(f"--gpus-per-trial {gpus:g}: there are {have_gpus:g} GPUs here; use 0 to train on the CPU")
    if gpus > 1 and gpus != int(gpus):
        raise DeviceError(f"--gpus-per-trial {gpus:g}: more than one GPU must be a whole number of them")
    most = min(have_cpus, int(have_gpus / gpus + 1e-9)) if gpus else have_cpus
    if workers is not None and workers > most:
        raise DeviceError(f"--workers {workers}: only {most} trial(s) fit here at a time")
    workers = workers or most
    return Placement(workers, max(1, have_cpus // workers), gpus)


@contextmanager
def cluster(data_bytes: int) -> Iterator[None]:
    """Run a Ray instance of our own, on local addresses, quietly, for the time of the block."""
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        object_store_memory=_OBJECT_STORE + 2 * data_bytes,
        _node_ip_address=_ADDRESS,
    )
    try:
        yield
    finally:
        ray.shutdown()


def run(
    strategy: Strategy,
    task: Callable[[Trial], TrialTask],
    data: Dataset,
    placement: Placement,
    on_change: Callable[[], None],
) -> None:
    """Run trials until the strategy has no more, or until SIGINT or SIGTERM.

    An interrupted trial stays "running" in the study, with its checkpoint, and goes on when the search is resumed.

    Args:
        strategy: Suggests and decides.
        task: Turns a trial into what a worker needs.
        data: Training and validation splits, shared with all workers.
        placement: As `place` gives it.
        on_change: Called whenever a trial changed.
    """
    resources = {"cpu": placement.cpus, "gpu": placement.gpus}
    trainable = tune.with_resources(tune.with_parameters(_Trainable, data=data), resources)
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with tempfile.TemporaryDirectory(prefix="nxt-ray-") as scratch:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=_Searcher(strategy, task, on_change),
                    scheduler=_Scheduler(strategy, on_change),
                    num_samples=-1,
                    max_concurrent_trials=placement.workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    storage_path=scratch,
                    verbose=0,
                    failure_config=tune.FailureConfig(max_failures=1),
                ),
            ).fit()
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Trainable(tune.Trainable):  # type: ignore[misc]
    """A `TrialRun` for Ray, in a process that is reused from trial to trial."""

    _data: Dataset

    def setup(self, config: dict[str, Any], data: Dataset | None = None) -> None:
        if data is not None:  # not so when the actor is given another trial
            self._data = data
        self._run = TrialRun(TrialTask(**config["task"]), self._data)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        import gc

        import torch

        del self._run
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        result = self._run.step()
        last = "outcome" in result or result["epoch"] >= self._run.task.epochs
        return {**result, "number": self._run.task.number, "done": last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: trials keep their own checkpoints."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing: a trial that starts again finds its own checkpoint."""


class _Adapter:
    """Part of Ray's machinery that Ray pickles; what it refers to stays with the driver."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Searcher(_Adapter, Searcher):  # type: ignore[misc]
    """Suggests what the strategy suggests, and tells it how trials end."""

    def __init__(self, strategy: Strategy, task: Callable[[Trial], TrialTask], on_change: Callable[[], None]) -> None:
        super().__init__()
        self._strategy, self._task, self._on_change = strategy, task, on_change
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        trial = self._strategy.suggest()
        if trial is None:
            return str(Searcher.FINISHED)
        self._numbers[trial_id] = trial.number
        self._on_change()
        return {"task": dataclasses.asdict(self._task(trial))}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self._numbers[trial_id]
        if error or result is None:
            self._strategy.fail(number, Outcome.CRASHED, "the worker process died twice")
        else:
            _report(self._strategy, result)
        self._on_change()

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: never restored from."""


class _Scheduler(_Adapter, FIFOScheduler):  # type: ignore[misc]
    """Stops the trials that the strategy stops."""

    def __init__(self, strategy: Strategy, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._strategy, self._on_change = strategy, on_change

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        goes_on = _report(self._strategy, result)
        self._on_change()
        return str(self.CONTINUE if goes_on else self.STOP)


def _report(strategy: Strategy, result: dict[str, Any]) -> bool:
    """Pass a worker's result on to the strategy and return whether the trial goes on."""
    if "outcome" in result:
        strategy.fail(result["number"], Outcome(result["outcome"]), result["message"])
        return False
    epoch = Epoch(result["epoch"], result["accuracy"], result["loss"], result["seconds"])
    return strategy.observe(result["number"], epoch)
