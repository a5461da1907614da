"""How to compute: by rule, by measurement, and from the notes of an earlier measurement."""

import dataclasses
import json

import pytest
import stand_in
import torch

from nxt.arch.spec import ArchSpec
from nxt.compute import devices
from nxt.compute.mode import Compute, by_rule
from nxt.data.preprocess import Preprocess
from nxt.errors import ConfigError
from nxt.models.network import build
from nxt.train.engine import autotune as tune
from nxt.train.engine.autotune import tuned
from nxt.train.recipe import Recipe

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 4, "depths": [1], "widths": [16], "cardinality": 2, "base_width": 2}
)
CPU = torch.device("cpu")
RECIPE = Recipe(epochs=2, batch=8, lr=0.1)
PREPROCESS = Preprocess(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
RULE, FIRST, BF16 = Compute(), Compute(channels_last=False), Compute(precision="bf16")
COMPILED = Compute(compile=True)
INFINITY = float("inf")
UNTOLD = pytest.fail


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compute.json"


@pytest.fixture
def worthwhile(monkeypatch):
    """Let measuring pay for any training, but compiling for none."""
    monkeypatch.setattr(tune, "_WORTH", 0.0)
    monkeypatch.setattr(tune, "_COMPILE", INFINITY)


def network():
    torch.manual_seed(0)
    return build(SPEC, 4)


def choose(steps=1000, recipe=RECIPE, note=lambda text: None, model=None, workers=1):
    return tuned(network() if model is None else model, recipe, PREPROCESS, CPU, steps, note, workers)


def timed(monkeypatch, times):
    """Let each way take so many seconds a step; what cannot be computed takes for ever. Return the ways tried."""
    tried = []

    class Table:
        def __init__(self, *_):
            pass

        def seconds(self, compute):
            tried.append(compute)
            return times.get(compute, INFINITY)

    monkeypatch.setattr(tune, "_Trial", Table)
    monkeypatch.setattr(tune, "_candidates", lambda device: iter([RULE, FIRST, BF16]))
    return tried


# Compute


def test_the_rule_for_a_cpu_is_fp32_in_channels_last():
    assert by_rule(CPU) == Compute(channels_last=True, precision="fp32", compile=False)


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (RULE, "channels last, fp32"),
        (FIRST, "channels first, fp32"),
        (Compute(precision="bf16", compile=True), "channels last, bf16, compiled"),
    ],
)
def test_a_way_to_compute_says_what_it_is(compute, text):
    assert str(compute) == text


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_convolutions_run_in_the_precision_asked_for_and_weights_stay_as_they_are(precision, kind):
    model = network()
    with Compute(precision=precision).autocast(CPU):
        assert model.conv1(torch.zeros(1, 3, 8, 8)).dtype == kind
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_layout_is_that_of_torch():
    assert RULE.memory_format is torch.channels_last and FIRST.memory_format is torch.contiguous_format


@pytest.mark.parametrize("precision", ["fp8", "", "FP32"])
def test_an_unknown_precision_is_refused_with_those_that_are_known(precision):
    with pytest.raises(ConfigError, match=f"compute: precision is '{precision}', not one of fp32, bf16, fp16"):
        Compute(precision=precision)


# Measuring


def test_for_a_short_training_the_rule_holds_and_nothing_is_noted(cache):
    assert choose(steps=1, note=UNTOLD) == RULE
    assert not cache.exists()


def test_a_short_training_measures_one_way_alone(monkeypatch, cache):
    tried = timed(monkeypatch, {RULE: 0.1, FIRST: 0.01})
    assert choose(steps=1199, note=UNTOLD) == RULE and tried == [RULE] and not cache.exists()
    assert choose(steps=1201) == FIRST and tried == [RULE, RULE, FIRST, BF16]


def test_passes_count_as_steps(monkeypatch):
    timed(monkeypatch, {RULE: 0.1, FIRST: 0.01})
    assert choose(steps=600) == RULE
    assert choose(steps=601, recipe=dataclasses.replace(RECIPE, accumulate=2)) == FIRST


def test_a_real_measurement_leaves_the_network_as_it_is_and_says_what_it_found(worthwhile, cache):
    model, told = network(), []
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = choose(model=model, note=told.append)
    assert not found.compile and found.precision in ("fp32", "bf16")
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    [text] = told
    assert text.startswith("measured: ") and "channels last, fp32" in text and "channels first, fp32" in text
    [kept] = json.loads(cache.read_text()).values()
    assert Compute(**kept) == found


def test_what_was_measured_is_not_measured_again(worthwhile, monkeypatch, cache):
    found = choose()
    before = cache.read_bytes()
    monkeypatch.setattr(tune, "_Trial", UNTOLD)
    assert choose(note=UNTOLD) == found and choose(steps=1, note=UNTOLD) == found
    assert cache.read_bytes() == before


def test_another_training_is_measured_by_itself(monkeypatch, cache):
    tried = timed(monkeypatch, {RULE: 1.0, FIRST: 0.5})
    frozen = network()
    frozen.freeze("stem")
    others = [
        {"recipe": dataclasses.replace(RECIPE, batch=16)},
        {"recipe": dataclasses.replace(RECIPE, optimizer="adamw")},
        {"model": frozen},
        {"model": build(SPEC.replace(depths=(2,)), 4)},
        {"recipe": dataclasses.replace(RECIPE, batch=24), "workers": 3, "expected": 0},  # eight images each, as before
    ]
    choose()
    for number, other in enumerate(others, 2):
        measured = other.pop("expected", 3)
        before = len(tried)
        choose(**other)
        assert len(tried) - before == measured
        assert len(json.loads(cache.read_text())) == number - (not measured)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b"3", b'{"x": 3}', b'{"x": {"precision": "fp8"}}', b'{"x": {"speed": 1}}'],
)
def test_a_damaged_file_of_notes_is_ignored_and_made_anew(worthwhile, cache, content):
    cache.parent.mkdir()
    cache.write_bytes(content)
    found = choose()
    assert list(json.loads(cache.read_text()).values()) == [dataclasses.asdict(found)]


def test_where_no_note_can_be_kept_it_goes_without(worthwhile, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "file"))
    assert choose() in (RULE, FIRST, BF16, Compute(channels_last=False, precision="bf16"))
    assert (tmp_path / "file").read_text() == "x"


def test_a_way_that_cannot_be_computed_is_passed_over(worthwhile, monkeypatch):
    real, told = Compute.autocast, []

    def autocast(compute, device):
        if compute.channels_last:
            return real(compute, device)
        raise RuntimeError("not here")

    monkeypatch.setattr(Compute, "autocast", autocast)
    assert choose(note=told.append).channels_last
    assert "channels last" in told[0] and "channels first" not in told[0]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({RULE: 1.0, FIRST: 0.96, BF16: 0.97}, RULE),
        ({RULE: 1.0, FIRST: 0.90, BF16: 0.97}, FIRST),
        ({RULE: 1.0, FIRST: 0.90, BF16: 0.5}, BF16),
        ({RULE: 1.0, FIRST: 1.5}, RULE),
        ({FIRST: 0.5}, FIRST),  # the rule itself cannot be computed
    ],
)
def test_only_a_clearly_faster_way_takes_the_place_of_the_rule(monkeypatch, times, expected):
    timed(monkeypatch, times)
    assert choose(steps=300) == expected


def test_compiling_is_tried_where_the_training_is_long_and_used_where_it_pays(monkeypatch):
    tried = timed(monkeypatch, {RULE: 1.0, COMPILED: 0.9})
    assert choose(steps=1500) == RULE and COMPILED not in tried
    assert choose(steps=2000, recipe=dataclasses.replace(RECIPE, batch=16)) == COMPILED
    slower = timed(monkeypatch, {RULE: 1.0, COMPILED: 1.1})
    assert choose(steps=2000, recipe=dataclasses.replace(RECIPE, batch=32)) == RULE and COMPILED in slower
    broken = timed(monkeypatch, {RULE: 1.0})
    assert choose(steps=2000, recipe=dataclasses.replace(RECIPE, batch=64)) == RULE and COMPILED in broken


def test_each_compiled_network_is_compiled_anew_and_none_is_timed_uncompiled(monkeypatch):
    """Dynamo counts all networks as one function, and goes on uncompiled when it was compiled too often."""
    monkeypatch.setattr(tune, "compiled", lambda model: torch.compile(model, backend="eager"))
    for limit, batches in ((1, (4, 6)), (0, (4,))):
        with torch._dynamo.config.patch(recompile_limit=limit):
            found = [tune._Trial(network(), RECIPE, 8, batch, CPU).seconds(COMPILED) for batch in batches]
        assert all((seconds < INFINITY) == (limit > 0) for seconds in found)
    torch._dynamo.reset()


def test_on_a_gpu_its_own_clock_decides_and_it_is_not_waited_for(worthwhile, monkeypatch, tmp_path):
    stand_in.plug_in(monkeypatch, log=str(tmp_path / "log"))
    monkeypatch.setattr(stand_in.StandIn, "synchronize", UNTOLD)
    real = stand_in.StandIn.durations
    monkeypatch.setattr(stand_in.StandIn, "durations", lambda *given: [0.25] * len(real(*given)))
    try:
        trial = tune._Trial(network(), RECIPE, 8, 4, devices.choose("cuda"))
        assert trial.seconds(BF16) == 0.25
    finally:
        stand_in.unplug()
    counts = [row["count"] for row in stand_in.asked(tmp_path / "log") if row["what"] == "durations"]
    assert counts == [1, 1, 3]
