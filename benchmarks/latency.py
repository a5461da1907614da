"""How near predicted latencies come to measured ones: whole networks on this device, in torch and in onnxruntime.

Two sets of networks: random ones of a space, by the table that `nxt latency measure` makes of it; and the zoo's, by a
table of their parts, whose correction comes from shorter networks of the same parts. No network that is judged has
served for a correction. Tables and what networks took are kept in a folder, so that a cut-off run goes on.

Networks are measured in rounds, all in turn, and the least of the rounds counts for each: what else runs on a machine
makes them slower only. Both ways of predicting are judged: the plain sum of parts, and the corrected one; and what
multiply-adds say of the order.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, circumstances, options_of, show, tell, write_json
from scipy.stats import kendalltau

from nxt.arch.costs import cost
from nxt.arch.latency import LatencyTable
from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import find
from nxt.errors import ConfigError
from nxt.latency.measure import measure_networks, measure_parts, measure_space
from nxt.latency.open import open_runtime
from nxt.latency.parts import chain, parts_of_networks
from nxt.latency.runtime import RUNTIMES, Asked, Runtime
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space
from nxt.space.space import Space

AIM = {"median error": 0.05, "tau": 0.95}
SHORT = (1, 2, 3, 1), (2, 1, 1, 2)  # depths of the networks that correct the zoo's table; none of it has them


def drawn(space: Space, flops: str | None, count: int) -> list[ArchSpec]:
    """Return distinct architectures of a space, each drawn with the same probability."""
    feasible = FeasibleSet(space, parse_budget({"flops": flops}))
    return [space.spec(point) for point in feasible.sample(np.random.default_rng(1), count)]


def zoo(pattern: str) -> list[ArchSpec]:
    """Return the zoo's networks for ImageNet whose names match."""
    return [entry.spec for entry in find(pattern) if entry.spec.stem != "cifar"]


def shortened(specs: Sequence[ArchSpec]) -> list[ArchSpec]:
    """Return shorter networks of the same parts, each once."""
    short = [spec.replace(depths=depths) for spec in specs for depths in SHORT]
    return list({spec.fingerprint: spec for spec in short}.values())


def measurable(spec: ArchSpec, runtime: Runtime) -> bool:
    """Tell whether a runtime has all of a network's blocks: onnxruntime's graphs lack a few kinds."""
    try:
        runtime.network(spec)
    except ConfigError as error:
        tell(f"left out: {error}")
        return False
    return True


def progress(what: str, done: int, total: int) -> None:
    """Tell now and then how many are measured."""
    if done % 48 == 0:
        tell(f"  {what}: {done} of {total}")


def measured(specs: Sequence[ArchSpec], runtime: Runtime, rounds: int, file: Path) -> dict[str, int]:
    """Return the least nanoseconds of each network, as the file has them; what it lacks is measured first."""
    best: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
    missing = [spec for spec in specs if spec.fingerprint not in best]
    for number in range(rounds if missing else 0):
        tell(f"  networks, round {number + 1} of {rounds}")
        for key, (ns, *_) in measure_networks(missing, runtime).items():
            best[key] = min(ns, best.get(key, ns))
    if missing:
        write_json(file, best)
    return best


def judged(table: LatencyTable, specs: Sequence[ArchSpec], best: Mapping[str, int]) -> dict[str, Any]:
    """Hold predictions against what is measured, in nanoseconds by fingerprint."""
    size, classes = table.data["size"], table.data["classes"]
    plain = {**table.data["fitted"], **{key: row[0] for key, row in table.data["measured"].items()}}
    rows = []
    for spec in specs:
        counted = cost(spec, size, classes, table)
        rows.append(
            {
                "name": spec.name,
                "measured_ms": best[spec.fingerprint] / 1e6,
                "predicted_ms": counted.latency / 1e6,
                "sum_ms": sum(plain[part.key] for part in chain(spec, size, classes)) / 1e6,
                "macs": counted.macs,
            }
        )
    measured = np.array([row["measured_ms"] for row in rows])
    found: dict[str, Any] = {"networks": len(rows), "table": str(table), "fit": table.data["fit"]}
    found["correction"] = table.data["correction"]
    for name in ("predicted", "sum"):
        predicted = np.array([row[f"{name}_ms"] for row in rows])
        errors = np.abs(predicted / measured - 1)
        found[name] = {
            "median error": float(np.median(errors)),
            "90th percentile": float(np.quantile(errors, 0.9)),
            "tau": float(kendalltau(predicted, measured)[0]),
        }
    found["tau of MACs"] = float(kendalltau([row["macs"] for row in rows], measured)[0])
    found["reached"] = (
        found["predicted"]["median error"] <= AIM["median error"] and found["predicted"]["tau"] >= AIM["tau"]
    )
    return {**found, "rows": rows}


def main() -> None:
    """Measure tables and networks, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="imagenet")
    parser.add_argument("--flops", default=":8G", help="only architectures inside this budget")
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--zoo", default="*", help="which networks of the zoo; an empty text for none")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--size", type=int, help="image side; default: what the space is made for")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=Path("latency_tables"), help="folder for the tables")
    parser.add_argument("--json", type=Path, default=RESULTS / "latency.json")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    space = load_space(options.space).counted_at(options.size, None)
    size, classes = space.resolution
    found: dict[str, Any] = {}
    for runtime in options.runtimes.split(","):
        asked = Asked(options.device, runtime, options.precision, options.batch, size, classes)
        opened = open_runtime(asked)
        stem = f"{options.device}_{runtime}_{options.precision}_b{options.batch}_{size}"
        kept = options.keep / f"networks_{stem}.json"
        tell(f"{runtime}: {space.name}")
        table = measure_space(space, options.keep / f"{space.name}_{stem}.json", asked, progress)
        networks = drawn(space, options.flops, options.networks)
        found[f"{runtime}, random {space.name}"] = judged(
            table, networks, measured(networks, opened, options.rounds, kept)
        )
        published = zoo(options.zoo) if options.zoo and space.example.stem != "cifar" else []
        if specs := [spec for spec in published if measurable(spec, opened)]:
            tell(f"{runtime}: zoo")
            parts = parts_of_networks(specs, size, classes)
            file = options.keep / f"zoo_{stem}.json"
            table = measure_parts(parts, shortened(specs), "zoo", file, asked, progress)
            found[f"{runtime}, zoo"] = judged(table, specs, measured(specs, opened, options.rounds, kept))
    lines = [["", "networks", "median error", "90th percentile", "tau", "without correction", "tau of MACs", "aim"]]
    for name, one in found.items():
        errors = [f"{one['predicted'][key]:.1%}" for key in ("median error", "90th percentile")]
        taus = f"{one['predicted']['tau']:.3f}", f"{one['sum']['median error']:.1%}", f"{one['tau of MACs']:.3f}"
        lines.append([name, str(one["networks"]), *errors, *taus, "reached" if one["reached"] else "not reached"])
    show(lines)
    medians = [one["predicted"]["median error"] for one in found.values()]
    about = {**circumstances(), "options": options_of(options), "aim": AIM, "median of all": statistics.median(medians)}
    write_json(options.json, {**about, "found": found})
    tell(f"written: {options.json}")


if __name__ == "__main__":
    main()
