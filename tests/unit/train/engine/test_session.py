"""What a training keeps and tells: its best epoch, and how uneven its classes are."""

from types import SimpleNamespace

import numpy as np
import pytest

from nxt.train.engine.session import Training
from nxt.train.engine.trainer import EpochReport
from nxt.train.history import accuracy_of


def report(epoch, accuracy):
    given = {"loss": 1.0, "ema_accuracy": None, "lr": 0.1, "seconds": 1.0, "wait": 0.0, "images_per_second": 1.0}
    return EpochReport(epoch=epoch, accuracy=accuracy, **given)


def test_the_best_checkpoint_is_of_the_epoch_that_is_told_as_the_best(monkeypatch):
    training = object.__new__(Training)
    training.metrics, training.trainer = [], SimpleNamespace(ranks=SimpleNamespace(rank=1))
    kept = []
    monkeypatch.setattr(Training, "_save", lambda training, best: best and kept.append(len(training.metrics)))
    for epoch, accuracy in enumerate([0.2, 0.5, 0.5, 0.4, 0.5], 1):
        training._store(report(epoch, accuracy))
    assert kept == [1, 2] and max(training.metrics, key=accuracy_of)["epoch"] == 2


@pytest.mark.parametrize(("labels", "told"), [([0, 1] * 20, ""), ([0] * 35 + [1] * 5, " (87.5% of the largest class)")])
def test_a_training_tells_how_uneven_its_classes_are(labels, told):
    labels = np.array(labels)
    recipe = SimpleNamespace(
        accumulate=1, batch=8, lr=0.1, lr_batch=None, size=8, eval_size=8, epochs=2, peak=0.1, holdout=0.2, steps=None,
    )  # fmt: skip
    training = object.__new__(Training)
    training.request = SimpleNamespace(recipe=recipe)
    training.trainer = SimpleNamespace(
        ranks=SimpleNamespace(world=1), device="cpu", compute="fp32", train_images=range(30), val_images=range(10)
    )
    training.source = SimpleNamespace(
        name="made up", has_val=True, classes=("a", "b"), labels=lambda split: labels, task="classification"
    )  # fmt: skip
    assert f"30 training and 10 validation images{told}, 8 px" in training.summary
