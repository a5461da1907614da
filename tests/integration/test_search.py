"""Real searches through the command line and Ray, also when they are killed, interrupted, or lose a worker.

Every process of a search carries a mark in its environment, by which what is left of it is found.
"""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys

import pytest
from jobs import Job, facts
from limits import LIMIT

import nxt as package
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.errors import ConfigError, NxtError, RunError
from nxt.search.results.run import load_run
from nxt.search.trial import Outcome

LOW, HIGH = 5_000_000, 9_000_000
TRIALS, EPOCHS = 10, 4
SETTINGS = [f"proxy.epochs={EPOCHS}", "search.scheduler=asha", "search.grace=0.5", "proxy.share=0.3", "search.eta=2"]


def start(out, *extra, settings=SETTINGS, trials=TRIALS):
    given = [part for setting in settings for part in ("--set", setting)]
    budget = ["--flops", f"{LOW}:{HIGH}", "--trials", trials, "--confirm", 0]
    return Job(out, "smoke", *budget, "--out", out, *given, *extra)


def over(run):
    return {number: fact for number, fact in facts(run).items() if fact[3] is not Outcome.RUNNING}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search that nothing disturbed, one trial at a time: its run and what it printed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with start(out, "--workers", 1, "--json") as job:
        code, text = job.ended()
        assert code == 0, job.text()
        return load_run(out), json.loads(text)


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """The same search, killed, resumed, interrupted, and resumed to its end: what was there after each."""
    out = tmp_path_factory.mktemp("journey") / "run"
    seen = {}
    with start(out, "--workers", 1) as job:
        job.until(lambda: f"[4/{TRIALS}," in job.text())
        os.killpg(job.process.pid, signal.SIGKILL)
        assert job.ended()[0] == -signal.SIGKILL
    seen["killed"] = load_run(out)
    with Job(out, "--resume", out, "--workers", 2) as job:
        job.until(lambda: f"[7/{TRIALS}," in job.text())
        os.killpg(job.process.pid, signal.SIGINT)
        seen["code"], _ = job.ended()
        seen["log"] = job.text()
    seen["interrupted"], seen["front"] = load_run(out), json.loads((out / "front.json").read_text())
    with Job(out, "--resume", out) as job:
        assert job.ended()[0] == 0, job.text()
    return {**seen, "end": load_run(out)}


def test_a_search_runs_the_trials_asked_for_and_its_counts_add_up(whole):
    run, told = whole
    assert len(run.trials) == TRIALS == sum(told["trials"].values())
    assert told["trials"] == {str(o): run.count(o) for o in Outcome}
    assert run.count(Outcome.DONE) + run.count(Outcome.STOPPED) == TRIALS
    assert run.count(Outcome.STOPPED) >= 1
    with (run.path / "trials.csv").open(newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)] == [str(t.outcome) for t in run.trials]


def test_the_front_holds_distinct_networks_that_reached_the_last_epoch(whole):
    run, told = whole
    assert run.front and told["front"] == json.loads((run.path / "front.json").read_text())
    members = [trial for entry in run.front for trial in entry.trials]
    assert all(t.outcome is Outcome.DONE and [r.epoch for r in t.curve] == [1, 2, 3, 4] for t in members)
    assert len({t.spec.fingerprint for t in run.trials}) == TRIALS
    assert {t.family for t in run.trials if t.family} == {"ResNet-like", "ResNeXt-like"}


def test_every_trial_is_inside_the_budget_by_a_recount_through_the_built_network(whole):
    import torch
    from torch import nn

    from nxt.models.network import build

    for trial in whole[0].trials:
        network, macs = build(trial.spec).eval(), []

        def count(module, _inputs, output, macs=macs):
            macs.append(output[0].numel() * module.weight[0].numel())

        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.register_forward_hook(count)
        with torch.inference_mode():
            network(torch.zeros(1, 3, 32, 32))
        assert LOW <= sum(macs) <= HIGH and sum(macs) == trial.cost.macs
        assert sum(p.numel() for p in network.parameters()) == trial.cost.params


def test_the_files_are_there_and_the_checkpoints_are_gone(whole):
    run, _ = whole
    names = {p.name for p in run.path.iterdir()} - {".lock"}
    expected = {"run.yaml", "study.db", "trials.csv", "front.json", "front.csv", "front.png", "pareto", "best.yaml"}
    assert names == expected | {"study.db.bak", "tensorboard"}
    assert len(list((run.path / "tensorboard").iterdir())) == len(run.trials)
    assert (run.path / "front.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert {p.stem for p in (run.path / "pareto").iterdir()} == {entry.spec.name for entry in run.front}


def test_after_a_kill_the_study_has_what_had_ended_and_the_same_as_an_undisturbed_search(whole, journey):
    ended = over(journey["killed"])
    assert 4 <= len(ended) < TRIALS
    assert ended == {number: facts(whole[0])[number] for number in ended}


def test_a_killed_search_that_is_resumed_keeps_what_had_ended(journey):
    killed, interrupted, end = over(journey["killed"]), over(journey["interrupted"]), over(journey["end"])
    assert {n: interrupted[n] for n in killed} == killed
    assert {n: end[n] for n in interrupted} == interrupted


def test_an_interrupted_search_leaves_a_valid_front_and_says_how_to_go_on(journey):
    assert journey["code"] == 130
    assert "Interrupted. Go on with: nxt search --resume" in journey["log"]
    assert "Traceback" not in journey["log"]
    interrupted = journey["interrupted"]
    assert [row["fingerprint"] for row in journey["front"]] == [entry.spec.fingerprint for entry in interrupted.front]
    assert len(over(interrupted)) < TRIALS


def test_a_resumed_search_ends_with_the_number_asked_for_and_nothing_twice(journey):
    end = journey["end"]
    assert len(end.trials) == TRIALS == len(over(end))
    assert len({t.spec.fingerprint for t in end.trials}) == TRIALS
    assert end.count(Outcome.DONE) + end.count(Outcome.STOPPED) == TRIALS
    assert not (end.path / "trials").exists()


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_goes_on_in_another(tmp_path):
    out, epochs = tmp_path / "run", 20
    settings = [f"proxy.epochs={epochs}", "search.grace=1.0", "proxy.share=0.3", "search.eta=2"]
    with start(out, "--workers", 1, settings=settings, trials=1) as job:
        job.until(lambda: (out / "trials" / "0.pt").exists())
        victims = job.workers()
        for number in victims:
            os.kill(number, signal.SIGKILL)
        assert victims and "[1/1" not in job.text()
        assert job.ended()[0] == 0, job.text()
    run = load_run(out)
    assert [t.outcome for t in run.trials] == [Outcome.DONE]
    assert all(t.curve[-1].epoch == epochs for t in run.trials)


class BlocksOnce:
    """Has the first trial wait for ever for its checkpoint, a pipe that nobody writes to, until it was ended once."""

    def __init__(self, out):
        self.pipe, self.hung = out / "trials" / "0.pt", out / "trials" / "0.hung"

    def note(self, text):
        pass

    def reading(self, done, total):
        pass

    def begin(self, session, workers):
        os.mkfifo(self.pipe)

    def ended(self, trial):
        pass

    def update(self):
        if self.pipe.is_fifo() and self.hung.exists() and self.hung.stat().st_size:
            self.pipe.unlink()

    def shown(self):
        return contextlib.nullcontext()


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 20])
def test_a_trial_that_hangs_is_started_again_and_only_at_last_said_to_have_hung(tmp_path, retries):
    out = tmp_path / "run"
    settings = {"proxy": {"epochs": 2, "share": 0.2}, "search": {"patience": 10, "retries": retries}}
    given = {"trials": 1, "confirm": 0, "gpus_per_trial": 0, "workers": 1, "settings": settings}
    with contextlib.suppress(RunError) if retries == 0 else contextlib.nullcontext():
        package.search("smoke", flops=":1G", out=out, observer=BlocksOnce(out), **given)
    [trial] = load_run(out).trials
    if retries:
        assert trial.outcome is Outcome.DONE and trial.remark.startswith("started again: no step was made for ")
    else:
        assert trial.outcome is Outcome.TIMEOUT
        assert trial.message.startswith("hung: no step was made for 11 s, in ")
    assert not (out / "trials").exists()


# What a kill at the wrong moment leaves, step by step and without Ray


def trial_run(folder, epochs, reported=0):
    from nxt.arch.spec import ArchSpec
    from nxt.search.engine.packing import ON_CPU
    from nxt.search.engine.worker import TrialRun, TrialTask
    from nxt.train.recipe import load_recipe

    spec = ArchSpec.from_dict(
        {"stem": "cifar", "stem_width": 4, "depths": [1], "widths": [16], "cardinality": 1, "base_width": 4}
    )
    recipe = load_recipe("proxy", {"epochs": epochs, "batch": 64})
    task = TrialTask(
        number=0, arch=spec, recipe=recipe, size=8, seed=1, threads=1, share=ON_CPU, predicted=0, eager="", ways={},
        reported=reported, data=DataRef("digits"), together=1, storage=str(folder), full=False, images=1.0,
        patience=3600.0,
    )  # fmt: skip
    return TrialRun(task, Squares(open_source(DataRef("digits")), 8, 0.1))


def test_a_trial_killed_before_its_last_epoch_was_recorded_trains_no_epoch_too_many(tmp_path):
    whole = trial_run(tmp_path, 2)
    told = [whole.step(), whole.step()]
    again = trial_run(tmp_path, 2, reported=1).step()  # its checkpoint is of the last epoch, of which no one heard
    assert again == told[-1] and again.epoch.epoch == 2
    assert {path.name for path in tmp_path.iterdir()} == {"0.pt"}


def test_a_trial_that_starts_again_from_its_checkpoint_goes_on_in_the_same_bits(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    whole = trial_run(tmp_path / "a", 3)
    told = [whole.step() for _ in range(3)]
    trial_run(tmp_path / "b", 3).step()
    second = trial_run(tmp_path / "b", 3, reported=1)
    again = [second.step(), second.step()]
    assert [(r.epoch.epoch, r.epoch.accuracy, r.epoch.loss) for r in again] == [
        (r.epoch.epoch, r.epoch.accuracy, r.epoch.loss) for r in told[1:]
    ]


def test_a_trial_with_a_damaged_checkpoint_starts_over(tmp_path):
    (tmp_path / "0.pt").write_bytes(b"PK\x03\x04 and no more")
    assert trial_run(tmp_path, 2).step().epoch.epoch == 1


def test_a_wrong_number_of_trials_on_resume_leaves_the_record_as_it_was(whole):
    from nxt.cli.commands.search import search

    path = whole[0].path / "run.yaml"
    before = path.read_bytes()
    try:
        with pytest.raises(ConfigError, match="`trials`: 0 is not between"):
            search(resume=whole[0].path, trials=0)
        assert path.read_bytes() == before
    finally:
        path.write_bytes(before)


def test_a_training_run_cannot_be_resumed_as_a_search_and_stays_as_it_was(tmp_path):
    from nxt.cli.commands.search import search

    (tmp_path / "run.yaml").write_text("command: train\n")
    with pytest.raises(NxtError, match="a run of 'train', where a search was expected"):
        search(resume=tmp_path, trials=5)
    assert (tmp_path / "run.yaml").read_text() == "command: train\n"


def test_a_search_runs_from_python_in_one_call(tmp_path):
    """As in a notebook: settings as mappings, a callback, and the run that comes out."""
    ended = []
    settings = {"proxy": {"epochs": 1, "share": 0.2}, "search": {"sampler": "random"}}
    given = {"space": "smoke", "flops": ":1G", "confirm": 0, "gpus_per_trial": 0, "settings": settings}
    run = package.search(**given, trials=2, out=tmp_path / "run", callback=ended.append)
    assert len(run.trials) == len(ended) == 2 and all(trial.outcome is Outcome.DONE for trial in run.trials)
    assert list(run.front_frame()["name"]) == [entry.spec.name for entry in run.front]
    assert run.pick().entry in run.front and run.request.trials == 2
    more = package.search(resume=tmp_path / "run", trials=3, gpus_per_trial=0)
    assert [t.number for t in more.trials] == [0, 1, 2] and more.trials[:2] == run.trials
    with pytest.raises(RunError, match="exists already"):
        package.search(**given, trials=2, out=tmp_path / "run")


SCRIPT = """
import os, signal, sys, threading
import nxt
given = {"workers": 1, "gpus_per_trial": 0}
settings = {"proxy": {"epochs": 1, "share": 0.2}, "search": {"sampler": "random"}}
if "thread" in sys.argv:
    more = {"flops": ":1G", "trials": 1, "confirm": 0, "settings": settings, "out": sys.argv[1]}
    thread = threading.Thread(target=lambda: print(len(nxt.search("smoke", **more, **given).trials)))
    thread.start()
    thread.join()
else:
    stop = lambda trial: os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    print(len(nxt.search(resume=sys.argv[1], trials=20, callback=stop, **given).trials))
"""


@pytest.mark.parametrize("how", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_from_python_a_search_runs_in_any_thread_and_one_that_is_stopped_returns_no_run(tmp_path, how):
    """Else a script would go on with what a tenth of the trials said, as if the search were done."""

    def script(*words):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run"), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)

    result = script("thread")
    assert (result.returncode, result.stdout.split()[-1:]) == (0, ["1"]), result.stderr
    result = script(how)
    assert result.returncode and "KeyboardInterrupt" in result.stderr and "`resume`" in result.stderr
    assert 2 <= len(load_run(tmp_path / "run").trials) < 20
