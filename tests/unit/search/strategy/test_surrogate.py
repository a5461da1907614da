"""The model of accuracies: near what was seen, unsure where nothing was, and it tells noise from signal."""

import numpy as np
import pytest

from nxt.search.strategy.surrogate import Surrogate


def seen(trainings=30, inputs=3, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.random((trainings, inputs))
    return points, np.sin(3 * points[:, 0]) + points[:, 1] + noise * rng.normal(size=trainings)


def test_it_predicts_what_it_has_not_seen():
    model = Surrogate(*seen(40))
    points, truth = seen(200, seed=1)
    mean, deviation = model.predict(points)
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.1 * truth.std()
    assert np.mean(np.abs(mean - truth) < 3 * deviation) > 0.95


def test_it_is_less_sure_far_from_what_it_has_seen():
    points, scores = seen(20)
    model = Surrogate(points * 0.3, scores)
    assert model.predict(np.ones((1, 3)))[1] > 2 * model.predict(points[:1] * 0.3)[1]


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_repeats_tell_it_how_noisy_a_training_is(noise):
    points, _ = seen(15)
    points = np.repeat(points, 4, axis=0)
    rng = np.random.default_rng(3)
    scores = points[:, 0] + noise * rng.normal(size=len(points))
    assert 0.7 * noise < Surrogate(points, scores).noise < 1.4 * noise


def test_suppose_keeps_the_means_and_lowers_the_deviations():
    points, scores = seen(12)
    model = Surrogate(points, scores)
    new, others = np.array([[0.9, 0.1, 0.9]]), seen(50, seed=2)[0]
    mean, deviation = model.predict(others)
    doubt = model.predict(new)[1]
    supposed = model.suppose(new)
    assert np.allclose(model.predict(others)[0], mean, rtol=0, atol=1e-6 * scores.std())
    assert (model.predict(others)[1] <= deviation * (1 + 1e-6)).all() and model.predict(new)[1] < 0.9 * doubt
    assert np.allclose(supposed, model.predict(new)[0], rtol=0, atol=1e-6 * scores.std())


@pytest.mark.parametrize("scores", [np.full(6, 0.7), np.array([0.1, 0.1, 0.1, 0.1, 0.1, 9.0])])
def test_equal_scores_and_outliers_are_no_obstacle(scores):
    mean, deviation = Surrogate(seen(6)[0], scores).predict(seen(5, seed=1)[0])
    assert np.isfinite(mean).all() and (deviation > 0).all()


def test_many_trainings_are_all_used_though_few_are_fitted(monkeypatch):
    points, scores = seen(400, noise=0.1)
    everything = np.abs(Surrogate(points, scores).predict(points)[0] - seen(400)[1]).mean()
    part = np.abs(Surrogate(points[:150], scores[:150]).predict(points)[0] - seen(400)[1]).mean()
    assert everything < part
