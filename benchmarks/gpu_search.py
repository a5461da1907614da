"""A whole search with Ray on one GPU: as many trials at a time as fit, to the end, with what each of them remarked.

`--site` names a folder of Python packages that this machine has not got, such as Ray and Optuna, or an archive of one,
which is unpacked. The search is a short one on the digits that come with nxt. The exit code is 1 if a trial failed, or
if the search did not do all that was asked.

With `--device cpu` the search is smaller and runs on the CPU; with `--device stand-in` its workers ask the GPU's
stand-in of tests/helpers. Both are there to try the script itself.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
import tarfile
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STAND_IN = {"gpus": 1, "memory": 1 << 30, "context": 16 << 20}  # `Settings` of tests/helpers/stand_in.py


def main() -> int:
    """Search, print what came out, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu", "stand-in"))
    parser.add_argument("--site", type=Path, help="a folder of Python packages, or an archive of one")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--gpus-per-trial", type=float, help="a part of a GPU; by default what each trial needs")
    parser.add_argument("--out", type=Path, help="a JSON file for all that was found")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gpu_search_")))
        prepare(options.site, options.device, folder)
        found = search(options, folder / "run")
        from common import circumstances, options_of, write_json  # imports nxt: this checkout's, from `prepare` on

        sys.stdout.write(json.dumps(found) + "\n")
        if options.out:
            write_json(options.out, {**circumstances(), "options": options_of(options), **found})
    return 0 if found["ok"] else 1


def prepare(site: Path | None, device: str, folder: Path) -> None:
    """Make packages and nxt importable here and in the processes that Ray starts; put a stand-in in a GPU's place."""
    paths = [str(ROOT)]
    if site is not None:
        if not site.is_dir():
            with tarfile.open(site) as archive:
                archive.extractall(folder / "site", filter="data")
            site = folder / "site"
        paths.append(str(site.resolve()))
    if device == "stand-in":
        paths.append(str(ROOT / "tests" / "helpers"))
        os.environ |= {"NXT_ACCELERATOR": "stand_in:StandIn", "NXT_STAND_IN": json.dumps(STAND_IN)}
    if device != "cuda":
        os.environ |= {"OMP_NUM_THREADS": "1"}
    sys.path[:0] = paths
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])


def search(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Run the search and return what came out of it."""
    import nxt

    begin = time.monotonic()
    run = nxt.search(
        ROOT / "search_spaces" / "cifar.yaml",
        flops="60M:200M" if options.device == "cuda" else ":30M",
        data="digits",
        trials=options.trials,
        confirm=2,
        settings={"proxy": {"epochs": 4 if options.device == "cuda" else 2}},
        gpus_per_trial=0 if options.device == "cpu" else options.gpus_per_trial,
        out=out,
    )
    trials = run.trials
    outcomes = collections.Counter(trial.outcome.value for trial in trials)
    failed = {trial.number: trial.message for trial in trials if trial.outcome.failed}
    remarks = sorted({trial.remark for trial in trials if trial.remark})
    return {
        "ok": not failed and not remarks and len(trials) >= options.trials and bool(run.front),
        "seconds": round(time.monotonic() - begin, 1),
        "outcomes": dict(outcomes),
        "failed": failed,
        "remarks": remarks,
        "front": len(run.front),
        "best_accuracy": max((trial.accuracy or 0.0 for trial in trials), default=0.0),
        "training_seconds": round(sum(trial.seconds for trial in trials), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
