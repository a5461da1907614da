"""What a machine's record is judged to be, and what is gathered into it. No test depends on the machine it runs on."""

import os
import stat

import pytest
from ray._private.utils import validate_socket_filepath

from nxt.compute import machine as asked
from nxt.compute.doctor import _RAY_ADDS, _SOCKET_LIMIT, judge
from nxt.compute.machine import Machine, memory_limit, usable_cpus, writable_bytes

GIB = 1 << 30
FOLDER = ("/tmp", 9 * GIB)
PLAIN = {
    "versions": {"nxt": "0.1.0", "python": "3.11.7", "torch": "2.15.0"},
    "cuda": "",
    "cpus": 8,
    "usable_cpus": 8,
    "memory": 16 * GIB,
    "free_memory": 8 * GIB,
    "cache": FOLDER,
    "results": FOLDER,
    "temporary": FOLDER,
    "shared_memory": GIB,
    "open_files": 4096,
}


def findings(**changes):
    return {each.subject: each for each in judge(Machine(**{**PLAIN, **changes}))}


def test_a_machine_without_a_gpu_can_be_as_it_should_be():
    found = findings()
    assert {each.state for each in found.values()} == {"ok"}
    assert not any(each.advice for each in found.values())
    assert found["GPUs"].found == "none (torch is built for CPUs alone)"


@pytest.mark.parametrize(
    ("changes", "subject", "state", "found", "advice"),
    [
        ({"broken": {"torch": "libc10.so"}}, "torch", "problem", "cannot be imported: libc10.so", "install torch"),
        ({"missing": ("scipy",)}, "scipy", "problem", "not installed", "pip install scipy"),
        ({"extras": {"onnx": ("onnx",)}}, "extra onnx", "ok", "without onnx; if you need it: pip install onnx", ""),
        ({"extras": {"onnx": ()}}, "extra onnx", "ok", "installed", ""),
        ({"gpu_problem": "too old", "listed_gpus": ("H200",)}, "GPUs", "problem", "too old; H200", "`device` cpu"),
        ({"driver_problem": "nvidia-smi: failed"}, "GPUs", "warning", "nvidia-smi: failed", "driver"),
        (
            {"gpus": ("A",), "listed_gpus": ("A", "B"), "cuda": "13.2"},
            "GPUs",
            "warning",
            "torch uses 1 of 2: A; B",
            "CUDA_VISIBLE_DEVICES",
        ),
        ({"gpus": ("A",), "listed_gpus": ("A, driver 9",), "cuda": "13.2"}, "GPUs", "ok", "A, driver 9 (torch is", ""),
        ({"usable_cpus": 1.5}, "CPUs", "warning", "1.5 of 8 may be used", "`workers` 1, and set OMP_NUM_THREADS=1"),
        ({"memory_limit": 4 * GIB}, "memory", "ok", "4.0 GiB of 4.0 GiB (the control group's limit) free", ""),
        ({"memory_limit": 64 * GIB}, "memory", "ok", "8.0 GiB of 16.0 GiB free", ""),
        ({"free_memory": GIB}, "memory", "warning", "1.0 GiB of 16.0 GiB free", "`workers` 1"),
        ({"results": ("/r", None)}, "results folder", "warning", "/r: cannot be written", "`out`"),
        ({"cache": ("/c", GIB)}, "cache folder", "warning", "/c: 1.0 GiB free", "NXT_CACHE"),
        ({"temporary": ("/t", GIB)}, "temporary folder", "warning", "/t: 1.0 GiB free", "RAY_TMPDIR"),
        ({"temporary": ("/t", None)}, "temporary folder", "problem", "/t: cannot be", "searches cannot start"),
        ({"shared_memory": 64 << 20}, "shared memory", "warning", "0.1 GiB free", "--shm-size"),
        ({"open_files": 256}, "open files", "warning", "256 at most", "ulimit -n"),
    ],
)
def test_what_is_not_as_it_should_be_is_told_with_what_to_do(changes, subject, state, found, advice):
    finding = findings(**changes)[subject]
    assert finding.state == state
    assert found in finding.found
    assert advice in finding.advice and bool(advice) == bool(finding.advice)


def test_the_rest_is_told_too_where_a_package_is_broken():
    found = findings(broken={"torch": "libc10.so"}, cuda=None, listed_gpus=("A",))
    assert [each.subject for each in found.values() if each.state == "problem"] == ["torch"]
    assert "memory" in found and found["GPUs"].found == "A"


def test_what_a_system_does_not_tell_is_left_out():
    found = findings(memory=None, free_memory=None, shared_memory=None, open_files=None)
    assert not {"memory", "shared memory", "open files"} & set(found)


def test_a_temporary_folder_is_too_long_exactly_where_ray_refuses_it():
    socket = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(socket) == _RAY_ADDS
    longest = "/" + "x" * (_SOCKET_LIMIT - _RAY_ADDS - 1)
    validate_socket_filepath(longest + socket)
    assert findings(temporary=(longest, GIB))["sockets of Ray"].state == "ok"
    with pytest.raises(OSError, match="length"):
        validate_socket_filepath(longest + "x" + socket)
    refused = findings(temporary=(longest + "x", GIB))["sockets of Ray"]
    assert refused.state == "problem" and "RAY_TMPDIR" in refused.advice


def groups(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "6400000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
    ],
)
def test_the_quota_of_a_control_group_limits_the_cpus(files, cpus, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert usable_cpus(groups(tmp_path, files)) == cpus


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"memory.max": "max"}, None),
        ({"memory.max": "1073741824"}, GIB),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ({"memory/memory.limit_in_bytes": "1073741824"}, GIB),
    ],
)
def test_the_limit_of_a_control_group_is_read_in_both_versions(files, limit, tmp_path):
    assert memory_limit(groups(tmp_path, files)) == limit


def test_a_folder_that_will_be_made_has_the_room_of_the_one_above(tmp_path, monkeypatch):
    assert writable_bytes(tmp_path / "new" / "deeper") > 0
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert writable_bytes(tmp_path / "new") is None


def test_a_packages_extras_are_told_by_what_is_missing_of_them():
    needed = ["typer>=0.26", "no-such-package[x]>=1", 'also.missing; extra == "onnx"', 'rich>=1; extra == "onnx"']
    missing, extras = asked._packages([*needed, 'pytest; extra == "dev"', 'rich; extra == "other"'])
    assert missing == ("no-such-package",)
    assert extras == {"onnx": ("also.missing",), "other": ()}
    assert asked._packages(None) == ((), {})


@pytest.mark.parametrize(
    ("script", "listed", "problem"),
    [
        (None, (), ""),
        ("echo 'NVIDIA H200, 143771 MiB, 570.1'", ("NVIDIA H200, 143771 MiB, driver 570.1",), ""),
        ("echo 'NVIDIA-SMI has failed'; exit 9", (), "nvidia-smi: NVIDIA-SMI has failed"),
        ("exit 9", (), "nvidia-smi: no answer"),
    ],
)
def test_gpus_are_listed_as_the_driver_tells_them(script, listed, problem, tmp_path, monkeypatch):
    if script is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert asked._listed_gpus() == (listed, problem)


def test_a_package_that_does_not_load_is_told_from_one_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "damaged.py").write_text("raise OSError('libdamaged.so: not found\\nmore')")
    (tmp_path / "damaged-1.0.dist-info").mkdir()
    (tmp_path / "damaged-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: damaged\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert asked._problem_of("damaged") == "libdamaged.so: not found"
    assert asked._problem_of("no_such_package") == ""
    assert asked._problem_of("typer") == ""
    assert asked._broken("typer", "damaged", "torch") == {"damaged": "libdamaged.so: not found"}
    assert asked._broken("typer") == {}
