"""What nxt's durable search costs per trial, over plain Ray Tune with OptunaSearch, side by side.

"nxt" is a search as the command line runs it; nothing is stopped early. "plain" is Ray Tune with a function trainable
and OptunaSearch in memory, which pays for a proposal of TPE and then trains the network that nxt trained in its place:
the same networks in the same order, those that confirm too, with the same seeds, epochs, data and threads. Both run in
processes of their own, in turn, with Ray started alike, without Ray's loggers, and with workers that are reused.

Per trial, in seconds of a worker: "gross" is all that is not training, (wall time x workers - training) / trials;
"net" leaves out the start of the workers (once per search) and the time that workers wait at the end for the last one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import RESULTS, circumstances, mean_and_spread, options_of, show, tell, write_json

if TYPE_CHECKING:
    from nxt.data.dataset import Dataset

PARTS = ("nxt", "plain")
FIGURES = {  # of a run: what the table calls it
    "gross_overhead_per_trial": "gross overhead per trial (s)",
    "net_overhead_per_trial": "net overhead per trial (s)",
    "worker_start": "start of a worker (s)",
    "driver_per_trial": "of it in searcher and scheduler, per trial (s)",
    "tuning": "tuning phase (s)",
    "training": "training in all trials (s)",
    "before": "before tuning: imports, data, Ray (s)",
    "after": "after tuning: files, Ray's end (s)",
    "end_to_end": "end to end (s)",
}


@dataclass
class Clock:
    """What the driver sees of a tuning phase, in seconds since it began."""

    workers: int = 0
    began: float = 0.0
    began_at: float = 0.0  # the time of day
    tuning: float = 0.0
    deciding: float = 0.0  # in suggestions, and decisions on epochs
    reports: list[tuple[float, str, float]] = field(default_factory=list)  # when, trial, seconds of training

    @contextlib.contextmanager
    def running(self, workers: int) -> Iterator[None]:
        """Time the tuning phase."""
        self.workers, self.began, self.began_at = workers, time.perf_counter(), time.time()
        try:
            yield
        finally:
            self.tuning = time.perf_counter() - self.began

    def report(self, trial: str, seconds: float) -> None:
        """Note an epoch that has arrived."""
        self.reports.append((time.perf_counter() - self.began, trial, seconds))

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its duration added to the time spent deciding."""

        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.deciding += time.perf_counter() - start

        return timed

    def figures(self) -> dict[str, Any]:
        """Return what follows from the reports."""
        first = {trial: when - seconds for when, trial, seconds in reversed(self.reports)}
        last = {trial: when for when, trial, _ in self.reports}
        trials, training = len(last), sum(seconds for *_, seconds in self.reports)
        starts = sorted(first.values())[: self.workers]  # each worker's first trial
        ends = sorted(last.values())[-self.workers :]  # each worker's last one: no other was left to begin
        return {
            "trials": trials,
            "workers": self.workers,
            "epochs": len(self.reports),
            "began_at": self.began_at,
            "tuning": self.tuning,
            "training": training,
            "worker_start": sum(starts) / len(starts),
            "gross_overhead_per_trial": (self.tuning * self.workers - training) / trials,
            "net_overhead_per_trial": (sum(ends) - sum(starts) - training) / trials,
            "driver_per_trial": self.deciding / trials,
            "reports": self.reports,
        }


def run_nxt(options: argparse.Namespace, folder: Path) -> Clock:
    """Run the search of nxt, and leave what it trained in tasks.pickle."""
    import nxt
    from nxt.search.engine.session import SearchSession
    from nxt.search.strategy.schedulers import Decision
    from nxt.search.trial import Epoch, Trial

    clock = Clock()

    class Watch:
        """Follows the search: a callback hears of trials, not of epochs."""

        session: SearchSession

        def note(self, text: str) -> None:
            pass

        def reading(self, done: int, total: int) -> None:
            pass

        def begin(self, session: SearchSession, workers: int) -> None:
            self.session, clock.workers = session, workers
            strategy, observe = session.strategy, session.strategy.observe

            def watched(number: int, epoch: Epoch) -> Decision:
                clock.report(str(number), epoch.seconds)
                return observe(number, epoch)

            strategy.observe = clock.timed(watched)  # type: ignore[method-assign]
            strategy.suggest = clock.timed(strategy.suggest)  # type: ignore[method-assign]

        def ended(self, trial: Trial) -> None:
            pass

        def update(self) -> None:
            pass

        def shown(self) -> contextlib.AbstractContextManager[None]:
            return clock.running(clock.workers)

    watch = Watch()
    run = nxt.search(
        options.space,
        flops=options.flops,
        acts=options.acts,
        trials=options.trials,
        confirm=options.confirm,
        seed=options.seed,
        settings={
            "search": {"sampler": options.sampler, "control": 0, "grace": 1.0},
            "proxy": {"epochs": options.epochs, "share": options.share},
        },
        out=folder / "run",
        workers=options.workers,
        observer=watch,
    )
    if not watch.session.strategy.complete:
        raise SystemExit("the search did not end")
    made = map(watch.session.task(1), run.trials)
    tasks = [{"spec": task.arch, "recipe": task.recipe, "size": task.size, "seed": task.seed} for task in made]
    (folder / "tasks.pickle").write_bytes(pickle.dumps(tasks))
    return clock


def train_plainly(config: dict[str, Any], data: Dataset, tasks: list[dict[str, Any]], threads: int) -> None:
    """Train a network as a worker of nxt does, but for its checkpoints: a function trainable."""
    import torch
    from ray import tune

    from nxt.compute.devices import choose
    from nxt.train.engine.setup import resident_trainer

    task = tasks[config["index"]]
    torch.set_num_threads(threads)
    trainer = resident_trainer(data=data, device=choose("cpu"), **task)
    for _ in range(task["recipe"].epochs):
        report = trainer.run_epoch()
        tune.report({"accuracy": report.accuracy, "loss": report.loss, "seconds": report.seconds})


def run_plain(options: argparse.Namespace, folder: Path) -> Clock:
    """Run plain Ray Tune over what the search of nxt trained."""
    from nxt.compute import ray_cluster  # first: it sets what Ray reads when it is imported

    # isort: split
    from optuna.distributions import IntDistribution
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from nxt.search.engine.search import prepare_search
    from nxt.search.request import load_record

    clock = Clock()
    tasks = pickle.loads((folder / "tasks.pickle").read_bytes())
    search = prepare_search(load_record(folder / "run").request, folder / "run")
    data = search.squares().open()
    axes = search.request.space
    values = zip(axes.axis_names, axes.axis_values, strict=True)
    space = {name: IntDistribution(0, len(known) - 1) for name, known in values}

    class InOrder(OptunaSearch):  # type: ignore[misc]
        """Proposes as ever; which network is trained follows from the order alone."""

        begun = 0

        def suggest(self, trial_id: str) -> dict[str, Any] | None:
            start = time.perf_counter()
            config = super().suggest(trial_id)
            clock.deciding += time.perf_counter() - start
            if config is None:
                return None
            self.begun += 1
            return {**config, "index": self.begun - 1}

        def on_trial_complete(self, *arguments: Any, **named: Any) -> None:
            clock.timed(super().on_trial_complete)(*arguments, **named)

    class Watch(tune.Callback):  # type: ignore[misc]
        """Follows the trials."""

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **_: Any) -> None:
            clock.report(trial.trial_id, result["seconds"])

    with ray_cluster.cluster(data.train.images.nbytes + data.val.images.nbytes):
        placement = ray_cluster.place(options.workers, 0.0)
        trainable = tune.with_parameters(train_plainly, data=data, tasks=tasks, threads=placement.cpus)
        with clock.running(placement.workers), tempfile.TemporaryDirectory(prefix="plain-ray-") as scratch:
            tune.Tuner(
                tune.with_resources(trainable, {"cpu": placement.cpus}),
                tune_config=tune.TuneConfig(
                    search_alg=InOrder(space, metric="accuracy", mode="max", seed=options.seed),
                    num_samples=len(tasks),
                    max_concurrent_trials=placement.workers,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(storage_path=scratch, verbose=0, callbacks=[Watch()]),
            ).fit()
    return clock


def run_part(options: argparse.Namespace) -> None:
    """Run one part in this process, and leave its figures beside it."""
    folder: Path = options.folder
    clock = run_nxt(options, folder) if options.part == "nxt" else run_plain(options, folder)
    (folder / f"{options.part}.json").write_text(json.dumps(clock.figures()))


def measure(options: argparse.Namespace, part: str, folder: Path) -> dict[str, Any]:
    """Run one part in a process of its own and return its figures."""
    names = ("trials", "confirm", "sampler", "epochs", "share", "workers", "seed", "space", "flops", "acts")
    asked = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    given = [text for name, value in asked.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, str(Path(__file__).resolve()), "--part", part, "--folder", str(folder), *given]
    log = folder / f"{part}.log"
    start = time.time()
    with log.open("wb") as file:
        ended = subprocess.run(command, stdout=file, stderr=file, check=False)
    end_to_end = time.time() - start
    if ended.returncode:
        raise SystemExit(f"the {part} part failed:\n{log.read_text()[-4000:]}")
    figures: dict[str, Any] = json.loads((folder / f"{part}.json").read_text())
    before = figures["began_at"] - start
    return {**figures, "end_to_end": end_to_end, "before": before, "after": end_to_end - before - figures["tuning"]}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and spread of each figure for both parts, the difference of the means, and their ratio."""
    rows: dict[str, Any] = {}
    for key in FIGURES:
        row: dict[str, float | None] = {}
        for part in PARTS:
            row[part], row[f"{part}_spread"] = mean_and_spread([run[key] for run in runs if run["part"] == part])
        pairs = zip(*([run[key] for run in runs if run["part"] == part] for part in PARTS), strict=True)
        row["difference"], row["difference_spread"] = mean_and_spread([ours - theirs for ours, theirs in pairs])
        ours, theirs = row["nxt"], row["plain"]
        row["ratio"] = ours / theirs if ours is not None and theirs else None
        rows[key] = row
    return rows


def table(rows: dict[str, Any]) -> list[list[str]]:
    """Return the summary as lines of a table."""
    lines = [["", "nxt", "plain", "difference", "ratio"]]
    for key, title in FIGURES.items():
        row = rows[key]
        cells = [f"{row[name]:.3f} +- {row[f'{name}_spread']:.3f}" for name in (*PARTS, "difference")]
        lines.append([title, *cells, "-" if row["ratio"] is None else f"{row['ratio']:.2f}"])
    return lines


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16, help="of each search (default 16)")
    parser.add_argument("--confirm", type=int, default=0, help="as for nxt search (default 0)")
    parser.add_argument("--sampler", default="tpe", help="of nxt; the other one is always TPE (default tpe)")
    parser.add_argument("--epochs", type=int, default=3, help="of each trial (default 3)")
    parser.add_argument("--share", type=float, default=0.5, help="of the training images (default 0.5)")
    parser.add_argument("--workers", type=int, default=2, help="trials at a time (default 2)")
    parser.add_argument("--repeats", type=int, default=3, help="of both searches, in turn (default 3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--space", default="smoke")
    parser.add_argument("--flops", default="5M:9M")
    parser.add_argument("--acts")
    parser.add_argument("--json", type=Path, default=RESULTS / "overhead.json", help="where results go")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # what the processes are given
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        run_part(options)
        return
    record: dict[str, Any] = {**circumstances(), "options": options_of(options), "runs": []}
    with tempfile.TemporaryDirectory(prefix="nxt-overhead-") as scratch:
        for repeat in range(options.repeats):
            folder = Path(scratch) / str(repeat)
            folder.mkdir()
            for part in PARTS:
                figures = measure(options, part, folder)
                record["runs"].append({"repeat": repeat, "part": part, **figures})
                tell(
                    f"{repeat + 1}/{options.repeats} {part}: {figures['gross_overhead_per_trial']:.3f} s gross, "
                    f"{figures['net_overhead_per_trial']:.3f} s net per trial; {figures['end_to_end']:.1f} s end to end"
                )
            record["summary"] = summary(record["runs"])
            write_json(options.json, record)
    show(table(record["summary"]))
    tell(f"written: {options.json}")


if __name__ == "__main__":
    main()
