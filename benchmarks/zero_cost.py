"""Hold scores of untrained networks against the accuracies of trained ones.

Does a score order networks as full training does; does it still, once the costs are taken out of both (by a linear
regression on their logarithms); and does the model of the sampler `ehvi` predict better with it as one more input?
Beside the scores stand the costs, and epochs of the proxy. Networks are nxt's own population and, with --folder, the
published ResNeXt networks for small images: there batches have 32 images, and the three above 2 G multiply-adds are
left out.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, circumstances, options_of, show, tell, write_json
from numpy.typing import NDArray
from scipy import stats
from zero_cost_parts import scores as definitions
from zero_cost_parts.networks import CLASSES, Array, Networks, population, published, unit

from nxt.analysis import trust
from nxt.data.dataset import Source, Split
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.errors import NxtError
from nxt.models.network import build
from nxt.search.strategy.surrogate import Surrogate

BATCHES = 2  # ZiCo's paper finds two enough
SPLITS, REDRAWS = 50, 1000
COLUMNS = ("tau", "between_seeds", "beyond_costs", "halves_error", "halves_tau", "left_out_error")


def score(names: list[str], source: Source, size: int, batch: int, seeds: int) -> dict[str, Any]:
    """Return every score of every network, as lists by seed, and the seconds of a core that one network takes."""
    values: dict[str, list[list[float]]] = {}
    seconds: dict[str, list[float]] = {}
    preprocess = Preprocess(size=size, mean=source.mean, std=source.std)
    for seed in range(seeds):
        rows = np.random.default_rng(seed).choice(len(source.labels("train")), BATCHES * batch, replace=False)
        split = Split(source.images("train", rows, 32), source.labels("train")[rows])
        batches = list(Batches(split, preprocess, torch.device("cpu")).plain(batch))
        for number, name in enumerate(names):
            torch.manual_seed(seed)
            network = build(name, CLASSES)
            parts: list[Callable[[], dict[str, float]]] = [
                partial(definitions.gradient_scores, network, batches),
                partial(definitions.batch_scores, network, batches[0][0]),
                partial(definitions.synflow, network, size),
            ]
            for part in parts:
                start = time.process_time()
                for key, value in part().items():
                    values.setdefault(key, [[] for _ in range(seeds)])[seed].append(value)
                    seconds.setdefault(key, []).append(time.process_time() - start)
            tell(f"{size} px, seed {seed + 1} of {seeds}, {number + 1} of {len(names)}: {name}")
    return {"names": names, "values": values, "seconds": {key: float(np.median(s)) for key, s in seconds.items()}}


def beyond(values: Array, accuracy: Array, costs: Array) -> tuple[float, float, float]:
    """Return the tau of what the costs (networks, costs) do not explain, with its 95 % bootstrap interval."""

    def tau(rows: NDArray[np.int64]) -> float:
        design = np.column_stack([np.ones(len(rows)), np.log(costs[rows])])
        both = np.column_stack([values[rows], accuracy[rows]])
        rest = both - design @ np.linalg.lstsq(design, both, rcond=None)[0]
        return float(stats.kendalltau(*rest.round(9).T).statistic)

    draws = np.random.default_rng(0).integers(len(values), size=(REDRAWS, len(values)))
    low, high = np.nanquantile([tau(rows) for rows in draws], [0.025, 0.975])
    return tau(np.arange(len(values))), float(low), float(high)


def predicted(inputs: Array, target: Array) -> Array:
    """Return the model's error (of the logarithm of errors) and tau on halves that it has not seen, (splits, 2)."""
    found = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(target))
        train, test = np.split(order, [len(target) // 2])
        mean, _ = Surrogate(inputs[train], target[train]).predict(inputs[test])
        tau = float(stats.kendalltau(mean.round(9), target[test]).statistic)
        found.append((math.sqrt(float(((mean - target[test]) ** 2).mean())), 0.0 if math.isnan(tau) else tau))
    return np.array(found)


def left_out(inputs: Array, target: Array) -> Array:
    """Return the model's absolute error of each network, learnt from all others, (networks,)."""
    rows = np.arange(len(target))
    means = [float(Surrogate(inputs[rows != k], target[rows != k]).predict(inputs[[k]])[0][0]) for k in rows]
    return np.asarray(np.abs(np.array(means) - target))


def gain(differences: Array, overlap: float = 1.0) -> tuple[float, float, float]:
    """Return the mean with its 95 % interval (Student's t).

    Repeated halves overlap: as many networks are tested as trained on, which adds 1 to 1 / n (Nadeau and Bengio 2003).
    """
    n = len(differences)
    error = float(differences.std(ddof=1)) * math.sqrt(1 / n + overlap)
    half, mean = float(stats.t.ppf(0.975, n - 1)) * error, float(differences.mean())
    return mean, mean - half, mean + half


def judge(networks: Networks, scores: dict[str, Any], dataset: str) -> list[dict[str, Any]]:
    """Hold costs, epochs of a proxy and scores against the accuracies of a data set."""
    costs = networks.costs()
    figures = costs | networks.known | {key: np.mean(rows, axis=0) for key, rows in scores["values"].items()}
    accuracy, target = 1 - networks.errors[dataset], -np.log(networks.errors[dataset])
    base, alone, rows = predicted(networks.inputs, target), left_out(networks.inputs, target), []
    for name, values in figures.items():
        held = trust.agreement(name, values.tolist(), accuracy.tolist(), costs["macs"].tolist())
        seeds = scores["values"].get(name, ())
        seconds = networks.seconds.get(name, len(seeds) * scores["seconds"].get(name, 0.0))
        row: dict[str, Any] = {"name": name, "seconds": seconds, "tau": (held.tau, *held.interval)}
        if len(seeds) > 1:
            pairs = [(a, b) for k, a in enumerate(seeds) for b in seeds[:k]]
            row["between_seeds"] = float(np.mean([stats.kendalltau(a, b).statistic for a, b in pairs]))
        if name not in costs:
            row["beyond_costs"] = beyond(values, accuracy, np.stack(list(costs.values()), axis=1))
            inputs = np.column_stack([networks.inputs, unit(values)])
            halves = predicted(inputs, target) - base
            row |= {"halves_error": gain(halves[:, 0]), "halves_tau": gain(halves[:, 1])}
            row["left_out_error"] = gain(left_out(inputs, target) - alone, overlap=0)
        rows.append(row)
    own = {"halves_error": base[:, 0].mean(), "halves_tau": base[:, 1].mean(), "left_out_error": alone.mean()}
    rows.append({"name": "model, as it is", "seconds": 0.0, **own})
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", required=True, help="as for nxt search: images of CIFAR-10")
    parser.add_argument("--folder", type=Path, help="where imgclsmob_resnetlike.csv is, if it is to be used")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reuse", action="store_true", help="judge the scores that are in the JSON file")
    parser.add_argument("--json", type=Path, default=RESULTS / "zero-cost.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cases = [("cifar-cpu", population("cifar-cpu"), size, 128) for size in (16, 32)]
    if options.folder:
        cases.append(("published", published(options.folder), 16, 32))
    kept = {key: value for key, value in options_of(options).items() if key not in ("data", "reuse")}
    record: dict[str, Any] = {**circumstances(), "options": kept, "scores": {}, "found": {}}
    if options.reuse:
        record = json.loads(options.json.read_text()) | {"found": {}}
    source = open_source(DataRef.of(options.data))
    for name, networks, size, batch in cases:
        case = f"{name}, {size} px"
        if case not in record["scores"]:
            record["scores"][case] = score(networks.names, source, size, batch, options.seeds)
            write_json(options.json, record)
    for name, networks, size, _ in cases:
        for dataset in networks.errors:
            title = f"{name}, {size} px" + (f", {dataset}" if dataset != name else "")
            rows = record["found"][title] = judge(networks, record["scores"][f"{name}, {size} px"], dataset)
            tell(f"{title}: {len(networks.names)} networks")
            show([["by", "s", *COLUMNS], *(line(row) for row in rows)])
            write_json(options.json, record)
    tell(f"written: {options.json}")


def line(row: dict[str, Any]) -> list[str]:
    """Return what was found of a figure as text."""
    cells = [row["name"], f"{row['seconds']:.1f}"]
    for column in COLUMNS:
        mean, *interval = np.atleast_1d(row.get(column, [])).tolist() or [None]
        digits = 3 if "error" in column else 2
        text = "" if mean is None else f"{mean:.{digits}f}"
        cells.append(text + (f" ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else ""))
    return cells


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
