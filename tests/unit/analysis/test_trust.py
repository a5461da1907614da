"""Trust: tau against scipy's, the control group standing for what was stopped, and a verdict that follows."""

import math

import numpy as np
import pytest
from runs import in_memory
from scipy import stats

from nxt.analysis import trust
from nxt.arch.costs import Cost
from nxt.errors import RunError
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import load_list

SPEC = load_list(["resnet50"]).specs[0]


def noisy(count, noise, seed=0):
    """Two figures of so many networks, the second being the first with noise."""
    draw = np.random.default_rng(seed)
    true = draw.normal(size=count)
    return true, true + noise * draw.normal(size=count)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("noise", [0.0, 0.5, 5.0])
def test_tau_and_spearman_are_scipy_s(noise, ties):
    x, y = noisy(40, noise)
    if ties:
        x, y = np.round(x), np.round(y)
    result = trust.agreement("x", x, y, [1.0] * 40)
    assert result.tau == pytest.approx(stats.kendalltau(x, y).statistic)
    assert result.banded == pytest.approx(result.tau)
    assert result.spearman == pytest.approx(stats.spearmanr(x, y).statistic)


def test_a_weight_is_so_many_networks():
    x, y = noisy(12, 1.0)
    weights = [1, 2, 3] * 4
    result = trust.agreement("x", x, y, [1.0] * 12, weights)
    assert result.tau == pytest.approx(stats.kendalltau(np.repeat(x, weights), np.repeat(y, weights)).statistic)
    assert math.isnan(result.recall) and math.isnan(result.spearman)


def test_a_figure_that_only_prefers_the_larger_network_is_found_out_in_the_bands():
    macs = np.repeat([1e6, 1e8], 20)
    small_noise = np.random.default_rng(1).normal(size=(2, 40)) * 0.1
    x, y = np.log(macs) + small_noise
    result = trust.agreement("x", x, y, macs)
    assert result.tau > 0.45
    assert abs(result.banded) < 0.2


def test_networks_within_a_quarter_more_cost_alike():
    x, y = [1.0, 2.0, 3.0], [1.0, 2.0, 0.0]
    assert trust.agreement("x", x, y, [100.0, 124.0, 1000.0]).banded == 1
    assert math.isnan(trust.agreement("x", x, y, [100.0, 126.0, 1000.0]).banded)


def test_the_interval_covers_the_true_tau_about_as_often_as_it_says():
    """Bivariate normal figures of correlation rho have a tau of 2/pi asin rho (Kendall and Gibbons 1990)."""
    true = 2 / math.pi * math.asin(0.7)
    inside = 0
    for seed in range(40):
        draw = np.random.default_rng(seed)
        x, y = draw.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], size=40).T
        low, high = trust.agreement("x", x, y, [1.0] * 40).interval
        assert low < high
        inside += low <= true <= high
    assert 32 <= inside <= 40


def test_recall_is_the_share_of_the_true_top_fifth_that_is_found():
    y = list(range(20))
    assert trust.agreement("x", y, y, [1.0] * 20).recall == 1
    assert trust.agreement("x", [-v for v in y], y, [1.0] * 20).recall == 0
    swapped = [*y[:15], 99, *y[16:19], 0]  # the best looks worst, and another one best
    assert trust.agreement("x", swapped, y, [1.0] * 20).recall == 0.75


def test_equal_values_order_nothing():
    result = trust.agreement("x", [1.0] * 10, list(range(10)), [1.0] * 10)
    assert math.isnan(result.tau) and math.isnan(result.spearman)
    assert result.recall == pytest.approx(0.2)  # what drawing two of ten finds of two


def test_where_the_cut_goes_through_a_tie_chance_decides():
    assert trust.agreement("x", [3, 2, 2, 1, 0, 0, 0, 0, 0, 0], range(9, -1, -1), [1.0] * 10).recall == 0.75


@pytest.mark.parametrize("deviation", [0.0, 0.02, 0.2])
def test_the_ceiling_is_what_a_second_training_reaches(deviation):
    """Draws true values and two trainings of each; the ceiling from one training is their average tau."""
    said, reached = [], []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        true = draw.normal(0.5, 0.05, size=40)
        one, two = true + deviation * draw.normal(size=(2, 40))
        said.append(trust.ceiling(one, deviation))
        reached.append(stats.kendalltau(one, two).statistic)
    assert np.mean(said) == pytest.approx(np.mean(reached), abs=0.05)


def test_the_ceiling_of_means_is_that_of_one_more_training():
    said, reached = [], []
    for seed in range(30):
        draw = np.random.default_rng(seed)
        true = draw.normal(0.5, 0.05, size=40)
        mean = (true + 0.05 * draw.normal(size=(5, 40))).mean(axis=0)
        said.append(trust.ceiling(mean, 0.05, [5] * 40))
        reached.append(stats.kendalltau(true + 0.05 * draw.normal(size=40), mean).statistic)
    assert np.mean(said) == pytest.approx(np.mean(reached), abs=0.05)


def test_equal_accuracies_have_no_ceiling():
    assert trust.ceiling([0.5] * 10, 0.0) is None


# Runs


def trial(number, early, late, macs=1000, outcome=Outcome.DONE, control=0, replicate=0):
    curve = [Epoch(1, early, 1.0, 1.0), Epoch(2, late, 1.0, 1.0)]
    curve = curve if outcome is Outcome.DONE else curve[:1]
    spec = SPEC.replace(depths=(1, 1, 1 + number // 40, 1 + number % 40))
    cost = Cost(macs=macs, params=macs, acts=macs)
    return Trial(number, (number,), spec, cost, curve=curve, outcome=outcome, control_rung=control, replicate=replicate)


def run_of(tmp_path, trials, name="run"):
    return in_memory(trials, tmp_path / name, val_images=1000)


def searched(noise, count=60, share=1.0, seed=3):
    """Trials of a search: of those below the median at epoch 1, a share runs on as a control group."""
    draw = np.random.default_rng(seed)
    late = draw.uniform(0.5, 0.9, count)
    early = late / 2 + noise * draw.normal(size=count)
    trials = []
    for number in range(count):
        behind = early[number] < np.median(early)
        control = 1 if behind and draw.random() < share else 0
        outcome = Outcome.STOPPED if behind and not control else Outcome.DONE
        trials.append(trial(number, early[number], late[number], int(draw.integers(900, 1100)), outcome, control))
    return trials, stats.kendalltau(early, late).statistic


def test_the_control_group_stands_for_the_stopped(tmp_path):
    weighted, survivors, whole = [], [], []
    for seed in range(20):
        trials, true = searched(0.05, count=200, share=0.3, seed=seed)
        weighted.append(trust.between_epochs(run_of(tmp_path, trials)).proxies[0].tau)
        ahead = [t for t in trials if t.outcome is Outcome.DONE and not t.control_rung]
        survivors.append(stats.kendalltau([t.curve[0].accuracy for t in ahead], [t.accuracy for t in ahead]).statistic)
        whole.append(true)
    assert np.mean(weighted) == pytest.approx(np.mean(whole), abs=0.04)
    assert np.mean(survivors) < np.mean(whole) - 0.1


def test_without_a_control_group_nothing_is_told_of_the_survivors(tmp_path):
    trials, _ = searched(0.05, share=0.0)
    assert trust.between_epochs(run_of(tmp_path, trials)) is None


def test_of_several_rungs_the_first_is_judged(tmp_path):
    trials, _ = searched(0.05)
    for number in (100, 101):
        late = trial(number, 0.3, 0.6)
        late.curve.append(Epoch(3, 0.6, 1.0, 1.0))
        late.control_rung = 2
        trials.append(late)
    for one in trials:
        if len(one.curve) == 2:
            one.curve.append(Epoch(3, one.curve[-1].accuracy, 1.0, 1.0))
    told = trust.between_epochs(run_of(tmp_path, trials))
    assert [one.name for one in told.proxies] == ["epoch 1", "epoch 2"] and told.judged.name == "epoch 1"


def test_of_thousands_of_trials_a_thousand_are_looked_at(tmp_path):
    trials = [trial(n, 0.3 + (n * 7919 % 3000) / 9000, 0.5 + n / 9000, 1000 + n % 50) for n in range(3000)]
    told = trust.between_epochs(run_of(tmp_path, trials))
    assert told.judged.count == 1000


def test_a_good_early_epoch_is_to_be_relied_on(tmp_path):
    told = trust.between_epochs(run_of(tmp_path, searched(0.001)[0]))
    assert told.of == "epoch 2" and [one.name for one in told.proxies] == ["epoch 1"]
    assert told.verdict().startswith(
        "Safe to stop trials at epoch 1: of two architectures, the one ahead by epoch 1 is ahead by"
    )


def test_a_fair_one_with_care(tmp_path):
    told = trust.between_epochs(run_of(tmp_path, searched(0.08)[0]))
    assert told.verdict().startswith("With care, stop trials at epoch 1")


def test_a_poor_one_little(tmp_path):
    told = trust.between_epochs(run_of(tmp_path, searched(0.2, count=300)[0]))
    assert told.verdict().startswith("Better not stop trials at epoch 1")


def test_one_that_may_be_chance_not_at_all(tmp_path):
    told = trust.between_epochs(run_of(tmp_path, searched(5.0, seed=4)[0]))
    assert told.verdict().startswith("Do not stop trials at epoch 1") and told.verdict().endswith("that may be chance.")


def test_nor_one_that_a_count_of_parameters_beats(tmp_path):
    trials = [trial(n, 0.5 + 0.01 * (n + 8 * (-1) ** n), 0.5 + 0.01 * n, macs=1000 + n) for n in range(30)]
    told = trust.between_epochs(run_of(tmp_path, trials))
    assert told.best_baseline.tau == 1
    assert told.verdict().endswith("the number of params alone tells as much.")


def trained_again(trials, count, deviation):
    """Trainings that confirm so many of the finished trials, two each: so far above and below their accuracy."""
    again = []
    for first in [t for t in trials if t.outcome is Outcome.DONE][:count]:
        for replicate, off in ((1, deviation / math.sqrt(2)), (2, -deviation / math.sqrt(2))):
            again.append(trial(first.number, 0.5, first.accuracy + off, replicate=replicate))
    return again


def test_the_noise_between_seeds_sets_the_ceiling(tmp_path):
    trials, _ = searched(0.02)
    assert trust.between_epochs(run_of(tmp_path, trials)).ceiling is None
    told = trust.between_epochs(run_of(tmp_path, trials + trained_again(trials, 1, 0.04)))
    assert 0.5 < told.ceiling.tau < 0.95
    assert told.proxies[0].count == 60
    assert "where one more training would give" in told.verdict()


def test_few_trainings_leave_the_ceiling_open_and_many_do_not(tmp_path):
    trials, _ = searched(0.02)
    few, many = (
        trust.between_epochs(run_of(tmp_path, trials + trained_again(trials, count, 0.04))) for count in (1, 20)
    )
    assert few.ceiling.tau == pytest.approx(many.ceiling.tau, abs=0.02)
    widths = [told.ceiling.interval[1] - told.ceiling.interval[0] for told in (few, many)]
    assert widths[0] > 0.8 and widths[1] < 0.25
    low, tau, high = few.ceiling.interval[0], few.ceiling.tau, few.ceiling.interval[1]
    assert low < tau < high and f"({(1 + low) / 2:.0%} to {(1 + high) / 2:.0%})" in few.verdict()
    assert f"tau {tau:.2f}, {low:.2f} to {high:.2f})" in few.caption


def test_seeds_that_agree_by_chance_measure_no_noise(tmp_path):
    trials, _ = searched(0.02)
    assert trust.between_epochs(run_of(tmp_path, trials + trained_again(trials, 1, 0.0))).ceiling is None


def test_too_few_trials_tell_nothing(tmp_path):
    assert trust.between_epochs(run_of(tmp_path, [])) is None
    trials, _ = searched(0.01, count=trust.LEAST - 1)
    assert trust.between_epochs(run_of(tmp_path, trials)) is None
    assert trust.between_epochs(run_of(tmp_path, searched(0.01, count=trust.LEAST)[0])) is not None


def test_accuracies_that_are_all_equal_tell_nothing(tmp_path):
    told = trust.between_epochs(run_of(tmp_path, [trial(n, 0.5, 0.5, 1000 + n) for n in range(10)]))
    assert told.verdict() == "Do not stop trials at epoch 1: all architectures are equal by it, or by epoch 2."
    assert told.to_dict()["proxies"][0]["tau"] is None


def test_a_proxy_is_held_against_another_run_of_the_same_architectures(tmp_path):
    proxy, _ = searched(0.02)
    full = [trial(t.number, 0.1, 0.3 + t.accuracy / 2, t.cost.macs, replicate=1) for t in proxy[:25]]
    told = trust.against(run_of(tmp_path, proxy, "short"), run_of(tmp_path, full, "long"))
    assert told.proxies[0].count == 25 and told.proxies[0].tau == 1
    assert told.of == "long's accuracy" and told.proxies[0].name == "short's accuracy"
    assert told.verdict().startswith("Safe to rely on short's accuracy: of two architectures, the one ahead by short's")
    with pytest.raises(RunError, match="the same run"):
        trust.against(run_of(tmp_path, proxy, "short"), run_of(tmp_path, proxy, "short"))
    (tmp_path / "other").mkdir()
    twin = trust.against(run_of(tmp_path, proxy, "long"), run_of(tmp_path / "other", full, "long"))
    assert twin.of != twin.judged.name and str(tmp_path / "other" / "long") in twin.of
    few = run_of(tmp_path, full[: trust.LEAST - 1], "long")
    assert trust.against(run_of(tmp_path, proxy, "short"), few) is None
