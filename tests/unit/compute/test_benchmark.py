"""Measuring on a device: here that the figures belong together, not how high they are."""

import pytest
import stand_in
import torch
from PIL import Image

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.compute import benchmark as measure
from nxt.compute import measurement
from nxt.compute.devices import choose
from nxt.compute.mode import Compute, compiling_anew
from nxt.errors import ArchError, RunError
from nxt.report.roofline import plot_roofline

SPEC = parse_name("resnext_1-1-1_w8_2x8d_cifar")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(measure, "_SECONDS", 0.02)
    monkeypatch.setattr(measure, "_SIDE", 64)
    monkeypatch.setattr(measure, "_COPIED", 2**12)


def test_ways_are_both_layouts_in_32_and_16_bits():
    found = measure.ways(CPU)
    assert [str(way) for way in found] == [
        "channels first, fp32", "channels last, fp32", "channels first, bf16", "channels last, bf16"
    ]  # fmt: skip
    assert len(measure.ways(CPU, compile=True)) == 8


@pytest.mark.parametrize("way", measure.ways(CPU), ids=str)
def test_throughput_is_of_every_batch_and_latency_of_the_smallest(way):
    speed = measure.speeds(SPEC, 32, 10, [4, 1], CPU, way)
    assert set(speed.throughput) == {1, 4}
    assert speed.latency.low <= speed.latency.median <= speed.latency.high
    assert speed.throughput[1] == pytest.approx(1 / speed.latency.median)
    assert speed.latency.runs >= 5


def test_stages_are_those_of_the_network_and_their_work_is_the_closed_form_s():
    most = measure.ceiling(CPU, "fp32")
    found = measure.stage_speeds(SPEC, 32, 10, 4, CPU, Compute(), most)
    assert [stage.name for stage in found] == ["stem", "stage1", "stage2", "stage3", "head"]
    work = sum(stage.flops * stage.seconds for stage in found)
    assert work == pytest.approx(2 * 4 * cost(SPEC, 32, 10).macs)
    for stage in found:
        assert stage.attainable == min(most.flops, stage.intensity * most.bandwidth)
        assert stage.share == stage.flops / stage.attainable


@pytest.mark.parametrize("name", ["resnext_1-1_w16_2x8d_cifar_preact", "resnest14", "resnext_1-1-1_w8_2x8d_cifar"])
def test_the_stages_in_turn_are_the_network(name):
    spec = parse_name(name)
    network = measure._ready(spec, 5, CPU, Compute(channels_last=False))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        x = images
        for _, run in measure._stages(network, measure.portions(spec, 64, 5)):
            x = run(x)
        torch.testing.assert_close(x, network(images))


def test_the_memory_of_a_step_is_near_the_prediction():
    spec = parse_name("resnext29_2x64d_cifar")
    timing, memory = measure.training(spec, 16, 10, 8, CPU, Compute(channels_last=False))
    assert timing.runs >= 5
    assert memory == pytest.approx(cost(spec, 16).step_memory(8), rel=0.25)
    assert memory > cost(spec).step_memory(0) * 2 / 3  # weights and momentum, without gradients


# Compiled


@pytest.fixture
def compilations(monkeypatch):
    """Let torch compile nothing, and note the batch of each graph that it is given to compile."""
    batches = []

    def backend(graph, inputs):
        images = [x for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 4 and x.shape[-1] == 16]
        batches.append(images[0].shape[0])
        return graph.forward

    monkeypatch.setattr(measure, "compiled", lambda network: torch.compile(network, backend=backend))
    yield batches
    torch._dynamo.reset()


def test_every_way_that_is_called_compiled_was_compiled_for_each_batch(compilations):
    """Dynamo counts all networks as one function, and after eight times it goes on uncompiled."""
    ways = [way for way in measure.ways(CPU, compile=True) if way.compile]
    for way in ways:
        compilations.clear()
        measure.speeds(SPEC, 16, 10, [1, 2, 9], CPU, way)
        assert compilations == [1, 2, 9]
    assert len(ways) == 4


@torch._dynamo.config.patch(recompile_limit=0)
def test_what_torch_would_compute_uncompiled_is_an_error_and_not_a_row(compilations):
    with pytest.raises(ArchError, match=r"compiled 0 times.*, compiled; leave out `compile`$"):
        measurement.measure(SPEC, 16, 10, [1], CPU, compile=True)


@torch._dynamo.config.patch(recompile_limit=1)
def test_compiling_too_often_is_an_error():
    network = torch.compile(torch.nn.ReLU(), backend="eager", dynamic=False)

    def call(*sizes):
        with compiling_anew():
            return [network(torch.zeros(size)) for size in sizes]

    call(2)
    call(3)
    with pytest.raises(RuntimeError, match="compiled 1 times"):
        call(2, 3)
    torch._dynamo.reset()


# On a GPU


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A stand-in for a GPU with a clock of its own: each run takes 2 ms of it."""
    stand_in.plug_in(monkeypatch, log=str(tmp_path / "log"), memory=1 << 30)
    real = stand_in.StandIn.durations
    monkeypatch.setattr(stand_in.StandIn, "durations", lambda *given: [0.002] * len(real(*given)))
    yield choose("cuda")
    stand_in.unplug()


def whats(tmp_path):
    return [row["what"] for row in stand_in.asked(tmp_path / "log")]


def test_a_gpu_s_times_are_the_device_s_own_and_it_is_not_waited_for(gpu, tmp_path):
    speed = measure.speeds(SPEC, 16, 10, [2], gpu, Compute(precision="bf16"))
    assert (speed.latency.median, speed.latency.runs, speed.throughput) == (0.002, 10, {2: 1000.0})
    step, _ = measure.training(SPEC, 16, 10, 2, gpu, Compute())
    assert step.median == 0.002
    most = measure.ceiling(gpu, "bf16")
    assert most == measure.Ceiling(2 * 256**3 / 0.002, 2 * 4 * 2**14 / 0.002)  # four times the size of a CPU's
    assert measure.stage_speeds(SPEC, 16, 10, 2, gpu, Compute(), most)[0].seconds == 0.002
    assert "durations" in whats(tmp_path) and "synchronize" not in whats(tmp_path)


@pytest.mark.parametrize(("memory", "times"), [(2 << 20, 4), (1 << 20, 2), (1 << 19, 2), (1 << 17, 1)])
def test_matrices_are_smaller_where_memory_is_short(gpu, monkeypatch, memory, times):
    monkeypatch.setattr(stand_in.StandIn, "memory", lambda gpu: (memory, memory))
    assert measure._enlarged(gpu) == times


def found(precision="fp32"):
    stage = {"name": "stage1", "intensity": 20.0, "flops": 1e10, "seconds": 0.1}
    return {
        "device": "cpu",
        "best": {"precision": precision},
        "training": {"batch": 8},
        "ceiling": {"flops": 1e11, "bandwidth": 1e10},
        "stages": [stage, {**stage, "name": "head", "intensity": 2.0, "flops": 1e9}],
    }


def test_a_roofline_is_drawn(tmp_path):
    plot_roofline({"one": found(), "other": found("bf16")}, tmp_path / "roof.png")
    with Image.open(tmp_path / "roof.png") as image:
        assert image.width > 800 and len(set(image.convert("L").resize((60, 40)).get_flattened_data())) > 5


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunError, match=r"no/roof\.png: cannot be written"):
        plot_roofline({"one": found()}, tmp_path / "no" / "roof.png")
