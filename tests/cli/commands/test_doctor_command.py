"""`nxt doctor`: what it prints, its JSON and its exit code; on a machine that is made up, and on this one."""

import json
import os

import pytest

from nxt.compute import machine
from nxt.compute.machine import Machine

FOLDER = ("/tmp", 9 << 30)
WELL = {"versions": {"nxt": "0.1.0"}, "cache": FOLDER, "results": FOLDER, "temporary": FOLDER}


@pytest.fixture
def on(monkeypatch):
    """Return a function that puts a made-up machine in this one's place."""
    return lambda **changes: monkeypatch.setattr(machine, "gather", lambda: Machine(**{**WELL, **changes}))


def test_a_machine_that_is_well(nxt, on):
    on()
    result = nxt("doctor")
    assert (result.code, result.err) == (0, "")
    assert "ok       nxt: 0.1.0\n" in result.out
    assert result.out.endswith("all is well\n")


def test_a_warning_leaves_the_exit_code(nxt, on):
    on(open_files=256)
    result = nxt("doctor")
    assert result.code == 0
    assert "warning  open files: 256 at most - searches open many: ulimit -n 65536\n0 problem(s), 1" in result.out


def test_arguments_are_shown_as_options(nxt, on):
    on(gpu_problem="the driver is too old")
    result = nxt("doctor")
    assert result.code == 1
    assert (
        "the driver is too old - trainings and searches refuse to start; --device cpu or --gpus-per-trial 0"
        in result.out
    )


def test_a_problem_sets_the_exit_code(nxt, on):
    on(missing=("scipy",))
    result = nxt("doctor")
    assert result.code == 1
    assert "problem  scipy: not installed - nxt needs it: pip install scipy\n" in result.out
    assert result.out.endswith("1 problem(s), 0 warning(s)\n")


def test_the_same_as_json(nxt, on):
    on(missing=("scipy",))
    result = nxt("doctor", "--json")
    answer = json.loads(result.out)
    assert result.code == 1 and answer["usable"] is False
    (problem,) = (each for each in answer["findings"] if each["state"] == "problem")
    assert problem == {
        "subject": "scipy",
        "state": "problem",
        "found": "not installed",
        "advice": "nxt needs it: pip install scipy",
    }


def test_this_machine_is_looked_at_without_starting_ray(nxt_process, tmp_path):
    """A temporary folder past the length of sockets' paths is found, and nothing is written into it."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    result = nxt_process("doctor", "--json", env={**os.environ, "RAY_TMPDIR": str(folder)})
    found = {each["subject"]: each for each in json.loads(result.out)["findings"]}
    assert found["sockets of Ray"]["state"] == "problem" and result.code == 1
    assert {"nxt", "python", "torch", "ray", "GPUs", "CPUs", "cache folder"} <= set(found)
    assert str(folder) in found["temporary folder"]["found"]
    assert list(folder.iterdir()) == []
