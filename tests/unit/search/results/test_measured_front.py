"""Latency in a search: recorded, minimised, shown; and the front's members measured at its end."""

import contextlib
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import latencies
import pytest
from latencies import made_up_ns
from runs import opened, resumed

from nxt.analysis.compare_runs import RunPair
from nxt.config import parse_settings
from nxt.errors import ConfigError, DeviceError, RunError
from nxt.latency.parts import chain
from nxt.search.engine import execute
from nxt.search.engine.notices import notices
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.options import SearchOptions
from nxt.search.request import LATENCY, load_record
from nxt.search.results import measured_front
from nxt.search.results.files import write
from nxt.search.results.front_table import columns, front_table
from nxt.search.results.run import load_run
from nxt.search.trial import Epoch
from nxt.space.budget import Budget, parse_budget
from nxt.space.load import load_space

SMOKE = load_space("smoke")


@pytest.fixture
def search(tmp_path):
    """Make a search by latency whose accuracies are made up, and return its run directory."""

    def make(name="run", trials=6, sampler="ehvi", **changes):
        table = latencies.table(tmp_path / f"{name}.json", SMOKE, **changes)
        settings = parse_settings(["proxy.epochs=1", "search.confirm=0", f"search.sampler={sampler}"])
        request = make_request(
            SMOKE.with_latency(table), parse_budget({"latency": ":1ms"}, table=table), "digits", trials, 0, settings,
            objectives="accuracy,latency",
        )  # fmt: skip
        with opened(prepare_search(request, tmp_path / name), new=True) as session:
            while (trial := session.strategy.suggest()) is not None:
                session.strategy.observe(trial.number, Epoch(1, 0.3 + trial.cost.latency / 4e6, 1.0, 0.1))
        (tmp_path / f"{name}.json").unlink()  # what was given may go away
        return tmp_path / name

    return make


class Silent:
    """An observer that says nothing."""

    begin = ended = update = staticmethod(lambda *_: None)
    shown = staticmethod(contextlib.nullcontext)


class Device:
    """A runtime of the made-up CPU on which networks take twice what is predicted."""

    in_turn, device, kind, threads, versions, cpus = True, "a made-up CPU", "cpu", 2, {"torch": "0"}, 2

    def __init__(self):
        self.measured = []

    def network(self, spec):
        self.measured.append(spec.name)
        return [(1, lambda: 2e-9 * sum(map(made_up_ns, chain(spec, 32, 10))))]

    def durations(self, run, count):
        return [run() for _ in range(count)]


@pytest.fixture
def device(monkeypatch):
    made = Device()
    monkeypatch.setattr(measured_front, "open_runtime", lambda asked, threads: made)
    monkeypatch.setattr(measured_front, "usable_cpus", lambda: made.cpus)
    return made


@pytest.mark.parametrize("sampler", ["ehvi", "tpe", "random"])
def test_a_search_by_latency_has_the_front_of_latency(search, sampler):
    run = load_run(search(sampler=sampler, trials=12))
    assert run.objective == "latency" and len(run.trials) == 12
    for trial in run.trials:
        assert trial.cost.latency == sum(map(made_up_ns, chain(trial.spec, 32, 10))) <= 1_000_000
    assert len(run.front) == 12  # accuracies rise with the latency
    assert [entry.cost.latency for entry in run.front] == sorted(entry.cost.latency for entry in run.front)


def test_a_run_keeps_its_table_and_goes_on_without_the_file_that_was_given(search):
    out = search()
    record = load_record(out)
    assert record.request.latency.conditions["device"] == "a made-up CPU" and (out / LATENCY).exists()
    with opened(resumed(out)) as session:
        assert session.request.latency == record.request.latency and session.strategy.suggest() is None
    (out / LATENCY).write_text("{}")
    with pytest.raises(ConfigError, match=r"latency\.json: not a latency table"):
        load_run(out)
    (out / LATENCY).unlink()
    with pytest.raises(ConfigError, match="there is no such latency table"):
        load_run(out)


def test_tables_have_the_latency_predicted_and_measured(search, device):
    out = search()
    run = load_run(out)
    assert columns(run)[4:6] == ("latency", "measured") and [row[5] for row in front_table(run)] == ["-"] * 6
    assert run.latency_note() == (
        "Latency is predicted for a made-up CPU, 2 threads, torch fp32, batch 1, 32 px; nothing was measured yet."
    )
    measured_front.measure_front(run)
    run = load_run(out)
    write(run)
    assert len(device.measured) == 6 and run.latency_note().endswith(
        "the front was measured here, alone on the device."
    )
    for entry in run.front:
        row = run.row(entry)
        assert abs(row["measured_ms"] / row["latency_ms"] - 2) < 1e-3
    assert (out / "front.csv").read_text().splitlines()[0].endswith(",latency_ms,measured_ms")
    assert (out / "trials.csv").read_text().splitlines()[0].endswith(",latency_ms")
    assert "latency_ms:" in (out / "best.yaml").read_text()
    measured_front.measure_front(run)
    assert len(device.measured) == 6  # nothing twice


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"device": "another CPU"}, "a made-up CPU is not here, but another CPU"),
        ({"cpus": 1}, "it takes 2 threads, and 1 CPUs are here"),
        ({"versions": {"torch": "1"}}, "torch has another version here"),
    ],
)
def test_a_front_is_not_measured_on_another_device(changes, why, search, device):
    vars(device).update(changes)
    out = search()
    measured_front.measure_front(load_run(out))
    run = load_run(out)
    assert device.measured == [] and run.measured.note == f"the front was not measured: {why}"
    assert all(run.row(entry)["measured_ms"] is None for entry in run.front)


def test_a_device_that_cannot_be_opened_is_no_error_of_the_search(search, monkeypatch):
    def refuse(asked, threads):
        raise DeviceError("`device` cuda: this machine has none")

    monkeypatch.setattr(measured_front, "open_runtime", refuse)
    out = search()
    measured_front.measure_front(load_run(out))
    assert "not measured: `device` cuda: this machine has none" in load_run(out).latency_note()


def test_before_a_search_it_is_told_if_the_front_will_not_be_measured(tmp_path, device):
    table = latencies.table(tmp_path / "t.json", SMOKE)

    def said(**changes):
        vars(device).update(changes)
        space = SMOKE.with_latency(table)
        request = make_request(space, Budget(), trials=20, objectives="accuracy,latency")
        return [text for text in notices(prepare_search(request, tmp_path / "run")) if "latency" in text]

    assert said() == []
    assert said(device="another CPU") == [
        "latency is predicted, and the front will not be measured: a made-up CPU is not here, but another CPU"
    ]


def test_the_front_is_measured_when_all_trials_have_ended_and_the_cluster_is_gone(tmp_path, device, monkeypatch):
    table = latencies.table(tmp_path / "t.json", SMOKE)
    settings = parse_settings(["proxy.epochs=1", "search.confirm=0"])
    request = make_request(SMOKE.with_latency(table), Budget(), "digits", 4, 0, settings, objectives="accuracy,latency")
    search, happened = prepare_search(request, tmp_path / "run"), []

    @contextlib.contextmanager
    def cluster(size, address):
        yield
        happened.append("cluster gone")

    def run(session, data, placement, on_change):
        while (trial := session.strategy.suggest()) is not None:
            session.strategy.observe(trial.number, Epoch(1, 0.3 + trial.cost.latency / 4e6, 1.0, 0.1))
        happened.append("trials ended")

    def measured(run):
        happened.append("measured")
        return measure(run)

    measure = measured_front.measure_front
    monkeypatch.setattr(measured_front, "measure_front", measured)
    monkeypatch.setattr(execute, "_packing", lambda *_: None)
    monkeypatch.setattr("nxt.compute.ray_cluster.cluster", cluster)
    monkeypatch.setattr("nxt.compute.ray_cluster.place", lambda *_, **__: SimpleNamespace(workers=1, growth=""))
    monkeypatch.setattr("nxt.search.engine.ray_runner.run", run)
    ending = execute.execute(search, execute.Resources(), Silent(), new=True)
    assert ending is execute.Ending.COMPLETE and happened == ["trials ended", "cluster gone", "measured"]
    assert len(device.measured) == 4
    assert "measured here" in (tmp_path / "run" / measured_front.FILE).read_text()
    rows = (tmp_path / "run" / "front.csv").read_text().splitlines()[1:]
    assert all(float(row.rsplit(",", 1)[1]) > 0 for row in rows)
    (tmp_path / "run" / measured_front.FILE).unlink()  # as if it had been killed before
    execute.execute(resumed(tmp_path / "run"), execute.Resources(), Silent(), new=False)
    assert happened[3:] == ["measured"] and len(device.measured) == 8


def test_only_searches_that_latency_decides_are_measured(tmp_path):
    table = latencies.table(tmp_path / "t.json", SMOKE)
    space, budget = SMOKE.with_latency(table), parse_budget({"latency": ":1ms"}, table=table)
    assert measured_front.counts(make_request(space, budget))
    assert measured_front.counts(make_request(space, Budget(), objectives="accuracy,latency"))
    assert not measured_front.counts(make_request(space, Budget()))
    assert not measured_front.counts(make_request(SMOKE, Budget()))


def test_a_damaged_file_of_measurements_counts_as_none(search, device):
    out = search()
    measured_front.measure_front(load_run(out))
    (out / measured_front.FILE).write_text('{"note": 1, "measured": [1]}')
    assert load_run(out).measured is None
    measured_front.measure_front(load_run(out))
    assert len(load_run(out).measured.measured) == 6


def test_a_network_is_picked_by_its_latency(search):
    run = load_run(search())
    middle = run.front[3].cost.latency
    picked = run.pick(latency=f":{middle}ns")
    assert picked.entry is run.front[3] and picked.candidates == 4 and picked.cost == "latency"
    assert run.pick(throughput=f"{1e9 / middle - 1:.0f}:").entry is run.front[3]


def test_a_run_that_counted_no_latency_cannot_be_picked_from_by_it(tmp_path):
    request = make_request(SMOKE, parse_budget({"flops": ":1G"}), "digits", 1, 0, {"proxy": {"epochs": 1}})
    with opened(prepare_search(request, tmp_path / "run"), new=True) as session:
        session.strategy.observe(session.strategy.suggest().number, Epoch(1, 0.5, 1.0, 0.1))
    run = load_run(tmp_path / "run")
    with pytest.raises(RunError, match=r"`latency`: .* counted no latency: it was searched without `latency_table`"):
        run.pick(latency=":5ms")
    assert "latency_ms" not in run.row(run.entries[0]) and run.latency_note() == ""


def test_fronts_of_two_devices_are_not_ranked_together(search):
    first, same = load_run(search("a")), load_run(search("b"))
    other = load_run(search("c", device="another CPU"))
    assert RunPair(first, same).ranked
    assert "latencies are of a made-up CPU" in RunPair(first, other).difference


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("accuracy,latency", "latency"),
        ("flops, accuracy", "macs"),
        ("accuracy,params", "params"),
        ("accuracy,acts", "acts"),
    ],
)
def test_objectives_are_accuracy_and_a_cost(text, cost, tmp_path):
    space = SMOKE.with_latency(latencies.table(tmp_path / "t.json", SMOKE))
    request = make_request(space, Budget(), objectives=text)
    assert request.objective == cost
    assert make_request(SMOKE, Budget()).objective == "macs"


@pytest.mark.parametrize(
    "text", ["latency", "accuracy", "accuracy,speed", "accuracy,flops,params", "loss,flops", "accuracy,memory"]
)
def test_other_objectives_are_refused(text):
    with pytest.raises(
        ConfigError, match=f"`objectives` {text}: write accuracy,COST, where COST is one of flops, params"
    ):
        make_request(SMOKE, Budget(), objectives=text)


def test_latency_is_no_objective_without_a_table():
    with pytest.raises(ConfigError, match="`objectives` accuracy,latency: it needs a table of latencies"):
        make_request(SMOKE, Budget(), objectives="accuracy,latency")


def test_options_read_the_table_once_for_space_and_budget(tmp_path):
    file = latencies.table_file(tmp_path / "t.json", SMOKE)
    options = SearchOptions(space="smoke", throughput="20K:", latency_table=file, objectives="accuracy,latency")
    request = options.request()
    assert request.latency is request.space.latency and request.objective == "latency"
    assert request.budget.limits[0].high == 50_000
    data = request.to_dict()
    assert data["latency"]["table"] == LATENCY and data["objective"] == "latency"
    json.dumps(data)


def test_a_table_of_another_image_side_is_refused_before_anything_else(tmp_path):
    file = latencies.table_file(tmp_path / "t.json", SMOKE)
    options = SearchOptions(space="smoke", size=64, latency=":1ms", latency_table=file)
    with pytest.raises(ConfigError, match="measured at 32 px, while costs are counted at 64: give `size` 32"):
        options.request()


def test_spaces_with_and_without_a_table_are_not_the_same(tmp_path):
    space = SMOKE.with_latency(latencies.table(tmp_path / "t.json", SMOKE))
    assert dataclasses.replace(space, latency=None) == SMOKE != space and Path(space.latency.name).name == "t.json"
