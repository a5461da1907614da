"""What a search hands out: front, best, verdict, and the files that say so."""

import csv
import dataclasses
import json
import math
import re

import pytest
from runs import in_memory

from nxt.arch.costs import Cost
from nxt.arch.load import load_arch
from nxt.config import dump_yaml, read_yaml
from nxt.errors import ConfigError, NxtError, RunError
from nxt.report.matplotlib_figures import plot_front
from nxt.search.proxy import full_training
from nxt.search.ranking import RankedArch, best_of, noise_of, pareto, ranked
from nxt.search.results.files import FRONT_COLUMNS, write
from nxt.search.results.run import load_run
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.arch_list import ArchList
from nxt.space.budget import parse_budget
from nxt.space.load import load_space

SPACE = load_space("smoke")
POINTS = [(d, e, 0, w, c, b) for d in (0, 1) for e in (0, 1) for w in (0, 1) for c in (0, 1) for b in (0, 1)]

POINT_PRINTS = [SPACE.spec(point).fingerprint for point in POINTS]


def trial(
    number, macs, accuracy, outcome=Outcome.DONE, family="", epochs=3, message="", replicate=0, of=None, control=0
):
    """A trial, of the architecture of trial `of` if it is another training of that."""
    curve = [Epoch(e, accuracy, 1.0, 0.5) for e in range(1, epochs + 1)] if accuracy is not None else []
    point = POINTS[number if of is None else of]
    cost = Cost(macs=macs, params=macs // 10, acts=1000 - macs)
    return Trial(number, point, SPACE.spec(point), cost, family, replicate, curve, outcome, message, control)


TRIALS = [
    trial(0, 500, 0.90, family="ResNet-like"),
    trial(1, 400, 0.80, family="ResNeXt-like"),
    trial(2, 300, 0.85),
    trial(3, 200, 0.99, Outcome.STOPPED, epochs=1, message="at the rung of epoch 1"),
    trial(4, 100, 0.50),
    trial(5, 450, 0.95),
    trial(6, 50, None, Outcome.CRASHED, message='ValueError: a, "b" (x.py:3)'),
    trial(7, 60, 0.99, Outcome.DIVERGED),
    trial(8, 70, 0.99, Outcome.RUNNING),
    trial(9, 80, None, Outcome.OOM),
]


# The best by search falls behind when it is trained again; the reference stands where it stood.
CONFIRMED = [
    *TRIALS[:6],
    trial(10, 450, 0.86, replicate=1, of=5),
    trial(11, 450, 0.88, replicate=2, of=5),
    trial(12, 500, 0.91, replicate=1, of=0, family="ResNet-like"),
    trial(13, 500, 0.89, replicate=2, of=0, family="ResNet-like"),
]


def run(trials, path="here", **changes):
    return in_memory(trials, path, **{"space": SPACE, **changes})


def numbers(entries):
    return [tuple(t.number for t in entry.trials) if entry.seeds > 1 else entry.trials[0].number for entry in entries]


def test_the_front_holds_what_no_finished_trial_dominates_by_rising_cost():
    assert numbers(pareto(ranked(TRIALS), "macs")) == [4, 2, 5] == numbers(run(TRIALS).front)
    assert numbers(pareto(ranked(TRIALS), "acts")) == [0, 5]  # here the costliest has the fewest activations
    assert numbers(run(TRIALS, objective="acts").front) == [0, 5]


@pytest.mark.parametrize("objective", ["macs", "acts"])
def test_of_equally_accurate_ones_the_best_is_on_the_front(objective):
    result = run([trial(0, 500, 0.9), trial(1, 400, 0.9)], objective=objective)  # the second has more activations
    assert [result.best] == result.front


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.DONE])
def test_what_did_not_reach_the_last_epoch_is_never_an_entry(outcome):
    result = run([*TRIALS[:3], trial(3, 10, 0.99, outcome), trial(10, 300, 0.99, outcome, replicate=1, of=2)])
    assert numbers(result.entries) == [0, 2, 1] and numbers(result.front) == [2, 0]
    assert result.best.trials[0].number == 0 and not any(entry.confirmed for entry in result.entries)


def test_equal_trials_are_all_on_the_front():
    equal = [trial(0, 20, 0.5), trial(1, 20, 0.5), trial(2, 30, 0.5)]
    assert numbers(pareto(ranked(equal), "macs")) == [0, 1]


def test_in_a_window_what_is_clearly_poorer_than_every_reference_is_not_on_the_front():
    window = parse_budget({"flops": "4M"})
    result = run(TRIALS, budget=window)
    assert numbers(result.poor) == [4] and numbers(result.front) == [2, 5] and len(result.entries) == 5
    near = run([*TRIALS[:4], trial(4, 100, 0.78)], budget=window)  # the poorest reference has 0.80, of 400 images
    assert near.poor == [] and numbers(near.front) == [4, 2, 0]
    alone = run([trial(0, 500, 0.9), trial(4, 100, 0.5)], budget=window)
    assert alone.poor == [] and numbers(alone.front) == [4, 0]


def test_a_run_knows_its_best_and_its_best_reference():
    result = run(TRIALS)
    assert (result.best.trials[0].number, result.best_reference.trials[0].number) == (5, 0)
    assert result.count(Outcome.DONE) == 5 and result.count(Outcome.OOM, Outcome.CRASHED) == 2
    empty = run(TRIALS[6:])
    assert empty.best is None and empty.best_reference is None and empty.front == [] and empty.entries == []


def test_the_best_is_confirmed_where_anything_is():
    selected = trial(14, 480, 0.99)
    result = run([*CONFIRMED, selected])
    assert result.entries[0] == result.best == result.front[-1] and result.entries[1].trials == (selected,)
    assert numbers([result.best, result.best_reference]) == [(12, 13), (12, 13)]
    assert best_of([entry for entry in result.entries if not entry.confirmed]).trials == (selected,)
    assert best_of([]) is None
    other = trial(15, 300, 0.999, family="ResNeXt-like", of=9)
    assert numbers([run([*CONFIRMED, other]).best_reference]) == [(12, 13)]


@pytest.mark.parametrize(
    ("accuracy", "reference", "images", "expected"),
    [
        (
            0.95,
            0.90,
            10_000,
            r"at 95\.0%, \+5\.0 points over the best reference.*\(90\.0%\); clearly better: .* noise of 0\.4 points",
        ),
        (0.95, 0.90, 100, r"\+5\.0 points over .*; not clearly better: within twice the noise of 3\.7 points"),
        (0.90, 0.90, 400, None),
        (0.85, 0.90, 400, r"Nothing found beats the ResNet-like reference .* \(90.0%\)\.$"),
        (1.0, 1.0, 400, None),
    ],
)
def test_the_verdict_weighs_the_gain_against_the_noise(accuracy, reference, images, expected):
    result = run([trial(0, 500, reference, family="ResNet-like"), trial(1, 450, accuracy)], val_images=images)
    text = result.verdict()
    if expected is None:  # equal: the cheaper one is the best, and that is no more than noise
        assert "+0.0 points" in text and "; not clearly better: within twice" in text
    else:
        assert re.search(expected, text)
    if "noise" in text:
        assert f"({images} validation images; the noise of seeds was not measured)." in text


def test_the_verdict_without_finished_trials_or_references_says_so():
    assert run([]).verdict() == "No trial has reached the last epoch yet."
    assert run(TRIALS[6:]).verdict() == "No trial has reached the last epoch yet."
    text = run([TRIALS[2], trial(3, 9, 0.9, Outcome.STOPPED, family="ResNet-like")], val_images=400).verdict()
    assert text.startswith(f"Best: {TRIALS[2].spec.name} at 85.0%, with a noise of 1.8 points (400 validation images; ")
    assert text.endswith("). No reference reached the last epoch to compare with.")


@pytest.mark.parametrize(("other", "close"), [(0.8, True), (0.5, False)])
def test_the_verdict_on_a_list_names_what_is_as_good_and_misses_no_reference(other, close):
    """0.85 with sqrt(0.02^2 / 2 + 0.85 * 0.15 / 400), beside another of two seeds; all four vary by 0.02."""
    spread = 0.02 / math.sqrt(2)
    values = {0: (0.85 - spread, 0.85 + spread), 2: (other - spread, other + spread)}
    trials = [
        trial(first + seed, 500 - 50 * first, value, replicate=seed + 1, of=first if seed else None)
        for first, both in values.items()
        for seed, value in enumerate(both)
    ]
    best, second = trials[0].spec, trials[2].spec
    text = run(trials, space=ArchList((best, second)), val_images=400).verdict()
    noise = "with a noise of 2.3 points (400 validation images, and 2.0 points between seeds)."
    start = f"Best: {best.name} at 85.0%, mean of 2 fresh seeds, {noise}"
    assert text == start + (f" Not clearly worse: {second.name}." if close else "")


def test_the_verdict_compares_what_was_confirmed():
    text, name = run(CONFIRMED).verdict(), TRIALS[0].spec.name
    assert text == (
        f"Nothing found beats the ResNet-like reference {name} (90.0%, mean of 2 fresh seeds). "
        "The probability that it is the best of the 2 compared by 2 fresh seeds each is 60%."
    )
    better = [*CONFIRMED, trial(14, 300, 0.93, replicate=1, of=2)]
    text = run(better, val_images=10_000).verdict()
    assert text.startswith(
        f"Best: {TRIALS[2].spec.name} at 93.0%, one fresh seed, +3.0 points over the best confirmed reference "
        f"{TRIALS[0].spec.name} (90.0%, mean of 2 fresh seeds); not clearly better: within twice the noise of "
    )
    assert text.endswith(" points (10000 validation images, and 1.4 points between seeds).")
    calm = [dataclasses.replace(t, curve=[Epoch(1, 0.9, 1.0, 0.5)]) if t.replicate else t for t in CONFIRMED[:6]]
    calm += [
        trial(12, 500, 0.9, replicate=1, of=0, family="ResNet-like"),
        trial(13, 300, 0.93, replicate=1, of=2),
    ]
    assert "; clearly better: more than twice the noise of 0.4 points" in run(calm, val_images=10_000).verdict()


def test_the_verdict_names_what_is_compared_by_fewer_seeds_than_its_rivals():
    names = [t.spec.name for t in TRIALS]
    lost = dataclasses.replace(CONFIRMED[7], outcome=Outcome.TIMEOUT, curve=[])
    told = run([*CONFIRMED[:7], lost, *CONFIRMED[8:]])
    assert told.verdict() == (
        f"Nothing found beats the ResNet-like reference {names[0]} (90.0%, mean of 2 fresh seeds). "
        f"Compared with fewer seeds than asked for: {names[5]} (by 1 of 2 trainings; 1 timeout)."
    )
    for again in (Outcome.RUNNING, Outcome.DONE):  # being made up for, and made up for
        assert run([*told.trials, trial(14, 450, 0.88, again, replicate=3, of=5)]).unconfirmed() == ""
    again = trial(14, 450, None, Outcome.KILLED, replicate=3, of=5)
    assert f"{names[5]} (by 1 of 2 trainings; 1 timeout, 1 killed)." in run([*told.trials, again]).verdict()


def test_the_verdict_names_what_lost_all_its_trainings_as_unconfirmed():
    names = [t.spec.name for t in TRIALS]
    failed = [trial(20 + n, 300, None, Outcome.DIVERGED, replicate=n, of=2) for n in (1, 2)]
    assert run([*CONFIRMED, *failed]).unconfirmed() == (
        f"Compared with fewer seeds than asked for: {names[2]} (unconfirmed; 2 diverged)."
    )
    others = [trial(30 + n, 300, None, Outcome.KILLED, replicate=1, of=n) for n in (1, 4, 0)]
    told = run([*TRIALS[:6], *failed, trial(29, 450, None, Outcome.KILLED, replicate=1, of=5), *others]).unconfirmed()
    assert told.count("unconfirmed") == 3 and told.endswith(", and 2 more.")
    assert run(CONFIRMED).unconfirmed() == run(TRIALS).unconfirmed() == ""


def test_how_sure_the_best_is_follows_from_its_lead_and_from_all_noise():
    def told(*ends, images=10_000):
        fresh = [(5, ends[0]), (2, ends[1])]
        more = [
            trial(10 + 2 * of + n, TRIALS[of].cost.macs, end - 0.01 * n, replicate=n, of=of)
            for of, end in fresh
            for n in (1, 2)
        ]
        return run([*TRIALS[:6], *more], val_images=images).certainty()

    start = "The probability that it is the best of the 2 compared by 2 fresh seeds each is "
    assert told(0.9, 0.9) == f"{start}50%."
    assert told(0.99, 0.4) == f"{start}over 99%."
    shares = [
        int(told(0.9, other, images=images)[len(start) : -2])
        for other, images in ((0.88, 10_000), (0.88, 100), (0.85, 10_000))
    ]
    assert 50 < shares[1] < shares[0] < shares[2] < 100
    assert run(TRIALS).certainty() == run(CONFIRMED[:-1]).certainty() == ""  # not confirmed; in the middle of a round


def test_one_that_fell_behind_is_named_and_never_the_best():
    """After three rounds the others are lower than it was after the first."""
    means = {0: (0.90, 0.70, 0.70), 5: (0.91, 0.71, 0.71), 2: (0.80,)}
    again = [
        trial(10 + 3 * of + n, TRIALS[of].cost.macs, end, replicate=n, of=of, family=TRIALS[of].family)
        for of, ends in means.items()
        for n, end in enumerate(ends, 1)
    ]
    close = [trial(n, 20 + n, 0.80 + 0.001 * n) for n in range(20, 30)]  # a search of little spread, hence noise
    result = run([*TRIALS[:3], TRIALS[5], *close, *again])
    assert result.best.spec == TRIALS[5].spec and result.best.accuracy < 0.78
    assert f"Fell behind after fewer seeds: {TRIALS[2].spec.name}." in result.verdict()
    assert "the best of the 2 compared by 3 fresh seeds each" in result.verdict()
    assert best_of([entry for entry in result.entries if entry.dropped]).spec == TRIALS[2].spec


def test_of_a_list_the_trainings_that_were_asked_for_count():
    trials = [trial(0, 500, 0.8, replicate=1), trial(1, 500, None, Outcome.CRASHED, replicate=2, of=0)]
    asked = run(trials, space=ArchList((trials[0].spec,)), repeats=2)
    assert asked.unconfirmed().endswith(f"{trials[0].spec.name} (by 1 of 2 trainings; 1 crashed).")
    assert run(trials[:1], space=ArchList((trials[0].spec,))).unconfirmed() == ""


def test_the_noise_of_a_difference_is_that_of_two_binomials():
    result = run([trial(0, 9, 0.5), trial(1, 8, 0.5), trial(2, 7, 1.0)], val_images=200)
    by_number = {entry.trials[0].number: entry for entry in result.entries}
    assert math.hypot(result.error(by_number[0]), result.error(by_number[1])) == pytest.approx(0.05)
    assert result.error(by_number[2]) == 0


def test_the_noise_of_seeds_is_pooled_over_what_was_confirmed_and_falls_with_their_number():
    result = run(CONFIRMED)
    assert result.noise.seeds == pytest.approx(math.sqrt((2 * 0.01**2 + 2 * 0.01**2) / 2))
    reference = result.entries[0]
    assert result.error(reference) == pytest.approx(math.sqrt(0.0002 / 2 + 0.9 * 0.1 / 400))
    single = result.entries[2]  # seeds blur it as well, though it was trained once
    assert result.error(single) == pytest.approx(math.sqrt(0.0002 + single.accuracy * (1 - single.accuracy) / 400))
    assert noise_of(ranked(TRIALS), 400).seeds is None
    assert noise_of([RankedArch((CONFIRMED[6],))], 400).seeds is None  # one training of each has no spread


def test_ties_and_probabilities_tell_the_sure_front_members_from_the_others():
    clear = run([trial(0, 500, 0.9), trial(1, 400, 0.7), trial(2, 450, 0.1)], val_images=10_000)
    assert list(clear.ties.values()) == ["", ""]
    chances = [clear.probabilities[POINT_PRINTS[i]] for i in (0, 1, 2)]
    assert chances == [1.0, 1.0, 0.0]
    close = run([trial(0, 500, 0.71), trial(1, 400, 0.7)], val_images=100)
    assert list(close.ties.values()) == ["a", "a"]
    assert close.probabilities[POINT_PRINTS[1]] == 1.0 and 0.4 < close.probabilities[POINT_PRINTS[0]] < 0.7


# What stopping spared and cost


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([], ""),
        (TRIALS[:3], ""),
        (TRIALS, "Stopped early: 1. None due to stop ran on as a control."),
        (
            [*TRIALS[:6], trial(10, 350, 0.84, control=1), trial(11, 20, 0.4, control=1)],
            "Stopped early: 1. Ran on as a control although due to stop: 2, of which 1 reached the front.",
        ),
        (
            [TRIALS[0], trial(11, 20, 0.9, Outcome.CRASHED, control=1), trial(12, 20, 0.9, Outcome.RUNNING, control=1)],
            "Stopped early: 0. Ran on as a control although due to stop: 2, of which 0 reached the front.",
        ),
    ],
)
def test_the_control_group_tells_what_stopping_costs(trials, expected):
    assert run(trials).stopping() == expected


# Files


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_files_are_written(tmp_path):
    write(run(TRIALS, tmp_path))
    names = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    members = [TRIALS[i] for i in (4, 2, 5)]
    assert names == {
        "trials.csv", "front.json", "front.csv", "best.yaml", *(f"pareto/{t.spec.name}.yaml" for t in members)
    }  # fmt: skip
    rows = json.loads((tmp_path / "front.json").read_text())
    result = run(TRIALS, tmp_path)
    assert rows == [result.row(entry) for entry in result.front]
    assert [tuple(r) for r in rows] == [FRONT_COLUMNS] * 3
    assert [(r["name"], r["macs"], r["seeds"], r["epochs"]) for r in rows] == [
        (t.spec.name, t.cost.macs, 1, 3) for t in members
    ]
    assert [r["fingerprint"] for r in read_csv(tmp_path / "front.csv")] == [t.spec.fingerprint for t in members]
    assert [float(r["accuracy"]) for r in read_csv(tmp_path / "front.csv")] == [0.50, 0.85, 0.95]


def test_the_files_of_the_front_are_architectures_that_can_be_loaded(tmp_path):
    write(run(TRIALS, tmp_path))
    for row in json.loads((tmp_path / "front.json").read_text()):
        spec = load_arch(tmp_path / row["yaml"])
        assert (spec.fingerprint, spec.name) == (row["fingerprint"], row["name"])
    assert load_arch(tmp_path / "best.yaml") == TRIALS[5].spec
    provenance = read_yaml(tmp_path / "best.yaml")["provenance"]
    assert provenance["trials"] == [5] and provenance["proxy_accuracy"] == 0.95 and provenance["macs"] == 450
    assert provenance["run"] == tmp_path.name and provenance["proxy_epochs"] == 3


def test_of_full_trainings_no_file_speaks_of_a_proxy(tmp_path):
    write(run(TRIALS, tmp_path, proxy=full_training("quick", 3)))
    provenance = read_yaml(tmp_path / "best.yaml")["provenance"]
    assert (provenance["accuracy"], provenance["epochs"]) == (0.95, 3)
    assert not any(key.startswith("proxy") for key in provenance)


def test_the_files_of_a_confirmed_run_tell_mean_spread_and_trainings(tmp_path):
    write(run(CONFIRMED, tmp_path))
    rows = json.loads((tmp_path / "front.json").read_text())
    assert [(r["seeds"], r["accuracy"]) for r in rows] == [(1, 0.5), (1, 0.85), (2, 0.87), (2, 0.9)]
    assert [r["accuracy_std"] for r in rows] == [None, None, *[pytest.approx(0.02 / math.sqrt(2))] * 2]
    provenance = read_yaml(tmp_path / "best.yaml")["provenance"]
    assert provenance["trials"] == [12, 13] and provenance["reference"] == "ResNet-like"
    assert provenance["proxy_accuracy"] == pytest.approx(0.9) and provenance["proxy_accuracy_std"] > 0.01
    table = read_csv(tmp_path / "trials.csv")
    assert [(r["repeat"], r["fingerprint"]) for r in table[6:8]] == [("1", POINT_PRINTS[5]), ("2", POINT_PRINTS[5])]


def test_a_row_of_what_is_not_on_the_front_has_no_file():
    result = run(TRIALS)
    row = result.row(result.best_reference)
    assert row["yaml"] is None and row["ties"] == "" and tuple(row) == FRONT_COLUMNS


def test_the_table_of_trials_has_every_state_and_message(tmp_path):
    write(run(TRIALS, tmp_path))
    rows = read_csv(tmp_path / "trials.csv")
    assert [r["state"] for r in rows] == [
        "done", "done", "done", "stopped", "done", "done", "crashed", "diverged", "running", "oom"
    ]  # fmt: skip
    assert [int(r["number"]) for r in rows] == list(range(10))
    assert rows[6]["message"] == 'ValueError: a, "b" (x.py:3)' and rows[6]["accuracy"] == ""
    assert rows[3]["epochs"] == "1" and rows[0]["role"] == "ResNet-like" and rows[0]["seconds"] == "1.5"
    assert {(r["repeat"], r["control"], r["replayed"]) for r in rows} == {("0", "", "")}


def test_the_table_of_trials_tells_what_was_out_of_the_ordinary(tmp_path):
    odd = trial(0, 500, 0.9, control=2, message="first")
    odd.remark, odd.replayed = "batch halved", "earlier"
    write(run([odd], tmp_path))
    [row] = read_csv(tmp_path / "trials.csv")
    assert (row["control"], row["replayed"], row["message"]) == ("2", "earlier", "first; batch halved")


def test_a_front_that_shrinks_leaves_no_stale_files(tmp_path):
    write(run(TRIALS[:5], tmp_path))
    (tmp_path / "pareto" / "older.yaml").write_text("x: 1\n")
    (tmp_path / "pareto" / "notes.txt").write_text("mine")
    write(run([*TRIALS[:5], trial(5, 90, 0.999)], tmp_path))
    left = {p.name for p in (tmp_path / "pareto").iterdir()}
    assert left == {f"{TRIALS[5].spec.name}.yaml", "notes.txt"}


def test_writing_twice_changes_nothing(tmp_path):
    write(run(TRIALS, tmp_path))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    write(run(TRIALS, tmp_path))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("trials", [[], TRIALS[6:]])
def test_without_finished_trials_the_files_are_empty_but_valid(tmp_path, trials):
    write(run(trials, tmp_path))
    assert json.loads((tmp_path / "front.json").read_text()) == []
    assert read_csv(tmp_path / "front.csv") == []
    assert len(read_csv(tmp_path / "trials.csv")) == len(trials)
    assert not (tmp_path / "best.yaml").exists()


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "front.json").mkdir()
    with pytest.raises(RunError, match=r"front\.json: cannot be written"):
        write(run(TRIALS, tmp_path))


def test_a_run_knows_whether_its_trials_were_full_trainings():
    assert not run(TRIALS).full
    assert run(TRIALS, proxy=full_training("quick", 16)).full


@pytest.mark.parametrize("trials", [[], TRIALS[6:], TRIALS[:1], TRIALS[3:4], TRIALS, TRIALS[1:5], CONFIRMED])
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
    record = in_memory([], tmp_path, space=SPACE).record
    (tmp_path / "run.yaml").write_text(dump_yaml(record.to_dict()))
    with pytest.raises(RunError, match="no such study; has the search begun"):
        load_run(tmp_path)
