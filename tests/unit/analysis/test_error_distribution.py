"""Error distributions: against scipy's and against brute force; equal costs; what a run says of its space."""

import numpy as np
import pytest
from runs import in_memory
from scipy import stats

from nxt.analysis import error_distribution as distribution
from nxt.analysis.error_distribution import Population, bands, compare, cost_bins, edf, equal_cost_weights, quantiles
from nxt.arch.costs import Cost
from nxt.data.ref import DataRef
from nxt.errors import RunError
from nxt.report.matplotlib_figures import plot_edf
from nxt.search.proxy import Proxy
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.load import load_space
from nxt.train.recipe import load_recipe

SPACE = load_space("smoke")
POINTS = [(d, e, f, w, 0, b) for d in (0, 1) for e in (0, 1) for f in (0, 1) for w in (0, 1) for b in (0, 1)]


def sample(count, shift=0.0, seed=0, places=3):
    """Errors around a half, rounded so that some are equal."""
    return np.round(np.random.default_rng(seed).normal(0.5 + shift, 0.1, count), places)


def one_bin(*populations):
    return [np.zeros(len(errors), dtype=np.int64) for errors in populations]


# The distribution function


def test_the_share_is_that_of_the_weight_with_at_most_the_error():
    errors, weights = [0.3, 0.1, 0.2, 0.2], [1, 2, 3, 4]
    at = [0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 1.0]
    expected = [sum(w for e, w in zip(errors, weights, strict=True) if e <= x) / 10 for x in at]
    assert edf(errors, weights, at).tolist() == pytest.approx(expected)


def test_without_weights_it_is_scipys():
    errors = sample(50)
    theirs = stats.ecdf(errors).cdf
    at = np.linspace(0.2, 0.8, 101)
    assert edf(errors, np.ones(50), at) == pytest.approx(theirs.evaluate(at))


def test_quantiles_are_numpys_of_the_inverted_distribution():
    errors, shares = sample(37), [0, 0.25, 0.5, 0.75, 0.9, 1]
    assert (
        quantiles(errors, np.ones(37), shares).tolist() == np.quantile(errors, shares, method="inverted_cdf").tolist()
    )
    weights = np.random.default_rng(1).integers(0, 4, 37)
    repeated = np.repeat(errors, weights)
    assert (quantiles(errors, weights, shares[1:]) == np.quantile(repeated, shares[1:], method="inverted_cdf")).all()


def test_the_distance_is_scipys_and_with_weights_that_of_repeated_members():
    a, b = sample(30), sample(45, 0.05, seed=1)
    distance = distribution.ks_distance(a, np.ones(30), b, np.ones(45))
    assert distance == pytest.approx(stats.ks_2samp(a, b).statistic)
    rng = np.random.default_rng(2)
    v, w = rng.integers(1, 5, 30), rng.integers(1, 5, 45)
    distance = distribution.ks_distance(a, v, b, w)
    assert distance == pytest.approx(stats.ks_2samp(np.repeat(a, v), np.repeat(b, w)).statistic)


def test_bands_of_equal_weights_are_those_of_the_binomial_distribution():
    errors, at = sample(60), [0.35, 0.45, 0.5, 0.6]
    low, high = bands(errors, np.ones(60), at)
    share = edf(errors, np.ones(60), at)
    assert low == pytest.approx(stats.binom.ppf(0.025, 60, share) / 60, abs=0.02)
    assert high == pytest.approx(stats.binom.ppf(0.975, 60, share) / 60, abs=0.02)
    assert (bands(errors, np.ones(60), at) == bands(errors, np.ones(60), at)).all()
    narrower = bands(errors, np.ones(60), at, confidence=0.5)
    assert (narrower[1] - narrower[0] < high - low).all()


def test_members_without_weight_widen_no_band():
    errors = sample(20)
    both = np.append(errors, [0.01] * 5), np.append(np.ones(20), np.zeros(5))
    assert (bands(*both, errors) == bands(errors, np.ones(20), errors)).all()


# Equal cost


def test_costs_share_a_bin_from_the_lowest_on_by_a_factor():
    first, second = cost_bins([100, 124, 125, 156], [1000, 110], factor=1.25)
    assert first.tolist() == [0, 0, 1, 1] and second.tolist() == [10, 0]


def test_weights_make_the_costs_of_both_populations_alike():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 80), rng.integers(2, 9, 50)
    v, w = equal_cost_weights(a, b)
    assert v.sum() == pytest.approx(1) and w.sum() == pytest.approx(1)
    for index in range(9):
        assert v[a == index].sum() == pytest.approx(w[b == index].sum())
        common = (a == index).any() and (b == index).any()
        assert bool(v[a == index].sum() > 0) == common
        assert len(set(v[a == index])) <= 1  # of one bin all count alike


def test_a_bin_with_few_members_in_one_population_counts_little():
    v, _ = equal_cost_weights(np.array([0] * 50 + [1] * 50), np.array([0] * 50 + [1]))
    assert v[50:].sum() == pytest.approx((50 / 51) / (25 + 50 / 51))


def test_populations_of_other_costs_have_no_weight():
    v, w = equal_cost_weights(np.array([0, 0]), np.array([3]))
    assert not v.any() and not w.any()


# Chance


def test_the_probability_is_scipys_where_nothing_is_to_be_evened_out():
    for shift in (0.0, 0.06, 0.12):
        a, b = sample(25, places=9), sample(30, shift, seed=5, places=9)
        p_value = distribution.permutation_p(a, b, *one_bin(a, b))
        assert p_value == pytest.approx(stats.ks_2samp(a, b, method="exact").pvalue, abs=0.03)


def test_under_the_same_distribution_a_probability_below_a_twentieth_is_as_rare(monkeypatch):
    monkeypatch.setattr(distribution, "_PERMUTATIONS", 199)
    rng, p_values = np.random.default_rng(0), []
    for seed in range(200):
        bins = rng.integers(0, 4, 30), rng.integers(0, 4, 30)
        a, b = (rng.normal(one, 0.2) for one in bins)  # errors follow the costs
        p_values.append(distribution.permutation_p(a, b, *bins, seed=seed))
    assert stats.binomtest(sum(p < 0.05 for p in p_values), 200, 0.05).pvalue > 0.01


def population(name, count, worth, seed, low=1.0, high=8.0, notes=()):
    """Architectures whose errors fall with the logarithm of their cost."""
    rng = np.random.default_rng(seed)
    costs = 1e6 * np.exp(rng.uniform(np.log(low), np.log(high), count))
    return Population(name, 0.6 - 0.05 * np.log(costs / 1e6) - worth + rng.normal(0, 0.02, count), costs, notes)


def test_a_space_that_is_only_costlier_is_not_found_better():
    cheap, costly = population("cheap", 150, 0, 0, 1, 4), population("costly", 150, 0, 1, 2, 8)
    ones = np.ones(150)
    plain = distribution.ks_distance(cheap.errors, ones, costly.errors, ones)
    comparison = compare(cheap, costly, "macs")
    assert comparison.distance < 0.2 < 0.4 < plain
    assert comparison.p > 0.05
    assert comparison.verdict().startswith("No clear difference at equal multiply-adds (KS distance 0.0")
    assert 50 < len(comparison.sides[0].errors) < 130 and comparison.sides[0].finished == 150


def test_a_better_space_is_named_whichever_is_given_first():
    worse, better = population("A", 120, 0, 0), population("B", 120, 0.02, 1)
    comparison = compare(worse, better, "params")
    assert comparison.p < 0.01 and comparison.distance > 0.25
    assert comparison.verdict().startswith("B has the lower errors at equal parameters: median ")
    turned = compare(better, worse, "params")
    assert turned.distance == pytest.approx(comparison.distance)
    assert turned.verdict().startswith("B has the lower errors")
    plain = comparison.to_dict()
    assert plain["verdict"] == comparison.verdict() and plain["runs"][1]["run"] == "B"
    low, middle, high = plain["runs"][1]["error_quartiles"]
    assert low < middle < high and middle < plain["runs"][0]["error_quartiles"][1]


def test_populations_that_differ_in_spread_alone_are_told_apart_without_a_better_one():
    rng = np.random.default_rng(0)
    costs = np.full(201, 1e6)
    wide, narrow = (np.append(rng.uniform(0.5 - half, 0.5 + half, 200), 0.5) for half in (0.2, 0.02))
    centred = [np.append(e[:200] - np.median(e[:200]) + 0.5, 0.5) for e in (wide, narrow)]
    comparison = compare(Population("wide", centred[0], costs), Population("narrow", centred[1], costs), "acts")
    assert comparison.p < 0.01 and "differ at equal activations, but not their medians" in comparison.verdict()


def test_a_comparison_depends_on_its_seed_alone():
    pair = population("A", 30, 0, 0), population("B", 30, 0.01, 1)
    assert compare(*pair, "macs", seed=3).p == compare(*pair, "macs", seed=3).p != compare(*pair, "macs", seed=4).p


def test_spaces_of_other_costs_are_not_compared():
    with pytest.raises(
        RunError, match="A and B have no architectures of similar multiply-adds; compare runs whose bud"
    ):
        compare(population("A", 10, 0, 0, 1, 2), population("B", 10, 0, 0, 4, 8), "macs")


def test_the_plot_is_a_picture(tmp_path):
    plot_edf(compare(population("A", 30, 0, 0), population("B", 20, 0.01, 1), "macs"), tmp_path / "edf.png")
    assert (tmp_path / "edf.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(RunError, match="cannot be written"):
        plot_edf(compare(population("A", 5, 0, 0), population("A", 5, 0, 0), "macs"), tmp_path / "no" / "edf.png")


# Runs


def trial(number, accuracy, outcome=Outcome.DONE, family="", replicate=0, of=None):
    point = POINTS[number if of is None else of]
    curve = [Epoch(1, accuracy, 1.0, 1.0)] if accuracy is not None else []
    cost = Cost(macs=1000 + point[0], params=500, acts=100)
    return Trial(number, point, SPACE.spec(point), cost, family, replicate, curve, outcome)


def run(trials, path, sampler="random", space=SPACE, **changes):
    return in_memory(trials, path, space, {"search": {"sampler": sampler}}, **changes)


def test_each_architecture_counts_by_its_first_training_and_references_do_not(tmp_path):
    trials = [
        trial(0, 0.9, family="ResNet-like"), trial(1, 0.8), trial(2, 0.7), trial(3, 0.95, Outcome.STOPPED),
        trial(4, None, Outcome.CRASHED), trial(5, 0.6), trial(6, 0.5, replicate=1, of=1),
        trial(7, 0.4, replicate=2, of=1),
    ]  # fmt: skip
    sample = distribution.population(run(trials, tmp_path), "macs")
    assert sample.errors.tolist() == pytest.approx([0.2, 0.3, 0.4])
    assert sample.costs.tolist() == [1000.0] * 3
    stopped, failed, references = sample.notes
    assert stopped.startswith("1 stopped early and left out") and failed.startswith("1 failed")
    assert references.startswith("1 reference left out")


def test_what_a_sampler_proposed_is_said_to_be_no_uniform_sample(tmp_path):
    assert distribution.population(run([trial(1, 0.8)], tmp_path), "acts").notes == ()
    note = distribution.population(run([trial(1, 0.8)], tmp_path, sampler="gp"), "acts").notes[0]
    assert note.startswith("chosen by gp, no uniform sample: its errors are lower")
    listed = run([trial(1, 0.8, replicate=1)], tmp_path, space=ArchList((SPACE.spec(POINTS[1]),)))
    assert distribution.population(listed, "acts").notes == ("a list: how its architectures were chosen is not known",)


def test_a_run_without_finished_trials_says_nothing(tmp_path):
    unfinished = [
        trial(0, 0.9, family="ResNet-like"),
        trial(1, 0.8, Outcome.STOPPED),
        trial(2, 0.8, Outcome.RUNNING),
    ]
    with pytest.raises(RunError, match="no architecture that was drawn has reached the last epoch"):
        distribution.population(run(unfinished, tmp_path), "macs")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"data": DataRef("cifar10")}, r"data \(digits and cifar10\)"),
        ({"val_images": 60}, r"val_images \(400 and 60\)"),
        ({"recipe": load_recipe("proxy", {"lr": 0.7}).with_epochs(6)}, r"recipe.lr \(.* and 0.7\)"),
        ({"proxy": Proxy(epochs=3, size=32)}, r"proxy\.\w+ \(.*\)"),
    ],
)
def test_runs_that_trained_otherwise_are_not_compared(tmp_path, changes, difference):
    first, second = run([trial(1, 0.8)], tmp_path / "a"), run([trial(1, 0.8)], tmp_path / "b")
    distribution.check_comparable(first, second)
    other = run([trial(1, 0.8)], tmp_path / "b", **changes)
    with pytest.raises(RunError, match=rf"a and .*b cannot be compared: they differ in {difference}"):
        distribution.check_comparable(first, other)
