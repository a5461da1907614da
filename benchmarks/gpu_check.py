"""The first minutes on a real GPU: eleven steps, each in a process of its own with a time limit, in at most 7 minutes.

Each step checks a part of what nxt asks of a GPU, and takes figures; `gpu_check_steps/` has them. A line of JSON each
is printed: "ok" is true, false, or null where nothing of it could be had on this device; "skipped" says what could not,
and why. The exit code is 1 if any step is wrong. Neither Ray nor Optuna is needed.

With `--device cpu` each step takes its small form; with `--device stand-in` the GPU's stand-in of tests/helpers is
asked in a GPU's place. Both are there to try the script itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import circumstances, options_of, tell, write_json
from gpu_check_steps import STEPS, run

ROOT = Path(__file__).resolve().parent.parent
TOTAL = 420.0  # seconds of all steps together
_STACKS, _SHOWN = 2.0, 2000  # seconds for a process to write its stacks; characters of what it wrote
STAND_IN = {"gpus": 1, "memory": 1 << 30, "context": 16 << 20}  # `Settings` of tests/helpers/stand_in.py


def main() -> int:
    """Run the steps, print what each found, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu", "stand-in"))
    parser.add_argument("--steps", default=",".join(STEPS), help="some of them, by name, with commas")
    parser.add_argument("--out", type=Path, help="a JSON file for all that was found")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # the step that this process is to run
    options = parser.parse_args()
    names = options.steps.split(",")
    if unknown := [name for name in names if name not in STEPS]:
        parser.error(f"no step is called {', '.join(unknown)}; there are {', '.join(STEPS)}")
    if options.part:
        write_json(options.out, run(options.part, options.device))
        return 0
    begin, found = time.monotonic(), []
    for name in names:
        row = step(name, options.device, min(STEPS[name].limit, TOTAL - (time.monotonic() - begin)))
        found.append(row)
        say(row)
    states = {"ok": True, "wrong": False, "skipped": None}
    by_state = {word: [row["step"] for row in found if row["ok"] is state] for word, state in states.items()}
    summary = {"summary": True, **by_state, "seconds": round(time.monotonic() - begin, 1)}
    say(summary)
    if options.out:
        machine = next((row["machine"] for row in found if "machine" in row), {"device": options.device})
        about = {**circumstances(), "options": options_of(options), **machine}
        write_json(options.out, {**about, "steps": found, "summary": summary})
    return 1 if by_state["wrong"] else 0


def say(row: Mapping[str, Any]) -> None:
    """Print a line of JSON."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def step(name: str, device: str, limit: float) -> dict[str, Any]:
    """Run a step in a process of its own, and return what it found, or how it ended."""
    row: dict[str, Any] = {"step": name, "ok": False, "seconds": 0.0}
    if limit <= 0:
        return {**row, "problem": f"not run: the steps before took {TOTAL:.0f} s"}
    tell(f"{name} (at most {limit:.0f} s)")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
        result, log = Path(folder, "found.json"), Path(folder, "log.txt")
        command = [sys.executable, __file__, "--part", name, "--device", device, "--out", str(result)]
        with log.open("w") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=_environment(device, folder), start_new_session=True
            )
            ended = _wait(process, limit)
        row["seconds"] = round(time.monotonic() - start, 1)
        said = log.read_text(errors="replace").strip()[-_SHOWN:]
        if ended and process.returncode == 0 and result.exists():
            row |= json.loads(result.read_text())
            return row if row["ok"] is not False else {**row, "log": said}
    if not ended:
        return {**row, "problem": f"took more than {limit:.0f} s", "log": said}
    return {**row, "problem": f"its process ended by {_how(process.returncode)}", "log": said}


def _wait(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Wait for a step; tell whether it ended in time. Whatever it has started ends with it."""
    try:
        process.wait(limit)
        return True
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)  # it writes its stacks, see `run`
        time.sleep(_STACKS)
        return False
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _environment(device: str, folder: str) -> dict[str, str]:
    """Return the environment of a step: this checkout's nxt, no choices of earlier runs, and maybe a stand-in."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    more = {"NXT_CACHE": folder, "TMPDIR": folder}
    if device != "cuda":
        more |= {"OMP_NUM_THREADS": "1"}  # of the small forms, which gain nothing from more
    if device == "stand-in":
        paths.insert(0, str(ROOT / "tests" / "helpers"))
        more |= {"NXT_ACCELERATOR": "stand_in:StandIn", "NXT_STAND_IN": json.dumps(STAND_IN)}
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join(paths)}


if __name__ == "__main__":
    sys.exit(main())
