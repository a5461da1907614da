"""A search in its run directory: the durable study, the trials' checkpoints, and the files that it hands out.

run.yaml  study.db  study.db.bak  trials/N.pt (of running trials)  trials.csv  front.json  front.csv  pareto/*.yaml
best.yaml  tensorboard/NNNN_name (curves of trials that have ended)
"""

from __future__ import annotations

import dataclasses
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nxt.config import dump_yaml, read_yaml, require, to_mapping
from nxt.data.dataset import Dataset, Source, divided, load_train, open_source
from nxt.errors import ConfigError, NxtError, RunError
from nxt.files import LOCK, data_place, locked, new_run_directory, write_text
from nxt.search.engine.checkpoints import Storage
from nxt.search.engine.worker import TrialTask
from nxt.search.ranking import pareto, ranked
from nxt.search.request import SearchRequest, example_of, same_conditions
from nxt.search.results import run as results
from nxt.search.strategy.agenda import Agenda, ListAgenda, SearchAgenda
from nxt.search.strategy.eta import Pace
from nxt.search.strategy.sampler import FeasibleSampler
from nxt.search.strategy.schedulers import Scheduler, make_scheduler, rungs
from nxt.search.strategy.strategy import Strategy
from nxt.search.study.database import StudyRecord, backup_of
from nxt.search.trial import Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.feasible import FeasibleSet
from nxt.space.references import references
from nxt.space.space import Point
from nxt.train.tensorboard import Board

_REFRESH = 600.0  # seconds between two copies of the study
_SOON = 5.0  # between two updates of the result files, if trials end so fast


class Search:
    """A search in its run directory, new or continued. In its contexts no other process writes there.

    Args:
        request: What was asked.
        out: The run directory.
        download: Whether data may be downloaded.
        replay: A run whose finished trials are taken over where architecture, conditions and seed are the same.

    Raises:
        SpaceError: if nothing fits the budget.
        DataError: if the data is not there.
        RunError: if the run to replay was made under other conditions.
    """

    def __init__(
        self, request: SearchRequest, out: Path, download: bool = False, replay: results.Run | None = None
    ) -> None:
        self.request, self.out, self.replay = request, out, replay
        self._check_replay(request.record())
        self.source: Source = open_source(request.data, download)
        self.feasible = None if isinstance(request.space, ArchList) else FeasibleSet(request.space, request.budget)
        self.roles: dict[Point, str] = {}
        if self.feasible is not None:
            self.roles = {point: family for family, point in references(self.feasible).items()}
        sizes = {spec.size for spec in request.space.specs} if isinstance(request.space, ArchList) else set()
        if request.recipe.size is None and self.source.size is None and len(sizes) > 1:
            raise ConfigError(
                f"--arch: networks for {sorted(sizes)} pixels in one list; train them in lists of their own"
            )
        own = request.proxy.image_size(self.source.size, example_of(request.space))
        self.size = request.recipe.size or own
        self.study: StudyRecord
        self.strategy: Strategy
        self.pace = Pace({}, request.proxy.epochs, 1)
        self._kept: set[int] = set()
        self._holding = False
        self._refreshed = time.monotonic()
        self._due = 0.0  # when the result files are to be brought up to date

    @property
    def rungs(self) -> tuple[int, ...]:
        """The epochs at which trials are compared."""
        return self.scheduler().rungs

    @property
    def cut_short(self) -> bool:
        """Whether a lack of time kept trials that were asked for from beginning."""
        return sum(self.strategy.agenda.left(self.strategy.study.trials.values())) > 0

    def shared_data(self) -> Dataset | None:
        """Load what the workers are given: the data; nothing for full trainings, which open it themselves."""
        return None if self.request.proxy.full else self.load_data()

    def load_data(self) -> Dataset:
        """Load what the trials train and are judged on."""
        preprocess = self.request.recipe.preprocess(self.size, self.source.mean, self.source.std)
        return load_train(self.source, preprocess.resized, self.request.proxy.share)

    @contextmanager
    def directory(self, new: bool) -> Iterator[None]:
        """Hold the run directory alone; make it, if it is to be a new one, which goes again if nothing comes of it.

        Raises:
            RunError: if it exists already, cannot be created, or another process is writing there.
        """
        made = new_run_directory(self.out, LOCK) if new else nullcontext(self.out.resolve())
        with made as self.out, self._locked():
            if new and (self.out / "run.yaml").exists():
                raise RunError(f"{self.out}: another search has just been there; choose another --out")
            if new and self.request.storage:  # a place that other searches may use too
                own = f"{self.request.storage.rstrip('/')}/{quote(self.out.name)}-{uuid.uuid4().hex[:8]}"
                self.request = dataclasses.replace(self.request, storage=own)
                self._storage().prepare()
            try:
                yield
            finally:
                if not (self.out / "run.yaml").exists():
                    (self.out / LOCK).unlink()  # nothing came of it

    def write_record(self) -> None:
        """Write run.yaml."""
        train, _, val = divided(self.source, self.request.proxy.share)
        record = {**self.request.record(), "train_images": len(train), "val_images": len(val)}
        self._check_replay(record)
        write_text(self.out / "run.yaml", dump_yaml(record))

    def _check_replay(self, record: Mapping[str, Any]) -> None:
        """Raise RunError if the run to replay was made under other conditions."""
        if self.replay is not None and (key := same_conditions(record, self.replay.record)):
            raise RunError(f"--replay {self.replay.path}: its {key} differs, so its accuracies do not compare")

    def _check_images(self, record: Mapping[str, Any]) -> None:
        """Raise RunError if the data has other images than it had: accuracies would not compare any more."""
        train, _, val = divided(self.source, self.request.proxy.share)
        if (len(train), len(val)) != (record["train_images"], record["val_images"]):
            data = f"{data_place(self.request.data)} is no longer the data of this run"
            raise RunError(f"{self.out}: {data}: images were added or removed; put them back, or choose another --out")

    @property
    def scratch(self) -> Path:
        """A folder for what nobody needs after the search."""
        return self.out / ".ray"

    @contextmanager
    def opened(self, workers: int = 1, hours: float | None = None) -> Iterator[Strategy]:
        """Open the study for writing, alone, and give the strategy that continues it.

        On leaving, however that happens, the result files are brought up to date.

        Args:
            workers: Trials at a time, for predictions.
            hours: How long it may take; None: as long as it likes.

        Raises:
            RunError: if another process is writing here, the study is damaged, or the run to replay does not compare.
        """
        request = self.request
        with self._locked():
            record = read_yaml(self.out / "run.yaml")
            self._check_replay(record)
            self._check_images(record)
            self._storage().prepare()
            _check_presence(self.out / "study.db")
            study = self.study = StudyRecord(self.out / "study.db", request.space, request.objective)
            _amend(self.out, request, sum(not trial.repeat for trial in study.trials.values()))
            study.back_up()
            self.pace = Pace(study.trials, request.proxy.epochs, workers, hours, request.settings.patience)
            agenda = self.agenda()
            finished = {} if self.replay is None else _finished(self.replay)
            self.strategy = Strategy(
                study,
                agenda,
                self.scheduler(),
                request.proxy.epochs,
                request.seed,
                request.settings.control,
                finished,
                "" if self.replay is None else self.replay.path.resolve().name,
            )
            self._sweep()
            for trial in study.trials.values():
                self._add_to_board(trial)  # what a kill may have left out
            try:
                yield self.strategy
            except NxtError:
                with suppress(NxtError):  # a full disk, say: the first error is the one to tell
                    self._close()
                raise
            except BaseException:
                self._close()
                raise
            self._close()

    def task(
        self, device: str, threads: int, gpu_share: float = 0.0, together: int = 1
    ) -> Callable[[Trial], TrialTask]:
        """Return the function that turns a trial into work for a worker, one of so many together."""
        recipe = to_mapping(self.request.recipe)

        def make(trial: Trial) -> TrialTask:
            return TrialTask(
                number=trial.number,
                arch=self.request.proxy.apply(trial.spec, self.size).to_dict(),
                recipe=recipe,
                size=self.size,
                seed=trial.seed(self.request.seed),
                device=device,
                threads=threads,
                gpu_share=gpu_share,
                reported=len(trial.curve),
                data=self.request.data,
                together=together,
                storage=self._storage().place,
                limit=self.pace.limit(trial.cost.macs),
            )

        return make

    def tend(self) -> list[Trial]:
        """Do what is due when trials changed: drop checkpoints, copy the study. Return the trials that have ended."""
        ended, self.strategy.ended = self.strategy.ended, []
        if ended:
            keep = self._keepers()
            for number in ({trial.number for trial in ended} | self._kept) - keep:
                self._forget(number)
            self._kept = keep
            for trial in ended:
                self._add_to_board(trial)
            if time.monotonic() > self._due:
                self._write()
        if time.monotonic() - self._refreshed > _REFRESH:
            self._refresh()
        return ended

    def _keepers(self) -> set[int]:
        """Return the trials that have ended, but whose checkpoints are kept."""
        if self.request.settings.keep == "running":
            return set()
        if self.request.settings.keep == "all":
            return {t.number for t in self.strategy.study.trials.values() if t.outcome is Outcome.DONE}
        front = pareto(ranked(self.strategy.study.trials.values()), self.request.objective)
        return {trial.number for entry in front for trial in entry.trials}

    def _sweep(self) -> None:
        """Drop the checkpoints that a killed driver left of trials that had ended."""
        self._kept = self._keepers()
        running = {trial.number for trial in self.strategy.study.trials.values() if trial.outcome is Outcome.RUNNING}
        storage = self._storage()
        for name in storage.names():
            number, _, kind = name.lstrip(".").partition(".")
            stale = number.isdecimal() and int(number) not in running | self._kept
            if stale or (number.isdecimal() and kind.endswith("tmp")):  # cut off while it was written
                with suppress(OSError):
                    storage.remove(name)

    def scheduler(self) -> Scheduler:
        """Return what decides which trials go on; of a list, all do."""
        request, settings = self.request, self.request.settings
        found = rungs(request.proxy.epochs, settings.eta, settings.grace) if self.feasible is not None else ()
        return make_scheduler(settings.scheduler, found, settings.eta, request.budget, request.objective)

    def agenda(self) -> Agenda:
        """Return what is to be trained, in order."""
        request, settings = self.request, self.request.settings
        enough = self.pace.leaves_only
        if self.feasible is None:
            return ListAgenda(request.space, request.repeats, enough)
        sampler = FeasibleSampler(self.feasible, list(self.roles), settings.sampler, request.seed)
        return SearchAgenda(sampler, self.roles, request.trials, settings.confirm, settings.confirm_seeds, enough)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the run directory for this process; the lock goes with the process, however it ends."""
        if self._holding:
            yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.out / LOCK))
            except BlockingIOError:
                where = f"{self.out}: another search is writing there"
                raise RunError(f"{where}; wait for it to end, or use another directory") from None
            except OSError as error:
                raise RunError(f"{self.out}: cannot be written ({error.strerror})") from None
            self._holding = True
            try:
                yield
            finally:
                self._holding = False

    def _add_to_board(self, trial: Trial) -> None:
        """Write the curve of a trial that has ended for TensorBoard, once."""
        folder = self.out / "tensorboard" / f"{trial.number:04}_{trial.spec.name}"
        if trial.outcome is Outcome.RUNNING or not trial.curve or folder.exists():
            return
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        with closing(Board(unfinished)) as board:
            for row in trial.curve:
                board.add({**dataclasses.asdict(row), "time": time.time()})
        with suppress(OSError):  # a search can do without
            unfinished.rename(folder)

    def _storage(self) -> Storage:
        return Storage(self.request.storage or str(self.out / "trials"))

    def _forget(self, number: int) -> None:
        storage = self._storage()
        with suppress(OSError):
            storage.remove(f"{number}.pt")
            storage.local(f"{number}.hung").unlink(missing_ok=True)

    def _close(self) -> None:
        self.tend()
        self._refresh()
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.strategy.complete:
            self._storage().tidy()  # unless checkpoints of the front are kept in it

    def _refresh(self) -> None:
        """Copy the study, and bring the result files up to date."""
        self.study.back_up()
        self._write()
        self._refreshed = time.monotonic()

    def _write(self) -> None:
        """Bring the result files up to date, and say when that is due again: a fiftieth of the time goes there."""
        began = time.monotonic()
        results.write(results.Run(self.out, read_yaml(self.out / "run.yaml"), list(self.study.trials.values())))
        now = time.monotonic()
        self._due = now + max(_SOON, 50 * (now - began))


def _check_presence(study: Path) -> None:
    """Raise RunError if a study is gone whose copy is there: a new one would take the copy's place, too."""
    copy = backup_of(study)
    if copy.exists() and not study.exists():
        raise RunError(f"{study}: gone, but its copy is there: copy {copy.name} to {study.name} and try again")


def _finished(run: results.Run) -> dict[tuple[str, int], Trial]:
    """Return a run's finished trials by fingerprint and seed."""
    seed = run.record["seed"]
    return {(t.spec.fingerprint, t.seed(seed)): t for t in run.trials if t.outcome is Outcome.DONE}


def _amend(run: Path, request: SearchRequest, begun: int) -> None:
    """Record the number of trials, of those to confirm, and where the data is, if that has changed."""
    if not isinstance(request.space, ArchList):
        least = f"{request.trials}, but {begun} have begun already; give the number of trials in all"
        require(request.trials >= begun, "--trials", least)
    record = read_yaml(run / "run.yaml")
    changed: Mapping[str, Any] = {
        "trials": request.trials,
        "search": to_mapping(request.settings),
        "data": request.data,
    }
    if any(record.get(key) != value for key, value in changed.items()):
        write_text(run / "run.yaml", dump_yaml({**record, **changed}))
