"""`nxt latency measure`, and latency as a budget of the other commands."""

import csv
import io
import json
import re

import latencies
import pytest
from runs import opened

from nxt.config import parse_settings
from nxt.latency import measure as measuring
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.trial import Epoch
from nxt.space.budget import parse_budget
from nxt.space.load import load_space

SMOKE = load_space("smoke")
TINY = "resnext_2-2-2_w8_1x8d_cifar"


@pytest.fixture
def table(tmp_path):
    """A made-up table of `smoke` in the folder of the command."""
    return latencies.table_file(tmp_path / "t.json", SMOKE).name


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The run directory of a search by latency whose accuracies are made up."""
    folder = tmp_path_factory.mktemp("latency")
    table = latencies.table(folder / "t.json", SMOKE)
    request = make_request(
        SMOKE.with_latency(table), parse_budget({"latency": ":1ms"}, table=table), "digits", 5, 0,
        parse_settings(["proxy.epochs=1", "search.confirm=0"]), objectives="accuracy,latency",
    )  # fmt: skip
    with opened(prepare_search(request, folder / "run"), new=True) as session:
        while (trial := session.strategy.suggest()) is not None:
            session.strategy.observe(trial.number, Epoch(1, 0.3 + trial.cost.latency / 4e6, 1.0, 0.1))
    return folder / "run"


def one_line(result):
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("nxt: ") and result.err.count("\n") == 1
    return result.err


def test_a_space_is_measured_and_its_table_is_a_budget(nxt, tmp_path, monkeypatch):
    monkeypatch.setattr("nxt.latency.runtime._SECONDS", 0.0)
    result = nxt("latency", "measure", "smoke", "--device", "cpu", "--runtime", "onnxruntime")
    assert result.code == 0, result.err
    (file,) = tmp_path.glob("*.json")
    assert file.name == "latency_smoke_cpu_onnxruntime_fp32_b1_32.json"
    first, sums, use = result.out.splitlines()
    assert first.startswith(f"{file.name}: 76 parts of smoke; ") and first.endswith("onnxruntime fp32, batch 1, 32 px")
    assert re.match(r"sums against 12 whole networks: median error [\d.]+% before, [\d.]+% after correction", sums)
    assert "measuring parts: 0 of 76" in result.err and "measuring networks: 12 of 12" in result.err
    again = nxt(*use.removeprefix("Use it: nxt ").split(), "--json")
    assert again.code == 0 and 0 < json.loads(again.out)["feasible"] < 96
    once_more = nxt("latency", "measure", "smoke", "--device", "cpu", "--runtime", "onnxruntime", "--json")
    assert json.loads(once_more.out)["correction"]["networks"] == 12 and "measuring parts: 0" not in once_more.err


def test_what_is_fitted_is_told(nxt, monkeypatch):
    monkeypatch.setattr("nxt.latency.runtime._SECONDS", 0.0)
    monkeypatch.setattr(measuring, "MOST", 40)
    out = nxt("latency", "measure", "smoke", "--device", "cpu", "--runtime", "onnxruntime", "-o", "t.json").out
    assert re.search(
        r"^measured: 44; fitted: 32, by a Gaussian process with an error of [\d.]+% \(90th perc", out, re.M
    )


@pytest.mark.parametrize("at", ["before", "after"])
def test_an_interrupted_measurement_says_how_it_goes_on(at, nxt, tmp_path, monkeypatch):
    def interrupt(space, path, asked, progress):
        if at == "after":
            path.write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr("nxt.latency.measure.measure_space", interrupt)
    result = nxt("latency", "measure", "smoke", "-o", "t.json")
    kept = {"before": "Nothing was measured yet", "after": "t.json keeps what is measured; the same command goes on"}
    assert (result.code, result.out, result.err) == (130, "", f"Interrupted. {kept[at]}.\n")


def test_a_space_is_shown_counted_and_drawn_from_within_a_latency(nxt, table):
    limit = ("--latency", ":1ms", "--latency-table", table)
    shown = json.loads(nxt("space", "show", "smoke", *limit, "--json").out)
    assert shown["budget"] == "latency <= 1.000ms" and 0 < shown["feasible"] < 96
    assert json.loads(nxt("space", "lint", "smoke", *limit, "--json").out)["feasible"] == shown["feasible"]
    same = nxt("space", "show", "smoke", "--throughput", "1000:", "--latency-table", table, "--json")
    assert json.loads(same.out)["feasible"] == shown["feasible"]
    drawn = [
        json.loads(line) for line in nxt("space", "sample", "smoke", "-n", shown["feasible"], *limit).out.splitlines()
    ]
    assert len({row["name"] for row in drawn}) == shown["feasible"] and max(row["latency_ms"] for row in drawn) <= 1
    both = json.loads(nxt("space", "show", "smoke", *limit, "--flops", ":4M", "--json").out)
    assert 0 < both["feasible"] < shown["feasible"]


def test_a_network_is_profiled_with_its_predicted_latency(nxt, table):
    said = nxt("profile", TINY, "--latency", table).out
    line = next(line for line in said.splitlines() if "predicted" in line)
    assert re.fullmatch(
        rf"{TINY}: predicted latency [\d.]+ms, [\d.]+ images/s; a made-up CPU, 2 threads, torch fp32, batch 1, 32 px",
        line,
    )
    found = json.loads(nxt("profile", TINY, "--latency", table, "--json").out)["latency"]
    assert abs(found["ms"] * found["images_per_second"] - 1000) < 1e-6 and found["device"] == "a made-up CPU"
    assert "latency" not in json.loads(nxt("profile", TINY, "--json").out)


def test_a_run_is_shown_and_picked_from_by_latency(nxt, run):
    said = nxt("show", run).out
    assert "latency <= 1.000ms" in said and "Front of proxy accuracy against latency" in said
    assert re.search(r"architecture +MACs +params +acts +latency +measured +accuracy", said)
    note = "Latency is predicted for a made-up CPU, 2 threads, torch fp32, batch 1, 32 px; nothing was measured yet."
    assert note in said and json.loads(nxt("show", run, "--json").out)["latency"] == note
    assert re.search(r"accuracy +fresh seed +latency +trained\n.*\n.*\d(us|ms)", nxt("show", run, "--trials").out)
    picked = nxt("pick", run, "--latency", ":1ms")
    assert picked.code == 0 and "latency_ms: 0." in picked.out
    assert "with latency <= 1.000ms" in picked.err and f"us. {note}" in picked.err
    rows = list(csv.DictReader(io.StringIO((run / "front.csv").read_text())))
    assert all(0 < float(row["latency_ms"]) <= 1 and row["measured_ms"] == "" for row in rows)


def test_a_report_has_the_latencies(nxt, run, tmp_path):
    result = nxt("report", run, "--out", tmp_path / "r.html")
    assert result.code == 0, result.err
    page = (tmp_path / "r.html").read_text()
    assert "<th>latency</th>" in page or ">latency<" in page
    assert "Latency is predicted for a made-up CPU" in page and '"ticksuffix":"s"' in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--latency", ":5ms"),
            "--latency: it needs a table of latencies: --latency-table FILE; nxt latency measure SPACE",
        ),
        (("--throughput", "9:"), "--throughput: it needs a table of latencies: --latency-table FILE"),
        (
            ("--latency", ":5", "--latency-table", "t.json"),
            "--latency: '5' is not a time; write a positive number with us",
        ),
        (
            ("--latency", ":9ns", "--latency-table", "t.json"),
            "nothing in the space 'smoke' has latency <= 9ns; the nearest",
        ),
        (
            ("--latency", ":5ms", "--latency-table", "no.json"),
            "no.json: there is no such latency table; nxt latency measure",
        ),
        (
            ("--size", "64", "--latency", ":5ms", "--latency-table", "t.json"),
            "while costs are counted at 64: give --size 32",
        ),
        (("--flops", ":1G", "--latency-table", "cut.json"), "cut.json: not a latency table"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "start", [("space", "show", "smoke"), ("search", "smoke"), ("space", "sample", "smoke")], ids=str
)
def test_what_cannot_be_a_budget_is_told_in_one_line(words, said, start, nxt, table, tmp_path):
    (tmp_path / "cut.json").write_text((tmp_path / table).read_text()[:500])
    assert said in one_line(nxt(*start, *words))


def test_an_objective_needs_its_table_and_a_resumed_search_none(nxt, run):
    line = one_line(nxt("search", "smoke", "--flops", ":1G", "--objectives", "accuracy,latency"))
    assert "--objectives accuracy,latency: it needs a table of latencies: --latency-table FILE" in line
    assert "write accuracy,COST" in one_line(nxt("search", "smoke", "--flops", ":1G", "--objectives", "speed"))
    result = nxt("search", "--resume", run, "--objectives", "accuracy,flops")
    assert result.code == 2 and "--objectives cannot be given with --resume" in result.err
    assert "--latency cannot be given" in nxt("search", "--arch", TINY, "--latency", ":1ms").err


def test_a_run_without_latency_cannot_be_picked_from_by_it(nxt, searched):
    assert "counted no latency: it was searched without --latency-table" in one_line(
        nxt("pick", searched, "--latency", ":1s")
    )
