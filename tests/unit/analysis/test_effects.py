"""Effects at equal cost: a planted one is found, intervals are those of the bootstrap, pairs need both to vary."""

import numpy as np
import pytest
from reports import POINTS, SPACE, planted, report_data, trial
from scipy import stats

from nxt.analysis import effects


def test_a_planted_effect_is_found_at_equal_cost():
    trials = [trial(n, planted(n)) for n in range(400)]
    data = report_data(trials)
    assert data.residuals.values.mean() == pytest.approx(0, abs=1e-9)
    result = effects.main_effects(data.residuals, SPACE)
    radix = {effect.value: effect for effect in result["radix"]}
    others = np.mean([data.residuals.values[i] for i, t in enumerate(trials) if t.spec.radix])
    assert radix[2].mean - radix[0].mean == pytest.approx(0.02, abs=0.006) and others > 0
    assert radix[0].interval[1] < 0 < radix[4].interval[0]
    assert sum(effect.count for effect in result["radix"]) == 400 and set(result) <= set(SPACE.axis_names)
    pairs = effects.by_cardinality_and_radix(data.residuals)
    assert sum(effect.count for effect in pairs) == 400
    pair = pairs[0]
    own = [v for t, v in zip(trials, data.residuals.values, strict=True)
           if (t.spec.cardinality[0], t.spec.radix) == pair.value]  # fmt: skip
    assert (pair.count, pair.mean) == (len(own), pytest.approx(np.mean(own)))


def test_intervals_are_those_of_the_percentile_bootstrap():
    values = np.random.default_rng(1).normal(0.01, 0.02, 30)
    result = effects.effect("x", values)
    rng = np.random.default_rng(2)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=rng).confidence_interval
    assert result.interval == pytest.approx((expected.low, expected.high), abs=5e-4)
    assert result == effects.effect("x", values)
    assert effects.effect("x", values[:4]).interval is None


def test_pairs_need_both_to_vary():
    plain = [n for n in range(1000) if SPACE.spec(POINTS[n]).radix == 0][:30]
    data = report_data([trial(n, planted(n)) for n in plain])
    assert effects.by_cardinality_and_radix(data.residuals) == []
