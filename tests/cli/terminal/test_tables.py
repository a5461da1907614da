"""Tables on terminals of all widths, and in files: no number and no name is ever broken."""

import json
import os
import re
import sys

import pytest
from nxt.cli.terminal import profile_view, tables
from terminals import RULE, WIDTHS, left_out, on_terminal, shown, terminal, words

from nxt.arch.load import parse_name
from nxt.arch.zoo import ZOO
from nxt.units import format_count

COMMANDS = [
    ("profile", "resnet50"),
    ("profile", "resnet50", "--by", "stage"),
    ("profile", "resnest50", "--by", "block"),
    ("profile", "resnest50", "--by", "layer"),
    ("profile", "resnet50", "resnest50"),
    ("profile", "resnest50_fast_4s2x40d", "resnext29_16x64d_cifar", "--steps"),
    ("profile", "resnext_1-1-1_w8_1x8d_cifar", "--check"),
    ("zoo",),
    ("zoo", "resnest"),
    ("space", "show", "imagenet"),
    ("space", "show", "nds_resnext_a"),
    ("space", "show", "imagenet", "--flops", "4.1G"),
    ("space", "lint", "imagenet", "--flops", "4.1G"),
    ("space", "lint", "smoke", "--flops", ":6M"),
    ("space", "iso", "--like", "resnet50"),
    ("space", "iso", "--like", "resnest50", "--cardinality", "1,8,0"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_line_is_too_long_and_no_word_is_broken(arguments, nxt):
    whole = nxt(*arguments)
    assert whole.code == 0 and all(len(line) <= 200 for line in whole.out.splitlines() if RULE in line)
    for width in WIDTHS:
        text = shown(width, *arguments)
        assert max(map(len, text.splitlines())) <= width, text
        assert words(text) <= words(whole.out), text
        if not left_out(text):
            assert words(text) == words(whole.out)
    assert not left_out(text)  # at the widest


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_line_of_a_file_ends_in_blanks(arguments, nxt):
    for line in nxt(*arguments).out.splitlines():
        assert line == line.rstrip()


def test_the_figures_of_json_are_in_the_table_unbroken(nxt):
    rows = json.loads(nxt("profile", "resnet50", "resnest50", "--json").out)
    narrow, wide = (shown(width, "profile", "resnet50", "resnest50") for width in (60, 200))
    for row in rows:
        figures = {format_count(row[key], 4) for key in ("params", "macs", "acts")}
        assert figures <= words(narrow)
        assert figures | {f"{format_count(row[key])}B" for key in ("bytes", "peak_bytes")} <= words(wide)
    difference = {f"+{format_count(rows[1][key] - rows[0][key])}" for key in ("params", "macs")}
    assert difference <= words(narrow)
    found = json.loads(nxt("space", "iso", "--like", "resnet50", "--json").out)
    text = shown(80, "space", "iso", "--like", "resnet50")
    for row in [*found["by_block"], *found["by_macs"]]:
        figures = {format_count(row[key], 4) for key in ("block", "macs")}
        assert {row["name"], str(row["base_width"]), *figures} <= words(text)


def test_the_less_important_columns_go_first():
    assert left_out(shown(100, "profile", "resnet50", "resnest50")) == set()
    assert left_out(shown(80, "profile", "resnet50", "resnest50")) == {"moved (B)"}
    assert left_out(shown(60, "profile", "resnet50", "resnest50")) == {"moved (B)", "acts", "FLOP/B", "px", "classes"}
    assert left_out(shown(80, "space", "iso", "--like", "resnet50")) == {"acts"}
    assert left_out(shown(100, "zoo")) == set()
    assert left_out(shown(80, "zoo", "resnest")) == {"source"}


def test_a_real_terminal_shows_the_same():
    command = [sys.executable, "-c", "from nxt.cli.main import program; program()", "profile", "resnet50", "resnest50"]
    with terminal(command, 80) as (_, read):
        text = re.sub(r"\x1b\[[0-9;]*m", "", read())
    assert text == shown(80, "profile", "resnet50", "resnest50")


def test_a_row_that_cannot_fit_runs_over():
    rows = [["x" * 50, "1234567890"], ["y", "2"]]
    with on_terminal(40) as out:
        tables.print_table(["name", "figure", "spare"], [[*row, "0"] for row in rows], ["spare"], "A title")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert lines[0] == "A title" and lines[3] == "x" * 50 + "   1234567890"
    assert lines[4].split() == ["y", "2"] and len(lines[4]) == 63
    assert lines[5].startswith("(no room here for spare; ")


def test_a_last_column_of_text_is_broken_between_words_alone():
    text = "one two-three four five sixsevenseveneightnine"
    with on_terminal(30) as out:
        tables.print_table(["axis", "values"], [["width", text], ["none", ""]], [], left=["values"])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert lines[2:] == [
        "width   one two-three four",
        "        five",
        "        sixsevenseveneightnine",
        "none",
    ]


def test_columns_are_aligned_where_characters_are_wide(capsys):
    tables.print_table(["class", "images"], [["\u732b", 5], ["dog", 12]], [], "Title")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Title", "class   images", RULE * 14, "\u732b           5", "dog         12"]


def test_where_only_ascii_can_be_written_the_rule_is_ascii(nxt_process):
    result = nxt_process("zoo", "resnest14", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert result.code == 0 and set(result.out.splitlines()[1]) == {"-"}


# Measurements


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.59, "3.59 s"), (1, "1.00 s"), (0.9996, "1.00 s"), (0.999, "999 ms"), (0.01234, "12.3 ms"), (1234, "1234.00 s")],
)
def test_times_are_in_the_unit_that_suits_them(seconds, text):
    assert profile_view._ms(seconds) == text


def measured(seconds):
    """Return what a measurement of two ways of computing would give."""
    way = {"precision": "fp32", "graph": False}
    times = {"median": seconds, "low": 0.9 * seconds, "high": 1.1 * seconds}
    ways = [
        {**way, "channels_last": last, "compile": last, "latency": times, "images_per_second": {"1": 0.3, "32": 12.5}}
        for last in (False, True)
    ]
    stage = {"seconds": seconds, "intensity": 12.5, "flops": 1e9, "attainable": 2e9, "share": 0.5}
    return {
        "device": "NVIDIA H100 80GB HBM3", "threads": 2, "torch": "2", "ways": ways,
        "best": {**way, "channels_last": True, "compile": False},
        "training": {"batch": 32, "seconds": times, "peak_bytes": 10**9, "predicted_bytes": 10**9},
        "ceiling": {"flops": 3e11, "bandwidth": 2e10},
        "stages": [{**stage, "name": name} for name in ("stem", "stage1", "head")],
    }  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
def test_measurements_fit_and_speak_as_the_progress_does(width):
    with on_terminal(width) as out:
        profile_view.print_measured("resnest50_fast_4s2x40d", measured(3.59))
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert max(map(len, text.splitlines())) <= width, text
    assert "3.59 s" in text and "e+0" not in text and " ms" not in text
    assert "channels first, fp32 " in text and "channels last, fp32, compiled " in text and "NCHW" not in text
    assert ("3.23 s..3.95 s" in text) == ("quartiles" not in left_out(text))


# The zoo


def test_the_zoo_shows_the_first_published_accuracy_and_its_source(nxt):
    text = nxt("zoo").out
    lines = {line.split()[0]: line for line in text.splitlines() if re.match("(se|sk)?resne", line)}
    assert set(lines) == set(ZOO)
    for name, entry in ZOO.items():
        for first in entry.published[:1]:
            assert f"   {first.top1:.2f}" in lines[name] and lines[name].endswith(f"   {first.source}")
            assert (f"@{first.size}" in lines[name]) == (first.size != parse_name(name).size)
            assert first.dataset == (
                "CIFAR-10" if entry.spec.stem == "cifar" else "ImageNet-1k"
            )  # as the last line says
    assert max(len(line) for line in lines.values()) <= 100


@pytest.mark.parametrize(("pattern", "near"), [("resnext50-*", True), ("list", False)])
def test_a_pattern_without_a_match_is_told_where_all_are(pattern, near, nxt):
    result = nxt("zoo", pattern)
    assert (result.code, result.out) == (1, "")
    assert f"no network of the zoo matches {pattern!r} (nxt zoo lists all)" in result.err
    assert ("did you mean" in result.err) == near
