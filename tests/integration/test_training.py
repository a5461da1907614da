"""Full trainings on the digits, also when they are cut off: what continues ends in the same bits."""

import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from limits import LIMIT, LONG, wait_until
from trainings import ALWAYS, CPU, CutOffError, assert_same_bits, assert_same_run, metrics, run, weights

import nxt
from nxt.arch.spec import ArchSpec
from nxt.compute.devices import choose
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.config import dump_yaml, read_yaml, to_mapping
from nxt.data.dataset import load_train
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.errors import CheckpointError, NxtError, RunError
from nxt.tasks.classification import evaluate
from nxt.train import checkpoint as checkpoints
from nxt.train.checkpoint_folder import CheckpointFolder
from nxt.train.engine.open import prepared
from nxt.train.engine.session import Watcher
from nxt.train.recipe import Recipe, Saving, load_recipe
from nxt.train.request import TrainRequest, at_size, load_request
from nxt.train.signals import StoppedError

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 8, "depths": [1, 1], "widths": [32, 64], "cardinality": 2, "base_width": 4}
)
EPOCHS = 5
COMMAND = [sys.executable, "-c", "from nxt.cli.main import program; program()"]
# Everything that draws random numbers or has a state of its own.
RICH = {
    "ema": 0.9, "mixup": 0.2, "cutmix": 1.0, "dropout": 0.2, "drop_block": 0.1, "stochastic_depth": 0.2, "clip": 1.0,
    "accumulate": 2, "optimizer": "adamw", "lr": 0.01, "loss": "bce",
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def request_for(out, spec=SPEC, **changes):
    recipe = load_recipe("quick", {"epochs": EPOCHS, "warmup": 1, "batch": 32, "lr": 0.1, "size": 8, **changes})
    return TrainRequest(spec=spec, data=DataRef("digits"), recipe=recipe, seed=3, out=out, compute=Compute())


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
    events = {name for name in names if name.startswith("tensorboard/events.out.tfevents.")}
    states = {f"checkpoints/{name}.pt" for name in ("last", "previous", "best")}
    assert names == {".lock", "run.yaml", "metrics.jsonl", "card.yaml", "CARD.md", *states, *events}
    [event] = events
    assert b"val/accuracy" in (whole.out / event).read_bytes()


def test_the_record_says_what_was_trained_and_reads_back(whole):
    record = read_yaml(whole.out / "run.yaml")
    assert record["command"] == "train" and record["fingerprint"] == SPEC.fingerprint
    request = load_request(whole.out)
    asked = request_for(whole.out)
    chosen = {"recipe": at_size(asked.recipe, SPEC.size), "inputs": request.inputs}
    assert request == dataclasses.replace(asked, **chosen)
    assert {split: choice.kind for split, choice in request.inputs.items()} == {"train": "resident", "val": "resident"}
    assert record["compute"] == {"channels_last": True, "precision": "fp32", "compile": False, "graph": False}


def test_the_same_training_again_ends_in_the_same_bits(whole, tmp_path):
    assert_same_run(run(request_for(tmp_path / "again")).out, whole.out)


def test_another_seed_ends_elsewhere(whole, tmp_path):
    other = run(dataclasses.replace(request_for(tmp_path / "other"), seed=4))
    assert metrics(other.out) != metrics(whole.out)


def test_the_loaded_network_has_the_accuracy_that_was_reported(whole):
    data = load_train(open_source(DataRef("digits")), 8)
    batches = Batches(data.val, checkpoints.read(whole.out).preprocess, CPU)
    last, best = (nxt.load(whole.out / "checkpoints" / name) for name in ("last.pt", "best.pt"))
    assert evaluate(last, batches, 32, Compute(), Ranks()) == whole.last.accuracy
    assert evaluate(best, batches, 32, Compute(), Ranks()) == whole.best_accuracy
    assert nxt.load(whole.out).spec == SPEC
    [(images, labels)] = batches.plain(10_000)
    with torch.inference_mode():
        correct = (nxt.load(whole.out)(images).argmax(1) == labels).double().mean()
    assert float(correct) == pytest.approx(whole.last.accuracy, abs=1e-9)


@pytest.mark.parametrize("until", [1, 3, EPOCHS])
def test_a_training_cut_off_after_an_epoch_continues_to_the_same_bits(whole, tmp_path, until):
    request = request_for(tmp_path / "cut")
    with pytest.raises(CutOffError):
        run(request, until)
    assert len(metrics(request.out)) == until
    again = run(request, resume=True)
    assert_same_run(again.out, whole.out)
    assert (again.best_accuracy, again.best_epoch) == (whole.best_accuracy, whole.best_epoch)
    clock = dict.fromkeys(("seconds", "images_per_second", "wait"), 0)
    assert dataclasses.replace(again.last, **clock) == dataclasses.replace(whole.last, **clock)


def test_what_a_kill_lost_of_the_curves_for_tensorboard_is_written_again(whole, tmp_path):
    request = request_for(tmp_path / "cut")
    with pytest.raises(CutOffError):
        run(request, 3)
    for path in (request.out / "tensorboard").iterdir():
        path.unlink()
    run(request, resume=True)
    [events] = (request.out / "tensorboard").iterdir()
    assert events.read_bytes().count(b"val/accuracy") == EPOCHS


def test_a_training_cut_off_while_it_saves_trains_that_epoch_again(whole, tmp_path, monkeypatch):
    request, save = request_for(tmp_path / "cut"), checkpoints.save

    def cut(path, checkpoint):
        if checkpoint.epoch == 3 and path.name == "next.pt":
            raise CutOffError
        save(path, checkpoint)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save", cut)
        with pytest.raises(CutOffError):
            run(request)
    assert len(metrics(request.out)) == 2 and checkpoints.read(request.out).epoch == 2
    assert_same_run(run(request, resume=True).out, whole.out)


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A training with everything that draws random numbers, which nothing disturbed."""
    before = torch.get_num_threads()
    choose("cpu")
    torch.set_num_threads(1)
    result = run(request_for(tmp_path_factory.mktemp("training") / "rich", **RICH, epochs=3))
    torch.set_num_threads(before)
    return result


@pytest.mark.parametrize("steps", [1, 7, 35, 36, 41, 60])
def test_a_training_cut_off_inside_an_epoch_continues_to_the_same_bits(rich, tmp_path, steps):
    request = request_for(tmp_path / "cut", **RICH, epochs=3, saving={"minutes": ALWAYS})
    with pytest.raises(CutOffError):
        run(request, steps=steps)
    assert checkpoints.read(request.out).state["step"] > 0 or steps > 35
    with pytest.raises(CutOffError):
        run(request, resume=True, steps=9)
    assert_same_run(run(request, resume=True).out, rich.out)


def test_a_training_counted_in_steps_ends_inside_an_epoch_and_continues_there_to_the_same_bits(tmp_path):
    request = request_for(tmp_path / "whole", saving={"minutes": ALWAYS})
    with prepared(dataclasses.replace(request, out=tmp_path / "probe"), CPU) as training:
        per_epoch = training.trainer.steps_per_epoch
    in_steps = dataclasses.replace(request.recipe, epochs=0, steps=2 * per_epoch + 10)
    undisturbed = run(dataclasses.replace(request, recipe=in_steps))
    assert len(undisturbed.metrics) == 3 == load_request(undisturbed.out).recipe.epochs
    cut = dataclasses.replace(request, recipe=in_steps, out=tmp_path / "cut")
    with pytest.raises(CutOffError):
        run(cut, until=2)
    with pytest.raises(CutOffError):
        run(load_request(cut.out), resume=True, steps=4)  # in the last, short epoch
    state = checkpoints.read(cut.out).state
    assert (state["epoch"], 0 < state["step"] < 10) == (2, True)
    assert_same_run(run(load_request(cut.out), resume=True).out, undisturbed.out)


def test_a_training_on_streamed_images_continues_to_the_same_bits(tmp_path):
    """A policy changes images one by one, so worker processes read them; the last epoch is entered in its middle."""
    changes = {"epochs": 2, "batch": 128, "augment": {"policy": "trivialaugment", "erase": 0.5}, "calibrate": 128}
    undisturbed = run(request_for(tmp_path / "undisturbed", **changes))
    request = request_for(tmp_path / "cut", **changes, saving={"minutes": ALWAYS})
    with pytest.raises(CutOffError):
        run(request, steps=14)
    state = checkpoints.read(request.out).state
    assert (state["epoch"], state["step"]) == (1, 2) and load_request(request.out).inputs["train"].kind == "streamed"
    assert_same_run(run(request, resume=True).out, undisturbed.out)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(whole, tmp_path):
    request, notes = request_for(tmp_path / "cut"), []
    with pytest.raises(CutOffError):
        run(request, 3)
    path = request.out / "checkpoints" / "last.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with prepared(request, CPU, True, Watcher(note=notes.append)) as training:
        training.run()
    assert "last.pt: truncated or damaged" in notes[0] and "previous.pt (epoch 3)" in notes[0]
    assert not any("truncated" in note for note in notes[1:])
    assert_same_run(request.out, whole.out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_state_inside_the_epoch_and_leaves(rich, tmp_path, number):
    request = request_for(tmp_path / "cut", **RICH, epochs=3)

    def ask(position):
        if position.step == 5:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    said = pytest.raises(StoppedError, match="stopped in epoch 1, after step 6; its state is saved")
    with prepared(request, CPU, watcher=Watcher(step=ask)) as training, said as stopped:
        training.run()
    assert stopped.value.signal == number and signal.getsignal(number) is handler
    state = checkpoints.read(request.out).state
    assert (state["epoch"], state["step"], len(state["losses"])) == (0, 6, 6)
    assert_same_run(run(request, resume=True).out, rich.out)


def test_checkpoints_of_some_epochs_are_kept_but_not_too_many(tmp_path):
    request = request_for(tmp_path / "kept", saving={"every": 1, "most": 2})
    run(request)
    names = sorted(path.name for path in (request.out / "checkpoints").iterdir())
    assert names == ["best.pt", "epoch-0004.pt", "epoch-0005.pt", "last.pt", "previous.pt"]
    whole, kept = (weights(request.out, name) for name in ("last.pt", "epoch-0005.pt"))
    assert_same_bits(whole["weights"], kept["weights"])
    assert "optimizer" in whole and "optimizer" not in kept


def test_averaged_weights_are_judged_beside_the_raw_ones_and_the_better_ones_used(rich):
    rows, checkpoint = metrics(rich.out), checkpoints.read(rich.out)
    assert checkpoint.kinds == ("raw", "ema")
    assert checkpoint.accuracies == {"raw": rows[-1]["accuracy"], "ema": rows[-1]["ema_accuracy"]}
    assert rich.best_accuracy == max(max(row["accuracy"], row["ema_accuracy"]) for row in rows)
    raw, ema = (checkpoint.network(kind).fc.weight for kind in ("raw", "ema"))
    assert not torch.equal(raw, ema)
    better = max(checkpoint.accuracies, key=checkpoint.accuracies.get)
    assert torch.equal(checkpoint.network().fc.weight, checkpoint.network(better).fc.weight)


def test_a_finished_training_that_is_resumed_stays_as_it_is(whole):
    before = {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()}
    assert run(request_for(whole.out), resume=True) == whole
    assert {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()} == before


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def saves(out):
    """Return the checkpoints that there are, and when each was written."""
    found = {}
    for path in (out / "checkpoints").glob("*.pt"):
        with contextlib.suppress(FileNotFoundError):  # moved just now
            found[path.name] = path.stat().st_mtime_ns
    return found


@pytest.mark.parametrize("times", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_a_training_killed_at_random_moments_ends_in_the_same_bits(tmp_path, times):
    """The processes are killed at random moments, so also while they save; most once they have got on."""
    changes = {**RICH, "epochs": 40, "saving": {"minutes": 0.002}}
    recipe, arch, out = tmp_path / "recipe.yaml", tmp_path / "arch.yaml", tmp_path / "killed"
    recipe.write_text(dump_yaml(to_mapping(request_for(out, **changes).recipe)))
    arch.write_text(SPEC.to_yaml())
    begin = ["train", arch, "--recipe", recipe, "--seed", 3, "--out", out, "--tune", "off", "--device", "cpu"]
    moments, kills, steps = random.Random(0), 0, []
    while kills < times:
        arguments = begin if not (out / "run.yaml").exists() else ["train", "--resume", out, "--device", "cpu"]
        process = subprocess.Popen([*COMMAND, *map(str, arguments)], env=environment(), stderr=subprocess.PIPE)
        try:
            assert process.stderr is not None
            assert any(b"training images" in line or b"validation images" in line for line in process.stderr)
            before = saves(out)
            if kills % 3 < 2:
                wait_until(lambda before=before, process=process: saves(out) != before or process.poll() is not None)
            time.sleep(moments.uniform(0, 0.4))
            process.send_signal(signal.SIGKILL)
            assert process.wait(LIMIT) == -signal.SIGKILL, "ended before it was killed"
        finally:
            process.kill()
            process.communicate()
        kills += 1
        if any((out / "checkpoints").glob("*.pt")):
            state = CheckpointFolder(out / "checkpoints", Saving()).newest(print).state
            steps.append((state["epoch"], state["step"]))
    assert steps == sorted(steps) and len(set(steps)) > times // 2 and any(step for _, step in steps)
    command = [*COMMAND, "train", "--resume", str(out), "--device", "cpu", "--json"]
    resumed = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=LONG)
    undisturbed = run(dataclasses.replace(load_request(out), out=tmp_path / "undisturbed"))
    assert_same_run(out, undisturbed.out)
    told = json.loads(resumed.stdout)
    assert (told["epochs"], told["accuracy"]) == (40, undisturbed.last.accuracy)
    assert (told["best_accuracy"], told["best_epoch"]) == (undisturbed.best_accuracy, undisturbed.best_epoch)


def test_another_architecture_cannot_continue_a_training(whole):
    before = {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()}
    other = request_for(whole.out, SPEC.replace(depths=(2, 1)))
    with pytest.raises(CheckpointError, match=r"whole: holds .*, not .*; train that one, or choose another `out`"):
        run(other, resume=True)
    assert {p: p.read_bytes() for p in whole.out.rglob("*") if p.is_file()} == before


def test_an_existing_run_is_not_overwritten(whole):
    with pytest.raises(RunError, match=r"exists already.*`resume`"):
        run(request_for(whole.out))


def test_a_run_that_is_not_there_cannot_be_resumed(tmp_path):
    with pytest.raises((RunError, CheckpointError), match=r"no such|not a run"):
        run(request_for(tmp_path / "no"), resume=True)
    with pytest.raises(RunError, match="not a run directory"):
        load_request(tmp_path / "no")


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_in_words(tmp_path):
    request = request_for(tmp_path / "run")
    with pytest.raises(CutOffError):
        run(request, 2)
    for name in ("last.pt", "previous.pt"):
        path = request.out / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match=r"last\.pt: truncated or damaged, and there is no other; train into"):
        run(request, resume=True)
    for path in (request.out / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(CheckpointError, match=r"last\.pt: no such checkpoint"):
        run(request, resume=True)


@pytest.mark.parametrize("content", ["{", None])
def test_metrics_that_were_damaged_are_written_again(whole, tmp_path, content):
    request = request_for(tmp_path / "run")
    with pytest.raises(CutOffError):
        run(request, 2)
    path = request.out / "metrics.jsonl"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert_same_run(run(request, resume=True).out, whole.out)


@pytest.mark.parametrize(("key", "value"), [("batch", 64), ("lr", 0.2), ("mixup", 0.1)])
def test_a_record_that_was_changed_by_hand_is_refused(whole, key, value):
    request = request_for(whole.out)
    changed = dataclasses.replace(request, recipe=dataclasses.replace(request.recipe, **{key: value}))
    with pytest.raises(CheckpointError, match=f"run.yaml has another {key} than the checkpoint; undo that"):
        run(changed, resume=True)
    with pytest.raises(CheckpointError, match=r"another seed than the checkpoint"):
        run(dataclasses.replace(request, seed=4), resume=True)


def test_weights_alone_cannot_go_on_and_the_state_before_them_is_taken(whole, tmp_path):
    request = request_for(tmp_path / "cut")
    with pytest.raises(CutOffError):
        run(request, 3)
    folder = request.out / "checkpoints"
    (folder / "last.pt").write_bytes((folder / "best.pt").read_bytes())
    assert_same_run(run(request, resume=True).out, whole.out)


def test_data_that_has_changed_cannot_go_on(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(10):
                Image.new("RGB", (8, 8), (20 * index, 9, 9)).save(tmp_path / "data" / split / name / f"{index}.png")
    request = dataclasses.replace(
        request_for(tmp_path / "run", batch=4), data=DataRef("folder", str(tmp_path / "data"))
    )
    with pytest.raises(CutOffError):
        run(request, 1)
    (tmp_path / "data" / "train" / "a" / "3.png").unlink()
    with pytest.raises(CheckpointError, match="no longer the data of this run: images were added, removed or changed"):
        run(request, resume=True)


@pytest.mark.parametrize("key", ["arch", "data", "compute", "recipe", "seed", "weights", "workers"])
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
    said = r"the loss became (nan|inf) in epoch 1, step \d+, at a rate of 1e\+30; lower the recipe's lr. No checkpoint"
    with pytest.raises(DivergedError, match=said):
        run(request)


def test_weights_that_are_not_finite_are_never_saved(tmp_path, monkeypatch):
    """After the step that overflows the loss is still finite, and a state is due after every step."""
    from nxt.errors import DivergedError

    request = request_for(tmp_path / "run", saving={"minutes": ALWAYS})
    with monkeypatch.context() as patched:
        patched.setattr(Recipe, "rate", lambda _self, number, _steps: 1e45 if number == 2 else 0.01)
        with pytest.raises(DivergedError, match=r"weights became .* epoch 1, step 3.* \(inside epoch 1\)"):
            run(request)
    state = checkpoints.read(request.out).state
    assert state["step"] == 2 and all(value.isfinite().all() for value in state["weights"]["raw"].values())


def test_a_training_that_diverges_late_names_the_last_good_checkpoint(tmp_path, monkeypatch):
    from nxt.errors import DivergedError

    request = request_for(tmp_path / "run", saving={"minutes": ALWAYS})
    with pytest.raises(CutOffError):
        run(request, 2)
    with monkeypatch.context() as patched:
        patched.setattr(Recipe, "rate", lambda *_: 1e30)
        with pytest.raises(DivergedError, match=r"in epoch 3, step \d+.*The last good checkpoint is .*last\.pt"):
            run(request, resume=True)
    state = checkpoints.read(request.out).state
    assert all(value.isfinite().all() for value in state["weights"]["raw"].values())
