"""`nxt space compare` and `nxt space narrow`, on searches whose accuracies are made up."""

import json
from pathlib import Path

import pytest
from runs import opened
from terminals import WIDTHS, left_out, shown, words

from nxt.config import parse_settings
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.trial import Epoch
from nxt.space.budget import parse_budget
from nxt.space.load import load_space

SMALL = """
network: {stem: cifar, stem_width: width, radix: 0, width: 4, base_width: 4}
axes:
  depths: [[1, 2], [1, 2], [1, 2]]
  cardinality: [1, 2, 4]
"""


def searched(out, *settings, trials=60, space="smoke", seed=0):
    """Make a search in which a cardinality of 4 is worth 20 points."""
    settings = ["proxy.epochs=1", "search.confirm=0", "search.sampler=random", *settings]
    request = make_request(
        load_space(space), parse_budget({"flops": ":1G"}), "digits", trials, seed, parse_settings(settings)
    )
    with opened(prepare_search(request, Path(out)), new=True) as session:
        strategy = session.strategy
        while (trial := strategy.suggest()) is not None:
            accuracy = 0.5 + 0.2 * (trial.spec.cardinality[0] == 4) + 0.001 * (trial.number % 7)
            for epoch in range(1, request.proxy.epochs + 1):
                strategy.observe(trial.number, Epoch(epoch, accuracy, 1.0, 0.1))
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return a folder with runs of different kinds."""
    root = tmp_path_factory.mktemp("runs")
    (root / "small.yaml").write_text(SMALL)
    searched(root / "whole")
    searched(root / "again", seed=1)
    searched(root / "small", space=str(root / "small.yaml"), trials=20)
    searched(root / "tpe", "search.sampler=tpe", trials=25)
    searched(root / "longer", "proxy.epochs=2", trials=4)
    searched(root / "few", trials=10)
    return root


@pytest.mark.parametrize("command", ["compare", "narrow"])
def test_both_have_help_that_names_what_they_take(nxt, command):
    result = nxt("space", command, "--help")
    assert result.code == 0 and result.err == ""
    assert f"nxt space {command} [OPTIONS] {'{RUN_A} {RUN_B}' if command == 'compare' else '{RUN}'}" in result.out


def test_two_searches_of_one_space_are_not_told_apart(nxt, runs):
    result = nxt("space", "compare", runs / "whole", runs / "again")
    assert result.code == 0 and result.err == ""
    assert "No clear difference at equal multiply-adds (KS distance" in result.out
    assert f"{runs / 'whole'}" in result.out and "left out, not drawn from the space" in result.out


@pytest.mark.parametrize("arguments", [("compare", "whole", "again"), ("narrow", "whole")], ids=" ".join)
def test_no_terminal_is_too_narrow_for_their_tables(nxt, runs, monkeypatch, arguments):
    monkeypatch.chdir(runs)
    whole = nxt("space", *arguments).out
    for width in WIDTHS:
        text = shown(width, "space", *arguments)
        assert max(map(len, text.splitlines())) <= width and words(text) <= words(whole)
    assert "\u2500" in text and not left_out(text) and words(text) == words(whole)


@pytest.mark.parametrize("cost", ["flops", "params", "acts"])
def test_a_comparison_is_one_document_and_a_picture(nxt, runs, tmp_path, cost):
    result = nxt("space", "compare", runs / "whole", runs / "small", "--cost", cost, "--plot", "edf.png", "--json")
    assert result.code == 0, result.err
    answer = json.loads(result.out)
    assert answer["cost"] == {"flops": "macs"}.get(cost, cost)
    assert 0 <= answer["ks_distance"] <= 1 and 0 < answer["p"] <= 1
    for run, name in zip(answer["runs"], ("whole", "small"), strict=True):
        assert run["run"] == str(runs / name)
        assert 0 < run["at_equal_cost"] <= run["finished"]
        assert run["error_quartiles"] == sorted(run["error_quartiles"])
    assert (tmp_path / "edf.png").read_bytes()[:4] == b"\x89PNG"


def test_a_sampler_that_learns_is_named(nxt, runs):
    result = nxt("space", "compare", runs / "whole", runs / "tpe")
    assert f"{runs / 'tpe'}: chosen by tpe, no uniform sample" in result.out
    assert f"{runs / 'whole'}: proposed" not in result.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["whole", "longer"], "cannot be compared: they differ in proxy.epochs (1 and 2)"),
        (["whole", "nowhere"], "nowhere: not a run directory"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(nxt, runs, arguments, said):
    result = nxt("space", "compare", *(runs / name for name in arguments))
    assert result.code == 1 and result.out == ""
    assert said in result.err and len(result.err.splitlines()) == 1


def test_an_unknown_cost_is_a_mistake_in_use(nxt, runs):
    assert nxt("space", "compare", runs / "whole", runs / "again", "--cost", "seconds").code == 2


def test_a_search_is_narrowed_to_a_space_that_the_next_one_can_use(nxt, runs, tmp_path):
    result = nxt("space", "narrow", runs / "whole", "--out", "next.yaml")
    assert result.code == 0 and result.err == ""
    whole, narrowed = load_space("smoke"), load_space(str(tmp_path / "next.yaml"))
    assert narrowed.axes["cardinality"] == (4,)
    assert {name: values for name, values in narrowed.axes.items() if name != "cardinality"} == {
        name: values for name, values in whole.axes.items() if name != "cardinality"
    }
    assert f"Kept {narrowed.size} of {whole.size} architectures" in result.out and "flattered" in result.out
    assert "Search it: nxt search next.yaml" in result.out
    assert nxt("space", "show", "next.yaml").out.startswith("next: Narrowed from smoke by the search whole")


def test_without_a_place_the_new_space_goes_to_the_run(nxt, runs):
    answer = json.loads(nxt("space", "narrow", runs / "whole", "--json", "--seed", "3").out)
    assert answer["file"] == str(runs / "whole" / "narrowed.yaml")
    loaded = load_space(answer["file"])
    assert loaded.size == answer["size"]["after"] < answer["size"]["before"]
    assert [axis["kept"] for axis in answer["axes"]] == [list(values) for values in loaded.axis_values]
    assert "seed 3" in loaded.about


def test_a_search_of_few_trials_leaves_its_space_and_writes_nothing(nxt, runs, tmp_path):
    result = nxt("space", "narrow", runs / "few", "--out", "next.yaml")
    assert result.code == 0
    assert "Left as it is: 10 architectures reached the last epoch; at least 20 are needed." in result.out
    assert "Search it" not in result.out and not (tmp_path / "next.yaml").exists()
    assert json.loads(nxt("space", "narrow", runs / "few", "--json").out)["file"] is None


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--confidence", "95"], 1, "--confidence 95.0: it lies between 0 and 1"),
        (["--out", "next.txt"], 2, "a space's file ends in .yaml"),
        (["--out", "no/such/folder/next.yaml"], 1, "cannot be written"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(nxt, runs, options, code, said):
    result = nxt("space", "narrow", runs / "whole", *options)
    assert result.code == code and said in " ".join(result.err.replace("│", " ").split())
