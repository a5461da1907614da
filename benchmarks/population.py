"""Train a population of architectures, drawn uniformly inside one window, fully and by a grid of proxies.

Every condition is a list study of nxt's own, a run directory under --out; given the same --out again, the script goes
on where it was cut off. What is trained, and how, stands in a YAML file of benchmarks/populations.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import tell

from nxt.arch.spec import ArchSpec
from nxt.config import read_yaml
from nxt.errors import NxtError
from nxt.search.engine.execute import Where, execute
from nxt.search.engine.search import Search
from nxt.search.request import SearchRequest, load_request, make_request
from nxt.search.results.run import load_run
from nxt.search.trial import Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.space import load_space

POPULATIONS = Path(__file__).resolve().parent / "populations"


class Teller:
    """Tells on stderr which trainings have ended."""

    def __init__(self, condition: str) -> None:
        self.condition = condition

    def begin(self, search: Search, workers: int) -> None:
        """Note how much there is to do."""
        self.search = search
        tell(f"{self.condition}: {search.request.trials} trainings, {workers} at a time")

    def ended(self, trial: Trial) -> None:
        """Tell one."""
        trials = self.search.strategy.study.trials.values()
        ended = sum(other.outcome is not Outcome.RUNNING for other in trials)
        accuracy = "" if trial.accuracy is None else f" {trial.accuracy:.1%}"
        tell(f"{self.condition} {ended}/{self.search.request.trials}: {trial.spec.name} {trial.outcome}{accuracy}")

    def update(self) -> None:
        """Do nothing."""

    def shown(self) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()


def draw(plan: dict[str, Any]) -> list[ArchSpec]:
    """Draw the architectures: uniformly inside the window, each at most once."""
    feasible = FeasibleSet(load_space(plan["space"]), parse_budget(plan["budget"]))
    rng = np.random.default_rng(plan["seed"])
    found: dict[str, ArchSpec] = {}
    while len(found) < min(plan["architectures"], len(feasible)):
        spec = feasible.space.spec(feasible.draw(rng))
        found.setdefault(spec.fingerprint, spec)
    return list(found.values())


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


def train(plan: dict[str, Any], out: Path, data: str, where: Where, only: list[str]) -> None:
    """Train all conditions, or go on with them."""
    specs = draw(plan)
    for condition in conditions(plan):
        if only and condition.name not in only:
            continue
        run = out / condition.name
        new = not (run / "run.yaml").exists()
        first = out / condition.name.removesuffix("-noise")
        replay = load_run(first) if first != run and (first / "run.yaml").exists() else None
        request = _request(specs, condition, data, first) if new else load_request(run)
        if not execute(Search(request, run, replay=replay), where, Teller(condition.name), new):
            raise SystemExit(f"{run}: interrupted; the same command goes on")


def _request(specs: list[ArchSpec], condition: Condition, data: str, first: Path) -> SearchRequest:
    """Return what to train; where the condition repeats another one, just as that was trained."""
    chosen = ArchList(tuple(specs[: condition.architectures]))
    if (first / "run.yaml").exists():
        trials = chosen.size * condition.repeats
        return dataclasses.replace(load_request(first), space=chosen, repeats=condition.repeats, trials=trials)
    pairs = [f"proxy.{key}={value}" for key, value in condition.settings.items()]
    return make_request(chosen, parse_budget({}), data, 1, condition.seed, pairs, condition.repeats)


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
    where = Where(workers=options.workers, gpus_per_trial=options.gpus_per_trial)
    train(plan, options.out, options.data, where, options.only)


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
