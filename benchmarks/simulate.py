"""Compare samplers and schedulers by simulated searches over a table of trained networks.

Each search has a budget of epochs (or, with --by clock, of seconds), given in full trainings of average length. At some
points on the way: the share of the table's true hypervolume that was found, with its mean and 95 % interval over the
seeds, and a paired test against random without a scheduler (Wilcoxon's signed ranks, the same seeds); at the end also
the regret by cost band. Random alone is given more, for comparison. Other engines (engines.py) search the same table by
their own rules; those that take long are given fewer seeds and trainings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # searches run side by side; before numpy and torch are there

import time
import warnings
from collections.abc import Collection
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, circumstances, options_of, show, tell, write_json
from engines import ENGINES, installed, search_with
from numpy.typing import NDArray
from scipy import stats

from nxt.config import require
from nxt.errors import NxtError
from nxt.search.request import SAMPLERS, SCHEDULERS
from nxt.search.simulation.simulate import Yardstick, simulate
from nxt.search.simulation.table import Table, load_table
from nxt.space.space import Point

BASE = ("random", "none")


class Redrawn(Table):
    """A table where a proposal that misses is not moved to its nearest neighbour, but drawn anew: for comparison."""

    def nearest(self, point: Point, taken: Collection[Point] = ()) -> Point | None:
        """Return any point that is not taken, whatever was proposed."""
        free = [other for other in self.rows if other not in taken]
        return free[np.random.default_rng([len(taken), *point]).integers(len(free))] if free else None


@cache
def table_at(path: Path, folder: Path | None, misses: str) -> tuple[Table, Yardstick]:
    """Load a table, once in each process."""
    table = load_table(path, folder)
    if misses == "redraw":
        table = Redrawn(table.name, table.axis_names, table.rows.values())
    return table, Yardstick(table)


def one(
    where: tuple[Path, Path | None, str],
    pair: tuple[str, ...],
    seed: int,
    marks: list[int],
    common: int,
    by: str,
    how: dict[str, Any],
) -> dict[str, Any]:
    """Simulate a search and return what it found by each mark, and its regret at a mark that others have, too.

    The pair is a sampler and a scheduler, or an engine alone.
    """
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table, yardstick = table_at(*where)
    unit = table.epochs if by == "epochs" else table.training_seconds
    limits = {"epochs": marks[-1] * unit} if by == "epochs" else {"epochs": math.inf, "seconds": marks[-1] * unit}
    start = time.perf_counter()
    if len(pair) == 1:
        result, proposals = search_with(*pair, table, seed=seed, **limits)
    else:
        result = simulate(table, *pair, seed=seed, **limits, **how)
        proposals = result.trials
    seconds = time.perf_counter() - start
    in_common = [network for network in result.found if getattr(network, by) <= common * unit]
    return {
        "hypervolume": yardstick.curve(result.found, [mark * unit for mark in marks], by).tolist(),
        "regret": yardstick.regret(in_common).tolist(),
        "trials": result.trials,
        "stopped": result.stopped,
        "proposals": proposals,
        "seconds": seconds,
    }


class Kept:
    """The searches in a file of JSON lines, one a line, so that none is simulated twice; without a file, none."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.rows = path, dict[str, dict[str, Any]]()
        if path and path.is_file():
            self.rows = {line["of"]: line for line in map(json.loads, path.read_text().splitlines())}

    def run(self, pool: Executor, jobs: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
        """Return the rows of jobs by name; those that are not in the file are started, and written to it."""
        started = {name: pool.submit(one, *job) for name, job in jobs.items() if name not in self.rows}
        for name, future in started.items():
            self.rows[name] = future.result()
            if self.path:
                with self.path.open("a") as stream:
                    stream.write(json.dumps({"of": name, **self.rows[name]}) + "\n")
        return [self.rows[name] for name in jobs]


def chosen(names: str) -> list[str]:
    """Return those of the engines named that are installed, and say which are not."""
    engines = [name for name in names.split(",") if name]
    unknown = [name for name in engines if name not in ENGINES]
    require(not unknown, "engines", f"{', '.join(unknown)}: known are {', '.join(ENGINES)}")
    for name in engines:
        if not installed(name):
            tell(f"{name}: skipped, {ENGINES[name].package} is not installed")
    return [name for name in engines if installed(name)]


def summary(rows: list[dict[str, Any]], base: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return means, half widths of 95 % intervals (Student's t), and p-values against the base at the same marks."""
    shares = np.array([row["hypervolume"] for row in rows])
    means = {
        "hypervolume": shares.mean(axis=0).tolist(),
        "hypervolume_95": _half_width(shares).tolist(),
        "regret_by_cost": np.mean([row["regret"] for row in rows], axis=0).tolist(),
        **{key: float(np.mean([row[key] for row in rows])) for key in ("trials", "stopped", "proposals", "seconds")},
        "seconds_a_proposal": sum(row["seconds"] for row in rows) / sum(row["proposals"] for row in rows),
        "seeds": len(rows),
        "per_seed": shares.tolist(),
    }
    if base is not None:
        other = np.array([row["hypervolume"] for row in base])[: len(rows), : shares.shape[1]]
        means["over_random"] = (shares - other).mean(axis=0).tolist()
        means["p_against_random"] = [_p(shares[:, k] - other[:, k]) for k in range(shares.shape[1])]
    return means


def _half_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return np.asarray(stats.t.ppf(0.975, len(values) - 1) * error)


def _p(differences: NDArray[np.float64]) -> float:
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def lines(summaries: dict[str, dict[str, Any]], marks: list[int]) -> list[list[str]]:
    """Return the summaries as lines of a table."""
    head = [
        "sampler, scheduler",
        *(f"after {mark}" for mark in marks),
        "p (random)",
        "seeds",
        "trials",
        "stopped",
        "s a search",
    ]
    result = [head]
    for name, row in summaries.items():
        shares = [f"{m:.3f} +-{e:.3f}" for m, e in zip(row["hypervolume"], row["hypervolume_95"], strict=True)]
        p = f"{row['p_against_random'][-1]:.2g}" if "p_against_random" in row else "-"
        rest = [p, str(row["seeds"]), *(f"{row[key]:.1f}" for key in ("trials", "stopped", "seconds"))]
        result.append([name, *shares, *[""] * (len(marks) - len(shares)), *rest])
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("table", type=Path, help="a YAML file that declares a CSV file, or a run directory")
    parser.add_argument("--folder", type=Path, help="where the CSV file is, if not beside the YAML file")
    parser.add_argument(
        "--misses",
        choices=("nearest", "redraw"),
        default="nearest",
        help="where a proposal goes that is not in the table",
    )
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--schedulers", default=",".join(SCHEDULERS))
    parser.add_argument("--engines", default="", help=f"of other libraries: {', '.join(ENGINES)}")
    parser.add_argument("--seeds", type=int, default=20, help="at least 2")
    parser.add_argument("--trainings", default="10,25,50", help="budgets at which to measure, in full trainings")
    parser.add_argument("--random", default="100,200", help="further such points, for random alone")
    parser.add_argument("--by", choices=("epochs", "clock"), default="epochs", help="what is limited and measured")
    parser.add_argument("--eta", type=float, default=3.0)
    parser.add_argument("--grace", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=1, help="trials at a time, on the virtual clock")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="searches at a time, on this machine")
    parser.add_argument("--keep", type=Path, help="a file of finished searches, which are not simulated again")
    parser.add_argument("--json", type=Path, help="where results go; else results/benchmarks/simulate-TABLE.json")
    options = parser.parse_args()
    where = (options.table, options.folder, options.misses)
    table, _ = table_at(*where)
    tell(f"{table.name}: {len(table)} networks by {table.epochs} epochs, {table.dropped} rows dropped")
    marks = sorted(int(mark) for mark in options.trainings.split(","))
    far = marks + [int(mark) for mark in options.random.split(",") if mark]
    how = {key: getattr(options, key) for key in ("eta", "grace", "workers")}
    record: dict[str, Any] = {
        **circumstances(),
        "options": options_of(options),
        "table": {"name": table.name, "networks": len(table), "trainings": table.trainings, "epochs": table.epochs},
        "marks": marks,
        "marks_of_random": far,
    }
    engines = chosen(options.engines)
    record["engines"] = {name: version(ENGINES[name].package) for name in engines}
    pairs: list[tuple[str, ...]] = [
        BASE,
        *(p for p in itertools.product(options.samplers.split(","), options.schedulers.split(",")) if p != BASE),
        *((name,) for name in engines),
    ]
    kept = Kept(options.keep)
    summaries: dict[str, dict[str, Any]] = {}
    base: list[dict[str, Any]] | None = None
    with ProcessPoolExecutor(options.processes) as pool:
        for pair in pairs:
            at, common, seeds = far if pair == BASE else marks, marks[-1], options.seeds
            if len(pair) == 1:
                engine = ENGINES[pair[0]]
                at, seeds = [mark for mark in marks if mark <= engine.trainings], min(seeds, engine.seeds)
                common = at[-1]
            jobs = [(where, pair, seed, at, common, options.by, how) for seed in range(seeds)]
            rows = kept.run(pool, {repr((table.name, options.misses, *job[1:])): job for job in jobs})
            name = ", ".join(pair)
            summaries[name] = summary(rows, base)
            base = base or rows
            tell(f"{name}: {summaries[name]['hypervolume'][at.index(common)]:.3f} after {common}")
    record["found"] = summaries
    show(lines(summaries, far))
    target = options.json or RESULTS / f"simulate-{table.name}.json"
    write_json(target, record)
    tell(f"written: {target}")


if __name__ == "__main__":
    try:
        main()
    except NxtError as error:
        raise SystemExit(str(error)) from None
