"""Training from Python: one call trains, and one call goes on."""

import pytest

import nxt
from nxt.config import read_yaml
from nxt.data.ref import DataRef
from nxt.errors import ConfigError, DataError, RunError, UsageError
from nxt.train.checkpoint import read as load
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


def test_with_nothing_held_out_all_images_are_trained_on_and_the_last_epoch_is_kept(tmp_path):
    job = {"data": "digits", "epochs": 2, "size": 8, "device": "cpu", "tune": False}
    usual = train(TINY, out=tmp_path / "usual", settings={"warmup": 0}, **job)
    notes = []
    whole = train(
        TINY, out=tmp_path / "whole", settings={"warmup": 0, "holdout": 0}, watcher=Watcher(note=notes.append), **job
    )
    counts = [read_yaml(result.out / "card.yaml")["data"]["images"]["train"] for result in (usual, whole)]
    assert counts[1] > counts[0] and any(f"{counts[1]:,} training and no validation images" in note for note in notes)
    assert [row["split"] for row in (*usual.metrics, *whole.metrics)] == ["val", "val", "train", "train"]
    assert whole.best_epoch == 2 == load(whole.out / "checkpoints" / "best.pt").epoch
    assert "No image was held out" in (whole.out / "CARD.md").read_text()
    with pytest.raises(DataError, match=r"was trained on all images of digits \(holdout: 0\)"):
        nxt.evaluate(whole.out, split="val")
    assert nxt.evaluate(whole.out).rows[0]["images"] > 0


@pytest.mark.parametrize("settings", [{"holdout": 0}, {"steps": 40}])
def test_several_networks_are_compared_on_images_held_out_alike(tmp_path, settings):
    with pytest.raises(ConfigError, match=f"recipe: {next(iter(settings))}: it is for the training of one network"):
        nxt.train_many([TINY, "resnet20"], "digits", settings=settings, out=tmp_path / "run")


def test_one_worker_needs_no_cluster(tmp_path):
    with pytest.raises(UsageError, match="`address` is for several `workers`"):
        train(TINY, out=tmp_path / "run", address="localhost:1")
