"""What a search is worth after full training: searches by one sampler against searches by another, equal in all else.

First come the searches, of each sampler as many seeds as asked. Then the best of each, the references and their like
are trained fully, several times each, by one recipe, and tested on images that no search has seen. All of it lies
under --out, and goes on there when the same command is given again.

The networks differ between searches, so the unit of the test is the search: for each, the mean test accuracy of its
best; Welch's t between the samplers, and between each sampler and the best reference by its own trainings.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, circumstances, options_of, tell, write_json
from scipy import stats

import nxt
from nxt.arch.spec import ArchSpec
from nxt.errors import NxtError
from nxt.search.results.run import Run
from nxt.search.trial import Outcome


def searched(options: argparse.Namespace, sampler: str, seed: int) -> Run:
    """Search, or go on with a search, or read one that has ended."""
    path = options.out / f"{sampler}-{seed}"
    if (path / "run.yaml").exists():
        job: dict[str, Any] = {"resume": path}
    else:
        proxy = {} if options.share is None else {"share": options.share}
        job = {"space": options.space, "flops": options.flops, "data": options.data, "trials": options.trials}
        job |= {"seed": seed, "out": path, "settings": {"proxy": proxy, "search": {"sampler": sampler}}}
    return complete(nxt.search(**job, workers=options.workers, gpus_per_trial=options.gpus_per_trial))


def trained(options: argparse.Namespace, specs: list[ArchSpec]) -> dict[str, list[float]]:
    """Train the networks fully, or go on with it, and return their test accuracies by fingerprint."""
    path = options.out / "full"
    if (path / "run.yaml").exists():
        job: dict[str, Any] = {"resume": path}
    else:
        job = {"networks": specs, "data": options.full_data or options.data, "recipe": options.recipe}
        job |= {"epochs": options.epochs, "repeats": options.repeats, "out": path}
    run = complete(nxt.train_many(**job, workers=options.workers))
    accuracies: dict[str, list[float]] = defaultdict(list)
    for trial in run.trials:
        if trial.outcome is Outcome.DONE:
            tested = nxt.evaluate(path / "trials" / f"{trial.number}.pt", note=lambda _: None)
            accuracies[trial.spec.fingerprint].append(tested.rows[0]["accuracy"])
    return accuracies


def complete(run: Run) -> Run:
    """Return the run, unless it was interrupted."""
    if run.count(Outcome.RUNNING):
        raise SystemExit(f"{run.path}: interrupted; the same command goes on")
    return run


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and the half width of its 95 % interval (Student's t; NaN for a single value)."""
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * error) if len(values) > 1 else error


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to make or go on with")
    parser.add_argument("--data", required=True, help="images to search with, as for nxt search")
    parser.add_argument("--full-data", help="images to train fully and to test with, if not the same")
    parser.add_argument("--space", default="cifar")
    parser.add_argument("--flops", default="5M")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--share", type=float, help="share of the images that proxies are trained on")
    parser.add_argument("--samplers", default="ehvi,random")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each sampler")
    parser.add_argument("--recipe", default="resnext-cifar", help="of the full trainings")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5, help="full trainings of each network")
    parser.add_argument("--workers", type=int, help="trainings at a time")
    parser.add_argument("--gpus-per-trial", type=float)
    parser.add_argument("--json", type=Path, default=RESULTS / "worth.json")
    options = parser.parse_args()
    runs: dict[str, list[Run]] = defaultdict(list)
    for seed in range(1, options.seeds + 1):  # by turns, so that what is there when time is up can be compared
        for sampler in options.samplers.split(","):
            runs[sampler].append(searched(options, sampler, seed))
            tell(f"{sampler} {seed}: {runs[sampler][-1].verdict()}")
    best = {sampler: [run.best.spec for run in group if run.best] for sampler, group in runs.items()}
    references = {e.spec.fingerprint: e for group in runs.values() for run in group for e in run.entries if e.family}
    every = {spec.fingerprint: spec for group in best.values() for spec in group}
    accuracies = trained(options, list((every | {key: entry.spec for key, entry in references.items()}).values()))
    by_sampler = {name: [float(np.mean(accuracies[s.fingerprint])) for s in specs] for name, specs in best.items()}
    by_reference = {references[key].family: accuracies[key] for key in references}
    record: dict[str, Any] = {
        **circumstances(),
        "options": options_of(options),
        "best": {name: [spec.name for spec in specs] for name, specs in best.items()},
        "seconds": {name: [sum(t.seconds for t in run.trials) for run in group] for name, group in runs.items()},
        "test_accuracy_of_best": by_sampler,
        "test_accuracy_of_references": by_reference,
        "per_training": {every[key].name: values for key, values in accuracies.items() if key in every},
    }
    for name, values in {**by_sampler, **by_reference}.items():
        mean, half = mean_and_interval(values)
        tell(f"{name}: {mean:.2%} +-{half:.2%} ({len(values)})")
    strongest = max(by_reference, key=lambda family: np.mean(by_reference[family]), default="")
    pairs = [tuple(by_sampler)[:2], *((name, strongest) for name in by_sampler if strongest)]
    values_of = {**by_sampler, **by_reference}
    for first, second in pairs:
        test = stats.ttest_ind(values_of[first], values_of[second], equal_var=False)
        gain = float(np.mean(values_of[first]) - np.mean(values_of[second]))
        record.setdefault("gains", []).append({"of": first, "over": second, "gain": gain, "p": float(test.pvalue)})
        tell(f"{first} over {second}: {100 * gain:+.2f} points, p {test.pvalue:.2g}")
    write_json(options.json, record)


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
