"""Training from Python: one call trains, and one call goes on."""

import pytest

from nxt.data.ref import DataRef
from nxt.errors import RunError, UsageError
from nxt.train.engine.session import Watcher
from nxt.train.engine.train import train
from nxt.train.request import load_request

TINY = "resnext_1-1-1_w8_1x8d_cifar"


def test_one_call_trains_into_a_run_directory_and_prints_nothing(tmp_path, capfd):
    reports = []
    out = tmp_path / "run"
    result = train(
        TINY, "digits", epochs=2, size=8, settings={"warmup": 0}, out=str(out), device="cpu", tune=False,
        watcher=Watcher(epoch=reports.append),
    )  # fmt: skip
    assert result.out == out.resolve() and [report.epoch for report in reports] == [1, 2]
    assert result.last.epoch == 2 and len(result.metrics) == 2
    assert result.best_accuracy == max(report.best for report in reports)
    request = load_request(out)
    assert (request.data, request.recipe.epochs, request.recipe.sides) == (DataRef("digits"), 2, (8, 8))
    assert not (out / "curves.png").exists() and capfd.readouterr() == ("", "")

    again = train(resume=out, device="cpu")  # all is done already
    assert again.metrics == result.metrics
    with pytest.raises(RunError, match="exists already"):
        train(TINY, out=out, device="cpu")


def test_one_worker_needs_no_cluster(tmp_path):
    with pytest.raises(UsageError, match="`address` is for several `workers`"):
        train(TINY, out=tmp_path / "run", address="localhost:1")
