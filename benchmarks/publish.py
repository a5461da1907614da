"""Publish a population that population.py has trained: one CSV file, and what it says about proxies.

Of every proxy, and of every epoch of the full training: how well it orders the architectures as full training does
(Kendall's tau with a bootstrap interval, the share of the true top fifth), beside the seconds that it takes for an
architecture. The proxy to prefer is the cheapest one whose tau is within one standard error of the best proxy's. (The
epochs of the full training share its seed and most of its noise, so they are no candidates.) Conditions that are not
trained to the end are left out, and said so.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from common import RESULTS, circumstances, show, tell, write_json

from nxt.analysis import trust
from nxt.config import to_mapping
from nxt.errors import NxtError
from nxt.search.noise import deviation, pooled_deviation
from nxt.search.results.run import Run, load_run
from nxt.search.simulation.table import axes_of
from nxt.search.trial import Outcome, Trial

POPULATIONS = RESULTS.parent / "populations"
FULL, NOISE = "full", "-noise"


def finished(out: Path) -> dict[str, Run]:
    """Read the conditions in which every training came to its end."""
    runs = {}
    for path in sorted(out.glob("*"), key=lambda path: (path.name != FULL, path.name)):
        if not (path / "run.yaml").exists():
            continue
        run = load_run(path)
        if len(run.trials) == run.request.trials and all(trial.outcome is Outcome.DONE for trial in run.trials):
            runs[path.name] = run
        else:
            tell(f"{path.name}: not complete, left out")
    return runs


def seconds(run: Run) -> float:
    """Return what one architecture takes: the median over the architectures of epochs x the fastest epoch.

    (The fastest: other work on the machine makes epochs longer, never shorter.)
    """
    return float(np.median([len(trial.curve) * fastest(trial) for trial in run.trials if not trial.replayed]))


def fastest(trial: Trial) -> float:
    """Return the seconds of a trial's fastest epoch."""
    return min(epoch.seconds for epoch in trial.curve)


def write_csv(runs: dict[str, Run], path: Path) -> list[str]:
    """Write every training as a row, and return the names of the axes that differ."""
    rows = []
    for condition, run in runs.items():
        for trial in run.trials:
            if trial.replayed:
                continue  # it is another condition's
            rows.append(
                {
                    "condition": condition.removesuffix(NOISE),
                    "repeat": trial.replicate,
                    "name": trial.spec.name,
                    "fingerprint": trial.spec.fingerprint,
                    **axes_of(trial.spec),
                    **{key: getattr(trial.cost, key) for key in ("macs", "params", "acts")},
                    "epoch_seconds": round(fastest(trial), 3),
                    **{f"acc_{epoch.epoch}": round(epoch.accuracy, 6) for epoch in trial.curve},
                }
            )
    columns = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if len({tuple(axes_of(t.spec).values()) for t in runs[FULL].trials}) < len(runs[FULL].trials):
        raise SystemExit("some architectures differ in nothing that could be an axis")
    names = list(axes_of(runs[FULL].trials[0].spec))
    return [name for name in names if len({row[name] for row in rows}) > 1]


def declare(path: Path, axes: list[str], about: str) -> None:
    """Write beside the CSV file how the simulator is to read it."""
    content = {
        "about": about,
        "file": path.with_suffix(".csv").name,
        "where": {"condition": FULL, "repeat": 1},
        "axes": axes,
        "cost": {"macs": 1},
        "accuracy": {"columns": "acc_*"},
        "seconds": "epoch_seconds",
    }
    path.with_suffix(".yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def proxies(runs: dict[str, Run]) -> list[dict[str, Any]]:
    """Hold every proxy, and every epoch of the full training, against the full training's last epoch."""
    full = {trial.spec.fingerprint: trial for trial in runs[FULL].trials}
    true = [trial.curve[-1].accuracy for trial in full.values()]
    macs = [float(trial.cost.macs) for trial in full.values()]

    def held(name: str, values: list[float], cost: float, own: bool = False) -> dict[str, Any]:
        one = trust.agreement(name, values, true, macs)
        low, high = one.interval
        plain = {**dataclasses.asdict(one), "low": low, "high": high, "seconds": cost, "own": own}
        return {key: value for key, value in plain.items() if key != "interval"}

    rows = []
    epochs = len(next(iter(full.values())).curve)
    for epoch in range(1, epochs):
        values = [trial.curve[epoch - 1].accuracy for trial in full.values()]
        rows.append(held(f"epoch {epoch} of {epochs}", values, seconds(runs[FULL]) * epoch / epochs))
    for name, run in runs.items():
        if name != FULL and not name.endswith(NOISE):
            by_print = {trial.spec.fingerprint: trial.curve[-1].accuracy for trial in run.trials}
            rows.append(held(name, [by_print[key] for key in full], seconds(run), own=True))
    for name in trust.BASELINES:
        rows.append(held(name, [float(getattr(trial.cost, name)) for trial in full.values()], 0.0))
    return rows


def preferred(rows: list[dict[str, Any]]) -> str:
    """Return the cheapest proxy, of those trained on their own, whose tau is within one standard error of the best."""
    trained = [row for row in rows if row["own"] and math.isfinite(row["tau"])]
    if not trained:
        return ""
    best = max(trained, key=lambda row: row["tau"])
    error = (best["high"] - best["low"]) / (2 * 1.96)
    near = [row for row in trained if row["tau"] >= best["tau"] - error]
    return str(min(near, key=lambda row: row["seconds"])["name"])


def reliability(groups: list[list[float]]) -> float | None:
    """Return the share of the variance of single trainings that is between architectures; the rest is of the seeds."""
    within = pooled_deviation(groups)
    means = deviation([float(np.mean(group)) for group in groups])
    if within is None or means is None:
        return None
    between = max(0.0, means**2 - within**2 / min(map(len, groups)))
    return between / (between + within**2)


def noise(runs: dict[str, Run]) -> dict[str, Any]:
    """Return the deviation between seeds at every epoch, pooled over the architectures, and of each at the end.

    Also how reliable a single training is, and how long it takes.
    """
    deviations = {}
    for name, run in runs.items():
        if not name.endswith(NOISE):
            continue
        groups: dict[str, list[Trial]] = {}
        for trial in run.trials:
            groups.setdefault(trial.spec.fingerprint, []).append(trial)
        epochs = min(len(trial.curve) for trial in run.trials)
        last = [[trial.curve[-1].accuracy for trial in group] for group in groups.values()]
        deviations[name.removesuffix(NOISE)] = {
            "reliability": reliability(last),
            "seconds": seconds(run),
            "seeds": min(map(len, groups.values())),
            "by_epoch": [
                pooled_deviation([[trial.curve[e].accuracy for trial in group] for group in groups.values()])
                for e in range(epochs)
            ],
            "at_the_end": {key: deviation(values) for key, values in zip(groups, last, strict=True)},
        }
    return deviations


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of population.py")
    parser.add_argument("--name", required=True, help="of the files in results/populations")
    options = parser.parse_args()
    runs = finished(options.out)
    if FULL not in runs:
        raise SystemExit(f"{options.out}: the full training of the population is not complete")
    POPULATIONS.mkdir(parents=True, exist_ok=True)
    path = POPULATIONS / f"{options.name}.csv"
    axes = write_csv(runs, path)
    record = runs[FULL].record
    epochs = record.request.proxy.epochs
    declare(path, axes, f"nxt's own trainings of {len(runs[FULL].trials)} architectures, {epochs} epochs")
    rows, floor = proxies(runs), noise(runs)
    end = floor.get(FULL, {}).get("by_epoch", [None])[-1]
    true = [trial.curve[-1].accuracy for trial in runs[FULL].trials]
    ceiling = None if end is None else trust.ceiling(true, end)
    spread = deviation(true)
    write_json(
        path.with_suffix(".json"),
        {
            **circumstances(),
            "conditions": {
                name: {"proxy": to_mapping(run.request.proxy), "recipe": to_mapping(run.request.recipe)}
                for name, run in runs.items()
            },
            "versions": dict(record.versions),
            "images": {"train_images": record.train_images, "val_images": record.val_images},
            "deviation_between_architectures": spread,
            "noise": floor,
            "ceiling": ceiling,
            "proxies": [{k: None if v != v else v for k, v in row.items()} for row in rows],
            "preferred": preferred(rows),
        },
    )
    shown = [["by", "tau", "95 %", "Spearman", "top fifth", "s each"]]
    for row in rows:
        figures = [f"{row[key]:.2f}" for key in ("spearman", "recall")]
        interval = f"{row['low']:.2f} to {row['high']:.2f}"
        shown.append([row["name"], f"{row['tau']:.2f}", interval, *figures, f"{row['seconds']:.0f}"])
    show(shown)
    tell(f"deviation between architectures {spread}, ceiling {ceiling}, noise {floor}")
    tell(f"preferred: {preferred(rows)}; written: {path}, .yaml, .json")


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
