"""A search while its study is open: the durable study, the trials' checkpoints, and the files that it hands out.

run.yaml  study.db  study.db.bak  trials/N.pt (of running trials)  trials.csv  front.json  front.csv  pareto/*.yaml
best.yaml  tensorboard/NNNN_name (curves of trials that have ended)
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from nxt.config import require
from nxt.errors import NxtError, RunError
from nxt.files import exists
from nxt.rundir import RunDirectory
from nxt.search.engine.packing import ON_CPU, Packing
from nxt.search.engine.search import Search
from nxt.search.engine.watchdog import hang_of
from nxt.search.engine.worker import TrialTask
from nxt.search.ranking import pareto, ranked
from nxt.search.request import SearchRecord, load_record
from nxt.search.results import files
from nxt.search.results.run import Run
from nxt.search.results.status import is_complete
from nxt.search.strategy.eta import Pace
from nxt.search.strategy.strategy import Strategy
from nxt.search.study.database import DurableStudy, backup_of
from nxt.search.trial import Outcome, Trial
from nxt.train.tensorboard import TensorBoardWriter

_REFRESH = 600.0  # seconds between two copies of the study
_CONVINCING = 3  # trials whose passes could not be recorded, after which no other one tries
_SOON = 5.0  # between two updates of the result files, if trials end so fast


class SearchSession:
    """The one writer of a search's study; see `open_session`.

    Args:
        search: The search.
        directory: Its run directory, held by this process.
        record: What run.yaml says.
        study: The open study.
        strategy: Suggests and decides, over that study.
        pace: Measures how fast trials go.
        packing: How trials share GPUs; None: they run on CPUs.
    """

    def __init__(
        self,
        search: Search,
        directory: RunDirectory,
        record: SearchRecord,
        study: DurableStudy,
        strategy: Strategy,
        pace: Pace,
        packing: Packing | None,
    ) -> None:
        self.search, self.directory, self.record, self.packing = search, directory, record, packing
        self.strategy, self.pace, self.request = strategy, pace, search.request
        self.growth = ""  # how many more trials run at a time when machines join, in words
        self._study, self._storage = study, search.storage
        self._kept: set[int] = set()  # trials that have ended, but whose checkpoints stay
        self._refreshed = time.monotonic()
        self._eager: dict[int, str] = {}  # trials whose passes cannot be recorded, and why
        self._due = 0.0  # when the result files are to be brought up to date

    @property
    def out(self) -> Path:
        """The run directory."""
        return self.directory.path

    @property
    def trials(self) -> list[Trial]:
        """All trials, as they stand now."""
        return list(self._study.trials.values())

    @property
    def cut_short(self) -> bool:
        """Whether a lack of time kept trials that were asked for from beginning."""
        return sum(self.strategy.agenda.remaining(self.trials)) > 0

    @property
    def scratch(self) -> Path:
        """A folder for what nobody needs after the search."""
        return self.out / ".ray"

    def run(self) -> Run:
        """Returns the run as it stands now."""
        return Run(self.out, self.record, self.trials)

    def task(self, threads: int, together: int = 1) -> Callable[[Trial], TrialTask]:
        """Returns the function that turns a trial into work for a worker, one of so many together."""

        def make(trial: Trial) -> TrialTask:
            arch = self.request.proxy.apply(trial.spec, self.search.size)
            predicted = 0 if self.packing is None else self.search.predicted_memory(trial.spec)
            share = ON_CPU if self.packing is None else self.packing.share(trial.number, predicted)
            return TrialTask(
                number=trial.number,
                arch=arch,
                recipe=self.request.recipe,
                size=self.search.size,
                seed=trial.seed(self.request.seed),
                threads=threads,
                share=share,
                predicted=predicted,
                eager=self._why_eager(trial.number),
                ways=self.record.ways,
                reported=len(trial.curve),
                data=self.request.data,
                together=together,
                storage=self._storage.place,
                full=self.request.full,
                images=self.request.proxy.share,
                patience=self.request.settings.patience,
            )

        return make

    def learn(self, task: TrialTask, memory: int) -> None:
        """Notes how much memory a trial takes of its GPU."""
        if self.packing is not None:
            self.packing.measured(task.predicted, memory)

    def gives_more(self, task: TrialTask) -> bool:
        """Gives a trial that ran out of memory a whole GPU, if it has only a share that was chosen here."""
        if self.packing is None or task.share.halves:
            return False
        self.packing.alone(task.number)
        return True

    def _why_eager(self, number: int) -> str:
        """Says why a trial's passes are not recorded: it was tried, or with several others it did not work."""
        reasons = list(self._eager.values())
        return self._eager.get(number, reasons[-1] if len(reasons) >= _CONVINCING else "")

    def leaves_eager(self, number: int) -> bool:
        """Tells whether a trial's process ended because a pass could not be recorded; the next one leaves it eager."""
        reason = None
        with suppress(OSError):  # a place that cannot be reached now: this counts as a death of the worker
            reason = self._storage.read(f"{number}.eager")
        if reason is None or number in self._eager:
            return False
        self._eager[number] = reason.decode(errors="replace")
        return True

    def hang_of(self, number: int) -> str:
        """Says how the last worker of a trial hung, and where, if it did and this machine sees what it left."""
        return hang_of(self._storage.local(f"{number}.hung"))

    def tend(self) -> list[Trial]:
        """Does what is due when trials changed: drops checkpoints, copies the study. Returns the trials that ended."""
        ended, self.strategy.ended = self.strategy.ended, []
        if ended:
            keep = self._keepers()
            for number in ({trial.number for trial in ended} | self._kept) - keep:
                self._forget(number)
            self._kept = keep
            for trial in ended:
                self._add_to_tensorboard(trial)
            if time.monotonic() > self._due:
                self._write_results()
        if time.monotonic() - self._refreshed > _REFRESH:
            self._refresh()
        return ended

    def begin(self) -> None:
        """Clears up what a killed driver may have left."""
        self._study.mark(complete=False)
        self._sweep()
        for trial in self.trials:
            self._add_to_tensorboard(trial)

    def close(self) -> None:
        """Brings the study's copy and the result files up to date, and removes what only a running search needs."""
        self.tend()
        self._study.mark(is_complete(self.search.setup, self.trials))
        self._refresh()
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.strategy.complete:
            self._storage.tidy()  # unless checkpoints of the front are kept in it

    def _keepers(self) -> set[int]:
        """Returns the trials that have ended, but whose checkpoints are kept."""
        if self.request.settings.keep == "running":
            return set()
        if self.request.settings.keep == "all":
            return {trial.number for trial in self.trials if trial.outcome is Outcome.DONE}
        front = pareto(ranked(self.trials), self.request.objective)
        return {trial.number for entry in front for trial in entry.trials}

    def _sweep(self) -> None:
        """Drops the checkpoints that a killed driver left of trials that had ended."""
        self._kept = self._keepers()
        running = {trial.number for trial in self.trials if trial.outcome is Outcome.RUNNING}
        for name in self._storage.names():
            number, _, kind = name.lstrip(".").partition(".")
            stale = number.isdecimal() and int(number) not in running | self._kept
            if stale or (number.isdecimal() and kind.endswith("tmp")):  # cut off while it was written
                with suppress(OSError):
                    self._storage.remove(name)

    def _forget(self, number: int) -> None:
        with suppress(OSError):
            self._storage.remove(f"{number}.pt")
            self._storage.remove(f"{number}.eager")
            self._storage.local(f"{number}.hung").unlink(missing_ok=True)

    def _add_to_tensorboard(self, trial: Trial) -> None:
        """Writes the curve of a trial that has ended for TensorBoard, once."""
        folder = self.out / "tensorboard" / f"{trial.number:04}_{trial.spec.name}"
        if trial.outcome is Outcome.RUNNING or not trial.curve or exists(folder):
            return
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        with closing(TensorBoardWriter(unfinished)) as board:
            for row in trial.curve:
                board.add({**dataclasses.asdict(row), "time": time.time()})
        with suppress(OSError):  # a search can do without
            unfinished.rename(folder)

    def _refresh(self) -> None:
        """Copies the study, and brings the result files up to date."""
        self._study.back_up()
        self._write_results()
        self._refreshed = time.monotonic()

    def _write_results(self) -> None:
        """Brings the result files up to date, and notes when that is due again: a fiftieth of the time goes there."""
        began = time.monotonic()
        files.write(self.run())
        now = time.monotonic()
        self._due = now + max(_SOON, 50 * (now - began))


@contextmanager
def open_session(
    search: Search,
    directory: RunDirectory,
    workers: int = 1,
    hours: float | None = None,
    packing: Packing | None = None,
) -> Iterator[SearchSession]:
    """Opens the study of a search for writing, alone, with the strategy that continues it.

    However the block ends, the result files are brought up to date.

    Args:
        search: The search; its request may have another number of trials than run.yaml, and other places.
        directory: Its run directory, with a record in it.
        workers: Trials at a time, for predictions.
        hours: How long it may take; None: as long as it likes.
        packing: How trials share GPUs; None: they run on CPUs.

    Raises:
        RunError: if the study is damaged, the images are others, or the run to replay does not compare.
        ConfigError: if fewer trials are asked than have begun, or checkpoints cannot be stored.
    """
    request, path = search.request, directory.path / "study.db"
    record = search.record()
    _check_images(record, load_record(directory.path), directory.path)
    search.storage.prepare()
    _check_presence(path)
    study = DurableStudy(path, request.space, request.objective)
    record = _amended(record, directory, sum(not trial.replicate for trial in study.trials.values()))
    study.back_up()
    pace = Pace(study.trials, request.proxy.epochs, workers, hours)
    strategy = Strategy(
        study,
        search.setup.agenda(pace.leaves_only),
        search.setup.scheduler(),
        request.proxy.epochs,
        request.seed,
        request.settings.control,
        search.finished_elsewhere(),
        "" if search.replay is None else search.replay.path.resolve().name,
    )
    session = SearchSession(search, directory, record, study, strategy, pace, packing)
    session.begin()
    try:
        yield session
    except NxtError:
        with suppress(NxtError):  # a full disk, say: the first error is the one to tell
            session.close()
        raise
    except BaseException:
        session.close()
        raise
    session.close()


def _check_images(now: SearchRecord, before: SearchRecord, out: Path) -> None:
    """Raises RunError if the data has other images than it had: accuracies would not compare any more."""
    if (now.train_images, now.val_images) != (before.train_images, before.val_images):
        data = f"{now.request.data.display} is no longer the data of this run"
        advice = "put them back, or begin a new run with another `out`"
        raise RunError(f"{out}: {data}: images were added or removed; {advice}")


def _check_presence(study: Path) -> None:
    """Raises RunError if a study is gone whose copy is there: a new one would take the copy's place, too."""
    copy = backup_of(study)
    if exists(copy) and not os.path.lexists(study):
        raise RunError(f"{study}: gone, but its copy is there: copy {copy.name} to {study.name} and try again")


def _amended(record: SearchRecord, directory: RunDirectory, begun: int) -> SearchRecord:
    """Records the number of trials, the settings and the place of the data, if they changed; returns the record."""
    request, before = record.request, load_record(directory.path)
    if not request.is_list and request.trials is not None:
        least = f"{request.trials}, but {begun} have begun already; give the number of trials in all"
        require(request.trials >= begun, "`trials`", least)
    changed = dataclasses.replace(before.request, trials=request.trials, settings=request.settings, data=request.data)
    amended = dataclasses.replace(before, request=changed)
    if amended != before:
        directory.write_record(amended.to_dict())
    return amended
