"""Ray Tune as the engine of a search: thin adapters from its searcher, scheduler and trainable to ours.

The study is the truth. Ray's own experiment state goes to a temporary folder and is never restored from: it loses and
repeats trials. Every start is a fresh Tuner over what the study says is left to do.
"""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nxt.compute.ray_cluster import Placement, at_a_time, is_leaving  # isort: skip  # it sets what Ray reads on import

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from nxt.compute.accelerator import accelerator
from nxt.data.dataset import Source
from nxt.data.squares import Squares
from nxt.errors import NxtError, RunError
from nxt.search.engine.session import SearchSession
from nxt.search.engine.worker import TrialRun, TrialTask
from nxt.search.strategy.schedulers import Decision
from nxt.search.trial import EpochResult, Outcome, Trial, TrialFailure

_NO_MEMORY = ("OutOfMemory", "low on memory", "memory usage threshold")  # in what Ray says
_RESULT = "nxt"  # where, in the dict that Ray wants, the number and the result of a trial are
_HOPELESS = 10  # trials in a row that fail before their first epoch: something is wrong with the search
# In what Ray says when a machine is gone, or was told to leave: that is no failure of the trial.
_MACHINE_LEFT = ("its node has died", "is unavailable", "exit_actor() is called")
_MOST_MACHINES = 10  # that a trial may lose without an epoch in between: it might be what kills them
_FOLLOW = 10.0  # seconds between two looks at how many trials run at a time


def run(session: SearchSession, data: Squares | Source, placement: Placement, on_change: Callable[[], None]) -> None:
    """Runs trials until the strategy has no more, until the time is up, or until SIGINT or SIGTERM.

    An interrupted trial stays "running" in the study, with its checkpoint, and goes on when the search is resumed.

    Args:
        session: The open search.
        data: Where workers find their images.
        placement: How many trials run at a time, and on what.
        on_change: Called whenever a trial changed.

    Raises:
        NxtError: what the strategy raised, such as RunError when the study cannot be written any more.
    """
    driver = _Driver(session, session.task(placement.cpus, placement.workers), on_change, lambda: at_a_time(placement))

    def resources(config: dict[str, Any]) -> dict[str, float]:
        return {"cpu": placement.cpus, "gpu": config["task"].share.gpus}

    trainable = tune.with_resources(tune.with_parameters(_Trainable, data=data), resources)
    with _sigterm_as_sigint():
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(driver),
                scheduler=_Scheduler(driver, 0 if placement.gpus else placement.workers),
                num_samples=-1,
                max_concurrent_trials=placement.most,  # None: one more waits for a machine that joins, or asks for it
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=str(session.scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),  # the strategy has them run again
                stop=_Stopper(driver),
            ),
        ).fit()
    if driver.error is not None:
        raise driver.error


@contextmanager
def _sigterm_as_sigint() -> Iterator[None]:
    """Has SIGTERM do what SIGINT does; outside the main thread, where Python allows no handlers, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class _Driver:
    """What Ray's searcher, scheduler and stopper share. The first error ends the search, and is kept for the end."""

    def __init__(
        self,
        session: SearchSession,
        task: Callable[[Trial], TrialTask],
        on_change: Callable[[], None],
        at_a_time: Callable[[], int],
    ) -> None:
        self._session, self._retries = session, session.request.settings.retries
        self._strategy, self._pace = session.strategy, session.pace
        self._task, self._on_change, self._at_a_time = task, on_change, at_a_time
        self._followed = time.monotonic()
        self._tasks: dict[int, TrialTask] = {}  # as they were last given out
        self._deaths: Counter[int] = Counter()  # of each trial's workers since it last gave a sign of life
        self._left: Counter[int] = Counter()  # machines that went away under it since then
        self._barren = 0  # trials in a row that failed without an epoch
        self._waiting: dict[int, float] = {}  # trials to be started again, and when
        self.error: NxtError | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles what it is given; all this stays here

    def suggest(self) -> dict[str, Any] | str | None:
        """Returns the next trial's configuration; None: there may be one later."""
        with self._guarded():
            self._start_again()
            self._follow()
            trial = self._strategy.suggest()
            self._on_change()
            if trial is not None:
                self._tasks[trial.number] = self._task(trial)
                return {"task": self._tasks[trial.number]}
            if not self._strategy.complete:
                return None
        return str(Searcher.FINISHED)

    def report(self, number: int, result: EpochResult | TrialFailure) -> Decision:
        """Passes a worker's result on to the strategy and returns what becomes of the trial."""
        decision = Decision.STOP
        with self._guarded():
            del self._deaths[number], self._left[number]
            if isinstance(result, TrialFailure):
                if result.outcome is Outcome.OOM and self._session.gives_more(self._tasks[number]):
                    self._waiting[number] = time.monotonic()
                else:
                    self._fail(number, result)
            else:
                self._session.learn(self._tasks[number], result.memory)
                self._barren = 0
                self._strategy.remark(number, result.remark)
                decision = self._strategy.observe(number, result.epoch)
            self._on_change()
        return decision

    def died(self, number: int, said: str) -> None:
        """Has a trial whose worker process died, also by its watchdog, run again; or records that this does not help.

        A machine that went away counts apart. `said` is Ray's account of it: a line with the time, and the error.
        """
        if self._session.leaves_eager(number):
            self._waiting[number] = time.monotonic()
            return
        left = any(words in said for words in _MACHINE_LEFT)
        counter, most = (self._left, _MOST_MACHINES) if left else (self._deaths, self._retries)
        counter[number] += 1
        times = counter[number]
        if times <= most:
            # Not at once: Ray may need a moment to see that a whole machine is gone.
            self._waiting[number] = time.monotonic() + min(30, 2 ** (times - 1))
            return
        often = f" {times} times in a row" if times > 1 else ""
        with self._guarded():
            if any(words in said for words in _NO_MEMORY):
                failure = TrialFailure(Outcome.OOM, "the machine ran out of memory")
            elif hang := self._session.hang_of(number):
                failure = TrialFailure(Outcome.TIMEOUT, f"hung{often}: {hang}")
            else:
                why = "".join(f": {line.strip()}" for line in said.splitlines()[1:2])
                failure = TrialFailure(Outcome.KILLED, f"the worker process died{often}{why}")
            self._fail(number, failure)
            self._on_change()

    def _fail(self, number: int, failure: TrialFailure) -> None:
        """Records a failure; if nothing works at all, ends the search."""
        trial = self._strategy.study.trials[number]
        self._strategy.fail(number, failure.outcome, failure.message)
        self._barren += not trial.curve
        if self._barren >= _HOPELESS:
            hopeless = f"the last {self._barren} trials all failed before their first epoch"
            raise RunError(f"{hopeless}; trial {number} {failure.outcome}: {failure.message}")

    def _start_again(self) -> None:
        for number, due in list(self._waiting.items()):
            if time.monotonic() >= due:
                del self._waiting[number]
                self._strategy.again(number)

    def _follow(self) -> None:
        """Has predictions count the machines that are there now."""
        if time.monotonic() - self._followed > _FOLLOW:
            self._followed = time.monotonic()
            self._pace.follow(max(1, self._at_a_time()))

    def over(self) -> bool:
        """Tells whether everything is to stop."""
        return self.error is not None or self._pace.time_is_up

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except NxtError as error:
            self.error = self.error or error


class _Trainable(tune.Trainable):  # type: ignore[misc]
    """A `TrialRun` for Ray, in a process that is reused from trial to trial."""

    _data: Squares | Source

    def setup(self, config: dict[str, Any], data: Squares | Source | None = None) -> None:
        if data is not None:  # not so when the actor is given another trial
            self._data = data
            gc.collect()
            gc.freeze()  # libraries and data: else each collection between two trials takes a third of a second
        self._run = TrialRun(config["task"], self._data)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        device = self._run.device
        del self._run
        gc.collect()
        accelerator(device).release_memory()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        if is_leaving():  # all epochs so far are in the checkpoint; the next one begins on another machine
            ray.actor.exit_actor()
        task, result = self._run.task, self._run.step()
        last = isinstance(result, TrialFailure) or result.epoch.epoch >= task.recipe.epochs
        return {_RESULT: (task.number, result), "done": last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Does nothing: trials keep their own checkpoints."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Does nothing: a trial that starts again finds its own checkpoint."""


class _Searcher(Searcher):  # type: ignore[misc]
    """Suggests what the strategy suggests, and tells it how trials end."""

    def __init__(self, driver: _Driver) -> None:
        super().__init__()
        self._driver = driver

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._driver.suggest()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result is not None and _RESULT in result:  # else it was stopped before its first epoch, or its worker died
            self._driver.report(*result[_RESULT])

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: the study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing: never restored from."""


class _Scheduler(FIFOScheduler):  # type: ignore[misc]
    """Stops the trials that the strategy stops, and tells it which workers died.

    Args:
        driver: What it tells.
        kept: How many idle workers stay, where all trials need the same resources; 0: Ray Tune ends them as soon as no
            trial is pending. A search waits after each round of its confirmation, and starting a worker takes seconds.
    """

    def __init__(self, driver: _Driver, kept: int) -> None:
        super().__init__()
        self._driver, self._kept = driver, kept

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, trial)
        if self._kept:
            with suppress(AttributeError):  # not public: where Ray changes it, workers start anew, as said above
                cache = tune_controller._tune_controller._actor_cache
                cache.increase_max(trial.placement_group_factory, self._kept)
                self._kept = 0

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        decision = self._driver.report(*result[_RESULT])
        return str({Decision.CONTINUE: self.CONTINUE, Decision.STOP: self.STOP}[decision])

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        try:
            said = Path(trial.error_file).read_text()
        except (OSError, TypeError):
            said = ""
        self._driver.died(trial.config["task"].number, said)


class _Stopper(tune.Stopper):  # type: ignore[misc]
    """Stops everything when the search is over."""

    def __init__(self, driver: _Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._driver.over()
