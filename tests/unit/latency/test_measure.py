"""Measuring a space's parts, with a clock of its own: what a part takes is known, so the table must have it."""

import json
from itertools import count

import latencies
import pytest
from latencies import made_up_ns

from nxt.errors import ConfigError, RunError
from nxt.latency import measure as measuring
from nxt.latency.measure import correction, measure_space
from nxt.latency.open import open_runtime
from nxt.latency.parts import chain, parts_of_space
from nxt.latency.runtime import Asked, timed
from nxt.space.load import load_space

SMOKE = load_space("smoke")
ASKED = Asked(size=32, classes=10)


class Clock:
    """A runtime whose steps take as long as they say, without running anything."""

    in_turn = True
    device, kind, threads, versions = "a clock", "cpu", 2, {"clock": "1"}

    def __init__(self, asked=ASKED, scale=1.0, block=0, stops_after=10**9):
        self.asked, self.scale, self.block = asked, scale, block
        self.left, self.measured = stops_after, []

    def part(self, part):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.measured.append(part.key)
        return [(0, lambda: 1.0), (-1, lambda: 1e-6), (1, lambda: 1e-6 + 1e-9 * made_up_ns(part))]

    def network(self, spec):
        parts = list(chain(spec, self.asked.size, self.asked.classes))
        total = self.scale * sum(map(made_up_ns, parts)) + self.block * sum(spec.depths)
        return [(1, lambda: 1e-9 * total)]

    def durations(self, run, count):
        return [run() for _ in range(count)]


@pytest.fixture
def clock(monkeypatch):
    """Make `measure_space` use a clock, which is returned once it is made; `clock(...)` makes another."""

    def use(**options):
        made = Clock(**options)
        monkeypatch.setattr(measuring, "open_runtime", lambda asked: made)
        return made

    return use


def test_a_table_has_what_each_part_takes(clock, tmp_path):
    clock()
    table = measure_space(SMOKE, tmp_path / "t.json", ASKED)
    for key, part in parts_of_space(SMOKE).items():
        assert abs(table.entries[key] - made_up_ns(part)) <= 1
    assert table.data["correction"] == {
        "scale": 1.0, "block": 0, "networks": 12, "error_before": 0.0, "error_after": 0.0,
    }  # fmt: skip
    assert table.conditions == {
        "device": "a clock", "threads": 2, "runtime": "torch", "precision": "fp32", "batch": 1, "size": 32,
        "classes": 10,
    }  # fmt: skip
    assert table.data["versions"]["clock"] == "1" and table.data["fitted"] == {}


def test_sums_are_corrected_where_whole_networks_take_longer(clock, tmp_path):
    clock(scale=1.2, block=-300)
    table = measure_space(SMOKE, tmp_path / "t.json", ASKED)
    found = table.data["correction"]
    assert abs(found["scale"] - 1.2) < 1e-3 and abs(found["block"] + 300) < 30
    assert found["error_after"] < 1e-3 < found["error_before"]
    spec = SMOKE.spec((1, 1, 1, 1, 1, 1))
    exact = 1.2 * sum(map(made_up_ns, chain(spec, 32, 10))) - 300 * 6
    assert abs(SMOKE.with_latency(table).cost((1, 1, 1, 1, 1, 1)).latency / exact - 1) < 2e-3


def test_what_is_cut_off_goes_on_without_measuring_anything_twice(clock, tmp_path):
    file = tmp_path / "t.json"
    first = clock(stops_after=40)
    with pytest.raises(KeyboardInterrupt):
        measure_space(SMOKE, file, ASKED)
    kept = json.loads(file.read_text())["measured"]
    assert len(kept) == 32  # whole groups
    second = clock()
    table = measure_space(SMOKE, file, ASKED)
    assert set(second.measured) == set(parts_of_space(SMOKE)) - set(kept) and len(first.measured) == 40
    third = clock()
    assert measure_space(SMOKE, file, ASKED).entries == table.entries and third.measured == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 8}, "holds latencies of batch 1, not 8; give another `out`"),
        ({"precision": "bf16"}, "holds latencies of precision 'fp32', not 'bf16'"),
        ({"size": 48}, "holds latencies of size 32, not 48"),
    ],
)
def test_a_file_is_not_mixed_with_latencies_of_another_kind(changes, said, clock, tmp_path):
    clock()
    file = tmp_path / "t.json"
    measure_space(SMOKE, file, ASKED)
    before = file.read_text()
    asked = Asked(**{"size": 32, "classes": 10, **changes})
    with pytest.raises(ConfigError, match=said):
        measure_space(SMOKE, file, asked)
    assert file.read_text() == before


def test_a_file_of_another_device_version_or_space_or_of_something_else_is_left_alone(clock, tmp_path):
    clock()
    file = tmp_path / "t.json"
    measure_space(SMOKE, file, ASKED)
    other = clock()
    other.device = "another clock"
    with pytest.raises(ConfigError, match="device 'a clock', not 'another clock'"):
        measure_space(SMOKE, file, ASKED)
    newer = clock()
    newer.versions = {"clock": "2"}
    with pytest.raises(ConfigError, match="holds latencies of versions"):
        measure_space(SMOKE, file, ASKED)
    clock()
    with pytest.raises(ConfigError, match="space 'smoke', not 'nds_resnext_a'"):
        measure_space(load_space("nds_resnext_a"), file, ASKED)
    file.write_text("my notes")
    with pytest.raises(ConfigError, match="not a latency table"):
        measure_space(SMOKE, file, ASKED)
    assert file.read_text() == "my notes"


def test_of_many_blocks_some_are_measured_and_the_others_fitted(clock, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "MOST", 60)
    made, seen = clock(), []
    table = measure_space(SMOKE, tmp_path / "t.json", ASKED, lambda *step: seen.append(step))
    parts = parts_of_space(SMOKE)
    ends = [key for key, part in parts.items() if part.stage is None]
    assert len(made.measured) == 60 + len(ends) and set(ends) <= set(made.measured)
    assert set(table.entries) == set(parts) and len(table.data["fitted"]) == len(parts) - len(made.measured)
    assert table.data["fit"]["from"] == 60 and 0 < table.data["fit"]["error"] < table.data["fit"]["error_90"]
    assert seen[0] == ("parts", 0, 64) and ("parts", 64, 64) in seen and seen[-1] == ("networks", 12, 12)


def test_a_figure_is_what_steps_take_undisturbed_and_they_run_in_turn():
    order, numbers = [], count()

    class Noisy(Clock):
        def durations(self, run, count):
            return [run() for _ in range(count)]

    def step(name, seconds):
        def run():
            order.append(name)
            return seconds * (10 if next(numbers) % 9 < 6 else 1)  # mostly disturbed

        return run

    wanted = [[(0, step("a0", 1.0)), (1, step("a1", 2e-6))], [(-1, step("b0", 1e-6)), (1, step("b1", 4e-6))]]
    figures = timed(Noisy(), wanted)
    assert [figure[0] for figure in figures] == [2000, 3000]
    assert all(figure[1] > 0 and figure[2] >= 13 for figure in figures)
    assert order[:8] == ["a0", "a1", "b0", "b1"] * 2


def test_where_things_disturb_each_other_each_runs_in_a_row_and_the_faster_ones_more_often():
    order = []

    class Apart(Clock):
        in_turn = False

    def step(name, seconds):
        def run():
            order.append(name)
            return seconds * (4 if order[-5:] != [name] * 5 else 1)  # disturbed by what ran before

        return run

    figures = timed(Apart(), [[(-1, step("a0", 1e-4)), (1, step("a1", 1e-3))], [(1, step("b", 5e-2))]])
    assert [figure[0] for figure in figures] == [900_000, 50_000_000]
    assert figures[0][2] > 3 * figures[1][2] >= 60  # runs that count
    assert order == sorted(order)


def test_nothing_is_corrected_where_that_makes_networks_left_out_worse():
    sums, blocks = [100, 200, 300, 400, 500], [3, 1, 2, 1, 3]
    noisy = [90, 220, 290, 430, 480]
    found = correction(sums, blocks, noisy)
    assert (found["scale"], found["block"]) == (1.0, 0) and found["error_after"] == found["error_before"]
    assert correction([5], [1], [6]) == {
        "scale": 1.0, "block": 0, "networks": 1, "error_before": 0.1667, "error_after": 0.1667,
    }  # fmt: skip


def test_what_does_not_fit_into_memory_is_told_in_one_line_and_the_rest_kept(clock, tmp_path):
    made = clock()
    parts = iter(range(20))
    fits = made.part

    def part(wanted):
        if next(parts) == 18:
            raise RuntimeError("CUDA out of memory. Tried to allocate 4 GiB\nand more")
        return fits(wanted)

    made.part = part
    with pytest.raises(
        RunError, match=r"a clock: cannot measure this \(CUDA out of memory.*4 GiB\); try a smaller `batch`$"
    ):
        measure_space(SMOKE, tmp_path / "t.json", ASKED)
    assert len(json.loads((tmp_path / "t.json").read_text())["measured"]) == 16


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"runtime": "tensorflow"}, "`runtime`: 'tensorflow' is not one of torch, onnxruntime"),
        ({"precision": "int8"}, "`precision`: 'int8' is not one of fp32, bf16, fp16, which torch is measured in"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "`precision`: 'bf16' is not one of fp32, which onnxruntime"),
        ({"batch": 0}, "`batch`: 0 is not between 1 and 65536"),
    ],
)
def test_what_cannot_be_measured_is_refused(asked, said):
    with pytest.raises(ConfigError, match=said):
        Asked(**asked)


def test_a_missing_package_is_named_with_the_other_way(monkeypatch):
    monkeypatch.setattr("nxt.latency.open.find_spec", lambda name: None if name == "onnx" else object())
    with pytest.raises(RunError, match="`runtime` onnxruntime needs onnx: install it, or give `runtime` torch"):
        open_runtime(Asked(runtime="onnxruntime"))


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", ["smoke", "nds_resnext_a"])
def test_every_kind_of_part_runs_in_each_runtime(runtime, name, tmp_path):
    space = load_space(name)
    opened = open_runtime(Asked(size=space.resolution[0], classes=10, runtime=runtime, batch=2), threads=1)
    assert opened.threads == 1 and opened.kind == "cpu" and opened.device and opened.versions
    parts = parts_of_space(space)
    chosen = {part.kind: part for part in list(parts.values())[::-1]}
    for found in timed(opened, [opened.part(part) for part in chosen.values()]):
        assert found[0] > 0 and found[1] >= 0 and found[2] >= 13
    (whole,) = timed(opened, [opened.network(space.example)])
    assert whole[0] > 1000


def test_a_made_up_table_reads_as_a_measured_one_does(tmp_path):
    assert set(latencies.table(tmp_path / "t.json", SMOKE).entries) == set(parts_of_space(SMOKE))
