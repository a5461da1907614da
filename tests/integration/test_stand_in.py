"""Searches and trainings on GPUs, with a stand-in for each: what they ask of which GPU, and what becomes of failures.

Ray is told that this machine has GPUs. Its workers are real processes, the networks are trained on the CPU, memory is
counted and runs out, and recordings are made and replayed; see the stand-in.
"""

import pytest
import stand_in

import nxt
from nxt.arch.spec import ArchSpec
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.errors import DeviceError
from nxt.search.engine import execute, packing
from nxt.search.engine.packing import Share
from nxt.search.engine.worker import TrialRun, TrialTask
from nxt.search.request import load_record
from nxt.search.trial import Outcome
from nxt.train.recipe import load_recipe

SPEC = ArchSpec(stem="cifar", stem_width=8, depths=(1, 1), widths=(32, 64), cardinality=2, base_width=4)
WIDER = SPEC.replace(widths=(64, 128), stem_width=16)
MEMORY, CONTEXT = stand_in.Settings.memory, stand_in.Settings.context
SETTINGS = {"proxy": {"epochs": 2, "share": 0.3, "width": 1.0}, "recipe": {"batch": 64, "calibrate": 0}}


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    """Returns a function that plugs stand-ins in, and the log of what they are asked."""
    log = tmp_path / "asked.jsonl"
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))

    def plug_in(measures=False, **settings):
        if not measures:  # which way is fastest changes from run to run, and with it the memory that it takes
            monkeypatch.setattr(execute, "_ways", lambda search: {})
        stand_in.plug_in(monkeypatch, log=str(log), **settings)
        return lambda what: [row for row in stand_in.asked(log) if row["what"] == what]

    yield plug_in
    stand_in.unplug()


def trained(out, *archs, settings=SETTINGS, **options):
    return nxt.search(archs=archs or (SPEC,), data="digits", settings=settings, out=out, **options)


def recordings(asked):
    """Tells of each recording in a trial whether it failed; the process that measures before the trials is left out."""
    trials = {row["pid"] for row in asked("limit")}
    return [row.get("failed", False) for row in asked("record") if row["pid"] in trials]


def needed(out, spec=SPEC, batch=64):
    """Returns the bytes that a trial takes at its worst moment, by training it in this process."""
    recipe = load_recipe("proxy", {"epochs": 1, "batch": batch, "calibrate": 0})
    task = TrialTask(
        number=0, arch=spec, recipe=recipe, size=8, seed=1, threads=1, share=Share(1.0), predicted=0, eager="", ways={},
        reported=0, data=DataRef("digits"), together=1, storage=str(out), full=False, images=1.0, patience=600.0,
    )  # fmt: skip
    out.mkdir()
    result = TrialRun(task, Squares(open_source(DataRef("digits")), 8, 0.3)).step()
    stand_in.Memory.stop()
    return result.memory


def test_a_search_uses_two_gpus(plugged, tmp_path):
    asked = plugged(gpus=2, measures=True)
    run = nxt.search("smoke", flops=":1G", trials=3, confirm=1, settings=SETTINGS, out=tmp_path / "run", workers=2)
    assert {trial.outcome for trial in run.trials} == {Outcome.DONE} and run.best is not None
    assert {trial.remark for trial in run.trials} == {""}
    assert {row["device"] for row in asked("current")} == {0, 1}
    assert len(asked("overhead")) == 2  # each GPU is tried before the first trial
    assert {row["bytes"] for row in asked("limit")} == {0}  # each has a GPU for itself
    assert recordings(asked) == [False] * len(run.trials)
    ways = load_record(run.path).ways
    assert ways.keys() == {"dense", "grouped"} and len({way.precision for way in ways.values()}) == 1
    assert all(way.graph for way in ways.values())


def test_trials_share_a_gpu_and_none_gets_what_a_context_takes(plugged, tmp_path):
    asked = plugged(gpus=1)
    run = trained(tmp_path / "run", SPEC, WIDER, workers=2)
    assert {trial.outcome for trial in run.trials} == {Outcome.DONE}
    assert {row["bytes"] for row in asked("limit")} == {MEMORY // 2 - CONTEXT}


def test_a_fraction_that_is_asked_for_is_the_limit(plugged, tmp_path):
    asked = plugged(gpus=1)
    trained(tmp_path / "run", gpus_per_trial=0.25, workers=1)
    assert {row["bytes"] for row in asked("limit")} == {MEMORY // 4 - CONTEXT}


def test_memory_that_runs_out_halves_the_batch_and_is_given_back(plugged, tmp_path):
    plugged(gpus=1)
    whole, half = needed(tmp_path / "whole"), needed(tmp_path / "half", batch=32)
    assert half < 0.8 * whole
    asked = plugged(gpus=1, memory=2 * ((whole + half) // 2 + CONTEXT))
    (trial,) = trained(tmp_path / "run", gpus_per_trial=0.5, workers=1).trials
    assert trial.outcome is Outcome.DONE
    assert trial.remark == "batch halved to 32: out of memory with 64"
    released = asked("release")[-1]["live"]  # when the network with the whole batch was let go
    assert released < half / 2


def test_a_trial_that_needs_more_than_its_share_is_given_a_whole_gpu(plugged, tmp_path, monkeypatch):
    """The prediction is made too low here, as it may be before the first trials have been measured."""
    plugged(gpus=1)
    whole = needed(tmp_path / "whole")
    monkeypatch.setattr(packing, "_UNKNOWN", 0.01)
    monkeypatch.setattr(packing, "_LEAST_STEP", 1)
    asked = plugged(gpus=1, memory=int(1.5 * whole), context=whole // 20)
    (trial,) = trained(tmp_path / "run", workers=2).trials
    assert trial.outcome is Outcome.DONE and trial.remark == "" and len(trial.curve) == 2
    shared, alone = (row["bytes"] for row in asked("limit")[-2:])
    assert 0 < shared < whole and alone == 0


def test_a_network_that_no_gpu_holds_is_recorded_as_that(plugged, tmp_path):
    plugged(gpus=1)
    half = needed(tmp_path / "half", batch=32)
    plugged(gpus=1, memory=half // 2 + CONTEXT)
    (trial,) = trained(tmp_path / "run", workers=1).trials
    assert trial.outcome is Outcome.OOM and trial.message.startswith("with a batch of 32: CUDA out of memory")


def test_a_pass_that_cannot_be_recorded_is_run_eagerly_in_a_fresh_process(plugged, tmp_path):
    asked = plugged(gpus=1, records=False)
    (trial,) = trained(tmp_path / "run", workers=1).trials
    assert trial.outcome is Outcome.DONE and len(trial.curve) == 2
    assert trial.remark.startswith("a pass could not be recorded (CUDA error: ")
    before, after = dict.fromkeys(row["pid"] for row in asked("limit"))
    assert recordings(asked) == [True] and after != before
    assert not list((tmp_path / "run").rglob("*.eager"))


def test_a_gpu_that_cannot_be_used_is_told_before_the_first_trial(plugged, tmp_path):
    plugged(gpus=2, broken=(1,))
    with pytest.raises(DeviceError, match=r"^GPU 1 of [\d.]+ cannot be used \(CUDA error: .*CUDA_VISIBLE_DEVICES"):
        trained(tmp_path / "run")
    assert not (tmp_path / "run" / "study.db").exists()


def test_a_share_that_cuda_itself_fills_is_refused(plugged, tmp_path):
    plugged(gpus=1)
    with pytest.raises(DeviceError, match=r"`gpus_per_trial` 0.01: that is 10 MiB of .* CUDA itself takes 16 MiB"):
        trained(tmp_path / "run", gpus_per_trial=0.01)


def test_two_workers_of_a_training_have_a_gpu_each(plugged, tmp_path):
    asked = plugged(gpus=2)
    settings = {"batch": 64, "sync_bn": True}
    result = nxt.train(
        SPEC, data="digits", recipe="quick", epochs=2, settings=settings, workers=2, out=tmp_path / "run"
    )
    assert len(result.metrics) == 2
    current = {row["pid"]: row["device"] for row in asked("current")}
    assert sorted(current.values()) == [0, 1]
