"""All runs in a folder, each in short: searches and trainings in every state, damaged ones, and what is no run."""

import json
import sqlite3
import subprocess
import sys

import pytest
from limits import LIMIT
from runs import opened, resumed

import nxt
from nxt.errors import RunError
from nxt.files import locked
from nxt.rundir import LOCK
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.trial import Epoch
from nxt.space.arch_list import load_list
from nxt.space.budget import Budget
from nxt.space.load import load_space

TINY = "resnext_1-1-1_w8_1x8d_cifar"


def go_on(session, most=1000):
    """Have so many trials reach the accuracies 0.50, 0.51 and so on."""
    for _ in range(most):
        if (trial := session.strategy.suggest()) is None:
            return
        session.strategy.observe(trial.number, Epoch(1, 0.5 + trial.number / 100, 1.0, 0.1))


def search(out, most=1000, space="smoke", trials=3, confirm=0):
    architectures = load_list([space]) if space == TINY else load_space(space)
    settings = {"proxy": {"epochs": 1}, "search": {"confirm": confirm, "sampler": "random"}}
    request = make_request(architectures, Budget(()), "digits", trials, 0, settings)
    with opened(prepare_search(request, out), new=True) as session:
        go_on(session, most)


def training(out, rows, epochs=2):
    out.mkdir()
    (out / "run.yaml").write_text(f"command: train\nname: resnet50\ndata: digits\nrecipe: {{epochs: {epochs}}}\n")
    facts = {"loss": 1.0, "ema_accuracy": None, "seconds": 1.0, "images_per_second": 9.0, "time": 0.0}
    text = "".join(json.dumps({"epoch": n, "accuracy": 0.1 * n, **facts}) + "\n" for n in range(1, rows + 1))
    (out / "metrics.jsonl").write_text(text)


def found(folder):
    return {run.path.name: run for run in nxt.list_runs(folder)}


def test_searches_are_interrupted_until_all_is_done_and_running_while_somebody_writes(tmp_path):
    search(tmp_path / "deep" / "er" / "a", most=2)
    one = found(tmp_path)["a"]
    assert (one.kind, one.state, one.done, one.asked) == ("search", "interrupted", 2, 3)
    assert one.accuracy == 0.51 and one.best.startswith("resnext_") and one.age >= 0
    with locked(one.path / LOCK):
        assert found(tmp_path)["a"].state == "running"
    with opened(resumed(one.path)) as session:
        go_on(session)
    assert (found(tmp_path)["a"].state, found(tmp_path)["a"].done) == ("complete", 3)
    with opened(resumed(one.path)) as session:  # asked for more, and killed
        assert not session._study._study.user_attrs["complete"]


def test_a_search_is_complete_only_once_its_best_are_confirmed(tmp_path):
    search(tmp_path / "a", most=3, confirm=1)
    search(tmp_path / "b", confirm=1)
    runs = found(tmp_path)
    assert {name: run.state for name, run in runs.items()} == {"a": "interrupted", "b": "complete"}
    assert runs["b"].done > runs["b"].asked == 3


@pytest.mark.parametrize(("most", "state"), [(2, "interrupted"), (3, "complete")])
def test_of_an_older_search_the_state_is_found_out(most, state, tmp_path):
    search(tmp_path / "a", most)
    with sqlite3.connect(tmp_path / "a" / "study.db") as connection:
        connection.execute("delete from study_user_attributes where key = 'complete'")
    assert found(tmp_path)["a"].state == state


def test_lists_and_trainings_are_runs_too(tmp_path):
    search(tmp_path / "list", space=TINY)
    training(tmp_path / "half", 1)
    training(tmp_path / "whole", 2)
    training(tmp_path / "whole" / "inside", 2)  # not looked for
    (tmp_path / ".hidden").mkdir()
    training(tmp_path / ".hidden" / "other", 2)
    short = {name: (run.kind, run.state, run.done, run.asked, run.accuracy) for name, run in found(tmp_path).items()}
    assert short == {
        "list": ("list", "complete", 1, 1, 0.5),
        "half": ("training", "interrupted", 1, 2, 0.1),
        "whole": ("training", "complete", 2, 2, 0.2),
    }


def test_what_is_damaged_or_of_others_is_listed_with_what_is_wrong(tmp_path):
    search(tmp_path / "study", most=1)
    (tmp_path / "study" / "study.db").write_bytes(b"no database" * 100)
    search(tmp_path / "gone", most=1)
    (tmp_path / "gone" / "study.db").unlink()
    training(tmp_path / "metrics", 1)
    (tmp_path / "metrics" / "metrics.jsonl").write_text("{}\n")
    for name, text in {"foreign": "command: mlflow\n", "yaml": "a: [\n", "bare": "command: search\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.yaml").write_text(text)
    (tmp_path / "folder" / "run.yaml").mkdir(parents=True)  # no file
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.yaml").write_text("command: search\ntrials: 3\nspace: {}\n")
    problems = {name: (run.state, run.problem) for name, run in found(tmp_path).items()}
    assert problems.pop("begun") == ("interrupted", "")  # killed before its study was there
    assert {state for state, _ in problems.values()} == {"damaged"}
    assert {name: problem.split(" (")[0] for name, (_, problem) in problems.items()} == {
        "study": "study.db: the study cannot be read",
        "gone": "study.db: gone, but its copy is there",
        "metrics": f"metrics.jsonl: damaged; `resume` {tmp_path / 'metrics'} writes it anew from the checkpoint",
        "foreign": "run.yaml: names no command of nxt",
        "yaml": "run.yaml: line 2: not readable as plain YAML",
        "bare": problems["bare"][1],
    }
    assert problems["bare"][1].startswith("run.yaml: ") and "trials" in problems["bare"][1]


def test_there_must_be_a_folder(tmp_path):
    assert nxt.list_runs(tmp_path) == []
    for folder, problem in {tmp_path / "no": "no such folder", "s3://bucket/runs": "a URI; runs lie on disks"}.items():
        with pytest.raises(RunError, match=problem):
            nxt.list_runs(folder)


def test_neither_torch_nor_ray_is_imported(tmp_path):
    search(tmp_path / "a")
    code = f"import sys, nxt; nxt.list_runs({str(tmp_path)!r}); sys.exit(bool({{'torch', 'ray'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=LIMIT, check=False).returncode == 0
