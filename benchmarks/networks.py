"""Speed of the networks: nxt's against timm's and torchvision's of the same architecture, in plain loops of torch.

Every network runs in both memory formats, all of them in turn, round by round; each library is judged by the format
that is faster for it (least median). All have the same batch, precision, threads and optimizer (fused SGD). A training
step is forward, loss, backward and SGD; a forward pass is in evaluation mode, without gradients. ResNet-50 is there to
tell what ResNeXt pays for its groups: arXiv 1611.05431 sec. 5 has 0.95 s against 0.70 s for 101 layers, 1.36.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from common import Row, compared, in_rounds, tell, write_csv
from torch import nn

from nxt.compute.devices import choose
from nxt.compute.mode import PRECISIONS, Compute, compiled, prepare
from nxt.models.network import build

CLASSES = 1000
FORMATS = {"channels last": True, "channels first": False}
MODES = ("forward", "training step")
NETWORKS = ("nxt resnest50", "timm resnest50d", "nxt resnext50_32x4d", "torchvision resnext50_32x4d")
DENSE = "torchvision resnet50"
PEERS = {"nxt resnest50": ["timm resnest50d"], "nxt resnext50_32x4d": ["torchvision resnext50_32x4d", DENSE]}
BATCHES = {"cpu": {32: 64, 224: 8}, "cuda": {32: 512, 224: 128}}
# How many times faster nxt's training step is to be than the peer's, by device.
TARGETS = {
    "cpu": {"timm resnest50d": 1.05, "torchvision resnext50_32x4d": 1.0},
    "cuda": {"timm resnest50d": 1.3, "torchvision resnext50_32x4d": 1.15},
}
DENSE_TARGETS = {32: 1 / 1.2, 224: 1 / 1.1}


@dataclass(frozen=True)
class Setting:
    """What all arms have in common."""

    device: torch.device
    precision: str
    compile: bool
    steps: int  # in one measurement


def arm(network: str, channels_last: bool, mode: str, size: int, batch: int, setting: Setting) -> Callable[[], None]:
    """Return what computes one step of a network in one format."""
    device = setting.device
    compute = Compute(channels_last=channels_last, precision=setting.precision, compile=setting.compile)
    torch.manual_seed(0)
    library, name = network.split()
    model = _built(library, name).to(device).to(memory_format=compute.memory_format)
    images = torch.randn(batch, 3, size, size).to(device).contiguous(memory_format=compute.memory_format)
    labels = torch.randint(CLASSES, (batch,)).to(device)
    training = mode == "training step"
    model.train(training)
    forward = compiled(model) if compute.compile else model

    def infer() -> None:
        with torch.inference_mode(), compute.autocast(device):
            forward(images)

    if not training:
        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=True)

    def train() -> None:
        with compute.autocast(device):
            loss = F.cross_entropy(forward(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return train


def _built(library: str, name: str) -> nn.Module:
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=CLASSES)
    if library == "torchvision":
        import torchvision

        return torchvision.models.get_model(name, num_classes=CLASSES)
    return build(name, CLASSES)


def timed(step: Callable[[], None], setting: Setting) -> Callable[[], float]:
    """Return what takes the time of a step, in ms."""

    def run() -> float:
        _wait(setting.device)
        start = time.perf_counter()
        for _ in range(setting.steps):
            step()
        _wait(setting.device)
        return (time.perf_counter() - start) / setting.steps * 1e3

    return run


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def measured(mode: str, size: int, batch: int, rounds: int, setting: Setting) -> list[Row]:
    """Measure all networks in one mode at one size, and compare the best formats."""
    tell(f"{mode}, {size} px, batches of {batch}")
    arms = {
        (network, words): timed(arm(network, last, mode, size, batch, setting), setting)
        for network in (*NETWORKS, DENSE)
        for words, last in FORMATS.items()
    }
    times = in_rounds({", ".join(key): run for key, run in arms.items()}, rounds, warm_up=2)
    medians = {key: statistics.median(times[", ".join(key)]) for key in arms}
    for key, median in medians.items():
        tell(f"  {', '.join(key)}: {median:.4g} ms")
    rows = []
    for own, peers in PEERS.items():
        for peer in peers:
            best = {name: min((medians[name, words], words) for words in FORMATS)[1] for name in (own, peer)}
            goal = DENSE_TARGETS.get(size) if peer == DENSE else TARGETS[setting.device.type][peer]
            rows.append(
                compared(
                    what=f"{own.split()[1]}, {size} px, batch {batch}: {mode}",
                    against=peer,
                    unit="ms",
                    values=times[f"{own}, {best[own]}"],
                    peer_values=times[f"{peer}, {best[peer]}"],
                    target=goal if mode == "training step" else None,
                    note=f"{best[own]}; the peer {best[peer]}",
                )
            )
    return rows


def profiled(step: Callable[[], None], setting: Setting) -> str:
    """Return a table of where the time of some steps goes, by operator."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setting.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    for _ in range(2):
        step()
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(3):
            step()
        _wait(setting.device)
    key = f"self_{setting.device.type}_time_total"
    return str(profile.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60))


def main() -> None:
    """Measure, print and write; or profile one network."""
    names = [f"{network}, {words}" for network in (*NETWORKS, DENSE) for words in FORMATS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    parser.add_argument("--batch", type=int, help="at all sizes; by default as the size and device ask for")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, help="in one measurement; by default 1 on a CPU and 10 on a GPU")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32", choices=PRECISIONS)
    parser.add_argument("--compile", action="store_true", help="compile all networks")
    parser.add_argument("--profile", choices=names, help="print the operators of one network's steps and end")
    options = parser.parse_args()
    device = choose(options.device)
    prepare(device)
    steps = options.steps or (10 if device.type == "cuda" else 1)
    setting = Setting(device=device, precision=options.precision, compile=options.compile, steps=steps)
    batches = {size: options.batch or BATCHES[device.type].get(size, 16) for size in options.sizes}
    if options.profile:
        network, words = options.profile.split(", ")
        for mode in MODES:
            for size, batch in batches.items():
                step = arm(network, FORMATS[words], mode, size, batch, setting)
                sys.stdout.write(f"{options.profile}: {mode}, {size} px, batch {batch}\n{profiled(step, setting)}\n")
        return
    rows = []
    for size, batch in batches.items():
        for mode in MODES:
            rows += measured(mode, size, batch, options.rounds, setting)
    name = "-".join(["networks", *([options.precision] if options.precision != "fp32" else [])])
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    write_csv(name + "-compiled" * options.compile, rows, device=kind)


if __name__ == "__main__":
    main()
