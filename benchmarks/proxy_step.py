"""Training steps of proxies on a GPU: passes recorded as CUDA graphs against the same passes launched one by one.

Networks are drawn uniformly from the space `cifar`, 60 to 200 MMACs at 32 px, and trained as proxies are: resident
images, augmentation on the device, bfloat16 where there is it. Both ways train the same network in turns of some steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
import torch
from common import Row, compared, in_rounds, tell, write_csv

from nxt.compute.devices import choose
from nxt.compute.mode import for_proxy
from nxt.data.augment import Augment
from nxt.data.dataset import Split
from nxt.data.preprocess import Preprocess
from nxt.data.resident import Batches
from nxt.models.network import build
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

CLASSES = 10
AUGMENT = Augment(shift=0.125, mirror=True)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    device = choose("cuda")
    feasible = FeasibleSet(load_space("cifar"), parse_budget({"flops": "60M:200M"}))
    rng = np.random.default_rng(0)
    specs = [feasible.space.spec(feasible.draw(rng)) for _ in range(options.networks)]
    count = options.batch * options.steps
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    split = Split(images, rng.integers(0, CLASSES, count))
    preprocess = Preprocess(size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    rows: list[Row] = []
    for spec in specs:
        tell(spec.name)
        arms = {}
        for recorded in (True, False):
            compute = dataclasses.replace(for_proxy(device), graph=recorded)
            few = Batches(Split(images[:2], split.labels[:2]), preprocess, device)
            recipe = Recipe(epochs=10_000, batch=options.batch, lr=0.01, augment=AUGMENT)
            torch.manual_seed(0)
            trainer = Trainer(build(spec, CLASSES), Batches(split, preprocess, device), few, recipe, 0, compute=compute)

            def arm(trainer: Trainer = trainer) -> float:
                torch.cuda.synchronize()
                start = time.perf_counter()
                trainer.run_epoch()
                torch.cuda.synchronize()
                return count / (time.perf_counter() - start)

            arms["recorded" if recorded else "eager"] = arm
        speeds = in_rounds(arms, options.rounds)
        rows.append(
            compared(
                what=f"proxy step, {spec.name}, batch {options.batch}", against="the same, eager", unit="images/s",
                values=speeds["recorded"], peer_values=speeds["eager"], target=2.0,
            )
        )  # fmt: skip
    write_csv("proxy-step", rows, torch.cuda.get_device_name(device))


if __name__ == "__main__":
    main()
