"""Whole processes, from start to end: `nxt profile` against scripts with other profilers, and an empty command.

Each arm is a fresh interpreter, in turn, round by round. The scripts do what their libraries' documentation shows for
one torchvision network at 224 px, on the meta device where they can (fvcore cannot), and print one number. The empty
command is a Typer app whose one command does nothing. Times are wall times; memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Row, compared, in_rounds, tell, write_csv

NETWORK = "resnext101_32x4d"
NXT = str(Path(sys.executable).parent / "nxt")
EMPTY = """
import typer
app = typer.Typer()
@app.command()
def main() -> None:
    "Do nothing."
app()
"""
# torchvision has no resnext101_32x4d by name; this is what its builders call.
MODEL = """
import torch
from torchvision.models.resnet import Bottleneck, ResNet
def model():
    return ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4).eval()
"""
PEERS = {
    "fvcore": """
from fvcore.nn import FlopCountAnalysis
with torch.no_grad():
    counts = FlopCountAnalysis(model(), torch.zeros(1, 3, 224, 224)).unsupported_ops_warnings(False)
    print(counts.total())
""",
    "ptflops": """
from ptflops import get_model_complexity_info
with torch.device("meta"), torch.no_grad():
    print(get_model_complexity_info(model(), (3, 224, 224), as_strings=False, print_per_layer_stat=False,
                                    input_constructor=lambda _: {"x": torch.zeros(1, 3, 224, 224)}))
""",
    "torchinfo": """
from torchinfo import summary
with torch.device("meta"), torch.no_grad():
    print(summary(model(), input_data=torch.zeros(1, 3, 224, 224), device="meta", verbose=0).total_mult_adds)
""",
    "FlopCounterMode": """
from torch.utils.flop_counter import FlopCounterMode
with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
    model()(torch.zeros(1, 3, 224, 224))
print(counter.get_total_flops() // 2)
""",
}


def run(command: list[str]) -> tuple[float, float]:
    """Run a command; return its seconds and its largest resident set in MB (10^6 bytes)."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed:\n{errors.decode()[-2000:]}")
    return seconds, usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick-rounds", type=int, default=30, help="of the commands that take a moment")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.py")
        empty.write_text(EMPTY)
        commands = {
            "profile": [NXT, "profile", NETWORK, "--json"],
            "help": [NXT, "--help"],
            "empty": [sys.executable, str(empty)],
            "empty help": [sys.executable, str(empty), "--help"],
        }
        for name, text in PEERS.items():
            script = Path(folder, f"with_{name}.py")
            script.write_text(MODEL + text)
            commands[name] = [sys.executable, "-W", "ignore", str(script)]
        memory: dict[str, list[float]] = {name: [] for name in commands}

        def arm(name: str) -> float:
            seconds, most = run(commands[name])
            memory[name].append(most)
            return seconds

        slow = in_rounds({name: lambda name=name: arm(name) for name in ("profile", *PEERS)}, options.rounds)
        used = {name: values[1:] for name, values in memory.items()}
        quick = in_rounds(
            {name: lambda name=name: arm(name) for name in ("profile", "empty", "help", "empty help")},
            options.quick_rounds,
        )
    write_csv("startup", rows(slow, used, quick))


def rows(slow: dict[str, list[float]], used: dict[str, list[float]], quick: dict[str, list[float]]) -> list[Row]:
    """Return the rows of the CSV file."""
    lines = []
    profile = f"nxt profile {NETWORK} --json"
    best = min(PEERS, key=lambda name: sum(slow[name]))
    least = min(PEERS, key=lambda name: sum(used[name]))
    for name in PEERS:
        goal = {"target": 15.0, "note": "the fastest peer"} if name == best else {}
        lines.append(
            compared(
                what=f"{profile}: time", against=name, unit="s", values=slow["profile"], peer_values=slow[name], **goal
            )
        )
    for name in PEERS:
        goal = {"target": 10.0, "note": "the leanest peer"} if name == least else {}
        lines.append(
            compared(
                what=f"{profile}: memory",
                against=name,
                unit="MB",
                values=used["profile"],
                peer_values=used[name],
                **goal,
            )
        )
    for what, name, peer in ((profile, "profile", "empty"), ("nxt --help", "help", "empty help")):
        made = compared(
            what=f"{what}: time", against=f"empty Typer command{' --help' * (name == 'help')}", unit="s",
            values=quick[name], peer_values=quick[peer], target=1 / 1.3, note="target: at most 1.3 times its time",
        )  # fmt: skip
        lines.append(made)
        tell(f"{what}: {1 / made.ratio:.2f} times the empty command")
    return lines


if __name__ == "__main__":
    main()
