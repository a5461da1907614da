"""How a search's proxies compute: by rule on a CPU, by one measurement for each family on a GPU."""

import json

import pytest
import stand_in
import torch

from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.compute.cuda_graph import RecordingError
from nxt.compute.devices import choose
from nxt.compute.mode import Compute, for_proxy
from nxt.train.engine import proxy_compute
from nxt.train.engine.proxy_compute import family, fastest, proxy_ways, way_for
from nxt.train.recipe import Recipe

CPU = torch.device("cpu")
TINY = {"stem": "cifar", "stem_width": 4, "depths": [1], "widths": [16], "cardinality": 2, "base_width": 2}
GROUPED = ArchSpec.from_dict(TINY)
SPLIT = ArchSpec.from_dict({**TINY, "radix": 1})
RECIPE = Recipe(epochs=2, batch=8, lr=0.1)
RULE = Compute(channels_last=False, precision="bf16", graph=True)
LAST = Compute(channels_last=True, precision="bf16", graph=True)
TF32, TF32_LAST = (Compute(channels_last=last, graph=True) for last in (False, True))
FOUR = (RULE, LAST, TF32, TF32_LAST)
INFINITY = float("inf")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compute.json"


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    stand_in.plug_in(monkeypatch, log=str(tmp_path / "log"))
    yield choose("cuda")
    stand_in.unplug()


def ways(device, *specs, **changes):
    return proxy_ways(specs or (GROUPED, SPLIT), RECIPE, 8, 3, device, **changes)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", "dense"),
        ("resnext50_32x4d", "grouped"),
        ("resnest50", "split attention"),
        ("resnext_1-1_w16_16x1d_cifar", "depthwise"),
    ],
)
def test_families_go_by_what_decides_a_layout_s_speed(name, expected):
    assert family(parse_name(name)) == expected


def test_on_a_cpu_the_rule_holds_and_nothing_is_measured(monkeypatch, cache):
    monkeypatch.setattr(proxy_compute, "_seconds", pytest.fail)
    assert ways(CPU) == {"grouped": Compute(), "split attention": Compute()} and not cache.exists()


def test_on_a_gpu_recorded_passes_are_timed_by_its_clock_and_kept(gpu, monkeypatch, cache, tmp_path):
    monkeypatch.setattr(stand_in.StandIn, "synchronize", pytest.fail)
    notes = []
    found = ways(gpu, note=notes.append)
    assert list(found) == ["grouped", "split attention"] and all(way.graph for way in found.values())
    assert len({way.precision for way in found.values()}) == 1
    asked = [row["what"] for row in stand_in.asked(tmp_path / "log")]
    assert asked.count("record") == 2 * 4  # families, ways
    assert [note.partition(":")[0] for note in notes] == list(found)
    assert [Compute(**kept) for kept in json.loads(cache.read_text()).values()] == list(found.values())
    monkeypatch.setattr(proxy_compute, "_seconds", pytest.fail)
    assert ways(gpu) == found  # known by now


def test_other_families_together_are_measured_anew(gpu, monkeypatch):
    """Beside others another precision may be the fastest: what one family computed in alone is not taken over."""
    table = {"grouped": {RULE: 1.0, TF32: 0.9}, "split attention": {RULE: 1.0, LAST: 0.5}}
    monkeypatch.setattr(proxy_compute, "_seconds", lambda spec, *rest: table[family(spec)].get(rest[-1], INFINITY))
    assert ways(gpu, GROUPED) == {"grouped": TF32}
    assert ways(gpu) == {"grouped": RULE, "split attention": LAST}
    assert ways(gpu, GROUPED) == {"grouped": TF32}


def test_the_network_of_middle_cost_stands_for_its_family(gpu, monkeypatch):
    seen = []
    monkeypatch.setattr(proxy_compute, "_seconds", lambda spec, *rest: seen.append(spec.depths) or 1.0)
    ways(gpu, *(GROUPED.replace(depths=(depth,)) for depth in (9, 1, 3)))
    assert seen == [(3,)] * 4


def test_where_passes_cannot_be_recorded_the_rule_holds_and_nothing_is_kept(gpu, monkeypatch, cache):
    def failing(*_):
        raise RecordingError("a pass could not be recorded")

    monkeypatch.setattr(proxy_compute, "_timed", failing)
    notes = []
    assert ways(gpu, note=notes.append) == {"grouped": RULE, "split attention": RULE}
    assert notes[0].startswith("a pass could not be recorded; computed by rule: channels first, bf16, CUDA graph")
    assert not cache.exists()


def test_what_does_not_fit_into_memory_is_passed_over(gpu, monkeypatch):
    real = proxy_compute._timed

    def timed(*given):
        if given[-1] != LAST:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*given)

    monkeypatch.setattr(proxy_compute, "_timed", timed)
    assert ways(gpu, GROUPED) == {"grouped": LAST}


@pytest.mark.parametrize(
    ("grouped", "split", "expected"),
    [
        ({RULE: 1, LAST: 2, TF32: 3, TF32_LAST: 3}, {RULE: 1, LAST: 0.5, TF32: 2, TF32_LAST: 2}, (RULE, LAST)),
        ({RULE: 1, LAST: 0.96, TF32: 0.97, TF32_LAST: 1}, {RULE: 1, LAST: 1, TF32: 1, TF32_LAST: 1}, (RULE, RULE)),
        ({RULE: 1, LAST: 1, TF32: 0.5, TF32_LAST: 0.4}, {RULE: 1, LAST: 1, TF32: 0.8, TF32_LAST: 1}, (TF32_LAST, TF32)),
        # One precision for all, though the one family alone would take the other.
        ({RULE: 1, LAST: 1, TF32: 0.8, TF32_LAST: 1}, {RULE: 1, LAST: 1, TF32: 3, TF32_LAST: 3}, (RULE, RULE)),
        (dict.fromkeys(FOUR, INFINITY), {RULE: 1, LAST: 1, TF32: 3, TF32_LAST: 3}, (RULE, RULE)),
    ],
)  # fmt: skip
def test_one_precision_for_all_and_a_layout_for_each(grouped, split, expected):
    assert tuple(fastest({"grouped": grouped, "split attention": split}, RULE).values()) == expected


def test_a_trial_computes_as_its_family_does_where_its_device_can(gpu, monkeypatch):
    chosen = {"grouped": LAST}
    assert way_for(GROUPED, chosen, gpu) == LAST
    assert way_for(SPLIT, chosen, gpu) == for_proxy(gpu) == RULE  # a family that was not among those measured
    assert way_for(GROUPED, chosen, CPU) == Compute()  # resumed where there is no GPU
    monkeypatch.setattr(stand_in.StandIn, "half", "fp16")
    assert way_for(GROUPED, chosen, gpu) == for_proxy(gpu)  # resumed on an older one
    assert way_for(GROUPED, {"grouped": TF32_LAST}, gpu) == TF32_LAST
