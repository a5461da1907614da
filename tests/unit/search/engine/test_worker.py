"""What becomes of a trial in a worker, whatever goes wrong: out of memory, NaN, errors, hangs, bad checkpoints."""

import dataclasses
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from limits import LIMIT

from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.config import to_mapping
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.errors import ArchError
from nxt.search.engine.packing import ON_CPU
from nxt.search.engine.worker import TrialRun, TrialTask
from nxt.search.trial import EpochResult, Outcome, TrialFailure
from nxt.tasks.classification import evaluate
from nxt.train import checkpoint as checkpoints
from nxt.train.engine.setup import open_inputs
from nxt.train.engine.trainer import _CHECK, Trainer
from nxt.train.recipe import load_recipe

SPEC = ArchSpec(stem="cifar", stem_width=4, depths=(1,), widths=(16,), base_width=(4,))
BATCH, LR = 64, 0.05
GPU_TEXT = "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation"
RUN_EPOCH = Trainer.run_epoch


@pytest.fixture(scope="module")
def data():
    return Squares(open_source(DataRef("digits")), 8, 0.1)


@pytest.fixture(autouse=True)
def same_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def task(folder, epochs=3, reported=0, patience=3600.0, number=0, **recipe):
    wanted = {"epochs": epochs, "batch": BATCH, "lr": LR, "warmup": 0, "calibrate": 0, **recipe}
    return TrialTask(
        number=number, arch=SPEC, recipe=load_recipe("proxy", wanted), size=8, seed=1,
        threads=1, share=ON_CPU, predicted=0, eager="", ways={}, reported=reported, data=DataRef("digits"), together=1,
        storage=str(folder), full=False, images=1.0, patience=patience,
    )  # fmt: skip


def whole():
    """What a full training is given."""
    return open_source(DataRef("digits"))


def row_of(report):
    """Return a result as a checkpoint has it."""
    return {**to_mapping(report.epoch), "remark": report.remark}


def facts(report):
    return report.epoch.epoch, report.epoch.accuracy, report.epoch.loss, report.remark


def allocator_error():
    """The error that torch raises when the memory of the CPU is used up."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


class Limited:
    """Trainings that raise an error in some of their epochs; it notes the recipes of all."""

    def __init__(self, monkeypatch, fails, error=None):
        self.recipes, self.epochs = [], []
        seen, made = self, error or torch.OutOfMemoryError(GPU_TEXT)

        def run_epoch(trainer, on_step=None):
            seen.recipes.append(trainer.recipe)
            seen.epochs.append(trainer.epoch + 1)
            if fails(trainer):
                raise made
            return RUN_EPOCH(trainer, on_step)

        monkeypatch.setattr("nxt.search.engine.worker.Trainer.run_epoch", run_epoch)


def with_full_batch(trainer):
    return trainer.recipe.batch == BATCH


def test_a_trial_reports_its_epochs_one_by_one(tmp_path, data):
    run = TrialRun(task(tmp_path), data)
    told = [run.step() for _ in range(3)]
    assert all(isinstance(report, EpochResult) for report in told)
    assert [report.epoch.epoch for report in told] == [1, 2, 3]
    assert all(report.remark == "" and 0 <= report.epoch.accuracy <= 1 and report.epoch.seconds > 0 for report in told)
    assert [path.name for path in tmp_path.iterdir()] == ["0.pt"]


def test_what_a_trial_leaves_is_a_checkpoint_like_any_other_and_at_its_end_one_of_weights_alone(tmp_path, data):
    run = TrialRun(task(tmp_path, epochs=2, ema=0.5), data)
    told = run.step()
    going = torch.load(tmp_path / "0.pt", weights_only=True)
    assert going["reports"] == [row_of(told)] and "optimizer" in going["state"]
    told = run.step()
    found = checkpoints.read(tmp_path / "0.pt")
    assert (found.spec, found.classes, found.data, found.seed) == (SPEC, data.source.classes, DataRef("digits"), 1)
    assert found.epoch == 2 and set(found.state) == {"epoch", "step", "weights"} and found.kinds == ("raw", "ema")
    assert max(found.accuracies.values()) == told.epoch.accuracy and set(found.accuracies) == {"raw", "ema"}
    batches = Batches(data.open().val, found.preprocess, torch.device("cpu"))
    for kind, accuracy in found.accuracies.items():
        assert evaluate(found.network(kind), batches, BATCH, Compute(), Ranks()) == accuracy


def test_a_trial_that_has_ended_is_reported_again_from_weights_alone(tmp_path, data, monkeypatch):
    run = TrialRun(task(tmp_path, epochs=2), data)
    told = [run.step(), run.step()]
    seen = Limited(monkeypatch, lambda trainer: False)
    again = TrialRun(task(tmp_path, epochs=2), data)
    assert [again.step(), again.step()] == told and seen.epochs == []


def test_a_full_training_opens_its_data_itself_and_says_which_it_was(tmp_path):
    run = TrialRun(task(tmp_path, epochs=1), whole())
    assert run.step().epoch.epoch == 1
    found = checkpoints.read(tmp_path / "0.pt")
    assert found.identity == open_source(DataRef("digits")).identity() != ""
    assert (found.preprocess.size, len(found.classes)) == (8, 10)


def test_a_full_training_and_a_trial_on_resident_data_are_the_same_training(tmp_path):
    given = TrialRun(task(tmp_path, epochs=2), Squares(open_source(DataRef("digits")), 8))
    opened = TrialRun(task(tmp_path, epochs=2, number=1), whole())
    assert [facts(given.step()) for _ in range(2)] == [facts(opened.step()) for _ in range(2)]


def test_a_trial_is_the_same_wherever_its_images_are_and_may_go_on_elsewhere(tmp_path, data, monkeypatch):
    told = [facts(row) for run in [TrialRun(task(tmp_path), data)] for row in (run.step(), run.step(), run.step())]
    monkeypatch.setattr("nxt.data.squares._FEW", 0)
    for number, places in enumerate((["cache"] * 3, ["/proc/none"] * 3, ["cache", "/proc/none", "cache"]), 1):
        found = []
        for epoch, place in enumerate(places):
            monkeypatch.setenv("NXT_CACHE", str(tmp_path / place))
            opened = Squares(open_source(DataRef("digits")), 8, 0.1)
            found.append(facts(TrialRun(task(tmp_path, number=number, reported=epoch), opened).step()))
        assert found == told
    assert len(list((tmp_path / "cache").glob("*.pixels"))) == 1


def test_while_a_trial_waits_for_images_to_be_decoded_each_of_them_is_a_sign_of_life(tmp_path, monkeypatch):
    beats = []
    monkeypatch.setattr("nxt.search.engine.watchdog.Watchdog.beat", lambda watchdog, *done: beats.append(done))
    monkeypatch.setattr("nxt.data.squares._FEW", 0)
    monkeypatch.setattr("nxt.data.squares._CHUNK", 50 * 3 * 64)
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    opened = Squares(open_source(DataRef("digits")), 8, 0.1)
    TrialRun(task(tmp_path, epochs=1), opened).step()
    assert len(beats) > 4 and beats[-1] == (len(opened), len(opened))


def test_a_trial_that_starts_again_goes_on_in_the_same_bits(tmp_path, data):
    whole = TrialRun(task(tmp_path, number=0), data)
    told = [whole.step() for _ in range(3)]
    TrialRun(task(tmp_path, number=1), data).step()
    second = TrialRun(task(tmp_path, number=1, reported=1), data)
    assert [facts(second.step()), facts(second.step())] == [facts(report) for report in told[1:]]


def test_an_epoch_that_was_trained_but_never_reported_is_reported_and_not_trained_again(tmp_path, data, monkeypatch):
    run = TrialRun(task(tmp_path), data)
    told = [run.step(), run.step()]
    seen = Limited(monkeypatch, lambda trainer: False)
    again = TrialRun(task(tmp_path, reported=1), data)
    assert again.step() == told[1] and seen.epochs == []
    assert again.step().epoch.epoch == 3 and seen.epochs == [3]


@pytest.mark.parametrize("kind", ["gpu", "cpu", "python"])
def test_out_of_memory_once_halves_batch_and_rate_and_says_so(tmp_path, data, monkeypatch, kind):
    error = {"gpu": torch.OutOfMemoryError(GPU_TEXT), "python": MemoryError()}.get(kind) or allocator_error()
    seen = Limited(monkeypatch, with_full_batch, error)
    run = TrialRun(task(tmp_path), data)
    told = [run.step() for _ in range(3)]
    assert [report.epoch.epoch for report in told] == [1, 2, 3]
    assert {report.remark for report in told} == {"batch halved to 32: out of memory with 64"}
    assert [(r.batch, r.lr) for r in seen.recipes] == [(BATCH, LR)] + [(BATCH // 2, LR / 2)] * 3


def test_the_halved_batch_is_kept_after_a_restart(tmp_path, data, monkeypatch):
    with monkeypatch.context() as patch:
        Limited(patch, with_full_batch)
        first = TrialRun(task(tmp_path), data).step()
    saved = torch.load(tmp_path / "0.pt", weights_only=True)
    assert saved["batch"] == 32 and saved["reports"] == [row_of(first)]
    seen = Limited(monkeypatch, lambda trainer: False)
    run = TrialRun(task(tmp_path, reported=1), data)
    told = [run.step(), run.step()]
    assert [report.epoch.epoch for report in told] == [2, 3]
    assert {report.remark for report in told} == {first.remark} != {""}
    assert {(r.batch, r.lr) for r in seen.recipes} == {(32, LR / 2)}
    again = TrialRun(task(tmp_path, reported=2), data).step()
    assert again == told[1]


def test_out_of_memory_in_a_full_training_halves_the_passes_and_leaves_the_recipe_as_it_is(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        seen = Limited(patch, lambda trainer: trainer.recipe.accumulate == 1)
        run = TrialRun(task(tmp_path), whole())
        told = run.step()
    assert told.epoch.epoch == 1 and told.remark == "batch halved to 32: out of memory with 64"
    assert [(r.batch, r.accumulate, r.lr) for r in seen.recipes] == [(BATCH, 1, LR), (BATCH, 2, LR)]
    seen = Limited(monkeypatch, lambda trainer: False)
    again = TrialRun(task(tmp_path, reported=1), whole())
    assert again.step().epoch.epoch == 2 and [(r.batch, r.accumulate) for r in seen.recipes] == [(BATCH, 2)]


def test_out_of_memory_in_a_later_epoch_repeats_that_epoch_alone(tmp_path, data, monkeypatch):
    seen = Limited(monkeypatch, lambda trainer: with_full_batch(trainer) and trainer.epoch == 1)
    run = TrialRun(task(tmp_path), data)
    told = [run.step() for _ in range(3)]
    assert [report.epoch.epoch for report in told] == [1, 2, 3] and seen.epochs == [1, 2, 2, 3]
    assert [bool(report.remark) for report in told] == [False, True, True]


@pytest.mark.parametrize("later", [False, True])
def test_out_of_memory_twice_ends_a_trial(tmp_path, data, monkeypatch, later):
    seen = Limited(monkeypatch, lambda trainer: with_full_batch(trainer) or not later or trainer.epoch == 1)
    run = TrialRun(task(tmp_path), data)
    if later:
        assert run.step().epoch.epoch == 1
    found = run.step()
    assert found == TrialFailure(Outcome.OOM, "with a batch of 32: CUDA out of memory. Tried to allocate 2.00 GiB.")
    assert {r.batch for r in seen.recipes} == {64, 32}


def test_a_batch_that_cannot_be_halved_ends_a_trial_at_once(tmp_path, data, monkeypatch):
    seen = Limited(monkeypatch, lambda trainer: True)
    found = TrialRun(task(tmp_path, batch=3), data).step()
    assert found.outcome == Outcome.OOM and found.message.startswith("with a batch of 3: ")
    assert len(seen.recipes) == 1


def test_what_the_cpu_allocator_says_is_known_as_out_of_memory(tmp_path, data, monkeypatch):
    Limited(monkeypatch, lambda trainer: True, allocator_error())
    found = TrialRun(task(tmp_path), data).step()
    assert found.outcome == Outcome.OOM and "\n" not in found.message


def losing(value, steps):
    """A step of training that takes no time and ends in a loss of that value."""

    def step(trainer, passes):
        steps.append(trainer.step)
        trainer._losses.append(torch.tensor(value))
        return 0.0

    return step


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_a_trial_within_the_epoch(tmp_path, data, monkeypatch, value):
    steps = []

    monkeypatch.setattr("nxt.train.engine.trainer.Trainer._step", losing(value, steps))
    found = TrialRun(task(tmp_path, batch=2), data).step()
    assert len(data.open().train) // 2 > _CHECK == len(steps)
    assert found.outcome == Outcome.DIVERGED
    assert found.message == f"the loss became {value} in epoch 1, step 1, at a rate of 0.05; lower the recipe's lr"
    assert not (tmp_path / "0.pt").exists()


def test_a_loss_that_is_not_finite_ends_a_trial_of_few_steps_after_its_epoch(tmp_path, data, monkeypatch):
    monkeypatch.setattr("nxt.train.engine.trainer.Trainer._step", losing(float("nan"), []))
    assert TrialRun(task(tmp_path), data).step().outcome == Outcome.DIVERGED


def test_a_far_too_high_learning_rate_ends_a_trial_as_diverged(tmp_path, data):
    run = TrialRun(task(tmp_path, epochs=30, lr=1e30), data)
    for _ in range(3):
        if isinstance(found := run.step(), TrialFailure):
            break
    assert found.outcome == Outcome.DIVERGED


def test_a_trial_whose_only_step_overflows_is_diverged_and_has_no_accuracy(tmp_path, data):
    found = TrialRun(task(tmp_path, lr=1e30, batch=len(data.open().train)), data).step()
    assert found.outcome == Outcome.DIVERGED and found.message.startswith("the outputs for ")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("what\nand more"), "ValueError: what"),
        (RuntimeError(""), "RuntimeError: RuntimeError"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_an_error_ends_a_trial_with_its_place(tmp_path, data, monkeypatch, error, text):
    Limited(monkeypatch, lambda trainer: True, error)
    found = TrialRun(task(tmp_path), data).step()
    assert found.outcome == Outcome.CRASHED
    line = next(n for n, row in enumerate(Path(__file__).read_text().splitlines(), 1) if row.strip() == "raise made")
    assert found.message == f"{text} (test_worker.py:{line})"
    assert not (tmp_path / "0.pt").exists()


def test_an_architecture_that_cannot_be_built_ends_a_trial(tmp_path, data, monkeypatch):
    def build(*_, **_how):
        raise ArchError("no such network")

    monkeypatch.setattr("nxt.search.engine.worker.resident_trainer", build)
    found = TrialRun(task(tmp_path), data).step()
    assert found.outcome == Outcome.CRASHED and found.message.startswith("ArchError: ")


HANGS = """
import dataclasses, sys, time
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.search.engine import watchdog, worker
from test_worker import task

def sleep_for_ever(trainer, on_step):
    on_step()
    while True:
        time.sleep(0.05)

folder, when = sys.argv[1:]
data = Squares(open_source(DataRef("digits")), 8, 0.1)
run = worker.TrialRun(task(folder), data)
if when == "later":
    assert run.step().epoch.epoch == 1
watchdog._TICK, watchdog._LEAST, watchdog._MULTIPLE = 0.1, 5, 0  # not before: on a slow machine an epoch takes longer
worker.Trainer.run_epoch = sleep_for_ever
print("begun", flush=True)
run.step()
print("came back")
"""


@pytest.mark.parametrize("when", ["first", "later"])
def test_a_process_that_hangs_ends_itself_and_the_next_one_says_where(tmp_path, data, monkeypatch, when):
    path = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])  # those of the tests, too
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, str(tmp_path), when],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "begun\n"
        output, _ = process.communicate(timeout=LIMIT)  # without a watch it would sleep for ever
    assert process.returncode == 1 and output == ""
    stacks = (tmp_path / "0.hung").read_text()
    assert "in sleep_for_ever" in stacks and "most recent call first" in stacks
    again = TrialRun(task(tmp_path, reported=int(when == "later")), data)
    for _ in range(2):
        found = again.step()
        assert found.remark == "started again: no step was made for 1 s, in <string>:12 (sleep_for_ever)"
    assert found.epoch.epoch == 2 + (when == "later") and not (tmp_path / "0.hung").exists()
    assert TrialRun(task(tmp_path, number=1), data).step().remark == ""  # other trials are none the wiser


def test_a_process_that_was_only_killed_did_not_hang(tmp_path, data):
    (tmp_path / "0.hung").write_text("")
    assert TrialRun(task(tmp_path), data).step().epoch.epoch == 1
    assert not (tmp_path / "0.hung").exists()


def test_epochs_in_time_leave_no_watch_behind(tmp_path, data, monkeypatch):
    monkeypatch.setattr(TrialRun, "_epoch", lambda run: {"epoch": 1})  # takes no time, on slow machines neither
    assert TrialRun(task(tmp_path, patience=1.0), data).step() == {"epoch": 1}
    assert not (tmp_path / "0.hung").exists() and "watchdog" not in {each.name for each in threading.enumerate()}


def test_every_step_every_measured_batch_and_every_image_that_is_read_is_a_sign_of_life(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("nxt.search.engine.watchdog.Watchdog.step", lambda watchdog: seen.append("step"))
    monkeypatch.setattr("nxt.search.engine.watchdog.Watchdog.beat", lambda watchdog, *done: seen.append(done))
    monkeypatch.setattr("nxt.search.engine.watchdog.Watchdog.starting", lambda watchdog: seen.append("starting"))

    def opened(*given, on_progress, **more):
        on_progress(1, 2)
        return open_inputs(*given, **more)

    monkeypatch.setattr("nxt.search.engine.worker.open_inputs", opened)
    run = TrialRun(dataclasses.replace(task(tmp_path, epochs=1), full=True), whole())
    run.step()
    steps = run._trainer.steps_per_epoch
    images = run._trainer.val_images, run._trainer.train_images  # the latter once, after the last epoch
    measured = sum(-(-len(each) // BATCH) for each in images)
    assert seen == ["starting", (1, 2)] + ["step"] * (steps + measured)


@pytest.mark.parametrize("place", ["no/such/folder", "/proc/self"])
def test_a_checkpoint_that_cannot_be_written_does_not_fail_a_trial(tmp_path, data, place):
    run = TrialRun(task(tmp_path / place), data)
    assert [run.step().epoch.epoch for _ in range(2)] == [1, 2]


def test_a_checkpoint_that_cannot_be_written_to_a_uri_does_not_fail_a_trial(tmp_path, data):
    run = TrialRun(task((tmp_path / "no").as_uri()), data)
    assert [run.step().epoch.epoch for _ in range(2)] == [1, 2]


def test_a_checkpoint_at_a_uri_serves_as_well(tmp_path, data):
    told = [TrialRun(task(tmp_path.as_uri(), reported=n), data).step() for n in range(3)]
    assert [report.epoch.epoch for report in told] == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["0.pt"]


def tensors(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


DAMAGED = {
    "empty": b"",
    "cut": b"PK\x03\x04 and no more",
    "random": bytes(range(256)) * 40,
    "a list": tensors([1, 2]),
    "without a state": tensors({"reports": [], "batch": 64}),
    "without epochs": tensors({"state": {}, "reports": [], "batch": 32}),
    "of another kind": tensors({"state": None, "reports": None, "batch": None}),
    "a pickle": b"\x80\x04cos\nsystem\n\x94\x8c\x04true\x94\x85\x94R\x94.",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_trial_with_a_damaged_checkpoint_starts_over(tmp_path, data, kind):
    (tmp_path / "0.pt").write_bytes(DAMAGED[kind])
    run = TrialRun(task(tmp_path), data)
    assert run.step().epoch.epoch == 1
    assert len(torch.load(tmp_path / "0.pt", weights_only=True)["reports"]) == 1


def test_a_trial_with_half_a_checkpoint_starts_over(tmp_path, data):
    TrialRun(task(tmp_path), data).step()
    content = (tmp_path / "0.pt").read_bytes()
    (tmp_path / "0.pt").write_bytes(content[: len(content) // 2])
    assert TrialRun(task(tmp_path, reported=1), data).step().epoch.epoch == 1


@pytest.mark.parametrize("change", ["seed", "arch", "recipe"])
def test_a_checkpoint_of_another_trial_at_the_same_place_is_not_taken_over(tmp_path, data, change):
    mine = task(tmp_path)
    other = {
        "seed": dataclasses.replace(mine, seed=2),
        "arch": dataclasses.replace(mine, arch=SPEC.replace(widths=(32,))),
        "recipe": task(tmp_path, lr=2 * LR),
    }[change]
    TrialRun(other, data).step()
    again = TrialRun(mine, data).step()
    (tmp_path / "0.pt").unlink()
    assert facts(again) == facts(TrialRun(mine, data).step())
