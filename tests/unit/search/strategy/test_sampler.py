"""The feasible sampler: references first, nothing twice, nothing outside the budget, the same again from its seed."""

import json
import subprocess
import sys

import optuna
import pytest
from limits import LIMIT

from nxt.arch.costs import cost
from nxt.errors import ConfigError
from nxt.search.request import SAMPLERS
from nxt.search.strategy.samplers import make_sampler
from nxt.search.study.memory import ExhaustedError, distributions
from nxt.space.budget import Budget, parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space, space_from_dict
from nxt.space.references import references

NAMES = list(SAMPLERS)
COUNTS = {**dict.fromkeys(NAMES, 25), "gp": 13}  # proposals: enough for some by the model, which takes gp long


def smoke(**texts):
    return FeasibleSet(load_space("smoke"), parse_budget(texts))


def study(path=None):
    storage = f"sqlite:///{path}" if path else None
    return optuna.create_study(
        storage=storage, study_name="s", directions=["maximize", "minimize"], load_if_exists=True
    )


def propose(search, feasible, count, name="tpe", seed=0, first=()):
    """Ask for points one after the other, with accuracies and failures that follow from the point."""
    search.sampler = make_sampler(name, feasible, list(first), seed)
    points = []
    for _ in range(count):
        trial = search.ask(distributions(feasible.space))
        point = tuple(trial.params[axis] for axis in feasible.space.axis_names)
        points.append(point)
        kind = sum(point) % 5
        if kind == 0:
            search.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif kind == 1:
            search.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif kind != 2:  # those of kind 2 stay in the making
            search.tell(trial, [sum(point) / 20, float(point[0] + 2 * point[1])])
    return points


@pytest.mark.parametrize("name", NAMES)
def test_the_first_points_come_first_and_in_order(name):
    feasible = smoke(flops="4M:11M")
    first = feasible.points()[5:40:9]
    points = propose(study(), feasible, 20, name, first=first)
    assert points[: len(first)] == first
    assert len(set(points)) == 20


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("texts", [{"flops": ":6M"}, {"params": "20K:40K"}, {"flops": "4M:11M", "acts": ":250K"}])
def test_every_proposal_is_feasible_and_none_comes_twice(name, texts):
    feasible = smoke(**texts)
    count = min(COUNTS[name], len(feasible))
    points = propose(study(), feasible, count, name)
    assert all(point in feasible for point in points)
    assert len(set(points)) == count


@pytest.mark.parametrize("name", NAMES)
def test_a_space_is_exhausted_exactly(name):
    flops, count = (":4M", 24) if name == "gp" else (":6M", 45)  # the model of gp takes long
    feasible = smoke(flops=flops)
    search = study()
    points = propose(search, feasible, count, name, first=references(feasible).values())
    assert sorted(points) == sorted(feasible.points()) and len(feasible) == count
    with pytest.raises(ExhaustedError):
        search.ask(distributions(feasible.space))


def test_a_single_architecture_is_proposed_once():
    space = load_space("smoke")
    value = cost(space.spec((1, 0, 1, 0, 1, 0)))
    feasible = smoke(flops=f"{value.macs}:{value.macs}", params=f"{value.params}:{value.params}")
    search = study()
    assert propose(search, feasible, len(feasible))[0] in feasible
    with pytest.raises(ExhaustedError):
        search.ask(distributions(space))


@pytest.mark.parametrize("name", NAMES)
def test_axes_with_one_value_are_no_obstacle(name):
    data = {**load_space("smoke").to_dict()}
    data["axes"] = {**data["axes"], "width": [8], "depths": [[1, 2], [2], [1, 2]]}
    space = space_from_dict(data, "narrow", "here")
    feasible = FeasibleSet(space, Budget())
    points = propose(study(), feasible, len(feasible), name)
    assert sorted(points) == sorted(feasible.points())


@pytest.mark.parametrize("name", ["imagenet", "resnest", "cifar"])
def test_large_spaces_are_sampled_inside_a_window(name):
    feasible = FeasibleSet(load_space(name), parse_budget({"flops": "0.3G" if name == "cifar" else "4.1G"}))
    points = propose(study(), feasible, 14)
    assert len(set(points)) == 14
    assert all(point in feasible for point in points)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_the_proposals(name):
    feasible = smoke(flops="3M:16M")
    first, again, other = (propose(study(), feasible, COUNTS[name], name, seed) for seed in (4, 4, 5))
    assert first == again != other


@pytest.mark.parametrize("name", NAMES)
def test_another_process_proposes_the_same(name):
    feasible = smoke(flops="3M:16M")
    code = (
        f"import json, runpy, sys; sys.path[:0] = {sys.path!r}\n"
        f"module = runpy.run_path({__file__!r})\n"
        f"points = module['propose'](module['study'](), module['smoke'](flops='3M:16M'), 22, {name!r}, 4)\n"
        "print(json.dumps(points))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT)
    there = [tuple(point) for point in json.loads(done.stdout.splitlines()[-1])]
    assert there == propose(study(), feasible, 22, name, 4)


@pytest.mark.parametrize("cut", [3, 12])
@pytest.mark.parametrize("name", NAMES)
def test_a_study_that_is_opened_again_goes_on_as_it_would_have(tmp_path, name, cut):
    feasible = smoke(flops="3M:16M")
    first = list(references(feasible).values())
    whole = propose(study(), feasible, 20, name, 4, first)
    path = tmp_path / "study.db"
    begun = propose(study(path), feasible, cut, name, 4, first)
    assert begun + propose(study(path), feasible, 20 - cut, name, 4, first) == whole


def test_what_is_recorded_is_the_point_after_the_move():
    feasible = smoke(params=":20K")
    search = study()
    points = propose(search, feasible, 12)
    assert [tuple(t.params[a] for a in feasible.space.axis_names) for t in search.trials] == points


def test_tpe_learns_where_accuracy_is():
    """With accuracy that follows one axis alone, more of the later proposals than of a uniform draw have it high."""
    feasible = FeasibleSet(load_space("cifar"), Budget())
    search = study()
    search.sampler = make_sampler("tpe", feasible, [], 0)
    late = []
    for index in range(60):
        trial = search.ask(distributions(feasible.space))
        search.tell(trial, [trial.params["depth1"], 1.0])
        if index >= 30:
            late.append(trial.params["depth1"])
    assert sum(late) / len(late) > 6.5  # uniform: 5


@pytest.mark.parametrize(
    ("name", "message"), [("tep", "did you mean 'tpe'"), ("zzz", "known are ehvi, gp, tpe, nsga2, random")]
)
def test_an_unknown_sampler_is_an_error_with_a_way_out(name, message):
    with pytest.raises(ConfigError, match=f"no sampler is called '{name}'; {message}"):
        make_sampler(name, smoke(), [], 0)
