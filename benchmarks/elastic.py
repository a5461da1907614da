"""A search on a cluster whose machines are killed and added at random: what is lost, what is done twice, what it costs.

The machines are Ray nodes of one CPU each on this machine. The search is `nxt search --address` as the command line
runs it, without retries. First a machine joins the one that is there, and the seconds until it trains are taken. Then
machines are killed without a word, and others added, whenever so many epochs are recorded as chance says (by --seed).
In the end each trial must be there once, whole, with its epochs in order.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import RESULTS, circumstances, show, tell, write_json

from nxt.errors import NxtError
from nxt.search.results.run import load_run
from nxt.search.trial import Outcome, Trial

NODES = Path(__file__).resolve().parents[1] / "tests" / "helpers" / "ray_nodes.py"
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # as the nodes have it
SETTINGS = ("proxy.share=0.3", "search.retries=0", "search.sampler=random")


class Cluster:
    """A process that has the nodes, and does what it is told."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(NODES), "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address, self.nodes = self._line(), 1

    def tell(self, word: str) -> None:
        """Have a node added or killed."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self.nodes = int(self._line())

    def close(self) -> None:
        """End all nodes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def trials_of(out: Path) -> list[Trial]:
    """Return the trials so far."""
    try:
        return load_run(out).trials
    except NxtError:  # not begun
        return []


def training(out: Path) -> int:
    """Return how many trials have begun to train and have not ended."""
    return sum(t.outcome is Outcome.RUNNING and bool(t.curve) for t in trials_of(out))


def until(condition: Callable[[], bool], search: subprocess.Popen[bytes]) -> bool:
    """Wait until a condition holds, and tell whether it did before the search ended."""
    while True:
        began = time.monotonic()
        if condition():
            return True
        if search.poll() is not None:
            return False
        time.sleep(max(0.2, 9 * (time.monotonic() - began)))  # a long run takes a while to read


def events(rng: random.Random, count: int, epochs: int) -> list[tuple[int, str]]:
    """Return so many kills and additions in random order, each with the number of epochs recorded when it is due."""
    words = ["kill", "add"] * count
    rng.shuffle(words)
    return list(zip(sorted(rng.randrange(epochs * 9 // 10) for _ in words), words, strict=True))


def disturb(
    rng: random.Random, cluster: Cluster, out: Path, search: subprocess.Popen[bytes], due: list[tuple[int, str]]
) -> int:
    """Kill and add machines as the events say, but for the last one; return how many were done in time."""
    done = 0
    while due:
        epochs, word = due.pop(0)
        if word == "kill" and cluster.nodes == 1:
            later = next((index for index, (_, other) in enumerate(due) if other == "add"), None)
            if later is None:
                continue
            due[later], word = (due[later][0], "kill"), "add"
        if not until(lambda: sum(len(t.curve) for t in trials_of(out)) >= epochs, search):  # noqa: B023
            break
        cluster.tell(word if word == "add" else f"kill {rng.randrange(cluster.nodes)}")
        done += 1
        tell(f"{word} at {epochs} epochs: {cluster.nodes} machine(s)")
    return done


def main() -> None:
    """Run the search, disturb it, and judge what it left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=30, help="of each trial; a short one ends before a worker starts")
    parser.add_argument("--events", type=int, default=20, help="so many kills, and so many machines added")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "elastic.json")
    options = parser.parse_args()
    rng, about = random.Random(options.seed), circumstances()
    cluster = Cluster()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        settings = [part for text in (*SETTINGS, f"proxy.epochs={options.epochs}") for part in ("--set", text)]
        given = ["--trials", str(options.trials), "--confirm", "0", "--address", cluster.address, "--out", str(out)]
        command = [sys.executable, "-m", "nxt", "search", "cifar", "--flops", ":20M", *given, *settings]
        with Path(folder, "log").open("wb") as log:
            search = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, **LOOPBACK})
        try:
            if not until(lambda: training(out) == 1, search):
                raise SystemExit(Path(folder, "log").read_text())
            began = time.monotonic()
            cluster.tell("add")
            joined = time.monotonic() - began
            until(lambda: training(out) == 2, search)
            trains = time.monotonic() - began
            due = events(rng, options.events, options.trials * options.epochs)
            done = disturb(rng, cluster, out, search, due)
            code = search.wait()
        finally:
            if search.poll() is None:
                search.kill()
            cluster.close()
        trials = trials_of(out)
        if code:
            tell(Path(folder, "log").read_text())
    whole = [t for t in trials if [row.epoch for row in t.curve] == list(range(1, options.epochs + 1))]
    found = {
        "exit_code": code,
        "asked": options.trials,
        "done": sum(t.outcome is Outcome.DONE for t in trials),
        "whole": len(whole),  # with each epoch once, in order
        "distinct": len({t.spec.fingerprint for t in trials}),
        "begun": len(trials),
        "killed_or_added": done,
        "of_events": 2 * options.events,
        "seconds_until_a_machine_has_joined": round(joined, 1),
        "seconds_until_it_trains": round(trains, 1),
    }
    show([[name.replace("_", " "), str(value)] for name, value in found.items()])
    write_json(options.out, {**about, **found})
    right = all(found[name] == options.trials for name in ("done", "whole", "distinct", "begun"))
    raise SystemExit(0 if right and not code else 1)


if __name__ == "__main__":
    main()
