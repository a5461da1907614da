"""Full trainings on the digits, also when they are cut off: what continues ends in the same bits."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import nxt
from nxt.arch import ArchSpec
from nxt.config import read_yaml
from nxt.data.batches import Batches
from nxt.data.dataset import load_train, open_source
from nxt.errors import CheckpointError, NxtError, RunError
from nxt.train import checkpoint as checkpoints
from nxt.train.devices import choose
from nxt.train.loop import evaluate
from nxt.train.recipe import load_recipe
from nxt.train.run import TrainRequest, accuracy_on_test, load_request, prepared

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 8, "depths": [1, 1], "widths": [32, 64], "cardinality": 2, "base_width": 4}
)
EPOCHS = 5
COMMAND = [sys.executable, "-c", "from nxt.cli.main import main; main()"]
CLOCK = ("seconds", "images_per_second", "time")  # what differs from run to run
CPU = torch.device("cpu")


class CutOffError(Exception):
    """Stands for whatever ends a training before its time."""


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    choose("cpu")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def request_for(out, spec=SPEC, **changes):
    recipe = load_recipe("quick", {"epochs": EPOCHS, "warmup": 1, "batch": 32, "lr": 0.1, **changes})
    return TrainRequest(spec=spec, data="digits", size=8, recipe=recipe, seed=3, out=out)


def run(request, until=None, resume=False):
    def on_epoch(report):
        if report.epoch == until:
            raise CutOffError

    with prepared(request, CPU, resume) as training:
        return training.run(on_epoch)


def metrics(out):
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


def weights(out, name="last.pt"):
    return checkpoints.read(out / "checkpoints" / name).state


def assert_same_bits(a, b):
    """Compare two nested states of tensors and plain data."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same_bits(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same_bits(x, y)
    else:
        assert a == b


def assert_same_run(a, b):
    assert metrics(a) == metrics(b)
    for name in ("last.pt", "best.pt"):
        assert_same_bits(weights(a, name), weights(b, name))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing disturbed."""
    before = torch.get_num_threads()
    choose("cpu")
    torch.set_num_threads(1)
    result = run(request_for(tmp_path_factory.mktemp("training") / "whole"))
    torch.set_num_threads(before)
    return result


def test_a_training_runs_to_its_end_and_learns(whole):
    rows = metrics(whole.out)
    assert [row["epoch"] for row in rows] == list(range(1, EPOCHS + 1)) and whole.last.epoch == EPOCHS
    assert whole.last.accuracy > 0.3 and rows[-1]["loss"] < rows[0]["loss"]
    assert whole.best_accuracy == max(row["accuracy"] for row in rows)
    assert rows[whole.best_epoch - 1]["accuracy"] == whole.best_accuracy
    names = {str(p.relative_to(whole.out)) for p in whole.out.rglob("*") if p.is_file()}
    assert names == {"run.yaml", "metrics.jsonl", "checkpoints/last.pt", "checkpoints/best.pt"}


def test_the_record_says_what_was_trained_and_reads_back(whole):
    record = read_yaml(whole.out / "run.yaml")
    assert record["command"] == "train" and record["fingerprint"] == SPEC.fingerprint
    request = load_request(whole.out)
    assert request == request_for(whole.out) and record["device"] == "cpu"


def test_the_same_training_again_ends_in_the_same_bits(whole, tmp_path):
    assert_same_run(run(request_for(tmp_path / "again")).out, whole.out)


def test_another_seed_ends_elsewhere(whole, tmp_path):
    other = run(dataclasses.replace(request_for(tmp_path / "other"), seed=4))
    assert metrics(other.out) != metrics(whole.out)


def test_the_loaded_network_has_the_accuracy_that_was_reported(whole):
    data = load_train(open_source("digits"), 8)
    batches = Batches(data.val, data.mean, data.std, 8, CPU)
    request = request_for(whole.out)
    last, best = (nxt.load(whole.out / "checkpoints" / name) for name in ("last.pt", "best.pt"))
    assert evaluate(last, batches, request.recipe) == whole.last.accuracy
    assert evaluate(best, batches, request.recipe) == whole.best_accuracy
    assert nxt.load(whole.out).spec == SPEC
    [(images, labels)] = batches.plain(10_000)
    with torch.inference_mode():
        correct = (nxt.load(whole.out)(images).argmax(1) == labels).double().mean()
    assert float(correct) == pytest.approx(whole.last.accuracy, abs=1e-9)


def test_accuracy_on_test_is_of_the_images_that_no_one_saw(whole):
    accuracy, count = accuracy_on_test(checkpoints.read(whole.out), CPU)
    assert count == len(open_source("digits").labels("test"))
    assert 0.3 < accuracy <= 1


@pytest.mark.parametrize("until", [1, 3, EPOCHS])
def test_a_training_cut_off_after_an_epoch_continues_to_the_same_bits(whole, tmp_path, until):
    request = request_for(tmp_path / "cut")
    with pytest.raises(CutOffError):
        run(request, until)
    assert len(metrics(request.out)) == until
    again = run(request, resume=True)
    assert_same_run(again.out, whole.out)
    assert (again.best_accuracy, again.best_epoch) == (whole.best_accuracy, whole.best_epoch)
    assert dataclasses.replace(again.last, seconds=0, images_per_second=0) == dataclasses.replace(
        whole.last, seconds=0, images_per_second=0
    )


def test_a_training_cut_off_between_metrics_and_checkpoint_trains_that_epoch_again(whole, tmp_path, monkeypatch):
    request, save = request_for(tmp_path / "cut"), checkpoints.save

    def cut(path, checkpoint):
        if checkpoint.epoch == 3 and path.name == "last.pt":
            raise CutOffError
        save(path, checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save", cut)
        with pytest.raises(CutOffError):
            run(request)
    assert len(metrics(request.out)) == 3 and checkpoints.read(request.out).epoch == 2
    assert_same_run(run(request, resume=True).out, whole.out)


def test_a_finished_training_that_is_resumed_stays_as_it_is(whole):
    before = {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()}
    assert run(request_for(whole.out), resume=True) == whole
    assert {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()} == before


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_a_training_killed_midway_continues_to_the_same_bits(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SPEC.to_yaml())
    out = tmp_path / "killed"
    arguments = [
        "train",
        str(tmp_path / "tiny.yaml"),
        "--size",
        "8",
        "--epochs",
        "16",
        "--seed",
        "3",
        "--out",
        str(out),
    ]
    arguments += ["--set", "warmup=1", "--set", "batch=128", "--device", "cpu"]
    process = subprocess.Popen([*COMMAND, *arguments], env=environment(), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 100
        while not (out / "checkpoints" / "last.pt").exists() or len(metrics(out)) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    done = len(metrics(out))
    assert 3 <= done < 16
    request = load_request(out)
    command = [*COMMAND, "train", "--resume", str(out), "--device", "cpu", "--json"]
    resumed = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=200)
    undisturbed = run(dataclasses.replace(request, out=tmp_path / "undisturbed"))
    assert_same_run(out, undisturbed.out)
    told = json.loads(resumed.stdout)
    assert (told["epochs"], told["accuracy"]) == (16, undisturbed.last.accuracy)
    assert (told["best_accuracy"], told["best_epoch"]) == (undisturbed.best_accuracy, undisturbed.best_epoch)


def test_another_architecture_cannot_continue_a_training(whole):
    before = {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()}
    other = request_for(whole.out, SPEC.replace(depths=(2, 1)))
    with pytest.raises(CheckpointError, match=r"last\.pt: holds .*, not .*; train that one, or choose another --out"):
        run(other, resume=True)
    assert {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()} == before


def test_an_existing_run_is_not_overwritten(whole):
    with pytest.raises(RunError, match=r"exists already.*--resume"):
        run(request_for(whole.out))


def test_a_run_that_is_not_there_cannot_be_resumed(tmp_path):
    with pytest.raises((RunError, CheckpointError), match=r"no such|not a run"):
        run(request_for(tmp_path / "no"), resume=True)
    with pytest.raises(RunError, match="not a run directory"):
        load_request(tmp_path / "no")


def damaged(request, what):
    with pytest.raises(CutOffError):
        run(request, 2)
    if what == "checkpoint":
        path = request.out / "checkpoints" / "last.pt"
        path.write_bytes(path.read_bytes()[:3000])
    elif what == "metrics":
        (request.out / "metrics.jsonl").write_text("{")
    else:
        (request.out / "metrics.jsonl").unlink()


@pytest.mark.parametrize("what", ["checkpoint", "metrics", "no metrics"])
def test_a_damaged_run_is_refused_in_words(tmp_path, what):
    request = request_for(tmp_path / "run")
    damaged(request, what)
    with pytest.raises(NxtError):
        run(request, resume=True)


@pytest.mark.parametrize("key", ["arch", "data", "size", "recipe", "seed"])
def test_a_record_without_one_of_its_keys_is_refused_in_words(whole, tmp_path, key):
    from nxt.config import dump_yaml

    record = read_yaml(whole.out / "run.yaml")
    del record[key]
    (tmp_path / "run.yaml").write_text(dump_yaml(record))
    with pytest.raises(NxtError):
        load_request(tmp_path)


def test_a_training_that_diverges_says_so_and_keeps_what_came_before(tmp_path):
    from nxt.errors import DivergedError

    request = request_for(tmp_path / "run", lr=1e30, momentum=0.0, nesterov=False, warmup=0)
    with pytest.raises(DivergedError, match=r"the loss became (nan|inf) in epoch \d; lower the recipe's lr"):
        run(request)
