"""How fast whole design spaces are costed, counted and drawn from, on one core, against plain Python.

The peer costs networks one by one, block by block, in closed form, as pycls does when it samples a population. Where it
would take hours it is timed on a part, which the row says. Both must agree on every network of that part.

Latency is counted by a table that is made up: what is in it does not matter to the gate. There the peer adds up the
entries of each network's parts.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one core; before numpy is there

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from common import RESULTS, Row, compared, in_rounds, write_csv

from nxt.arch.latency import SCHEMA, read_table
from nxt.latency.parts import chain, parts_of_space
from nxt.space.budget import parse_budget
from nxt.space.cost_table import CostTable
from nxt.space.feasible import FeasibleSet
from nxt.space.load import DEFAULT, load_space
from nxt.space.space import Space
from nxt.space.stagewise import StagewiseSpace

CANDIDATES, PART, DRAWS = 10**6, 20_000, 1000
WINDOW, COUNTED = "4.1G+-1%", "100M"
COUNT = """
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space
print(len(FeasibleSet(load_space("{space}"), parse_budget({{"flops": "{budget}"}}))))
"""
LATENCY_COUNT = """
import sys
from pathlib import Path
from nxt.arch.latency import read_table
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space
table = read_table(Path(sys.argv[1]))
space = load_space("{space}").with_latency(table)
print(len(FeasibleSet(space, parse_budget({{"latency": sys.argv[2]}}, table=table))))
"""
LATENCY_PART = 2_000  # networks that the peer of latency is timed on
Stage = tuple[int, int, int, int]  # depth, width, groups, bottleneck channels of each group


def plain_cost(stem: str, stem_width: int, stages: list[Stage], radix: int) -> tuple[int, int, int]:
    """Return MACs, params and acts of a network, with split attention where there is a radix: the peer."""
    macs = params = acts = 0

    def conv(w_in: int, w_out: int, k: int, side: int, groups: int = 1, extra: int = 2) -> None:
        nonlocal macs, params, acts
        weights = w_in // groups * w_out * k * k
        macs += weights * side * side
        params += weights + extra * w_out
        acts += w_out * side * side

    side = 32
    if stem == "cifar":
        conv(3, stem_width, 3, side)
    else:
        conv(3, stem_width, 7, 112)
        side = 56
    w_in = stem_width
    for index, (depth, width, groups, group_width) in enumerate(stages):
        mid = groups * group_width
        for block in range(depth):
            out = (side + 1) // 2 if index and not block else side
            conv(w_in, mid, 1, side)
            if radix:
                exact = mid * radix / 4
                attention = max(32, int(exact + 4) // 8 * 8)
                attention += 8 if attention < 0.9 * exact else 0
                conv(mid, mid * radix, 3, out, groups * radix)
                conv(mid, attention, 1, 1, groups, 3)
                conv(attention, mid * radix, 1, 1, groups, 1)
            else:
                conv(mid, mid, 3, out, groups)
            conv(mid, width, 1, out)
            if out != side or w_in != width:
                conv(w_in, width, 1, out)
            w_in, side = width, out
    classes = 10 if stem == "cifar" else 1000
    return macs + w_in * classes, params + w_in * classes + classes, acts


def plain_network(space: Space, point: tuple[int, ...]) -> tuple[list[Stage], int]:
    """Read a point as the peer's arguments."""
    values = [options[i] for options, i in zip(space.axis_values, point, strict=True)]
    n = len(space.depths)
    depths, rest = values[:n], values[n:]
    if isinstance(space, StagewiseSpace):
        stages = zip(depths, rest[:n], rest[n : 2 * n], rest[2 * n :], strict=True)
        return [(d, w, groups, w // (ratio * groups)) for d, w, ratio, groups in stages], 0
    width, cardinality, base_width, radix = rest
    return [(d, 4 * width << s, cardinality, base_width << s) for s, d in enumerate(depths)], radix


def plain_costs(space: Space, points: list[tuple[int, ...]]) -> Iterator[tuple[int, int, int]]:
    """Cost points one by one."""
    stem, stem_width = space.fixed["stem"], space.fixed["stem_width"]
    for point in points:
        yield plain_cost(stem, stem_width, *plain_network(space, point))


def random_points(space: Space, rng: np.random.Generator, n: int) -> np.ndarray:
    """Return members of a space, uniformly drawn, (n, axes)."""
    choices = space.choices[rng.integers(len(space.choices), size=n)]
    return np.concatenate([np.stack([rng.integers(len(v), size=n) for v in space.depths], 1), choices], 1)


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def agree(space: Space, gate: CostTable, points: np.ndarray) -> list[tuple[int, ...]]:
    """Return points as the peer reads them; stop if it costs one of them otherwise than the gate."""
    tuples = [tuple(point) for point in points.tolist()]
    if [list(cost) for cost in plain_costs(space, tuples)] != gate.costs(points).T.tolist():
        sys.exit(f"{space.name}: gate and peer differ")
    return tuples


def costing(rounds: int) -> Row:
    """Candidates costed exactly in a second."""
    space = load_space(DEFAULT)
    gate = CostTable(space)
    points = random_points(space, np.random.default_rng(0), CANDIDATES)
    part = agree(space, gate, points[:PART])
    arms = {
        "nxt": lambda: CANDIDATES / seconds(lambda: gate.costs(points)),
        "plain": lambda: PART / seconds(lambda: list(plain_costs(space, part))),
    }
    measured = in_rounds(arms, rounds)
    return compared(
        what=f"candidates of the space {DEFAULT} costed exactly (MACs, params, acts), on one core",
        against="closed form block by block in plain Python, one by one",
        unit="candidates/s",
        values=measured["nxt"],
        peer_values=measured["plain"],
        target=1e7,
        target_is="value",
        note=f"{CANDIDATES} random candidates; the peer on the first {PART} of them; equal on those",
    )


def counting(name: str, rounds: int) -> Row:
    """Count what fits, in a fresh process."""
    space = load_space(name)
    gate = CostTable(space)
    part = agree(space, gate, random_points(space, np.random.default_rng(0), PART))
    (limit,) = parse_budget({"flops": COUNTED}).limits
    command = [sys.executable, "-c", COUNT.format(space=name, budget=COUNTED)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def plain() -> float:
        taken = seconds(lambda: sum(limit.allows(macs) for macs, _, _ in plain_costs(space, part)))
        return taken * space.size / PART

    arms = {"nxt": lambda: seconds(lambda: subprocess.run(command, capture_output=True, check=True)), "plain": plain}
    measured = in_rounds(arms, rounds)
    return compared(
        what=f"exact count of {space.size} architectures of {name} inside --flops {COUNTED}, on one core",
        against="closed form block by block in plain Python, one by one",
        unit="s",
        values=measured["nxt"],
        peer_values=measured["plain"],
        target=8,
        target_is="value",
        note=f"{int(printed)} fit; nxt in a fresh process, its start included; "
        f"the peer extrapolated from {PART} random ones of them",
    )


def made_up_table(space: Space, path: Path) -> Path:
    """Write a table of latencies for a space: a nanosecond for ten multiply-adds, and something for each part."""
    size, classes = space.resolution
    parts = parts_of_space(space)
    measured = {
        key: [1000 + n + sum(x.macs for x in part.layers) // 10, 0.0, 1] for n, (key, part) in enumerate(parts.items())
    }
    about = {
        "device": "made up",
        "kind": "cpu",
        "runtime": "torch",
        "precision": "fp32",
        "space": space.name,
        "date": "",
    }
    content = {
        **about, "schema": SCHEMA, "threads": 1, "batch": 1, "size": size, "classes": classes, "wanted": len(parts),
        "versions": {}, "measured": measured, "fitted": {}, "fit": {}, "correction": {"scale": 1.0, "block": 0},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return path


def latency(folder: Path, rounds: int) -> Iterator[Row]:
    """Candidates costed with their latency in a second, and a space counted under a cap of latency."""
    for name, counts in ((DEFAULT, False), ("nds_resnext_b", True)):
        plain_space = load_space(name)
        file = made_up_table(plain_space, folder / f"{name}.json")
        table = read_table(file)
        space = plain_space.with_latency(table)
        gate, size, classes = CostTable(space), *space.resolution
        points = random_points(space, np.random.default_rng(0), CANDIDATES)
        part = [space.spec(tuple(point)) for point in points[:LATENCY_PART].tolist()]

        def one_by_one(part=part, table=table, size=size, classes=classes) -> list[int]:
            return [sum(table.of(each) for each in chain(spec, size, classes)) for spec in part]

        of_part = gate.costs(points[:LATENCY_PART])[-1]
        if one_by_one() != of_part.tolist():
            sys.exit(f"{name}: gate and peer differ in latency")
        against = "entries of the table added up part by part in plain Python, one by one"
        if not counts:
            arms = {
                "nxt": lambda gate=gate, points=points: CANDIDATES / seconds(lambda: gate.costs(points)),
                "plain": lambda peer=one_by_one: LATENCY_PART / seconds(peer),
            }
            measured = in_rounds(arms, rounds)
            yield compared(
                what=f"candidates of the space {name} costed exactly (MACs, params, acts, latency), on one core",
                against=against,
                unit="candidates/s",
                values=measured["nxt"],
                peer_values=measured["plain"],
                target=1e7,
                target_is="value",
                note=f"{CANDIDATES} random candidates; the peer on the first {LATENCY_PART} of them; equal on those",
            )
            continue
        cap = f":{int(np.median(of_part))}ns"
        command = [sys.executable, "-c", LATENCY_COUNT.format(space=name), str(file), cap]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        arms = {
            "nxt": lambda command=command: seconds(lambda: subprocess.run(command, capture_output=True, check=True)),
            "plain": lambda peer=one_by_one, space=space: seconds(peer) * space.size / LATENCY_PART,
        }
        measured = in_rounds(arms, rounds)
        yield compared(
            what=f"exact count of {space.size} architectures of {name} under a cap of latency, on one core",
            against=against,
            unit="s",
            values=measured["nxt"],
            peer_values=measured["plain"],
            target=8,
            target_is="value",
            note=f"{int(printed)} fit; nxt in a fresh process, its start and reading the table included; "
            f"the peer extrapolated from {LATENCY_PART} random ones of them",
        )


def drawing(rounds: int) -> Iterator[Row]:
    """Draw uniformly inside a window: with the set constructed, by rejection with the gate, and one by one."""
    budget = parse_budget({"flops": WINDOW})
    (limit,) = budget.limits
    seeds = itertools.count()
    inside = len(FeasibleSet(load_space(DEFAULT), budget))
    space = load_space(DEFAULT)
    share = inside / space.size
    part = agree(space, CostTable(space), random_points(space, np.random.default_rng(0), PART))

    def direct() -> float:
        fresh, rng = load_space(DEFAULT), np.random.default_rng(next(seeds))
        return seconds(lambda: FeasibleSet(fresh, budget).sample(rng, DRAWS))

    def rejected() -> float:
        fresh, rng = load_space(DEFAULT), np.random.default_rng(next(seeds))

        def work() -> None:
            gate, kept = CostTable(fresh), set[tuple[int, ...]]()
            while len(kept) < DRAWS:
                points = random_points(fresh, rng, round(1.1 * (DRAWS - len(kept)) / share) + 1)
                macs = gate.costs(points)[0]
                kept.update(map(tuple, points[(macs >= limit.low) & (macs <= limit.high)].tolist()))

        return seconds(work)

    def one_by_one() -> float:
        return seconds(lambda: list(plain_costs(space, part))) * DRAWS / share / PART

    measured = in_rounds({"nxt": direct, "gate": rejected, "plain": one_by_one}, rounds)
    what = f"{DRAWS} uniform draws inside {WINDOW} of the space {DEFAULT}, a freshly loaded space, on one core"
    for peer, against, note in (
        ("gate", "rejection sampling in bulk with the same gate", "the gate is made anew by both"),
        ("plain", "rejection sampling in plain Python", f"the peer extrapolated from {PART} candidates"),
    ):
        yield compared(
            what=what,
            against=against,
            unit="s",
            values=measured["nxt"],
            peer_values=measured[peer],
            target=0.1,
            target_is="value",
            note=f"{100 * share:.2f} % fit, which nxt counts as well; loading the YAML not included; {note}",
        )


def main() -> None:
    """Run all rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the CSV file")
    options = parser.parse_args()
    rows = [
        costing(options.rounds),
        counting("nds_resnext_a", options.rounds),
        counting("nds_resnext_b", options.rounds),
        *drawing(options.rounds),
    ]
    with tempfile.TemporaryDirectory() as folder:
        rows += latency(Path(folder), options.rounds)
    write_csv("gate", rows, folder=options.out)


if __name__ == "__main__":
    main()
