"""What the driver of a search costs at scale: everything but Ray and the training.

The strategy, the study in SQLite, the sampler and the run directory are nxt's own; only the epochs are made up: their
accuracies are a function of the architecture. Of each kind of step the latest durations are kept, and shown whenever
one of the given numbers of trials has ended. A run that was cut off goes on when it is given the same --out.
"""

from __future__ import annotations

import argparse
import cProfile
import dataclasses
import math
import multiprocessing
import pstats
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import RESULTS, circumstances, options_of, show, tell, write_json

from nxt.rundir import hold_run_directory
from nxt.search.engine.search import prepare_search
from nxt.search.engine.session import SearchSession, open_session
from nxt.search.new_request import make_request
from nxt.search.request import SAMPLERS, load_record
from nxt.search.results import files
from nxt.search.strategy.schedulers import Decision
from nxt.search.strategy.strategy import Strategy
from nxt.search.study.database import DurableStudy, read_trials
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import parse_budget
from nxt.space.load import load_space

STEPS = ("suggest", "task", "observe", "tell", "tend")
_PROGRESS = 30.0  # seconds between two lines of progress


@dataclass
class Stopwatch:
    """The latest durations of each kind of step, and the sum of all."""

    window: int
    total: float = 0.0
    latest: dict[str, deque[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.latest = {step: deque(maxlen=self.window) for step in STEPS}

    def note(self, step: str, seconds: float) -> None:
        """Enter the duration of a step."""
        self.latest[step].append(seconds)
        self.total += seconds

    def means(self) -> dict[str, float | None]:
        """Return the mean of the latest durations of each step, in seconds."""
        return {step: sum(times) / len(times) if times else None for step, times in self.latest.items()}

    def longest(self) -> dict[str, float | None]:
        """Return the longest of the latest durations of each step, in seconds."""
        return {step: max(times, default=None) for step, times in self.latest.items()}


class Drive:
    """A search whose trials take no time.

    Args:
        session: The open search.
        parallel: Trials at a time.
        watch: Where durations go.
    """

    def __init__(self, session: SearchSession, parallel: int, watch: Stopwatch) -> None:
        self.session, self.strategy, self.watch = session, session.strategy, watch
        self.task = session.task(1)
        self.ended = sum(trial.outcome is not Outcome.RUNNING for trial in session.trials)
        self.running: deque[Trial] = deque()
        for _ in range(parallel):
            self._begin()

    def until(self, ended: int, deadline: float) -> bool:
        """Go on until so many trials have ended; False if that, or the time, was not enough."""
        progress_shown = time.monotonic()
        while self.ended < ended:
            if not self.running or time.monotonic() >= deadline:
                return False
            self._advance()
            if time.monotonic() - progress_shown > _PROGRESS:
                progress_shown = time.monotonic()
                means = ", ".join(f"{k} {1000 * v:.1f}" for k, v in self.watch.means().items() if v is not None)
                tell(f"{self.ended} trials ended; milliseconds: {means}")
        return True

    def _begin(self) -> None:
        """Do what the searcher does when a worker is free."""
        start = time.perf_counter()
        trial = self.strategy.suggest()
        suggested = time.perf_counter()
        self.watch.note("suggest", suggested - start)
        self._tend()
        if trial is not None:
            start = time.perf_counter()
            self.task(trial)
            self.watch.note("task", time.perf_counter() - start)
            self.running.append(trial)

    def _advance(self) -> None:
        """Do what the scheduler does when an epoch is reported; trials take turns."""
        trial = self.running.popleft()
        row = made_up(trial, len(trial.curve) + 1)
        start = time.perf_counter()
        goes_on = self.strategy.observe(trial.number, row) is Decision.CONTINUE
        self.watch.note("observe" if goes_on else "tell", time.perf_counter() - start)
        self._tend()
        if goes_on:
            self.running.append(trial)
        else:
            self.ended += 1
            self._begin()

    def _tend(self) -> None:
        start = time.perf_counter()
        self.session.tend()
        self.watch.note("tend", time.perf_counter() - start)


def made_up(trial: Trial, epoch: int) -> Epoch:
    """Return an epoch whose accuracy follows from the architecture: a trend in the depths, and noise from its hash."""
    depths = trial.spec.depths
    trend = math.log(depths[2] / depths[0]) / math.log(36)  # in -1..1: blocks belong into the third stage
    noise = int(trial.spec.fingerprint[:8], 16) / 2**32
    accuracy = (0.6 + 0.1 * trend + 0.05 * noise) * (1 - math.exp(-epoch / 3))
    return Epoch(epoch, accuracy, 1 - accuracy, 60.0)


@contextmanager
def opened(options: argparse.Namespace, out: Path, trials: int) -> Iterator[SearchSession]:
    """Open the search in a run directory, new or continued."""
    new = not (out / "study.db").exists()
    if new:
        chosen = {"sampler": options.sampler, "scheduler": "asha", "confirm": 0}
        settings = {"proxy": {"epochs": options.epochs}, "search": chosen}
        budget = parse_budget({"flops": options.flops})
        request = make_request(load_space(options.space), budget, "digits", trials, options.seed, settings)
    else:
        request = load_record(out).request
        request = dataclasses.replace(request, trials=max(trials, request.trials or 0))
        tell(f"going on with {out}")
    search = prepare_search(request, out)
    with hold_run_directory(out, "search", new) as directory:
        if new:
            directory.write_record(search.record().to_dict())
        with open_session(search, directory, options.parallel) as session:
            yield session


def measure(session: SearchSession, watch: Stopwatch, ended: int, scratch: Path) -> dict[str, Any]:
    """Return all figures at this point; the study is read by a process of its own, from a copy."""
    study, out = session.strategy.study, session.out
    assert isinstance(study, DurableStudy)
    memory = memory_of_this_process()
    start = time.perf_counter()
    study.back_up()
    backed_up = time.perf_counter() - start
    start = time.perf_counter()
    run = session.run()
    files.write(run)
    written = time.perf_counter() - start
    copy = scratch / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    shutil.copy(out / "run.yaml", copy)
    shutil.copy(out / "study.db.bak", copy / "study.db")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        read = pool.submit(reading, copy).result()
    return {
        "trials_ended": ended,
        "trials_begun": len(study.trials),
        "outcomes": {str(outcome): run.count(outcome) for outcome in Outcome},
        "mean_seconds": watch.means(),
        "longest_seconds": watch.longest(),
        "driver_seconds": watch.total,
        "rss_bytes": memory,
        "study_bytes": (out / "study.db").stat().st_size,
        "back_up_seconds": backed_up,
        "write_results_seconds": written,
        **read,
    }


def reading(copy: Path) -> dict[str, Any]:
    """Time, in a fresh process, how a run is read and how its study is opened to go on."""
    request = load_record(copy).request
    before = memory_of_this_process()
    start = time.perf_counter()
    trials = read_trials(copy / "study.db", request.space)
    read = time.perf_counter() - start
    after = memory_of_this_process()
    start = time.perf_counter()
    setup = prepare_search(request, copy).setup
    made = time.perf_counter()
    study = DurableStudy(copy / "study.db", request.space, request.objective)
    recorded = time.perf_counter()
    Strategy(study, setup.agenda(), setup.scheduler(), request.proxy.epochs, request.seed)
    return {
        "read_trials_seconds": read,
        "read_trials": len(trials),
        "read_rss_bytes": after - before,
        "make_search_seconds": made - start,
        "open_study_seconds": recorded - made,
        "make_strategy_seconds": time.perf_counter() - recorded,
    }


def memory_of_this_process() -> int:
    """Return the resident set size in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def table(points: list[dict[str, Any]]) -> list[list[str]]:
    """Return the figures as lines of a table, one column for each number of trials."""
    lines = [["trials ended", *(str(point["trials_ended"]) for point in points)]]
    for step in STEPS:
        cells = [point["mean_seconds"][step] for point in points]
        lines.append([f"{step} (ms)", *("-" if cell is None else f"{1000 * cell:.2f}" for cell in cells)])
    for name, key in (
        ("driver in all (s)", "driver_seconds"),
        ("back_up (s)", "back_up_seconds"),
        ("write results (s)", "write_results_seconds"),
        ("read trials (s)", "read_trials_seconds"),
        ("open study (s)", "open_study_seconds"),
        ("make strategy (s)", "make_strategy_seconds"),
    ):
        lines.append([name, *(f"{point[key]:.2f}" for point in points)])
    for name, key in (("RSS (MB)", "rss_bytes"), ("study.db (MB)", "study_bytes")):
        lines.append([name, *(f"{point[key] / 1e6:.1f}" for point in points)])
    return lines


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="that are to end")
    parser.add_argument("--at", default="100,1000,10000", help="measure when so many have ended; also at the last")
    parser.add_argument("--parallel", type=int, default=64, help="trials at a time")
    parser.add_argument("--epochs", type=int, default=9, help="of a trial that is not stopped")
    parser.add_argument("--sampler", choices=sorted(SAMPLERS), default="tpe")
    parser.add_argument("--space", default="imagenet")
    parser.add_argument("--flops", default="4.1G")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--window", type=int, default=50, help="steps of each kind to average over")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which to stop with what there is")
    parser.add_argument("--out", type=Path, help="run directory to make or go on with; else a temporary one")
    parser.add_argument("--json", type=Path, help="where results go; else results/benchmarks/driver-SAMPLER.json")
    parser.add_argument("--profile", type=Path, help="also profile, and write the statistics (for pstats) there")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    target = options.json or RESULTS / f"driver-{options.sampler}.json"
    record: dict[str, Any] = {**circumstances(), "options": options_of(options), "points": []}
    watch = Stopwatch(options.window)
    profile = cProfile.Profile() if options.profile else None
    marks = sorted({mark for mark in map(int, options.at.split(",")) if mark < options.trials} | {options.trials})
    with tempfile.TemporaryDirectory(prefix="nxt-driver-") as scratch:
        out = options.out or Path(scratch) / "run"
        with opened(options, out, options.trials + options.parallel) as session:
            record["filesystem_free_bytes"] = shutil.disk_usage(session.out).free
            record["feasible"] = len(session.search.setup.feasible or ())
            drive = Drive(session, options.parallel, watch)
            record["went_on_after"], record["rss_bytes_at_start"] = drive.ended, memory_of_this_process()
            for mark in marks:
                if mark <= record["went_on_after"]:
                    continue
                if profile:
                    profile.enable()
                reached = drive.until(mark, deadline)
                if profile:
                    profile.disable()
                record["points"].append(measure(session, watch, drive.ended, Path(scratch)))
                record["finished"] = reached and mark == options.trials
                write_json(target, record)
                tell("\n".join("  ".join(line) for line in table(record["points"][-1:])))
                if not reached:
                    tell(f"cut off after {drive.ended} trials")
                    break
    if profile:
        profile.dump_stats(options.profile)
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(60)
    if record["points"]:
        show(table(record["points"]))
    tell(f"written: {target}")


if __name__ == "__main__":
    main()
