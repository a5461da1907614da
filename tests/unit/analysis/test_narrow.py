"""Narrowing: the probability of being the best against draws, ranges that hold what matters, and a space that loads."""

import numpy as np
import pytest
from runs import in_memory

from nxt.analysis.narrow import LEAST, at_equal_cost, best_probabilities, central_range, cost_bands, narrow
from nxt.arch.costs import Cost
from nxt.config import dump_yaml
from nxt.errors import RunError
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.load import load_space, space_from_dict

WIDE = space_from_dict(
    {
        "about": "For tests.",
        "network": {"stem": "cifar", "stem_width": 16, "cardinality": 1, "width": 16},
        "axes": {
            "depths": [{"from": 1, "to": 12}, {"from": 1, "to": 6}],
            "base_width": [4, 8, 16],
            "avg_down": [False, True],
        },
    },
    "wide",
    "test",
)
STAGES = space_from_dict(
    {
        "stages": 2,
        "network": {"stem": "cifar", "stem_width": 16, "radix": 0, "ratio": 1},
        "axes": {"depth": {"from": 1, "to": 12}, "width": [16, 32], "groups": [1, 2, 4]},
    },
    "stages",
    "test",
)


def searched(error, space=WIDE, count=200, sampler="random", seed=0, alike=True):
    """A search that drew architectures uniformly; `error` makes an error of an architecture's values and MACs.

    With `alike`, all are said to cost the same, as in a window.
    """
    rng = np.random.default_rng(seed)
    trials = {}
    while len(trials) < count:
        point = tuple(int(rng.integers(len(values))) for values in space.axis_values)
        spec, cost = space.spec(point), space.cost(point)
        values = {name: v[i] for name, v, i in zip(space.axis_names, space.axis_values, point, strict=True)}
        wrong = 0.3 + error(values, cost.macs) + 0.005 * rng.normal()
        cost = Cost(macs=1_000_000) if alike else cost
        curve = [Epoch(1, 1 - wrong, 1.0, 1.0)]
        trials.setdefault(point, Trial(len(trials), point, spec, cost, curve=curve, outcome=Outcome.DONE))
    return in_memory(trials.values(), "runs/one", space, {"search": {"sampler": sampler}})


def depth_matters(values, _macs):
    return 0.01 * abs(values["depth1"] - 4)


def kept(narrowed):
    return {axis.name: axis.kept for axis in narrowed.axes if axis.cut}


# The best of a quarter


def test_the_probability_of_being_the_best_is_what_draws_tend_to():
    rng = np.random.default_rng(0)
    errors = np.round(rng.uniform(size=30), 1)  # with ties
    counts = np.zeros(30)
    for _ in range(20_000):
        drawn = rng.choice(30, 7)
        best = drawn[errors[drawn] == errors[drawn].min()]
        counts[rng.choice(best)] += 1
    probabilities = best_probabilities(errors, np.zeros(30, dtype=np.int64))
    assert probabilities.sum() == pytest.approx(1)
    levels = np.unique(errors)
    drawn = [counts[errors == level].sum() / 20_000 for level in levels]
    assert [probabilities[errors == level].sum() for level in levels] == pytest.approx(drawn, abs=0.015)
    assert all(len(set(probabilities[errors == level].round(12))) == 1 for level in levels)


def test_each_band_has_a_best_of_its_own_and_counts_by_its_members():
    errors, bands = np.array([0.5, 0.6, 0.7, 0.1, 0.2, 0.3, 0.4, 0.15]), np.array([0, 0, 0, 1, 1, 1, 1, 1])
    probabilities = best_probabilities(errors, bands)
    assert probabilities[bands == 0] == pytest.approx([1 / 8] * 3)  # of three, a quarter is one
    assert probabilities[bands == 1].sum() == pytest.approx(5 / 8)
    assert probabilities[bands == 1] == pytest.approx(best_probabilities(errors[3:], bands[3:] - 1) * 5 / 8)


@pytest.mark.parametrize("tail", [0.0, 0.025, 0.1, 0.3])
def test_a_range_loses_at_most_a_tail_at_each_end_and_no_end_could_lose_more(tail):
    rng = np.random.default_rng(1)
    for _ in range(50):
        at = rng.integers(0, 9, 25)
        weights = rng.dirichlet(np.full(25, 0.3))
        low, high = central_range(at, weights, 9, tail)
        below, above = weights[at < low].sum(), weights[at > high].sum()
        assert 0 <= low <= high < 9 and below <= tail + 1e-9 and above <= tail + 1e-9
        assert below + weights[at == low].sum() > tail and above + weights[at == high].sum() > tail


# Spaces


def test_an_axis_that_matters_is_cut_around_its_best_values_and_the_others_stay():
    narrowed = narrow(searched(depth_matters))
    assert list(kept(narrowed)) == ["depth1"]
    (values,) = kept(narrowed).values()
    assert 4 in values and values[0] >= 2 and values[-1] <= 7
    assert values == tuple(range(values[0], values[-1] + 1))
    chances = {axis.name: axis.p for axis in narrowed.axes}
    assert chances["depth1"] < 0.01 < min(chances["depth2"], chances["base_width"], chances["avg_down"])
    assert narrowed.after.size * 12 == narrowed.before.size * len(values)
    assert narrowed.gain is not None and narrowed.gain.distance > 0.3
    inside, whole = (side.quartiles[1] for side in narrowed.gain.sides)
    assert inside < whole and f"{inside:.1%} inside, {whole:.1%} in all" in narrowed.verdict()
    assert f"Kept {narrowed.after.size:,} of 432 architectures" in narrowed.verdict()
    assert "flattered" in narrowed.verdict()


def test_flags_and_unordered_values_are_cut_at_their_ends():
    narrowed = narrow(searched(lambda values, _: 0.05 * values["avg_down"] + 0.05 * (values["base_width"] == 4)))
    assert kept(narrowed) == {"base_width": (8, 16), "avg_down": (False,)}


def test_axes_that_do_not_matter_are_seldom_cut():
    cut = [len(kept(narrow(searched(lambda *_: 0.0, count=60, seed=seed), seed=seed))) for seed in range(25)]
    assert sum(cut) <= 11  # of 100 axes; 5 are expected at most, 12 come up in less than one case of 200


def test_the_costliest_are_not_taken_for_the_best():
    """Errors fall with the cost alone: were all compared with all, only costly networks would be left."""

    def cost_alone(_values, macs):
        return 0.1 * (macs / 1e6) ** -0.5

    together = {axis.name: axis.kept for axis in narrow(searched(cost_alone, alike=True)).axes}
    assert min(together["depth1"]) >= 3 and together["base_width"] == (16,)
    cut = [len(kept(narrow(searched(cost_alone, alike=False, seed=seed), seed=seed))) for seed in range(10)]
    assert sum(cut) <= 6  # of 40 axes; 2 are expected, 7 come up in less than one case of 200


def test_an_axis_that_matters_is_found_across_costs():
    narrowed = narrow(searched(lambda v, macs: depth_matters(v, 0) + 0.1 * (macs / 1e6) ** -0.5, alike=False))
    assert 4 in kept(narrowed)["depth1"] and len(kept(narrowed)["depth1"]) <= 8


def test_bands_have_as_many_architectures_and_are_not_finer_than_doublings():
    rng = np.random.default_rng(0)
    macs = 1e6 * np.exp(rng.uniform(0, np.log(16), 180))
    bands = cost_bands(macs)
    assert np.bincount(bands).tolist() == [45] * 4
    assert all(macs[bands == band].max() <= macs[bands == band + 1].min() for band in range(3))
    assert set(cost_bands(macs[:79])) == {0} and set(cost_bands(macs[:80])) == {0, 1}
    assert set(cost_bands(rng.uniform(0.92e9, 1.08e9, 500))) == {0} == set(cost_bands(np.full(50, 7.0)))


def test_what_the_cost_explains_is_what_numpys_line_explains():
    rng = np.random.default_rng(0)
    macs, errors = rng.uniform(1e6, 4e6, 50), rng.uniform(size=50)
    bands = (macs > 2e6).astype(np.int64)
    residual = at_equal_cost(errors, macs, bands)
    for band in (0, 1):
        x, y = np.log(macs[bands == band]), errors[bands == band]
        assert residual[bands == band] == pytest.approx(y - np.polyval(np.polyfit(x, y, 1), x))
    assert at_equal_cost(errors, np.full(50, 1e6), np.zeros(50)) == pytest.approx(errors - errors.mean())


def test_of_a_stage_wise_space_a_value_goes_only_if_no_stage_needs_it():
    narrowed = narrow(searched(lambda v, _: 0.02 * abs(v["depth1"] - 3) + 0.02 * abs(v["depth2"] - 8), STAGES, 400))
    axes = {axis.name: axis for axis in narrowed.axes}
    assert axes["depth1"].kept == axes["depth2"].kept and axes["width1"].kept == axes["width2"].kept
    depths = axes["depth1"].kept
    assert {3, 8} <= set(depths) and len(depths) < 12
    assert narrowed.after.to_dict()["axes"]["depth"] == list(depths) and narrowed.after.size < narrowed.before.size


@pytest.mark.parametrize("space", [WIDE, STAGES], ids=["for all stages", "stage-wise"])
def test_the_narrowed_space_is_a_file_that_loads(tmp_path, space):
    narrowed = narrow(searched(lambda v, _: 0.02 * (v["depth1"] + v["depth2"]), space, sampler="tpe"), seed=7)
    (tmp_path / "new.yaml").write_text(dump_yaml(narrowed.after.to_dict()))
    loaded = load_space(str(tmp_path / "new.yaml"))
    assert loaded.axis_values == narrowed.after.axis_values == [axis.kept for axis in narrowed.axes]
    assert loaded.axis_names == space.axis_names and loaded.size == narrowed.after.size < space.size
    assert loaded.to_dict() == narrowed.after.to_dict()
    for part in (f"from {space.name} by the search one (sampler tpe)", "200 trained", "95 %", "seed 7", "KS distance"):
        assert part in loaded.about
    assert any(note.startswith("chosen by tpe, no uniform sample") for note in narrowed.notes)


def test_with_few_trained_architectures_the_space_stays_as_it_is():
    narrowed = narrow(searched(depth_matters, count=LEAST - 1))
    assert not narrowed.cut and narrowed.after is narrowed.before
    assert narrowed.verdict() == "Left as it is: 19 architectures reached the last epoch; at least 20 are needed."
    run = searched(depth_matters, count=100)
    for trial in run.trials[LEAST - 1 :]:
        trial.outcome = Outcome.STOPPED
    assert not narrow(run).cut
    assert any(note.startswith("81 stopped early") for note in narrow(run).notes)


def test_where_nothing_matters_the_space_stays_as_it_is():
    narrowed = narrow(searched(lambda *_: 0.0, count=60))
    assert not narrowed.cut and narrowed.after is narrowed.before
    assert narrowed.verdict() == "Left as it is: no axis matters clearly among 60 architectures."
    assert narrowed.gain is not None and narrowed.gain.distance == 0


def test_what_is_found_is_plain_data_and_depends_on_the_seed_alone():
    run = searched(depth_matters)
    data = narrow(run, seed=1).to_dict()
    assert data == narrow(run, seed=1).to_dict()
    first = data["axes"][0]
    assert first["axis"] == "depth1" and len(first["kept"]) < len(first["values"])
    assert data["size"]["after"] < data["size"]["before"] == WIDE.size


def test_less_confidence_keeps_no_more():
    run = searched(depth_matters)
    sizes = [narrow(run, confidence).after.size for confidence in (0.99, 0.95, 0.8, 0.5)]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


def test_a_run_of_a_list_has_no_space_to_narrow():
    trials = searched(depth_matters, count=30).trials
    run = in_memory(trials, "runs/one", ArchList((trials[0].spec,)))
    with pytest.raises(RunError, match="runs/one: trained a list of architectures, not a space"):
        narrow(run)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, -1.0, float("nan")])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(RunError, match=r"`confidence` .*: it lies between 0 and 1, such as 0.95"):
        narrow(searched(depth_matters, count=30), confidence)
