"""benchmarks/engines.py: other engines train no network twice, end and repeat by seed; the benchmark runs them.

Engines whose packages are not installed are not tried.
"""

import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nxt.errors import ConfigError
from nxt.search.simulation.simulate import Yardstick, simulate
from nxt.search.simulation.table import Row, Table

ROOT = Path(__file__).resolve().parents[4]
EPOCHS = 4


def _module(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


engines = _module("engines")
INSTALLED = [name for name in engines.ENGINES if engines.installed(name)]
QUICK = [name for name in INSTALLED if engines.ENGINES[name].trainings >= 200]


def made(side=5, missing=lambda a, b: a == b):
    """A table with holes: one axis buys accuracy for cost, the other has a best value in the middle."""
    rows = []
    for a, b in itertools.product(range(side), range(side)):
        if not missing(a, b):
            final = 0.3 + 0.05 * a - 0.05 * abs(b - side // 2)
            curve = final * np.arange(1, EPOCHS + 1) / EPOCHS
            rows.append(Row((float(a), float(b)), 2.0**a * (1 + 0.3 * b), curve, 2.0))
    return Table("made", ["a", "b"], rows)


def test_optunas_engines_are_tried_everywhere():
    assert {"optuna-tpe", "optuna-nsga2", "optuna-gp"} <= set(INSTALLED)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # used by gpytorch
@pytest.mark.parametrize("name", INSTALLED)
def test_an_engine_trains_no_network_twice_spends_what_it_is_given_and_repeats_by_seed(name, monkeypatch, one_thread):
    monkeypatch.setattr(engines, "START", 6)
    table = made()
    result, proposals = engines.search_with(name, table, 8 * EPOCHS + 1, seed=1)
    points = [network.point for network in result.found]
    assert len(set(points)) == len(points) and all(point in table for point in points)
    assert result.epochs == 8 * EPOCHS + 1 and result.clock == 2 * result.epochs
    assert proposals >= result.trials == len(points) + result.stopped + 1
    assert result.stopped == 0 or name.startswith("syne-moasha")
    assert engines.search_with(name, table, 8 * EPOCHS + 1, seed=1) == (result, proposals)
    assert engines.search_with(name, table, 8 * EPOCHS + 1, seed=2) != (result, proposals)


@pytest.mark.parametrize("name", QUICK)
def test_an_engine_ends_where_little_or_nothing_is_left_to_train(name):
    table = made(side=3)
    result, proposals = engines.search_with(name, table, math.inf, seed=1)
    assert result.trials <= len(table)
    assert result.trials == len(table) or proposals >= engines.PATIENCE


@pytest.mark.parametrize("name", [name for name in QUICK if "moasha" not in name])  # that one draws
def test_an_engine_finds_more_than_chance(name):
    """With either outcome the wrong way round it would find less."""
    table = made(side=12)
    yardstick, epochs = Yardstick(table), (60 if name == "pymoo-nsga2" else 30) * EPOCHS
    chance = [yardstick.hypervolume(simulate(table, "random", "none", epochs, seed=s).found) for s in range(20)]
    share = [yardstick.hypervolume(engines.search_with(name, table, epochs, s)[0].found) for s in range(4)]
    assert np.mean(share) > np.mean(chance) + 0.02


def test_what_is_known_or_missing_costs_nothing_and_ends_a_search_if_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(engines, "PATIENCE", 3)
    objective = engines.Objective(made(), math.inf)
    outcomes = objective([0, 1])
    assert outcomes == pytest.approx((0.25, math.log(1.3)))
    assert objective([0, 1]) == outcomes and objective((0, 0)) is None
    assert objective.result.epochs == EPOCHS and objective.proposals == 3
    assert objective((1, 0)) == pytest.approx((0.25, math.log(2)))  # the count in vain begins again
    assert objective.means == pytest.approx((0.25, math.log(2.6) / 2))
    assert objective.worst == pytest.approx((0.25, math.log(2)))
    objective((0, 0)), objective((7, 7))
    with pytest.raises(engines.Spent):
        objective((0, 0))
    assert [network.epochs for network in objective.result.found] == [EPOCHS, 2 * EPOCHS]


def test_a_search_ends_with_the_epochs_the_seconds_or_the_table():
    for limits, trained, epochs in (((5,), 1, 5), ((math.inf, 9), 1, 5), ((8,), 2, 8), ((math.inf,), 20, 80)):
        objective = engines.Objective(made(), *limits)
        with pytest.raises(engines.Spent):
            [objective(point) for point in objective.table.rows]
        assert (len(objective.result.found), objective.result.epochs) == (trained, epochs)


def test_a_training_that_is_stopped_costs_its_epochs_and_is_not_found():
    objective = engines.Objective(made(), math.inf)
    seen = []
    assert objective((0, 1), lambda epoch, outcomes: seen.append(epoch) or epoch == 2)[0] == pytest.approx(0.25 / 2)
    assert seen == [1, 2] and objective.result.epochs == 2
    objective((0, 2), lambda epoch, outcomes: epoch == EPOCHS)  # the last epoch leaves nothing to stop
    assert objective.result.stopped == 1 and [network.point for network in objective.result.found] == [(0, 2)]


def _simulate(folder, *options):
    command = [
        sys.executable,
        ROOT / "benchmarks" / "simulate.py",
        folder / "t.yaml",
        "--processes",
        "1",
        "--seeds",
        "3",
    ]
    arguments = [
        "--keep",
        folder / "kept",
        "--json",
        folder / "out.json",
        "--samplers",
        "random",
        "--schedulers",
        "none",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *arguments, *options], capture_output=True, text=True, env=environment, check=False
    )


def test_the_benchmark_compares_engines_with_random_and_simulates_none_twice(tmp_path):
    lines = [f"{a},{b},{0.3 + 0.05 * a - 0.02 * b},{1 + a + b}" for a in range(5) for b in range(4)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,acc_1,macs", *lines]) + "\n")
    (tmp_path / "t.yaml").write_text("file: t.csv\naxes: [a, b]\ncost: {macs: 1}\naccuracy: {columns: acc_*}\n")
    marks = ("--trainings", "4,8", "--random", "12")
    first = _simulate(tmp_path, *marks)
    assert first.returncode == 0, first.stderr
    assert len((tmp_path / "kept").read_text().splitlines()) == 3
    second = _simulate(tmp_path, *marks, "--engines", "optuna-nsga2")
    assert second.returncode == 0, second.stderr
    kept = [json.loads(line)["of"] for line in (tmp_path / "kept").read_text().splitlines()]
    assert len(set(kept)) == len(kept) == 6
    record = json.loads((tmp_path / "out.json").read_text())
    assert list(record["engines"]) == ["optuna-nsga2"]
    row = record["found"]["optuna-nsga2"]
    assert row["seeds"] == 3 and len(row["hypervolume"]) == len(row["p_against_random"]) == 2
    assert row["trials"] == 8 <= row["proposals"] and row["seconds_a_proposal"] > 0


def test_the_benchmark_skips_engines_that_are_absent_and_refuses_unknown_ones(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    benchmark = _module("simulate")
    monkeypatch.setattr(benchmark, "installed", lambda name: name != "syne-moasha")
    assert benchmark.chosen("optuna-gp,syne-moasha") == ["optuna-gp"] and benchmark.chosen("") == []
    assert capsys.readouterr().err == "syne-moasha: skipped, syne-tune is not installed\n"
    with pytest.raises(ConfigError, match="engines: optuna-g: known are optuna-tpe, "):
        benchmark.chosen("optuna-g,optuna-gp")


def test_fewer_seeds_are_compared_with_the_same_seeds_of_random(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    counts = {"trials": 8, "stopped": 0, "proposals": 10, "seconds": 2.0, "regret": [0.0]}
    base = [{**counts, "hypervolume": [share, 1.0]} for share in (0.1, 0.2, 0.9)]
    rows = [{**counts, "hypervolume": [share]} for share in (0.2, 0.4)]
    summary = _module("simulate").summary(rows, base)
    assert summary["over_random"] == pytest.approx([0.15]) and summary["seeds"] == 2
    assert summary["seconds_a_proposal"] == pytest.approx(0.2)
