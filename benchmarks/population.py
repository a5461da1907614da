"""Train a population of architectures, drawn uniformly inside one window, fully and by a grid of proxies.

Every condition is a list study of nxt's own, a run directory under --out; given the same --out again, the script goes
on where it was cut off. What is trained, and how, stands in a YAML file of benchmarks/populations.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import tell

from nxt.arch.spec import ArchSpec
from nxt.config import read_yaml
from nxt.errors import NxtError
from nxt.search.engine.execute import Ending, Resources, execute
from nxt.search.engine.progress import SearchBar
from nxt.search.engine.search import prepare_search
from nxt.search.request import SearchRequest, load_record, make_request
from nxt.search.results.run import load_run
from nxt.search.trial import Trial
from nxt.space.arch_list import ArchList
from nxt.space.budget import Budget, parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

POPULATIONS = Path(__file__).resolve().parent / "populations"


class Teller(SearchBar):
    """Tells on stderr which trainings have ended, a line each."""

    def __init__(self, condition: str, trainings: int) -> None:
        ended = itertools.count(1)

        def told(trial: Trial) -> None:
            accuracy = "" if trial.accuracy is None else f" {trial.accuracy:.1%}"
            tell(f"{condition} {next(ended)}/{trainings}: {trial.spec.name} {trial.outcome}{accuracy}")

        super().__init__(told)


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


def train(plan: dict[str, Any], out: Path, data: str, resources: Resources, only: list[str]) -> None:
    """Train all conditions, or go on with them."""
    specs = draw(plan)
    for condition in conditions(plan):
        if only and condition.name not in only:
            continue
        run = out / condition.name
        new = not (run / "run.yaml").exists()
        first = out / condition.name.removesuffix("-noise")
        replay = load_run(first) if first != run and (first / "run.yaml").exists() else None
        request = _request(specs, condition, data, first) if new else load_record(run).request
        job = prepare_search(request, run, replay=replay)
        if (
            execute(job, resources, Teller(condition.name, job.request.space.size * condition.repeats), new)
            is not Ending.COMPLETE
        ):
            raise SystemExit(f"{run}: interrupted; the same command goes on")


def _request(specs: list[ArchSpec], condition: Condition, data: str, first: Path) -> SearchRequest:
    """Return what to train; where the condition repeats another one, just as that was trained."""
    chosen = ArchList(tuple(specs[: condition.architectures]))
    if (first / "run.yaml").exists():
        trials = chosen.size * condition.repeats
        return dataclasses.replace(load_record(first).request, space=chosen, repeats=condition.repeats, trials=trials)
    return make_request(chosen, Budget(), data, None, condition.seed, {"proxy": condition.settings}, condition.repeats)


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
    resources = Resources(workers=options.workers, gpus_per_trial=options.gpus_per_trial)
    train(plan, options.out, options.data, resources, options.only)


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
