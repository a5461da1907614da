"""benchmarks/gpu_check.py, tried without a GPU: what it needs, what it finds, and how it tells what goes wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.py"
# What a machine with torch and torchvision may not have; also what nxt itself would take longest to bring.
ABSENT = (
    "ray",
    "optuna",
    "typer",
    "rich",
    "plotly",
    "matplotlib",
    "fvcore",
    "pyarrow",
    "tensorboardX",
    "scipy",
)
BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""
# A step that goes wrong in a way of its own; the sitecustomize of every process puts it in the place of "machine".
SPOILED = """
import os, signal, sys, time, types

def machine(check):
    {body}

spoiled = types.ModuleType("gpu_check_steps.machine")
spoiled.machine = machine
sys.modules["gpu_check_steps.machine"] = spoiled
"""

# A step that never ends, before anything heavy is imported: its limit, in seconds, is for starting Python.
HANGING = """
import subprocess, sys, time, types
sys.path.insert(0, {benchmarks!r})
import gpu_check_steps
gpu_check_steps.STEPS["machine"] = gpu_check_steps.Step("machine", {limit})

class Check:
    def __init__(self, option):
        pass

    def start(self):
        child = subprocess.Popen(["sleep", "600"])
        with open({child!r}, "w") as file:
            file.write(str(child.pid))
        time.sleep(600)

hanging = types.ModuleType("gpu_check_steps.check")
hanging.Check = Check
sys.modules["gpu_check_steps.check"] = hanging
"""


def checked(folder, *options, custom=""):
    """Runs the script, every process of it after some code of a sitecustomize; returns its exit code and lines."""
    (folder / "sitecustomize.py").write_text(custom)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    command = [sys.executable, str(SCRIPT), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_step_is_a_line_and_what_a_cpu_cannot_is_skipped_with_the_reason(tmp_path):
    out = tmp_path / "found.json"
    code, lines = checked(tmp_path, "--device", "cpu", "--steps", "machine", "--out", str(out))
    step, summary = lines
    assert code == 0 and step["step"] == "machine" and step["ok"] is True and step["problem"] == ""
    assert list(step["skipped"].values()) == ["asked for a CPU"]
    assert (summary["ok"], summary["wrong"], summary["skipped"]) == (["machine"], [], [])
    content = json.loads(out.read_text())
    assert content["steps"] == [step] and content["device"] == "cpu"
    assert {"command", "versions", "cuda", "driver", "options"} <= set(content)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process ended by signal SIGSEGV"),
        ("os._exit(3)", "its process ended by exit code 3"),
        ("check.expect(1 > 2, 'one is not more than two')", "one is not more than two"),
        ("raise RuntimeError('out of order')", "RuntimeError: out of order (sitecustomize.py:5)"),
    ],
)
def test_a_step_that_goes_wrong_is_told_and_the_next_one_runs(tmp_path, body, problem):
    custom = SPOILED.format(body=body)
    code, [wrong, right, summary] = checked(tmp_path, "--device", "cpu", "--steps", "machine,memory", custom=custom)
    assert code == 1 and wrong["ok"] is False and wrong["problem"] == problem
    assert right["ok"] is True and summary["wrong"] == ["machine"]


def test_a_step_that_hangs_is_ended_after_its_time_with_its_children_and_its_stacks(tmp_path):
    child = tmp_path / "child"
    custom = HANGING.format(benchmarks=str(SCRIPT.parent), child=str(child), limit=20)
    code, [step, _] = checked(tmp_path, "--device", "cpu", "--steps", "machine", custom=custom)
    assert code == 1 and step["ok"] is False and step["problem"] == "took more than 20 s"
    assert 'sitecustomize.py"' in step["log"] and "in start" in step["log"]
    state = Path("/proc", child.read_text(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"  # dead, but not yet collected by the machine


def test_a_step_that_is_not_there_is_refused(tmp_path):
    assert checked(tmp_path, "--steps", "machine,nothing") == (2, [])


def test_a_trial_asks_the_stand_in_for_a_gpu(tmp_path):
    code, [step, _] = checked(tmp_path, "--device", "stand-in", "--steps", "trial")
    assert code == 0 and step["ok"] is True and step["replays"] > 0 and "skipped" not in step


def test_its_modules_import_nothing_that_a_bare_machine_lacks(tmp_path):
    steps = sorted(path.stem for path in SCRIPT.with_name("gpu_check_steps").glob("*.py"))
    code = "".join(f"import gpu_check_steps.{name}\n" for name in steps if name != "__init__")
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=ABSENT))
    path = os.pathsep.join(map(str, (tmp_path, SCRIPT.parent, ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "stand-in"])
def test_all_steps_are_right_without_what_a_bare_machine_lacks(tmp_path, device):
    code, [*steps, summary] = checked(tmp_path, "--device", device, custom=BLOCK.format(names=ABSENT))
    wrong = {step["step"]: step["problem"] for step in steps if step["ok"] is False}
    assert code == 0 and wrong == {}
    assert len(steps) == 11 and summary["seconds"] < 420
