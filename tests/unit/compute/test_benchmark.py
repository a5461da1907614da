"""Measuring on a device: here that the figures belong together, not how high they are."""

import pytest
import torch
from PIL import Image

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.compute import benchmark as measure
from nxt.compute.mode import Compute
from nxt.errors import RunError
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
