"""What a search hands out: front, best, verdict, and the files that say so."""

import csv
import json

import pytest

from nxt.arch import load_arch
from nxt.config import read_yaml
from nxt.costs import Cost
from nxt.errors import ConfigError, NxtError, RunError
from nxt.report.plots import plot_front
from nxt.search.results import Run, front_columns, front_row, load_run, pareto, ranked, sampling_noise, write
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space import load_space

SPACE = load_space("smoke")
POINTS = [(d, e, 0, w, c, b) for d in (0, 1) for e in (0, 1) for w in (0, 1) for c in (0, 1) for b in (0, 1)]


def trial(number, macs, accuracy, outcome=Outcome.DONE, role="", epochs=3, message=""):
    curve = [Epoch(e, accuracy, 1.0, 0.5) for e in range(1, epochs + 1)] if accuracy is not None else []
    point = POINTS[number]
    cost = Cost(macs=macs, params=macs // 10, acts=1000 - macs)
    return Trial(number, point, SPACE.spec(point), cost, role, curve, outcome, message)


TRIALS = [
    trial(0, 500, 0.90, role="ResNet-like"),
    trial(1, 400, 0.80, role="ResNeXt-like"),
    trial(2, 300, 0.85),
    trial(3, 200, 0.99, Outcome.STOPPED, epochs=1, message="at the rung of epoch 1"),
    trial(4, 100, 0.50),
    trial(5, 450, 0.95),
    trial(6, 50, None, Outcome.CRASHED, message='ValueError: a, "b" (x.py:3)'),
    trial(7, 60, 0.99, Outcome.DIVERGED),
    trial(8, 70, 0.99, Outcome.RUNNING),
    trial(9, 80, None, Outcome.OOM),
]


def run(trials, path="here", **record):
    base = {"objective": "macs", "val_images": 400, "space_name": "smoke", "budget_rule": "all", "data": "digits"}
    return Run(path, {**base, **record}, list(trials))


def numbers(trials):
    return [t.number for t in trials]


def test_the_front_holds_what_no_finished_trial_dominates_by_rising_cost():
    assert numbers(pareto(TRIALS, "macs")) == [4, 2, 5]
    assert numbers(pareto(TRIALS, "acts")) == [0, 5]  # here the costliest has the fewest activations


def test_the_most_accurate_comes_first_and_of_equals_the_cheaper_then_the_earlier():
    assert numbers(ranked(TRIALS)) == [5, 0, 2, 1, 4]
    equal = [trial(0, 30, 0.5), trial(1, 20, 0.5), trial(2, 20, 0.5), trial(3, 90, 0.6)]
    assert numbers(ranked(equal)) == [3, 1, 2, 0]


def test_equal_trials_are_all_on_the_front():
    equal = [trial(0, 20, 0.5), trial(1, 20, 0.5), trial(2, 30, 0.5)]
    assert numbers(pareto(equal, "macs")) == [0, 1]


def test_a_run_knows_its_best_and_its_best_reference():
    found = run(TRIALS)
    assert (found.best.number, found.best_reference.number) == (5, 0)
    assert found.count(Outcome.DONE) == 5 and found.count(Outcome.OOM, Outcome.CRASHED) == 2
    empty = run(TRIALS[6:])
    assert empty.best is None and empty.best_reference is None and empty.front == [] and empty.done == []


@pytest.mark.parametrize(
    ("accuracy", "reference", "images", "expected"),
    [
        (
            0.95,
            0.90,
            10_000,
            r"at 95\.0%, \+5\.0 points over the best reference.*\(90\.0%\); more than twice the sampling",
        ),
        (0.95, 0.90, 100, r"at 95\.0%, \+5\.0 points over .*; within twice the sampling noise of 3\.7 points"),
        (0.90, 0.90, 400, None),
        (0.85, 0.90, 400, r"Nothing found beats the ResNet-like reference .* \(90.0%\)\.$"),
        (1.0, 1.0, 400, None),
    ],
)
def test_the_verdict_weighs_the_gain_against_the_noise(accuracy, reference, images, expected):
    found = run([trial(0, 500, reference, role="ResNet-like"), trial(1, 450, accuracy)], val_images=images)
    text = found.verdict()
    if expected is None:  # equal: the cheaper one is the best, and that is no more than noise
        assert "+0.0 points" in text and "; within twice" in text
    else:
        import re

        assert re.search(expected, text)
    if "noise" in text:
        assert f"({images} validation images, one seed each)." in text


def test_the_verdict_without_finished_trials_or_references_says_so():
    assert run([]).verdict() == "No trial has reached the last epoch yet."
    assert run(TRIALS[6:]).verdict() == "No trial has reached the last epoch yet."
    text = run([TRIALS[2], trial(3, 9, 0.9, Outcome.STOPPED, role="ResNet-like")]).verdict()
    assert text == f"Best: {TRIALS[2].spec.name} at 85.0%. No reference reached the last epoch to compare with."


def test_the_noise_of_a_difference_is_that_of_two_binomials():
    assert sampling_noise(trial(0, 1, 0.5), trial(1, 1, 0.5), 200) == pytest.approx(0.05)
    assert sampling_noise(trial(0, 1, 1.0), trial(1, 1, 1.0), 200) == 0


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_are_written(tmp_path):
    write(tmp_path, TRIALS, "macs")
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    members = [TRIALS[i] for i in (4, 2, 5)]
    assert names == {
        "trials.csv", "front.json", "front.csv", "best.yaml", *(f"pareto/{t.spec.name}.yaml" for t in members)
    }  # fmt: skip
    rows = json.loads((tmp_path / "front.json").read_text())
    assert rows == [front_row(t) for t in members]
    assert [list(r) for r in rows] == [front_columns()] * 3
    assert [r["fingerprint"] for r in read_csv(tmp_path / "front.csv")] == [t.spec.fingerprint for t in members]
    assert [float(r["accuracy"]) for r in read_csv(tmp_path / "front.csv")] == [0.50, 0.85, 0.95]


def test_the_files_of_the_front_are_architectures_that_can_be_loaded(tmp_path):
    write(tmp_path, TRIALS, "macs")
    for row in json.loads((tmp_path / "front.json").read_text()):
        spec = load_arch(tmp_path / row["yaml"])
        assert (spec.fingerprint, spec.name) == (row["fingerprint"], row["name"])
    assert load_arch(tmp_path / "best.yaml") == TRIALS[5].spec
    provenance = read_yaml(tmp_path / "best.yaml")["provenance"]
    assert provenance["trial"] == 5 and provenance["proxy_accuracy"] == 0.95 and provenance["macs"] == 450
    assert provenance["run"] == tmp_path.name and provenance["proxy_epochs"] == 3


def test_the_table_of_trials_has_every_state_and_message(tmp_path):
    write(tmp_path, TRIALS, "macs")
    rows = read_csv(tmp_path / "trials.csv")
    assert [r["state"] for r in rows] == [
        "done", "done", "done", "stopped", "done", "done", "crashed", "diverged", "running", "oom"
    ]  # fmt: skip
    assert [int(r["number"]) for r in rows] == list(range(10))
    assert rows[6]["message"] == 'ValueError: a, "b" (x.py:3)' and rows[6]["accuracy"] == ""
    assert rows[3]["epochs"] == "1" and rows[0]["role"] == "ResNet-like" and rows[0]["seconds"] == "1.5"


def test_a_front_that_shrinks_leaves_no_stale_files(tmp_path):
    write(tmp_path, TRIALS[:5], "macs")
    (tmp_path / "pareto" / "older.yaml").write_text("x: 1\n")
    (tmp_path / "pareto" / "notes.txt").write_text("mine")
    write(tmp_path, [*TRIALS[:5], trial(5, 90, 0.999)], "macs")
    left = {p.name for p in (tmp_path / "pareto").iterdir()}
    assert left == {f"{TRIALS[5].spec.name}.yaml", "notes.txt"}


def test_writing_twice_changes_nothing(tmp_path):
    write(tmp_path, TRIALS, "macs")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    write(tmp_path, TRIALS, "macs")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("trials", [[], TRIALS[6:]])
def test_without_finished_trials_the_files_are_empty_but_valid(tmp_path, trials):
    write(tmp_path, trials, "macs")
    assert json.loads((tmp_path / "front.json").read_text()) == []
    assert read_csv(tmp_path / "front.csv") == []
    assert len(read_csv(tmp_path / "trials.csv")) == len(trials)
    assert not (tmp_path / "best.yaml").exists()


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "front.json").mkdir()
    with pytest.raises(RunError, match=r"front\.json: cannot be written"):
        write(tmp_path, TRIALS, "macs")


@pytest.mark.parametrize("trials", [[], TRIALS[6:], TRIALS[:1], TRIALS[3:4], TRIALS, TRIALS[1:5]])
@pytest.mark.parametrize("objective", ["macs", "acts"])
def test_the_figure_is_drawn_whatever_there_is(tmp_path, trials, objective):
    plot_front(run(trials, objective=objective), tmp_path / "front.png")
    from PIL import Image

    with Image.open(tmp_path / "front.png") as image:
        image.load()
        assert image.format == "PNG" and image.width > 800 and len(image.convert("L").getcolors()) > 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"not a run directory \(no run.yaml in it\)"),
        ("command: train\n", "a run of 'train', where a search was expected"),
        ("command: search\n", "damaged record of a search|is missing"),
        ("command: search\nspace_name: smoke\nspace: 3\n", None),
        ("command: search\nspace_name: smoke\nspace: {axes: {}}\n", None),
        ("{", "not readable as plain YAML"),
    ],
)
def test_a_folder_that_is_no_search_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(NxtError, match=message) as caught:
        load_run(tmp_path)
    assert isinstance(caught.value, (RunError, ConfigError))


def test_a_search_without_a_study_is_refused(tmp_path):
    from nxt.config import dump_yaml

    words = dict.fromkeys(("budget_rule", "convention", "data"), "x") | {"objective": "macs", "space_name": "smoke"}
    numbers = dict.fromkeys(("trials", "seed", "train_images", "val_images"), 1)
    parts = {"proxy": {}, "recipe": {}, "search": {}, "budget": [], "space": SPACE.to_dict()}
    (tmp_path / "run.yaml").write_text(dump_yaml({"command": "search", **words, **numbers, **parts}))
    with pytest.raises(RunError, match="no such study; has the search begun"):
        load_run(tmp_path)
