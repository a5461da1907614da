"""Training throughput: nxt's trainer against a plain loop over torchvision's or timm's model, side by side.

Both train the same architecture on the same resident uint8 images with SGD, without augmentation. A round is some
steps of each way in turn, so that other work on the machine hits all alike; a ratio is of one round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import RESULTS, circumstances, options_of, show, tell, write_json

from nxt.arch.load import parse_name
from nxt.compute.devices import choose
from nxt.compute.mode import Compute, by_rule
from nxt.data.dataset import Split
from nxt.data.preprocess import Preprocess
from nxt.data.resident import Batches
from nxt.models.network import build
from nxt.train.engine.autotune import tuned
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

CLASSES = 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def peer(library: str, name: str) -> torch.nn.Module:
    """Return the peer's model of the same architecture."""
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=CLASSES)
    import torchvision

    return torchvision.models.get_model(name, num_classes=CLASSES)


def plain_step(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, batch: int) -> Callable[[], None]:
    """Return one step of a plain loop in fp32 over resident images, in torch's default memory format."""
    device = images.device
    model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
    mean, std = (255 * torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))

    def step() -> None:
        rows = torch.randperm(len(labels))[:batch].to(device)
        loss = F.cross_entropy(model((images[rows].float() - mean) / std), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def own_trainer(name: str, data: Split, recipe: Recipe, size: int, compute: Compute, device: torch.device) -> Trainer:
    """Return nxt's trainer on the same images."""
    few = Split(data.images[:2], data.labels[:2])  # what follows an epoch is not measured here
    train, val = (Batches(split, Preprocess(size=size, mean=MEAN, std=STD), device) for split in (data, few))
    return Trainer(build(name, CLASSES), train, val, recipe, 0, compute=compute)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnext50_32x4d")
    parser.add_argument("--peer", default="torchvision", choices=("torchvision", "timm"))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, default=RESULTS / "training.json")
    options = parser.parse_args()
    device, batch, steps = choose(options.device), options.batch, options.steps
    rng = np.random.default_rng(0)
    count = batch * steps
    data = Split(
        rng.integers(0, 256, (count, 3, options.size, options.size), dtype=np.uint8), rng.integers(0, CLASSES, count)
    )
    recipe = Recipe(epochs=10_000, batch=batch, lr=0.01)
    preprocess = Preprocess(size=options.size, mean=MEAN, std=STD)
    network = build(parse_name(options.network), CLASSES)
    best = tuned(network, recipe, preprocess, device, 1000, tell)
    images, labels = torch.from_numpy(data.images).to(device), torch.from_numpy(data.labels).to(device)
    plain = plain_step(peer(options.peer, options.network), images, labels, batch)
    ways: dict[str, Callable[[], None]] = {f"{options.peer}, plain loop, fp32": lambda: [plain() for _ in range(steps)]}
    fp32 = Compute(channels_last=True) if device.type == "cpu" else Compute(channels_last=False)
    for label, compute in {"fp32": fp32, "by rule": by_rule(device), "tuned": best}.items():
        trainer = own_trainer(options.network, data, recipe, options.size, compute, device)
        ways.setdefault(f"nxt, {compute}", trainer.run_epoch)
        tell(f"{label}: {compute}")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(1 + options.rounds):  # the first one warms up
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if index:
                times[name].append(count / (time.perf_counter() - start))
        tell(f"round {index} of {options.rounds}")
    base, *_ = times.values()
    ways_measured = {
        name: {
            "images_per_second": statistics.median(rates),
            "range": [min(rates), max(rates)],
            "ratio": statistics.median(a / b for a, b in zip(rates, base, strict=True)),
            "ratios": [min(ratios := [a / b for a, b in zip(rates, base, strict=True)]), max(ratios)],
        }
        for name, rates in times.items()
    }
    rows = [["way", "images/s", "range", "ratio", "range"]]
    for name, row in ways_measured.items():
        low, high = row["range"]
        least, most = row["ratios"]
        spread = [f"{row['images_per_second']:.1f}", f"{low:.1f}..{high:.1f}"]
        rows.append([name, *spread, f"{row['ratio']:.2f}", f"{least:.2f}..{most:.2f}"])
    show(rows)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    write_json(
        options.json,
        {**circumstances(), "options": options_of(options), "device": name, "rounds": times, "ways": ways_measured},
    )


if __name__ == "__main__":
    main()
