"""The three forms of a ResNeXt block: a training step in form c against the same step in forms a and b.

The paper trains form c, the most succinct and fastest one (ResNeXt sec. 3.3). All three compute the same;
the weights are converted.
"""

from __future__ import annotations

import argparse
import time

import torch
import torch.nn.functional as F
from common import compared, in_rounds, tell, write_csv

from nxt.arch.load import parse_name
from nxt.compute.accelerator import accelerator
from nxt.compute.devices import choose
from nxt.models.forms import FORMS, converted
from nxt.models.network import build


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="resnext29_8x64d_cifar")
    parser.add_argument("--size", type=int, help="image side in pixels; by default the network's own")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    spec, device = parse_name(options.network), choose(options.device)
    size, classes = options.size or spec.size, spec.classes
    images = torch.randn(options.batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(options.batch, device=device) % classes
    state, arms = build(spec).state_dict(), {}
    for form in FORMS:
        tell(f"{spec.name}, form {form}")
        network = build(spec, form=form).to(device, memory_format=torch.channels_last)
        network.load_state_dict(converted(state, spec, form))
        network.train()

        def arm(network: torch.nn.Module = network) -> float:
            start = time.perf_counter()
            F.cross_entropy(network(images), labels).backward()
            accelerator(device).synchronize()
            return time.perf_counter() - start

        arms[form] = arm
    seconds = in_rounds(arms, options.rounds)
    rows = [
        compared(
            what=f"{spec.name}, form c, training step, {size} px, batch {options.batch}", against=f"form {form}",
            unit="s", values=seconds["c"], peer_values=seconds[form], target=1.0,
        )
        for form in ("a", "b")
    ]  # fmt: skip
    write_csv("forms", rows, accelerator(device).name)


if __name__ == "__main__":
    main()
