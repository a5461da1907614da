"""ResNet, ResNeXt and ResNeSt as backbones of a detector or segmenter, at equal cost: what each reaches, in how long.

The networks are small, with one block a stage and the same widths; base widths make their multiply-adds equal. Each is
trained from random weights, several times. Every training that has ended is kept under --keep as a row of a CSV file:
the same command goes on from there, on another machine, too.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, circumstances, options_of, tell, write_json
from scipy import stats

import nxt
from nxt.arch.costs import cost
from nxt.arch.iso_complexity import macs, nearest
from nxt.arch.load import resolve
from nxt.arch.spec import ArchSpec
from nxt.errors import NxtError

COLUMNS = ("network", "seed", "recipe", "head", "epochs", "settings", "measures", "curve", "seconds")


def backbones() -> dict[str, ArchSpec]:
    """Return a network of each family, of equal multiply-adds."""
    shape = {"depths": (1, 1, 1, 1), "widths": (64, 128, 256, 512), "stem_width": 16}
    resnest = resolve("resnest14").replace(**shape, base_width=16)
    plain = resolve("resnet50").replace(**shape)
    found = {"ResNeSt": resnest}
    for name, cardinality in {"ResNet": 1, "ResNeXt": 8}.items():
        member = nearest(plain, macs, macs(resnest), cardinality=cardinality).spec
        if member is None:
            raise SystemExit(f"no {name} has the cost of {resnest.name}")
        found[name] = member
    return found


def trained(options: argparse.Namespace, name: str, spec: ArchSpec, seed: int) -> dict[str, str]:
    """Train a backbone with its head, test it unless that is to be left out, and return a row of COLUMNS."""
    settings = json.loads(options.settings)
    start, out = time.perf_counter(), options.out / f"{name}-{seed}"
    job = {"resume": out} if (out / "run.yaml").exists() else None
    job = job or {
        "network": spec, "recipe": options.recipe, "head": options.head, "epochs": options.epochs,
        "settings": settings, "seed": seed, "out": out, "data": options.data, "tune": False,
    }  # fmt: skip
    result = nxt.train(**job)
    seconds = sum(row["seconds"] for row in result.metrics)
    tell(f"{name} {seed}: trained in {seconds:.0f} s ({time.perf_counter() - start:.0f} s in this session)")
    curve = {name: [row["measures"][name] for row in result.metrics] for name in result.metrics[-1]["measures"]}
    measures = {} if options.no_test else nxt.evaluate(out).rows[0]["measures"]
    setting = {"recipe": options.recipe, "head": options.head, "epochs": options.epochs, "settings": options.settings}
    found = {"measures": json.dumps(measures), "curve": json.dumps(curve), "seconds": f"{seconds:.0f}"}
    return {"network": name, "seed": str(seed), **{key: str(value) for key, value in setting.items()}, **found}


def rows_of(options: argparse.Namespace) -> list[dict[str, str]]:
    """Return the rows that are kept, after those trainings that are missing; by turns, so that counts stay even."""
    path, rows = options.keep, list[dict[str, str]]()
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(",".join(COLUMNS) + "\n")
    there = {(row["network"], int(row["seed"])) for row in rows}
    for seed in range(options.seeds):
        for name, spec in backbones().items():
            if (name, seed) not in there and name in options.networks.split(","):
                rows.append(trained(options, name, spec, seed))
                with path.open("a", newline="") as file:
                    csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(rows[-1])
    return rows


def summary(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Return mean, deviation and values of each measure by network, and how the first measure differs."""
    found: dict[str, Any] = {}
    for name, spec in backbones().items():
        own = [row for row in rows if row["network"] == name]
        if not own:
            continue
        measures = [
            json.loads(row["measures"]) or {key: v[-1] for key, v in json.loads(row["curve"]).items()} for row in own
        ]
        table = {key: [each[key] for each in measures] for key in measures[0] if measures[0][key] is not None}
        figures = {
            key: {"mean": float(np.mean(v)), "std": float(np.std(v, ddof=1)) if len(v) > 1 else None, "values": v}
            for key, v in table.items()
        }
        own_cost = cost(spec)
        known = {"network": spec.name, "macs_224": own_cost.macs, "params": own_cost.params}
        found[name] = {**known, "seconds": [float(row["seconds"]) for row in own], "measures": figures}
        tell(f"{name}: " + ", ".join(f"{key} {value['mean']:.1%}" for key, value in figures.items()))
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", required=True, help="as for nxt train, such as masks:PATH or coco:PATH")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trainings, to make or to go on with")
    parser.add_argument("--keep", type=Path, required=True, help="CSV file of what has ended")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--head", required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--settings", default="{}", help="values of the recipe to change, as JSON")
    parser.add_argument("--networks", default="ResNet,ResNeXt,ResNeSt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--no-test", action="store_true", help="no test: the curve alone counts")
    parser.add_argument("--json", type=Path, default=RESULTS / "scenes.json")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = summary(rows_of(options))
    first = {name: next(iter(each["measures"].values()))["values"] for name, each in found.items()}
    gains = {}
    for name, values in first.items():
        if "ResNet" in first and name != "ResNet" and min(len(values), len(first["ResNet"])) > 1:
            test = stats.ttest_ind(values, first["ResNet"], equal_var=False)
            gains[name] = {"gain": float(np.mean(values) - np.mean(first["ResNet"])), "p": float(test.pvalue)}
    write_json(
        options.json, {**circumstances(), "options": options_of(options), "networks": found, "over ResNet": gains}
    )


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
