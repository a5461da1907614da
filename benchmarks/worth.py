"""What a search is worth after full training: searches by one sampler against searches by another, equal in all else.

First come the searches, of each sampler as many seeds as asked. Then the best of each, the references and the
networks of --also are trained fully, several times each, by one recipe, and tested on images that no search has seen.
Every search and every training that has ended is kept under --keep, as rows of small CSV files: the same command goes
on from there, on another machine, too. A search that was interrupted goes on from --out.

The networks differ between searches, so the unit of the test is the search: for each, the mean test accuracy of its
best; Welch's t between the samplers, and between each sampler and a network by the latter's own trainings. Trainings
of one number see the images in one order, whatever the network.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import multiprocessing
import shutil
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, circumstances, options_of, tell, write_json
from scipy import stats

import nxt
from nxt.errors import NxtError
from nxt.search.results.run import Run
from nxt.search.trial import Outcome

TRAININGS = ("network", "number", "recipe", "epochs", "per_class", "accuracy", "seconds")


def searched(options: argparse.Namespace, sampler: str, seed: int) -> list[dict[str, str]]:
    """Return the trials of a search: those that are kept, or else those of a search that is made or gone on with."""
    kept: Path = options.keep / f"{sampler}-{seed}.csv"
    if not kept.exists():
        path = options.out / f"{sampler}-{seed}"
        if (path / "run.yaml").exists():
            job: dict[str, Any] = {"resume": path}
        else:
            proxy = {} if options.share is None else {"share": options.share}
            settings = {"proxy": proxy, "search": {"sampler": sampler, "confirm": 0}}
            job = {"space": options.space, "flops": options.flops, "data": options.data, "trials": options.trials}
            job |= {"seed": seed, "out": path, "settings": settings}
        complete(nxt.search(**job, workers=options.workers, gpus_per_trial=options.gpus_per_trial))
        shutil.copy(path / "trials.csv", kept)
    return rows_of(kept)


def complete(run: Run) -> None:
    """Refuse a run that was interrupted."""
    if run.count(Outcome.RUNNING):
        raise SystemExit(f"{run.path}: interrupted; the same command goes on")


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def best_of(trials: list[dict[str, str]]) -> str:
    """Return the most accurate network of a search."""
    return max((row for row in trials if row["state"] == "done"), key=lambda row: float(row["accuracy"]))["name"]


def trained(options: argparse.Namespace, networks: list[str]) -> dict[str, list[float]]:
    """Train every network as often as asked, as far as that is not kept; return test accuracies by network."""
    path = options.keep / "trainings.csv"
    setting = {"recipe": options.recipe, "epochs": str(options.epochs), "per_class": str(options.per_class or "")}
    rows = rows_of(path)
    for row in rows:
        if {key: row[key] for key in setting} != setting:
            raise SystemExit(f"{path} holds trainings of another kind: {row}")
    there = {(row["network"], int(row["number"])) for row in rows}
    wanted = itertools.product(range(options.repeats), networks)  # number by number, so that counts stay even
    missing = [(name, number) for number, name in wanted if (name, number) not in there]
    if not path.exists():
        path.write_text(",".join(TRAININGS) + "\n")
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = [pool.submit(tested, options, name, number) for name, number in missing]
        for (name, number), future in zip(missing, pending, strict=True):
            accuracy, seconds = future.result()
            row = {"network": name, "number": str(number), **setting}
            rows.append(row | {"accuracy": f"{accuracy:.4f}", "seconds": f"{seconds:.0f}"})
            with path.open("a", newline="") as file:
                csv.DictWriter(file, TRAININGS, lineterminator="\n").writerow(rows[-1])
            tell(f"{name}, training {number}: {accuracy:.2%}")
    accuracies: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["network"] in networks and int(row["number"]) < options.repeats:
            accuracies[row["network"]].append(float(row["accuracy"]))
    return accuracies


def full_data(options: argparse.Namespace) -> str:
    """Return the images to train fully and to test with: all, or the first of each class in a folder of links."""
    if not options.per_class:
        return str(options.data)
    kind, _, folder = options.data.partition(":")
    if kind != "folder":
        raise SystemExit("--per-class asks for a folder of images")
    part: Path = options.out / f"first-{options.per_class}"
    if not part.exists():
        fresh = part.with_name(f"{part.name}-{time.time_ns()}")
        for of_class in sorted((Path(folder) / "train").iterdir()):
            (fresh / "train" / of_class.name).mkdir(parents=True)
            for image in sorted(of_class.iterdir())[: options.per_class]:
                (fresh / "train" / of_class.name / image.name).symlink_to(image.resolve())
        (fresh / "test").symlink_to((Path(folder) / "test").resolve())
        fresh.rename(part)
    return f"folder:{part}"


def tested(options: argparse.Namespace, network: str, number: int) -> tuple[float, float]:
    """Train a network with the seed `number`; return its test accuracy and the seconds it took."""
    start = time.perf_counter()
    job = {"data": full_data(options), "recipe": options.recipe, "epochs": options.epochs}
    with tempfile.TemporaryDirectory() as folder:
        result = nxt.train(network, **job, seed=number, out=Path(folder) / "run", tune=False)
        rows = nxt.evaluate(result.out).rows
    return float(rows[0]["accuracy"]), time.perf_counter() - start


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and the half width of its 95 % interval (Student's t; NaN for a single value)."""
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return float(np.mean(values)), float(stats.t.ppf(0.975, len(values) - 1) * error) if len(values) > 1 else error


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the searches, to make or to go on with")
    parser.add_argument("--keep", type=Path, default=RESULTS.parent / "worth", help="folder of what has ended")
    parser.add_argument("--data", required=True, help="images to search with, as for nxt search")
    parser.add_argument("--per-class", type=int, help="images of each class to train fully with; by default all")
    parser.add_argument("--space", default="cifar")
    parser.add_argument("--flops", default="5M")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--share", type=float, help="share of the images that proxies are trained on")
    parser.add_argument("--samplers", default="ehvi,random")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each sampler")
    parser.add_argument("--also", default="", help="networks to compare with besides the references")
    parser.add_argument("--recipe", default="resnext-cifar", help="of the full trainings")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5, help="full trainings of each network")
    parser.add_argument("--workers", type=int, help="trainings at a time")
    parser.add_argument("--gpus-per-trial", type=float)
    parser.add_argument("--json", type=Path, default=RESULTS / "worth.json")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    options = parsed()
    searches: dict[str, list[list[dict[str, str]]]] = defaultdict(list)
    for seed in range(1, options.seeds + 1):  # by turns, so that what is there when time is up can be compared
        for sampler in options.samplers.split(","):
            searches[sampler].append(searched(options, sampler, seed))
            tell(f"{sampler} {seed}: {best_of(searches[sampler][-1])}")
    best = {sampler: [best_of(trials) for trials in group] for sampler, group in searches.items()}
    every = [trial for group in searches.values() for trials in group for trial in trials]
    rivals = {trial["name"]: trial["role"] for trial in every if trial["role"]}
    rivals |= {name: "given" for name in options.also.split(",") if name}
    found = {name for group in best.values() for name in group}
    accuracies = trained(options, [*rivals, *sorted(found - set(rivals))])
    by_sampler = {name: [float(np.mean(accuracies[each])) for each in group] for name, group in best.items()}
    by_rival = {name: accuracies[name] for name in rivals}
    values_of = by_sampler | by_rival
    for name, values in values_of.items():
        mean, half = mean_and_interval(values)
        tell(f"{name}: {mean:.2%} +-{half:.2%} ({len(values)})")
    samplers = list(by_sampler)
    strongest = max(by_rival, key=lambda name: float(np.mean(by_rival[name])), default="")
    pairs = [*itertools.combinations(samplers, 2), *itertools.product(samplers, by_rival)]
    record = {
        **circumstances(),
        "options": options_of(options),
        "best": best,
        "seconds": {
            name: [sum(float(t["seconds"] or 0) for t in run) for run in runs] for name, runs in searches.items()
        },
        "test_accuracy_of_best": by_sampler,
        "test_accuracy_of_rivals": by_rival,
        "rivals": rivals,
        "strongest_rival": strongest,
        "gains": [compared(values_of, *pair) for pair in pairs],
    }
    write_json(options.json, record)


def compared(values_of: dict[str, list[float]], first: str, second: str) -> dict[str, Any]:
    """Return by how much the first is more accurate than the second, and Welch's p that they are equal."""
    test = stats.ttest_ind(values_of[first], values_of[second], equal_var=False)
    gain = float(np.mean(values_of[first]) - np.mean(values_of[second]))
    tell(f"{first} over {second}: {100 * gain:+.2f} points, p {test.pvalue:.2g}")
    return {"of": first, "over": second, "gain": gain, "p": float(test.pvalue)}


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
