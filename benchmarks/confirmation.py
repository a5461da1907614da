"""Simulate the confirmation of searches: how often it names the best, and how many trainings it takes.

True accuracies are normal between architectures, and each training adds normal noise: the deviations are those of
results/populations/cifar-cpu.csv (`full`), and others. Compared with nxt's rounds: the most accurate and the best
reference are trained again a fixed number of times; then also each that the search saw above the best of those.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from common import RESULTS, circumstances, options_of, show, tell, write_json
from numpy.typing import NDArray

from nxt.arch.costs import cost
from nxt.search.ranking import best_of, ranked
from nxt.search.strategy.agenda import NothingToRun, SearchAgenda
from nxt.search.strategy.sampler import FeasibleSampler
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import Budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space

Values = NDArray[np.float64]
SPACE = load_space("smoke")
FEASIBLE = FeasibleSet(SPACE, Budget(()))
POINTS = sorted({FEASIBLE.draw(np.random.default_rng(seed)) for seed in range(2000)})
SPECS = [SPACE.spec(point) for point in POINTS]
CASES = {  # explored architectures, deviation between them and between seeds, in points
    "20 explored, noise 0.86": (20, 1.16, 0.86),
    "20 explored, noise 1.1": (20, 1.1, 1.1),
    "60 explored, noise 0.86": (60, 1.16, 0.86),
    "20 explored, wide space": (20, 4.0, 1.0),
}
REFERENCE = 0  # index of the only one


def trial(index: int, accuracy: float, replicate: int) -> Trial:
    """Make a finished trial."""
    family = "ResNet-like" if index == REFERENCE else ""
    curve = [Epoch(1, accuracy, 1.0, 1.0)]
    return Trial(0, POINTS[index], SPECS[index], cost(SPECS[index]), family, replicate, curve, Outcome.DONE)


def by_agenda(search: Values, fresh: Values, confirm: int, most: int) -> tuple[int, list[int]]:
    """Confirm as nxt does; return the architecture named and the one trained in each further training."""
    trials = [trial(index, float(accuracy), 0) for index, accuracy in enumerate(search)]
    sampler = FeasibleSampler(FEASIBLE, [], "random", 0)
    agenda = SearchAgenda(sampler, {POINTS[REFERENCE]: "ResNet-like"}, len(search), confirm, most)
    again = []
    while not isinstance(step := agenda.next(trials), NothingToRun):
        index = POINTS.index(tuple(step.sampler.params.values()))  # type: ignore[attr-defined]
        again.append(index)
        trials.append(trial(index, float(fresh[index, step.replicate - 1]), step.replicate))
    best = best_of(ranked(trials))
    return (-1 if best is None else POINTS.index(best.trials[0].point)), again


def plain(search: Values, fresh: Values, confirm: int, seeds: int, until: bool) -> tuple[int, list[int]]:
    """Confirm by a given number of trainings each."""
    order = [int(index) for index in np.argsort(-search)]
    chosen = list(dict.fromkeys([*order[:confirm], REFERENCE]))
    means = fresh[:, :seeds].mean(axis=1)
    for index in order:
        if until and index not in chosen and search[index] > means[chosen].max():
            chosen.append(index)
    return max(chosen, key=lambda index: float(means[index])), [*chosen] * seeds


def measure(case: tuple[int, float, float], rule: str, confirm: int, seeds: int, searches: int) -> dict[str, float]:
    """Simulate searches, the same ones for all rules; return means over them."""
    count, between, noise = case
    rows = []
    for seed in range(searches):
        rng = np.random.default_rng(seed)
        true = rng.normal(50, between, count) / 100
        search = true + rng.normal(0, noise, count) / 100
        fresh = true[:, None] + rng.normal(0, noise, (count, 16)) / 100
        if rule == "rounds":
            named, again = by_agenda(search, fresh, confirm, seeds)
        else:
            named, again = plain(search, fresh, confirm, seeds, rule == "until none is above")
        loss = 100 * (true.max() - true[named])
        rows.append((len(again), true[named] == true[again].max(), loss == 0, loss))
    means = [fmean(map(float, column)) for column in zip(*rows, strict=True)]
    names = ("trainings", "names_best_of_trained", "names_best_explored", "loss_to_best_explored")
    return {**dict(zip(names, means, strict=True)), "most": max(row[0] for row in rows)}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--searches", type=int, default=1000)
    parser.add_argument("--json", type=Path, default=RESULTS / "confirmation.json")
    options = parser.parse_args()
    fixed = [(rule, 3, seeds) for rule in ("fixed", "until none is above") for seeds in (2, 3)]
    rules = [*fixed, *(("rounds", confirm, most) for confirm, most in ((3, 2), (3, 3), (3, 4), (4, 3)))]
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        lines = [[name, "trainings", "most", "names best of these", "of all", "loss"]]
        for rule, confirm, seeds in rules:
            what = f"{rule}, {confirm} by {seeds}"
            row = found.setdefault(name, {})[what] = measure(case, rule, confirm, seeds, options.searches)
            shares = [f"{row[key]:.1%}" for key in ("names_best_of_trained", "names_best_explored")]
            trainings = [f"{row['trainings']:.2f}", f"{row['most']:.0f}"]
            lines.append([what, *trainings, *shares, f"{row['loss_to_best_explored']:.3f}"])
        show(lines)
    write_json(options.json, {**circumstances(), "options": options_of(options), "cases": CASES, "found": found})
    tell(f"written: {options.json}")


if __name__ == "__main__":
    main()
