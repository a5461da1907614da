"""What the commands answer when they are used as intended."""

import ast
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from near import assert_near
from nxt.cli import lazy
from runs import opened

import nxt as package
from nxt.arch.load import parse_name
from nxt.arch.zoo import ZOO
from nxt.config import parse_settings
from nxt.files import locked
from nxt.pareto import knee
from nxt.rundir import LOCK
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.trial import Epoch
from nxt.space.arch_list import load_list
from nxt.space.budget import Budget, parse_budget
from nxt.space.load import load_space
from nxt.train.checkpoint import read

TINY = "resnext_1-1-1_w8_1x8d_cifar"
COMMANDS = [
    "search",
    "show",
    "runs",
    "report",
    "pick",
    "train",
    "eval",
    "predict",
    "export",
    "profile",
    "zoo",
    "space",
    "cache",
    "latency",
    "doctor",
]
TOP = len(COMMANDS)
COMMANDS += [f"space {name}" for name in ("show", "lint", "sample", "iso", "narrow", "compare")]
COMMANDS += ["latency measure"]
COSTS = ("params", "macs", "acts")
# He et al. 2016, Xie et al. 2017 and Zhang et al. 2020, counted on the released code.
KNOWN = {
    "resnet50": (25_557_032, 4_089_184_256),
    "resnext101_32x4d": (44_177_704, 7_969_996_800),
    "resnest50": (27_483_240, 5_371_160_576),
}
LIGHT = """
import sys
from nxt.cli.main import main
sys.argv = ["nxt", *sys.argv[1:]]
try:
    main()
finally:
    heavy = {"torch", "torchvision", "ray", "optuna", "matplotlib", "fvcore", "sqlalchemy"}
    print("loaded:", *sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


def answer(result):
    """Return the one JSON document on stdout."""
    assert result.code == 0, result.err
    return json.loads(result.out)


# Help


def test_the_commands_are_these(nxt):
    result = nxt("--help")
    assert result.code == 0
    assert list(lazy.COMMANDS) == COMMANDS[:TOP]
    assert all(f" {command} " in result.out for command in COMMANDS[:TOP])


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_help(command, flag, nxt):
    result = nxt(*command.split(), flag)
    assert result.code == 0
    assert result.err == ""
    usage, _, said = result.out.partition(f"Usage: nxt {command}")
    assert not usage.strip()
    assert len(said.splitlines()[2].strip()) > 20  # the sentence below the usage
    for line in said.splitlines():
        words = line.strip("│ ").split()
        if words and words[0].startswith("--"):
            assert len([word for word in words if not word.startswith(("-", "<", "["))]) >= 2, line


def test_help_fits_a_narrow_terminal(nxt):
    assert max(map(len, nxt("search", "--help", width=40).out.splitlines())) <= 40


def test_the_version_is_shown(nxt):
    assert nxt("--version").out == f"nxt {package.__version__}\n"


@pytest.mark.parametrize("name", lazy.COMMANDS)
def test_the_list_of_commands_says_what_the_command_itself_says(name):
    command = lazy.load(name)
    assert command.name == name
    assert " ".join(command.help.split("\n\n")[0].split()) == lazy.COMMANDS[name]


def test_help_and_other_commands_do_not_import_a_command():
    code = "import sys; sys.argv = ['nxt', '--help']\nfrom nxt.cli.main import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print([name for name in sys.modules if name.startswith('nxt.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ast.literal_eval(done.stdout.splitlines()[-1])) <= {
        "nxt.errors", "nxt.faces", "nxt.cli", "nxt.cli.main", "nxt.cli.lazy", "nxt.cli.hints", "nxt.cli.messages"
    }  # fmt: skip


# Profile


@pytest.mark.parametrize("name", KNOWN)
def test_one_name_gives_one_object_with_the_exact_cost(name, nxt):
    found = answer(nxt("profile", name, "--json"))
    assert (found["name"], found["params"], found["macs"]) == (name, *KNOWN[name])
    assert (found["size"], found["classes"]) == (224, 1000)
    assert found["fingerprint"] == parse_name(name).fingerprint


def test_several_names_give_a_list_in_their_order(nxt):
    found = answer(nxt("profile", *reversed(KNOWN), "--json"))
    assert [row["name"] for row in found] == list(reversed(KNOWN))


def test_spellings_of_the_papers_are_understood(nxt):
    assert answer(nxt("profile", "ResNeXt-101 (32x4d)", "--json"))["name"] == "resnext101_32x4d"


def test_a_profile_for_people_has_the_same_figures(nxt):
    result = nxt("profile", "resnest50", "--by", "stage")
    assert "27.48M" in result.out
    assert "5.371G" in result.out
    assert result.err == ""


# Zoo and spaces


def test_the_zoo_as_json_has_every_network_with_its_cost(nxt):
    rows = answer(nxt("zoo", "--json"))
    assert [row["name"] for row in rows] == list(ZOO)
    for row in rows:
        spent = dataclasses.asdict(package.cost(row["name"]))
        assert {key: row[key] for key in COSTS} == {key: spent[key] for key in COSTS}
        assert all(0 < figure["top1"] < 100 and figure["source"] for figure in row["published"])


def test_the_zoo_is_filtered_by_part_of_a_name_and_by_pattern(nxt):
    assert {row["name"] for row in answer(nxt("zoo", "resnest", "--json"))} == {n for n in ZOO if "resnest" in n}
    assert {row["name"] for row in answer(nxt("zoo", "*_32x4d", "--json"))} == {n for n in ZOO if n.endswith("_32x4d")}


@pytest.mark.parametrize("name", ["imagenet", "resnest", "cifar", "smoke", "nds_resnext_a", "nds_resnext_b"])
def test_a_space_is_shown_with_its_exact_size(name, nxt):
    found = answer(nxt("space", "show", name, "--json"))
    assert found["size"] == load_space(name).size
    assert found["about"]
    assert all(found["axes"].values())
    assert nxt("space", "show", name).code == 0


def test_a_budget_divides_a_space(nxt):
    below, above = (answer(nxt("space", "show", "smoke", "--flops", text, "--json")) for text in (":10M", "10000001:"))
    assert below["feasible"] + above["feasible"] == below["size"] == 96
    assert all(sum(by.values()) == below["feasible"] for by in below["spread"].values())
    assert below["references"]


# Training


def test_a_network_is_trained_tested_and_loaded(trained, nxt):
    last = trained / "checkpoints" / "last.pt"
    tested = answer(nxt("eval", last, "--json", "--device", "cpu"))
    assert (tested["name"], tested["split"], tested["images"]) == (TINY, "test", 359)
    assert (tested["size"], tested["epoch"], tested["data"]) == (8, 1, "digits")
    assert tested["accuracy"] == answer(nxt("eval", trained, "--json", "--device", "cpu"))["accuracy"]
    shown = nxt("eval", last, "--device", "cpu")
    assert f"{tested['accuracy']:.2%} of 359 test images" in shown.out

    network = package.load(last)
    assert not network.training
    grey = np.zeros((2, 3, 8, 8), dtype=np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy(grey))
    assert logits.shape == (2, 10)
    assert_near(logits[0], logits[1])


def test_the_example_on_the_model_card_works(trained, monkeypatch):
    page = (trained / "CARD.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(trained)
    names = {}
    exec(example, names)
    assert names["network"].spec.name == TINY and not names["network"].training
    assert page.startswith(f"# {TINY}\n")


def test_a_finished_training_is_not_trained_again(trained, nxt):
    before = (trained / "metrics.jsonl").read_bytes()
    found = answer(nxt("train", "--resume", trained, "--json"))
    assert (found["name"], found["epochs"], found["best_epoch"], found["split"]) == (TINY, 1, 1, "val")
    assert found["best_accuracy"] == found["accuracy"] == json.loads(before)["accuracy"]
    assert (trained / "metrics.jsonl").read_bytes() == before


def test_an_odd_name_of_a_run_is_shown_as_it_is(nxt, tmp_path):
    out = tmp_path / "a [bold]b[/] é"
    result = nxt("train", TINY, "--size", 8, "--epochs", 1, "--set", "warmup=0", "--out", out, "--device", "cpu")
    assert result.code == 0
    assert f"Test it: nxt eval '{out.relative_to(tmp_path)}'" in result.out
    assert f", into {out.relative_to(tmp_path)}\n" in result.err


# Runs of searches


def test_a_search_is_shown(searched, nxt):
    found = answer(nxt("show", searched, "--json"))
    assert found["asked"] == found["explored"] == found["trials"]["done"] == sum(found["trials"].values()) == 5
    assert found["best"]["accuracy"] == max(row["accuracy"] for row in found["front"])
    shown = nxt("show", searched)
    assert (shown.code, shown.err) == (0, "")
    assert found["best"]["name"] in shown.out
    assert f"nxt train {searched / 'best.yaml'}" in shown.out.replace("\n", "")


def test_a_search_is_shown_with_how_far_to_trust_early_epochs(longer, searched, nxt):
    trust = answer(nxt("show", longer, "--json"))["trust"]
    assert [row["name"] for row in trust["proxies"]] == ["epoch 1", "epoch 2"]  # nothing was due to stop
    assert [row["name"] for row in trust["baselines"]] == ["params", "macs", "acts"]
    assert [(row["tau"], row["count"]) for row in trust["proxies"]] == [(1, 12)] * 2
    shown = nxt("show", longer)
    assert trust["verdict"] in shown.out and trust["verdict"].startswith("Safe to stop trials at epoch 2: ")
    assert "How well the order" not in shown.out  # 12 architectures are too few for that
    assert answer(nxt("show", searched, "--json"))["trust"] is None


def test_the_trials_are_listed_if_asked_for(longer, nxt):
    run = package.load_run(longer)
    told = answer(nxt("show", longer, "--trials", "--json"))
    assert [(row["number"], row["name"], row["accuracy"]) for row in told["rows"]] == [
        (trial.number, trial.spec.name, trial.accuracy) for trial in run.trials
    ]
    lines = nxt("show", longer, "--trials").out.splitlines()
    assert lines[0] == "Trials" and lines[1].split()[:3] == ["trial", "architecture", "state"]
    assert len(run.trials) == 12
    for trial, line in zip(run.trials, lines[3:15], strict=True):
        assert line.split()[0] == str(trial.number) and trial.spec.name in line and f"{trial.accuracy:.1%}" in line
        assert " done " in line and "4/4" in line and (f"{trial.spec.name} R " in line) is bool(trial.family)
    assert lines[15].startswith(f"{longer}: 12 trials; 12 done")


def test_a_proxy_is_held_against_longer_training(longer, confirmed, nxt, tmp_path):
    other = shutil.copytree(longer, tmp_path / "other")
    found = answer(nxt("show", longer, "--against", other, "--json"))["trust"]
    assert found["of"] == "other's accuracy" and found["proxies"][0]["tau"] == 1
    assert "How well the order by other's accuracy is predicted" in nxt("show", longer, "--against", other).out
    assert "the same run" in nxt("show", longer, "--against", longer).err
    refused = nxt("show", longer, "--against", confirmed)
    assert refused.code == 1 and "fewer than 8 architectures that both runs trained to the end" in refused.err


def test_a_run_with_an_odd_name_is_shown_as_it_is(searched, nxt, tmp_path):
    odd = tmp_path / "x[red]y"
    odd.symlink_to(searched)
    result = nxt("show", odd)
    assert result.code == 0
    assert result.out.count(str(odd)) == 2


@pytest.mark.parametrize("more", [(), ("--flops", ":1G"), ("--params", ":1G", "--acts", ":1G")])
def test_a_picked_architecture_loads(more, searched, nxt, tmp_path):
    written = nxt("pick", searched, *more, "--out", tmp_path / "chosen.yaml")
    assert (written.code, written.out) == (0, "")
    printed = nxt("pick", searched, *more)
    assert printed.out == (tmp_path / "chosen.yaml").read_text(encoding="utf-8")
    assert len(printed.err.splitlines()) == 1
    spec = package.load_arch(tmp_path / "chosen.yaml")
    assert spec.fingerprint in {entry.spec.fingerprint for entry in package.load_run(searched).entries}
    assert answer(nxt("profile", tmp_path / "chosen.yaml", "--json"))["fingerprint"] == spec.fingerprint


def test_limits_pick_the_most_accurate_inside_them(searched, nxt, tmp_path):
    entries = package.load_run(searched).entries
    cheapest = min(entry.cost.macs for entry in entries)
    nxt("pick", searched, "--flops", f":{cheapest}", "--out", tmp_path / "chosen.yaml")
    assert package.cost(str(tmp_path / "chosen.yaml")).macs == cheapest
    refused = nxt("pick", searched, "--flops", ":1G", "--out", tmp_path / "chosen.yaml")
    assert refused.code == 1 and "exists already" in refused.err
    nxt("pick", searched, "--flops", ":1G", "--out", tmp_path / "other.yaml")
    best = max(entries, key=lambda entry: entry.accuracy)
    assert package.load_arch(tmp_path / "other.yaml").fingerprint == best.spec.fingerprint


def test_a_pick_says_why(searched, nxt):
    run = package.load_run(searched)  # its accuracies rise by a point from trial to trial
    cheapest = min(run.entries, key=lambda entry: entry.cost.macs)
    inside = "the most accurate of 1 architecture trained to the end with macs <= "
    said = nxt("pick", searched, "--flops", f":{cheapest.cost.macs}").err
    costlier = [e for e in run.entries if e.accuracy > cheapest.accuracy]
    following = min(costlier, key=lambda entry: entry.cost.macs)
    more, gain = following.cost.macs / cheapest.cost.macs - 1, following.accuracy - cheapest.accuracy
    assert inside in said and said.count("\n") == 1
    price = f"{more:.1%} more" if more < 1 else f"{1 + more:.1f} times the"
    gains = f"gains {100 * gain:.1f} points, within twice the noise"
    assert f"; the next one, outside these limits, costs {price} MACs and {gains}" in said
    said = nxt("pick", searched, "--flops", ":1G").err
    assert "the most accurate of 5 " in said and "the next one" not in said


def test_a_knee_is_explained_by_its_place_on_the_front(rising, nxt):
    run = package.load_run(rising[0])
    points = [(entry.cost.macs, entry.accuracy) for entry in run.front]
    assert len(points) > 2
    cost, accuracy = points[knee(points)]
    (least, lowest), (most, highest) = points[0], points[-1]
    shares = (accuracy - lowest) / (highest - lowest), (cost - least) / (most - least)
    place = "with {:.0%} of its range of accuracy for {:.0%} of its range of MACs".format(*shares)
    assert f"the knee of a front of {len(points)}, {place}" in nxt("pick", rising[0]).err


def test_the_files_of_a_run_agree(searched, nxt):
    found = answer(nxt("show", searched, "--json"))
    assert package.load_arch(searched / "best.yaml").name == found["best"]["name"]
    rows = list(csv.DictReader(io.StringIO((searched / "trials.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 5
    assert len(list((searched / "pareto").glob("*.yaml"))) == len(found["front"])


def test_a_limit_on_memory_picks_inside_it(searched, nxt, tmp_path):
    least = min(entry.cost.memory for entry in package.load_run(searched).entries)
    assert nxt("pick", searched, "--memory", f":{least}", "--out", tmp_path / "chosen.yaml").code == 0
    assert package.cost(str(tmp_path / "chosen.yaml")).memory == least
    assert nxt("pick", searched, "--memory", f":{least - 1}").code == 1


def test_a_confirmed_search_is_shown_and_picked_by_its_fresh_seeds(confirmed, nxt, tmp_path):
    run = package.load_run(confirmed)
    found = answer(nxt("show", confirmed, "--json"))
    again = sum(trial.replicate > 0 for trial in run.trials)
    assert again and (found["asked"], found["explored"], found["trials"]["done"]) == (5, 5, 5 + again)
    assert found["best"]["seeds"] == 2 and found["best"]["accuracy"] == pytest.approx(0.43)
    assert found["seed_noise"] == pytest.approx(0.02 / 2**0.5)
    shown = nxt("show", confirmed)
    assert f"5 trials and {again} more to confirm" in shown.out and "mean of 2 fresh seeds" in shown.out
    nxt("pick", confirmed, "--flops", ":1G", "--out", tmp_path / "chosen.yaml")
    assert package.load_arch(tmp_path / "chosen.yaml").name == found["best"]["name"]


def carried_out(out, request, accuracy):
    """Make a search whose accuracies are a function of the trial."""
    with opened(prepare_search(request, Path(out)), new=True) as session:
        strategy = session.strategy
        while (trial := strategy.suggest()) is not None:
            strategy.observe(trial.number, Epoch(1, accuracy(trial), 1.0, 0.1))
    return Path(out)


def search_of_a_rising_front(out, seed, wiggle):
    settings = ["proxy.epochs=1", "search.confirm=0", "search.sampler=random"]
    request = make_request(
        load_space("smoke"), parse_budget({"flops": ":1G"}), "digits", 12, seed, parse_settings(settings)
    )
    return carried_out(out, request, lambda t: float(0.1 * np.log10(t.cost.macs) + 0.02 * np.sin(wiggle * t.number)))


@pytest.fixture(scope="module")
def rising(tmp_path_factory):
    """Return the directories of two searches in which costlier networks are, as a rule, more accurate."""
    folder = tmp_path_factory.mktemp("rising")
    return [search_of_a_rising_front(folder / name, seed, seed + 1) for seed, name in enumerate("ab")]


def test_two_searches_are_shown_side_by_side(rising, nxt):
    found = answer(nxt("show", *rising, "--json"))
    runs = [package.load_run(path) for path in rising]
    reference = {
        "macs": max(entry.cost.macs for run in runs for entry in run.entries),
        "accuracy": min(entry.accuracy for run in runs for entry in run.entries),
    }
    assert found["difference"] is None and found["reference_point"] == reference
    rows = [row for side in found["runs"] for row in side["front"]]
    for side, run in zip(found["runs"], runs, strict=True):
        assert [row["name"] for row in side["front"]] == [entry.spec.name for entry in run.front]
        assert side["hypervolume"] == pytest.approx(area(side["front"], reference), rel=1e-3)
    for row in rows:
        others = [o for o in rows if o["macs"] <= row["macs"] and o["accuracy"] >= row["accuracy"]]
        worse = any((o["macs"], o["accuracy"]) != (row["macs"], row["accuracy"]) for o in others)
        assert row["joint_front"] is not worse
    assert len({row["joint_front"] for row in rows}) == 2
    shown = nxt("show", *rising)
    assert (shown.code, shown.err) == (0, "")
    assert all(
        len(re.findall(rf"^{name} .* \u00b1 ", shown.out, re.MULTILINE)) == 1 for name in {r["name"] for r in rows}
    )
    areas = [side["hypervolume"] for side in found["runs"]]
    assert f"A {areas[0]:.3f}, B {areas[1]:.3f}.\n" in shown.out


def area(front, reference):
    """Sum up fine slices below a front, in accuracy and the logarithm of cost."""
    logs = np.linspace(np.log(min(row["macs"] for row in front)), np.log(reference["macs"]), 20001)
    heights = [max(row["accuracy"] for row in front if np.log(row["macs"]) <= at + 1e-12) for at in logs[:-1]]
    return float(np.sum(np.array(heights) - reference["accuracy"]) * (logs[1] - logs[0]))


def test_searches_that_do_not_compare_are_shown_without_a_joint_ranking(longer, searched, nxt):
    found = answer(nxt("show", longer, searched, "--json"))
    assert "proxy.epochs (4 and 1)" in found["difference"] and found["reference_point"] is None
    assert [run["hypervolume"] for run in found["runs"]] == [None, None]
    shown = nxt("show", longer, searched)
    assert f"No joint ranking: {found['difference']}.\n" in shown.out and "joint front" not in shown.out
    assert all(row["name"] in shown.out for run in found["runs"] for row in run["front"])
    refused = nxt("show", longer, searched, "--published")
    assert refused.code == 2 and "--against and --published are for one run" in refused.err


def test_published_accuracies_stand_beside_a_search_of_about_their_cost(searched, nxt, tmp_path):
    assert answer(nxt("show", searched, "--published", "--json"))["published"] == []
    assert "No network with a published accuracy costs" in nxt("show", searched, "--published").out
    request = make_request(load_list(["resnet50", "resnet101"]), Budget(()), "digits", 2, 0, {"proxy": {"epochs": 1}})
    out = carried_out(tmp_path / "run", request, lambda trial: 0.5 + 0.1 * trial.number)
    rows = answer(nxt("show", out, "--published", "--json"))["published"]
    low, high = package.cost("resnet50").macs / 1.08, package.cost("resnet101").macs * 1.08
    near = {name: package.cost(name).macs for name, e in ZOO.items() if e.published and e.spec.size == 224}
    near = {name: macs for name, macs in near.items() if low <= macs <= high}
    assert {row["name"]: row["macs"] for row in rows} == near and {"resnet50", "resnext101_32x4d"} <= set(near)
    shown = nxt("show", out, "--published").out
    assert all(name in shown for name in near)
    assert re.search(r"^resnet50 +4.089G .* 76.10 @224 +ImageNet-1k +ResNeXt paper, table 3$", shown, re.MULTILINE)
    assert "this run's are on digits: the two do not compare." in shown


# Plans


def test_a_plan_measures_and_leaves_nothing_behind(nxt, tmp_path):
    few = ["--set", "proxy.epochs=4", "--set", "proxy.share=0.3", "--set", "search.eta=2"]
    few += ["--set", "search.scheduler=asha", "--set", "search.control=0.5", "--workers", "3"]
    found = answer(nxt("search", "smoke", "--flops", ":6M", "--trials", 20, "--plan", *few, "--json"))
    assert (found["architectures"], found["explored"], found["confirming"], found["epochs"]) == (96, 20, 12, 4)
    assert 0 < found["feasible"] < 96 and found["rungs"] == [2] and found["reaching"] == [0.75]
    assert found["total_epochs"] == pytest.approx(20 * (2 + 2 * 0.75) + 12 * 4)
    assert found["device_hours"] == pytest.approx(found["total_epochs"] * found["epoch_seconds"] / 3600)
    assert 1 <= found["measured"] <= 3
    assert found["workers"] == 3 and found["epoch_seconds"] > 0 and found["memory"] > 0 and found["disk"] > 0
    assert found["cache"] == 0  # so few are not kept
    listed = answer(nxt("search", "--arch", TINY, "--arch", TINY, "--repeats", 3, "--plan", "--json"))
    assert (listed["architectures"], listed["explored"], listed["confirming"]) == (1, 0, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_takes_longer_than_the_hours_says_so(nxt):
    asked = ("search", "smoke", "--flops", ":6M", "--trials", 4, "--plan", "--set", "proxy.share=0.3")
    assert "More than the 4s of --hours" in nxt(*asked, "--hours", 0.001).out
    assert "--hours" not in nxt(*asked, "--hours", 1000).out


# Weight


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--nothing", 2)])
def test_a_program_ends_as_python_would_end_it(argument, code, python_process):
    """What libraries have registered for the end is run, other threads end first, and the output is whole."""
    script = (
        "import atexit, sys, threading, time\n"
        "atexit.register(print, 'registered')\n"
        "threading.Thread(target=lambda: (time.sleep(0.5), print('thread'))).start()\n"
        "from nxt.cli.main import program; program()"
    )
    result = python_process("-c", script, argument)
    assert result.code == code and result.out.split()[-2:] == ["thread", "registered"]


@pytest.mark.parametrize(
    "arguments", [("--help",), ("search", "--help"), ("profile", "resnet50", "--json"), ("zoo",), ("profile", "foo")]
)
def test_light_commands_load_nothing_heavy(arguments, python_process):
    result = python_process("-c", LIGHT, *arguments)
    assert result.err.splitlines()[-1].strip() == "loaded:"


def test_the_command_works_in_a_process_of_its_own(nxt_process):
    found = answer(nxt_process("profile", "resnest50", "--json"))
    assert (found["params"], found["macs"]) == KNOWN["resnest50"]


def test_nothing_is_coloured_or_cut_off_in_a_pipe(nxt_process):
    result = nxt_process("zoo")
    assert result.code == 0
    assert "\x1b" not in result.out
    assert all(name in result.out for name in ZOO)


def test_a_checkpoint_tells_what_it_holds(trained):
    content = read(trained / "checkpoints" / "last.pt")
    assert (content.spec.name, content.preprocess.size, len(content.classes)) == (TINY, 8, 10)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no device here that is always full")
@pytest.mark.parametrize("arguments", [["zoo"], ["zoo", "--json"]])
def test_output_that_cannot_be_written_is_an_error_in_one_line(nxt_process, arguments):
    with Path("/dev/full").open("w") as full:
        result = nxt_process(*arguments, stdout=full)
    assert (result.code, result.err) == (1, "nxt: no space is left where the output goes; make room and try again\n")


def test_show_tells_how_far_a_training_is(trained, nxt, tmp_path):
    result = nxt("show", trained)
    assert result.code == 0 and result.err == ""
    lines = result.out.splitlines()
    assert lines[0].endswith("on digits, 1 of 1 epoch") and lines[1] == "Ended: all epochs are trained."
    assert lines[2].split() == ["epoch", "loss", "val", "images/s"] and lines[4].startswith("1 *")
    assert lines[-1] == f"Test it: nxt eval {trained}"
    told = json.loads(nxt("show", trained, "--json").out)
    assert (told["state"], told["epoch"], told["epochs"], told["best_epoch"]) == ("ended", 1, 1, 1)
    cut = shutil.copytree(trained, tmp_path / "cut off")
    record = (cut / "run.yaml").read_text(encoding="utf-8")
    (cut / "run.yaml").write_text(record.replace("\n  epochs: 1\n", "\n  epochs: 3\n"), encoding="utf-8")
    said = nxt("show", cut).out.splitlines()
    assert said[0].endswith("1 of 3 epochs")
    assert said[1] == "Interrupted in epoch 2. Go on with: nxt train --resume 'cut off'"
    with locked(cut / LOCK):
        assert nxt("show", cut).out.splitlines()[1].startswith("Running: epoch 2, about ")
    (cut / "metrics.jsonl").unlink()
    assert nxt("show", cut).out.splitlines()[1].startswith("Interrupted in epoch 1.")
    assert json.loads(nxt("show", cut, "--json").out)["best_accuracy"] is None


@pytest.mark.parametrize("option", [["--published"], ["--against", "{searched}"], ["{searched}"]])
def test_what_show_does_with_searches_it_does_not_with_trainings(option, trained, searched, nxt):
    result = nxt("show", trained, *(text.format(searched=searched) for text in option))
    assert result.code == 2 and "are for searches" in result.err


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("nxt pro", {"profile"}),
        ("nxt space l", {"list", "lint"}),
        ("nxt search --fl", {"--flops"}),
        ("nxt search sm", {"smoke"}),
        ("nxt space lint sm", {"smoke"}),
        ("nxt profile resnet50 resnest26", {"resnest26", "resnest269"}),
        ("nxt train resnext101_32x16", {"resnext101_32x16d"}),
        (
            "nxt train --recipe res",
            {
                *(f"resnest-{name}" for name in ("ade20k", "cityscapes", "detection", "imagenet")),
                *(f"resnext-{name}" for name in ("cifar", "detection", "imagenet")),
            },
        ),
        ("nxt train resnet50 --data ci", {"cifar10", "cifar100", "cityscapes:"}),
        ("nxt search --like resnest1", {"resnest14", "resnest101"}),
        ("nxt show results/", set()),  # then the shell offers files
    ],
)
def test_a_shell_completes_commands_options_and_names(typed, offered, nxt_process):
    words = typed.split()
    env = os.environ | {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1), "_NXT_COMPLETE": "complete_bash"}
    result = nxt_process(command=[sys.executable, "-c", "from nxt.cli.main import app; app(prog_name='nxt')"], env=env)
    assert result.err == "" and set(result.out.split()) == offered
