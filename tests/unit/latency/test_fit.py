"""Fitted latencies, and which blocks are measured."""

import numpy as np
from scipy.stats import kendalltau

from nxt.latency.fit import fit
from nxt.latency.parts import features, parts_of_space, spread
from nxt.space.load import load_space


def blocks_of(name):
    return [part for part in parts_of_space(load_space(name)).values() if part.stage is not None]


def roofline(part):
    """Return made-up seconds that depend on work, on bytes and on narrow groups."""
    work = sum(layer.macs / (3e9 * min(1.0, layer.in_width / layer.groups / 8)) for layer in part.layers)
    return 2e-5 + work + sum(layer.moved() for layer in part.layers) / 1e10


def test_blocks_that_were_not_measured_are_fitted_from_others():
    blocks = blocks_of("cifar")
    times, inputs = np.array([roofline(part) for part in blocks]), features(blocks)
    rows = spread(inputs, 300)
    others = np.setdiff1d(np.arange(len(blocks)), rows)
    found = fit(inputs[rows], times[rows], inputs[others])
    errors = np.abs(found.values / times[others] - 1)
    assert np.median(errors) < 0.05 and kendalltau(found.values, times[others])[0] > 0.96
    assert 0.3 < found.error / np.median(errors) < 4  # what is left out tells how the others are
    assert found.error < found.error_90


def test_the_error_of_leaving_one_out_is_that_of_fits_without_it():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(25, 3))
    times = np.exp(inputs @ [0.5, -0.2, 0.1] + 0.3 * np.sin(inputs[:, 0]) + 0.05 * rng.normal(size=25))
    closed = fit(inputs, times, inputs[:1]).error
    errors = []
    for row in range(25):
        rest = np.delete(np.arange(25), row)
        errors.append(abs(fit(inputs[rest], times[rest], inputs[[row]]).values[0] / times[row] - 1))
    assert 0.4 < closed / np.median(errors) < 2.5  # the fits without it may choose other hyper-parameters


def test_a_spread_begins_in_the_middle_and_covers_what_a_random_choice_does_not():
    blocks = blocks_of("mobile")
    inputs = features(blocks)
    rows = spread(inputs, 100)
    assert len(set(rows)) == 100 and rows[:40] == spread(inputs, 40)
    assert sorted(spread(inputs[:30], 100)) == list(range(30))
    scaled = (inputs - inputs.mean(axis=0)) / np.maximum(inputs.std(axis=0), 1e-9)  # some kinds are of no block there

    def farthest(chosen):
        return max(np.sqrt(((scaled[chosen] - one) ** 2).sum(axis=1)).min() for one in scaled)

    assert farthest(rows) < 0.8 * farthest(np.random.default_rng(0).choice(len(blocks), 100, replace=False))


def test_features_are_finite_for_all_kinds_of_blocks():
    for name in ("resnest", "nds_resnext_a", "smoke"):
        found = features(blocks_of(name))
        assert np.isfinite(found).all() and len(np.unique(found, axis=0)) > 0.99 * len(found)
