"""What `nxt search --plan` predicts against what the search then takes; each a process, one after the other."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import RESULTS, circumstances, tell, write_json

COMMAND = [sys.executable, "-c", "from nxt.cli.main import main; main()", "search"]
SEARCHES = {
    "short trials": "smoke --flops :1G --trials 8 --confirm 1 --set proxy.epochs=3",
    "one at a time": "smoke --flops :1G --trials 6 --confirm 0 --workers 1 --set proxy.epochs=6",
    "trials that are stopped": "smoke --flops :1G --confirm 0 --set proxy.epochs=9 --set search.scheduler=asha",
    "larger images": "cifar --flops 20M --trials 4 --confirm 0 --set proxy.epochs=2 --set proxy.scale=1.0",
}
ASKED = {"seconds": 20.0, "ratio": 0.25}  # a plan takes at most so long, and is off by at most so much


def run(arguments: list[str]) -> tuple[float, str]:
    """Run a command; return its seconds and what it printed."""
    began = time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, done.stdout


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path, default=RESULTS / "plan.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for _ in range(options.rounds):
        for name, text in SEARCHES.items():
            planning, document = run([*text.split(), "--plan", "--json"])
            plan = json.loads(document)
            with tempfile.TemporaryDirectory() as folder:
                taken, _ = run([*text.split(), "--out", f"{folder}/run"])
            row = {"search": name, "command": f"nxt search {text}", "planning": planning, "taken": taken}
            row |= {"predicted": plan["seconds"], "starting": plan["starting"], "ratio": plan["seconds"] / taken}
            rows.append(row)
            tell(f"{name}: planned in {planning:.1f} s; {plan['seconds']:.0f} s predicted, {taken:.0f} s taken")
    reached = all(row["planning"] <= ASKED["seconds"] and abs(row["ratio"] - 1) <= ASKED["ratio"] for row in rows)
    write_json(options.json, {**circumstances(), "asked": ASKED, "reached": reached, "rows": rows})


if __name__ == "__main__":
    main()
