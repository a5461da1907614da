"""`nxt space show`, `lint`, `sample` and `iso`, as they are used and misused."""

import json
import math

import pytest

import nxt as package
from nxt.arch.costs import cost
from nxt.arch.load import load_arch, parse_name
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space, space_from_dict

STAGES = """
about: Two stages on their own?
stages: 2
network: {stem: cifar, stem_width: 8}
axes:
  depth: [1, 2, 9]
  width: [8, 16, 256]
  ratio: [1, 2]
  groups: [1, 3]
"""


@pytest.fixture
def stages(tmp_path):
    path = tmp_path / "stages.yaml"
    path.write_text(STAGES)
    return path


def answer(result):
    assert result.code == 0, result.err
    assert result.err == ""
    return json.loads(result.out)


def lines(result):
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


def one_line(result):
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("nxt: ") and result.err.count("\n") == 1
    return result.err


# Show


def test_the_group_lists_its_commands(nxt):
    said = nxt("space", "--help").out
    assert all(f" {command} " in said for command in ("show", "lint", "sample", "iso"))


@pytest.mark.parametrize(("name", "size"), [("nds_resnext_a", 11_390_625), ("nds_resnext_b", 52_734_375)])
def test_a_space_of_independent_stages_is_shown_with_its_exact_size(name, size, nxt):
    found = answer(nxt("space", "show", name, "--json"))
    assert found["size"] == size
    assert [axis for axis in found["axes"] if axis.endswith("2")] == ["depth2", "width2", "ratio2", "groups2"]
    said = nxt("space", "show", name).out
    assert f"architectures: {size:,}" in said
    assert all(f"{axis}1 to {axis}3" in said for axis in ("depth", "width", "ratio", "groups"))


def test_a_budget_tells_the_shares_of_every_stage(nxt, stages):
    found = answer(nxt("space", "show", stages, "--flops", ":2M", "--json"))
    assert found["feasible"] == sum(found["spread"]["depth2"].values()) < found["size"]
    said = nxt("space", "show", stages, "--flops", ":2M")
    assert said.code == 0
    assert "depth2" in said.out and "inside the budget (macs <= 2.000M; 32 px, 10 classes)" in said.out


# Lint


def test_a_lint_counts_exactly_what_fits_and_what_makes_no_network(nxt, stages):
    space = space_from_dict(answer_of(STAGES), "stages", "here")
    budget = parse_budget({"flops": ":2M", "params": ":10K"})
    found = answer(nxt("space", "lint", stages, "--flops", ":2M", "--params", ":10K", "--json"))
    feasible = FeasibleSet(space, budget)
    assert found["feasible"] == len(feasible)
    assert found["combinations"] == 36**2 == found["size"] + sum(found["left_out"].values())
    assert found["left_out"]["no network"] > 0
    assert list(found["axes"]) == ["depth", *space.axis_names]
    for axis, counts in feasible.spread().items():
        assert found["axes"][axis]["after"]["counts"] == {str(value): n for value, n in counts.items()}
        assert found["axes"][axis]["never"] == [value for value, n in counts.items() if not n]
    before = found["axes"]["depth"]["before"]
    assert (before["mean"], before["least"], before["greatest"]) == (8, 2, 18)
    assert before["deviation"] == pytest.approx(math.sqrt(2 * 38 / 3))


def answer_of(text):
    from nxt.config import parse_yaml

    return parse_yaml(text, "here")


def test_a_lint_as_text_has_the_spread_side_by_side_and_names_what_never_fits(nxt, stages):
    said = nxt("space", "lint", stages, "--flops", ":2M").out
    found = answer(nxt("space", "lint", stages, "--flops", ":2M", "--json"))
    assert f"all of them distinct networks: {found['size']:,}" in said
    assert f"inside the budget (macs <= 2.000M): {found['feasible']:,}" in said
    assert f"no network: {found['left_out']['no network']:,}" in said
    assert "never inside: " in said and "width1 256; width2 256" in said
    lines = said.splitlines()
    for name, axis in found["axes"].items():
        (row,) = (line.split() for line in lines if line.startswith(f"{name} "))
        before, after = (
            {value: n / sum(axis[when]["counts"].values()) for value, n in axis[when]["counts"].items()}
            for when in ("before", "after")
        )
        most = sorted(before, key=lambda value: -abs(after[value] - before[value]))[:2]
        shares = [f"{value}:{before[value]:.1%}->{after[value]:.1%}" for value in most]
        means = [f"{axis[when]['mean']:.4g}" for when in ("before", "after")]
        assert row == [name, str(len(before)), *means, *shares]
    assert "--json has them all" in lines[-1]


def test_a_lint_of_a_big_space_is_short_and_has_every_axis(nxt):
    lines = nxt("space", "lint", "imagenet", "--flops", "4.1G").out.splitlines()
    assert len(lines) <= 25
    for axis in ("depth", *load_space("imagenet").axis_names):
        assert any(line.startswith(f"{axis} ") and "->" in line for line in lines), axis


def test_a_lint_knows_flags_and_duplicates(nxt, tmp_path):
    path = tmp_path / "flags.yaml"
    path.write_text(
        "network: {stem: cifar, stem_width: 16, width: 4, cardinality: 1, base_width: 4}\n"
        "axes: {depths: [[1, 2], [1, 2]], avd: [false, true], avd_first: [false, true]}\n"
    )
    found = answer(nxt("space", "lint", path, "--flops", ":1G", "--json"))
    assert (found["combinations"], found["size"], found["left_out"]["duplicate"]) == (16, 12, 4)
    assert found["axes"]["avd"]["after"]["counts"] == {"false": 4, "true": 8}
    assert "false:33.3%->33.3% true:66.7%->66.7%" in nxt("space", "lint", path, "--flops", ":1G").out


def test_a_lint_without_a_budget_is_a_wrong_call(nxt):
    result = nxt("space", "lint", "smoke")
    assert (result.code, result.out) == (2, "")
    assert "give a budget, such as --flops 4.1G" in result.err


def test_a_lint_where_nothing_fits_is_one_line(nxt):
    assert "nothing in the space 'smoke'" in one_line(nxt("space", "lint", "smoke", "--flops", ":1K"))
    assert "did you mean 'smoke'?" in one_line(nxt("space", "lint", "smok", "--flops", ":1K"))


# Sample


def test_a_sample_is_of_different_networks_inside_the_budget(nxt):
    rows = lines(nxt("space", "sample", "nds_resnext_a", "--flops", "100M+-1%", "-n", 25))
    assert len({row["fingerprint"] for row in rows}) == 25
    for row in rows:
        spec = type(parse_name("resnet50")).from_dict(row["arch"])
        spent = cost(spec)
        assert 99_000_000 <= row["macs"] <= 101_000_000
        assert (row["macs"], row["params"], row["acts"]) == (spent.macs, spent.params, spent.acts)
        assert (row["name"], row["fingerprint"]) == (spec.name, spec.fingerprint)


def test_the_same_seed_samples_the_same(nxt):
    texts = [nxt("space", "sample", "smoke", "-n", 9, "--seed", seed).out for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


def test_a_sample_of_all_has_every_network_once(nxt):
    rows = lines(nxt("space", "sample", "smoke", "--flops", ":6M", "-n", 45))
    space, budget = load_space("smoke"), parse_budget({"flops": ":6M"})
    expected = {space.spec(point).fingerprint for point in FeasibleSet(space, budget).points()}
    assert {row["fingerprint"] for row in rows} == expected
    said = one_line(nxt("space", "sample", "smoke", "--flops", ":6M", "-n", 46))
    assert "46 different architectures were asked for, but the space 'smoke' has 45 with macs <= 6.000M" in said


def test_sampled_files_are_architectures_that_profile_reads(nxt, tmp_path):
    rows = lines(nxt("space", "sample", "nds_resnext_a", "--flops", ":50M", "-n", 11, "--seed", 2))
    result = nxt("space", "sample", "nds_resnext_a", "--flops", ":50M", "-n", 11, "--seed", 2, "--out", "some/where")
    assert (result.code, result.out) == (0, "11 architecture files written to some/where\n")
    files = sorted((tmp_path / "some" / "where").iterdir())
    assert [load_arch(file).fingerprint for file in files] == [row["fingerprint"] for row in rows]
    assert files[10].name.startswith("10_") and files[9].name.startswith("09_")
    text = files[7].read_text()
    assert "space: nds_resnext_a" in text and "seed: 2" in text and "index: 7" in text
    assert "macs: [1, 50000000]" in text
    profile = answer(nxt("profile", files[3], "--json"))
    assert profile["macs"] == rows[3]["macs"]


def test_an_existing_folder_is_never_written_into(nxt, tmp_path):
    (tmp_path / "there").mkdir()
    for _ in range(2):
        said = one_line(nxt("space", "sample", "smoke", "--out", "there"))
        assert said == "nxt: there: exists already; choose another --out\n"
    assert list((tmp_path / "there").iterdir()) == []
    (tmp_path / "file").write_text("x")
    assert "cannot be created" in one_line(nxt("space", "sample", "smoke", "--out", "file/below"))


def test_too_many_to_sample_leave_no_folder(nxt, tmp_path):
    one_line(nxt("space", "sample", "smoke", "-n", 97, "--out", "x"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments", [("-n", 0), ("-n", "x"), ("--seed", -1)])
def test_a_number_that_is_none_is_a_wrong_call(arguments, nxt):
    result = nxt("space", "sample", "smoke", *arguments)
    assert (result.code, result.out) == (2, "")


# Iso


def test_the_family_of_resnet50_is_that_of_the_resnext_paper(nxt):
    found = answer(nxt("space", "iso", "--like", "resnet50", "--json"))
    assert [(row["cardinality"], row["base_width"]) for row in found["by_block"]] == [
        (1, 64), (2, 40), (4, 24), (8, 14), (32, 4)
    ]  # fmt: skip
    assert found["reference"]["block"] == 69_632
    assert found["by_block"][4]["name"] == "resnext50_32x4d"
    for by in ("by_block", "by_macs"):
        for row in found[by]:
            spent, reference = cost(parse_name(row["name"])), found["reference"]
            assert (row["macs"], row["params"], row["acts"]) == (spent.macs, spent.params, spent.acts)
            assert row["deviation"]["macs"] == pytest.approx(spent.macs / reference["macs"] - 1)
            assert abs(row["deviation"]["macs"]) < 0.05


def test_both_matchings_are_shown_and_a_cardinality_without_network_says_why(nxt):
    said = nxt("space", "iso", "--like", "resnest50", "--cardinality", "1, 8,0").out
    assert said.count("cardinality: 0 is not a whole number between 1 and 65536") == 2
    assert "nearest in the weights of a block" in said and "nearest in multiply-adds" in said
    assert "resnest50_2s8x14d" in said and "resnest50_2s8x16d" in said
    found = answer(nxt("space", "iso", "--like", "resnest50", "--cardinality", "0", "--json"))
    assert found["by_macs"] == [{"cardinality": 0, "problem": found["by_block"][0]["problem"]}]


def test_the_reference_may_be_a_file(nxt, tmp_path):
    (tmp_path / "mine.yaml").write_text(parse_name("resnext29_1x64d_cifar").to_yaml())
    found = answer(nxt("space", "iso", "--like", "mine.yaml", "--cardinality", "1,2", "--json"))
    assert [row["name"] for row in found["by_block"]] == ["resnext29_1x64d_cifar", "resnext29_2x40d_cifar"]


def test_what_is_wrong_with_a_family_is_told(nxt):
    assert "did you mean 'resnext50_32x4d'?" in one_line(nxt("space", "iso", "--like", "resnext50_32x4e"))
    for arguments, problem in (
        (["--like", "resnet50", "--cardinality", "1,,2"], "give whole numbers, such as 1,2,4,8,32"),
        (["--like", "resnet50", "--cardinality", "two"], "give whole numbers"),
        ([], "Missing option '--like'"),
    ):
        result = nxt("space", "iso", *arguments)
        assert (result.code, result.out) == (2, "")
        assert problem in result.err


def test_a_network_that_was_counted_elsewhere_is_profiled_there(nxt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    budget = ("--flops", "40M+-1%")
    made = nxt("space", "sample", "mobile", *budget, "--size", 96, "--classes", 10, "--out", "made")
    assert made.code == 0, made.err
    (file,) = (tmp_path / "made").glob("*.yaml")
    found = nxt("profile", file, *budget, "--json")
    assert (found.code, found.err) == (0, "")
    assert [json.loads(found.out)[key] for key in ("size", "classes")] == [96, 10]
    assert nxt("profile", file, *budget, "--size", 224).code == 1
    assert package.cost(file).macs == package.profile(file).cost.macs == json.loads(found.out)["macs"]
