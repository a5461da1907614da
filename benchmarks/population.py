"""Train a population of architectures, drawn uniformly inside one window, fully and by a grid of proxies.

Every condition is a list study of nxt's own, a run directory under --out; given the same --out again, the script goes
on where it was cut off. What is trained, and how, stands in a YAML file of benchmarks/populations.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import tell

import nxt
from nxt.arch.spec import ArchSpec
from nxt.config import read_yaml
from nxt.errors import NxtError
from nxt.search.trial import Outcome, Trial
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

POPULATIONS = Path(__file__).resolve().parent / "populations"


def draw(plan: dict[str, Any]) -> list[ArchSpec]:
    """Draw the architectures: uniformly inside the window, each at most once."""
    feasible = FeasibleSet(load_space(plan["space"]), parse_budget(plan["budget"]))
    rng = np.random.default_rng(plan["seed"])
    drawn: dict[str, ArchSpec] = {}
    while len(drawn) < min(plan["architectures"], len(feasible)):
        spec = feasible.space.spec(feasible.draw(rng))
        drawn.setdefault(spec.fingerprint, spec)
    return list(drawn.values())


@dataclass(frozen=True)
class Condition:
    """One way to train the population, or the first few of it several times."""

    name: str
    settings: dict[str, Any]  # of the proxy
    seed: int
    architectures: int
    repeats: int = 1


def conditions(plan: dict[str, Any]) -> Iterator[Condition]:
    """Yield all conditions: the noise last, on top of what is there.

    Each has a seed of its own: sharing initial weights with the full training would flatter a proxy.
    """
    settings = {"full": plan["full"], **{name: plan["full"] | own for name, own in plan["proxies"].items()}}
    seeds = {name: plan["seed"] + 1000 * k for k, name in enumerate(settings)}
    for name, values in settings.items():
        yield Condition(name, values, seeds[name], plan["architectures"])
    noise = plan["noise"]
    for name in noise["of"]:
        yield Condition(f"{name}-noise", settings[name], seeds[name], noise["architectures"], noise["seeds"])


def train(
    plan: dict[str, Any], out: Path, data: str, workers: int | None, gpus_per_trial: float | None, only: list[str]
) -> None:
    """Train all conditions, or go on with them; one that repeats another takes over what that has trained."""
    specs = draw(plan)
    for condition in conditions(plan):
        if only and condition.name not in only:
            continue
        path, first = out / condition.name, out / condition.name.removesuffix("-noise")
        chosen = specs[: condition.architectures]
        total, ended = len(chosen) * condition.repeats, 0
        if (path / "run.yaml").exists():
            job: dict[str, Any] = {"resume": path}
            before = nxt.load_run(path)
            ended = len(before.trials) - before.count(Outcome.RUNNING)
        else:
            job = {"out": path, "archs": chosen, "repeats": condition.repeats, "data": data, "seed": condition.seed}
            job["settings"] = {"proxy": condition.settings}
        tell(f"{condition.name}: {total} trainings, of which {ended} have ended")
        run = nxt.search(
            **job,
            replay=first if first != path and (first / "run.yaml").exists() else None,
            workers=workers,
            gpus_per_trial=gpus_per_trial,
            callback=_teller(condition.name, ended, total),
        )
        if len(run.trials) < total or run.count(Outcome.RUNNING):
            raise SystemExit(f"{path}: interrupted; the same command goes on")


def _teller(condition: str, ended: int, total: int) -> Callable[[Trial], None]:
    """Return what tells on stderr which trainings have ended, after so many."""
    counter = itertools.count(ended + 1)

    def tell_trial(trial: Trial) -> None:
        accuracy = "" if trial.accuracy is None else f" {trial.accuracy:.1%}"
        tell(f"{condition} {next(counter)}/{total}: {trial.spec.name} {trial.outcome}{accuracy}")

    return tell_trial


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("plan", help="a name in benchmarks/populations, or a YAML file")
    parser.add_argument("--data", required=True, help="as for nxt search")
    parser.add_argument("--out", type=Path, required=True, help="folder to make or go on with")
    parser.add_argument("--workers", type=int, help="trainings at a time")
    parser.add_argument("--gpus-per-trial", type=float)
    parser.add_argument("--only", action="append", default=[], metavar="CONDITION", help="may be repeated")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    path = Path(options.plan)
    plan = read_yaml(path if path.suffix == ".yaml" else POPULATIONS / f"{options.plan}.yaml")
    options.out.mkdir(parents=True, exist_ok=True)
    train(plan, options.out, options.data, options.workers, options.gpus_per_trial, options.only)


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
