"""`nxt train` of several networks, and of what a search found: compared, resumed, and held against the search."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from limits import LIMIT

import nxt as package
from nxt.arch.load import parse_name
from nxt.config import read_yaml
from nxt.data.ref import DataRef
from nxt.errors import ConfigError
from nxt.train.checkpoint import read

TINY, OTHER = "resnext_1-1-1_w8_1x8d_cifar", "resnext_1-1-1_w8_2x8d_cifar"
COMMAND = [sys.executable, "-c", "from nxt.cli.main import program; program()"]
SHORT = ["--epochs", 1, "--size", 8, "--device", "cpu"]
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def two(tmp_path_factory, any_process):
    """Two networks trained with one command: the run, and what was printed."""
    out = tmp_path_factory.mktemp("two") / "run"
    given = ["train", TINY, OTHER, TINY, *SHORT, "--out", out, "--json"]
    result = any_process(*given, env=ENVIRONMENT)
    assert result.code == 0, result.err
    return out, result


@pytest.fixture(scope="module")
def best(tmp_path_factory, any_process, searched):
    """The best two of a search, each trained twice: interrupted after the first, then taken up again."""
    out = tmp_path_factory.mktemp("best") / "run"
    command = [*COMMAND, "train", searched, "--top", 2, "--repeats", 2, *SHORT, "--workers", 1, "--out", out]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(list(map(str, command)), text=True, env=ENVIRONMENT, **pipes) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("[1/4"):
                process.send_signal(signal.SIGINT)
        printed = process.stdout.read()
        code = process.wait(LIMIT)
    at_rest = {t.number: t.outcome for t in package.load_run(out).trials}
    again = any_process("train", "--resume", out, "--device", "cpu", env=ENVIRONMENT)
    assert again.code == 0, again.err
    return {"out": out, "code": code, "said": said, "printed": printed, "at_rest": at_rest, "again": again}


def test_what_is_no_checkpoint_of_a_list_is_told_where_they_are(two, nxt):
    result = nxt("eval", two[0])
    advice = f"nxt show {two[0]} names the checkpoint of the best"
    assert (result.code, result.out) == (1, "")
    assert result.err == f"nxt: {two[0]}: the trainings of a list, where a checkpoint was expected; {advice}\n"
    assert f"nxt eval {two[0]}/trials/" in nxt("show", two[0]).out


def test_several_networks_are_trained_and_compared_in_one_document(two):
    out, result = two
    found = json.loads(result.out)
    assert (found["run"], found["asked"], found["trials"]["done"]) == (str(out), 2, 2)
    assert {row["name"] for row in found["front"]} <= {TINY, OTHER} and found["best"]["name"] in (TINY, OTHER)
    run = package.load_run(out)
    assert run.full and sorted(trial.spec.name for trial in run.trials) == sorted([TINY, OTHER])


def test_every_training_leaves_a_network_that_can_be_evaluated(two, nxt):
    out, _ = two
    for trial in package.load_run(out).trials:
        path = out / "trials" / f"{trial.number}.pt"
        found = json.loads(nxt("eval", path, "--split", "val", "--json", "--device", "cpu").out)
        assert (found["name"], found["split"], found["size"]) == (trial.spec.name, "val", 8)
        assert found["accuracy"] == pytest.approx(trial.accuracy, abs=1.01 / found["images"])
        assert read(path).spec == trial.spec and "optimizer" not in read(path).state
        assert package.load(path).num_classes == 10


def test_each_network_is_trained_as_it_would_be_alone(two, nxt, tmp_path):
    out, _ = two
    [trial] = [trial for trial in package.load_run(out).trials if trial.spec.name == TINY]
    seed = read(out / "trials" / f"{trial.number}.pt").seed
    given = ["--set", "eval_size=8", "--seed", seed, "--tune", "off", "--out", tmp_path / "alone", "--json"]
    alone = nxt("train", TINY, *SHORT, *given)
    assert alone.code == 0, alone.err
    assert json.loads(alone.out)["accuracy"] == pytest.approx(trial.accuracy, abs=0.02)
    ours, theirs = read(tmp_path / "alone"), read(out / "trials" / f"{trial.number}.pt")
    for key in ("size", "eval_size", "epochs", "batch", "lr", "augment"):
        assert getattr(ours.recipe, key) == getattr(theirs.recipe, key)
    assert (ours.preprocess, ours.identity, ours.classes) == (theirs.preprocess, theirs.identity, theirs.classes)


def test_a_study_of_full_trainings_is_shown_as_one(two, nxt):
    out, _ = two
    shown = nxt("show", out)
    assert shown.code == 0 and "proxy" not in shown.out.lower()
    assert f"Test it: nxt eval {out / 'trials'}" in shown.out


def test_a_network_picked_from_full_trainings_is_not_called_a_proxy(two, nxt):
    picked = nxt("pick", two[0])
    assert "% in full training, one seed): " in picked.err and "proxy" not in picked.err


def test_an_interrupted_study_says_how_to_go_on(best):
    assert best["code"] == 130 and "Traceback" not in "".join(best["said"])
    assert (
        best["said"][-1].strip()
        == f"Interrupted. Go on with: nxt train --resume {best['out']} --workers 1 --device cpu"
    )
    assert 1 <= list(best["at_rest"].values()).count("done") < 4


def test_the_best_of_a_search_are_trained_as_often_as_asked(best, searched):
    run, found = package.load_run(best["out"]), package.load_run(searched)
    assert [entry.seeds for entry in run.entries] == [2, 2]
    assert {e.spec.fingerprint for e in run.entries} == {e.spec.fingerprint for e in found.entries[:2]}
    assert run.request.origins == (str(searched),) and str(run.request.data) == "digits"
    assert all(trial.outcome == "done" for trial in run.trials) and len(run.trials) == 4
    seeds = {read(best["out"] / "trials" / f"{trial.number}.pt").seed for trial in run.trials}
    assert len(seeds) == 4


def test_full_training_is_printed_beside_what_the_search_said(best, searched):
    out, found, run = best["again"].out, package.load_run(searched), package.load_run(best["out"])
    table = out[out.index("Proxy and full training, against") :]
    assert str(searched) in table and "in the search" in table and "full training" in table
    for rank, entry in enumerate(run.entries, 1):
        [row] = [line for line in table.splitlines() if entry.spec.name in line]
        before = next(n for n, e in enumerate(found.entries, 1) if e.spec.fingerprint == entry.spec.fingerprint)
        assert f"{found.entries[before - 1].accuracy:.1%}" in row and f"{entry.accuracy:.1%}" in row
        assert row.split()[-2:] == [str(before), str(rank)]


def test_the_search_itself_stays_as_it_was(best, searched):
    assert read_yaml(searched / "run.yaml")["command"] == "search"
    assert not (searched / "trials").exists() and len(package.load_run(searched).trials) == 5


def test_networks_train_on_what_they_were_found_on_if_all_were_found_on_the_same(searched, tmp_path):
    from nxt.search.engine.train_many import _data_of

    def data_used(networks):
        return _data_of(networks, [Path(name) for name in networks if Path(name).is_dir()])

    def file(name, data):
        (tmp_path / name).write_text(parse_name(TINY).to_yaml() + (f"provenance: {{data: {data}}}\n" if data else ""))
        return str(tmp_path / name)

    (tmp_path / "mine").mkdir()
    mine = DataRef("folder", str(tmp_path / "mine"))
    first, second, other = file("a.yaml", mine), file("b.yaml", mine), file("c.yaml", "")
    assert data_used([first, second]) == mine
    assert data_used([first, other]) == data_used([str(searched)]) == DataRef("digits")
    assert data_used([first, "resnet50"]) == mine  # a baseline beside them, by name


def test_networks_train_at_the_size_at_which_they_were_counted(searched, tmp_path):
    from nxt.search.engine.train_many import _side_of

    files = {}
    for size in (16, 24):
        files[size] = str(tmp_path / f"{size}.yaml")
        Path(files[size]).write_text(parse_name(TINY).to_yaml(provenance={"size": size}))
    assert _side_of([files[16], "resnet50", parse_name(TINY)], []) == 16
    assert _side_of(["resnet50", str(searched)], [searched]) is None
    with pytest.raises(ConfigError, match="the networks were counted at 16, 24 px; give the `size`"):
        _side_of(list(files.values()), [])
