"""Run directories: how one begins, who may write there, and what is read of its record."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nxt
from nxt.errors import ConfigError, RunError
from nxt.files import write_text
from nxt.rundir import LOCK, free_run_directory, hold_run_directory, is_active, read_run_record


def test_a_run_directory_is_created_with_its_parents_and_returned_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hold_run_directory(Path("runs/first"), "search", new=True) as directory:
        path = directory.path
        assert path == (tmp_path / "runs" / "first").resolve()
        assert path.is_dir() and path.is_absolute()
        directory.write_record({"command": "search"})
    assert path.is_dir()


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_directory_goes_again_only_if_nothing_came_of_it(tmp_path, begun):
    directory = hold_run_directory(tmp_path / "results" / "run", "train", new=True)
    path = directory.__enter__().path
    if begun:
        (path / "run.yaml").touch()
    error = KeyError()
    assert not directory.__exit__(KeyError, error, None)
    assert (tmp_path / "results").exists() == path.exists() == begun


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_existing_run_directory_is_refused_with_the_ways_out(tmp_path, kind):
    path = tmp_path / "run"
    if kind == "folder":
        path.mkdir()
        (path / "run.yaml").touch()
    else:
        path.touch()
    ways = {"folder": "another `out`, or continue .* `resume`", "file": "no run to continue; choose another `out`$"}
    with pytest.raises(RunError, match=rf"exists already; .*{ways[kind]}"):
        hold_run_directory(path, "train", new=True).__enter__()


def test_a_run_directory_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be created"):
        hold_run_directory(tmp_path / "file" / "run", "train", new=True).__enter__()


@pytest.mark.parametrize(
    ("left", "taken"),
    [([".lock"], True), ([".run.yaml.7.tmp", ".lock"], True), ([], False), ([".git"], False), ([".lock", "a"], False)],
)
def test_only_what_a_run_left_that_had_not_begun_is_taken_and_it_stays(tmp_path, left, taken):
    for name in left:
        (tmp_path / name).touch()
    directory = hold_run_directory(tmp_path, "search", new=True)
    if taken:
        assert directory.__enter__().path == tmp_path.resolve()
        assert not directory.__exit__(KeyError, KeyError(), None)
    else:
        with pytest.raises(RunError, match="exists already"):
            directory.__enter__()
    stays = [name for name in left if not (taken and name == LOCK)]  # its own lock goes again: nothing came of it
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(stays)


def test_two_processes_get_run_directories_of_their_own_and_leave_none_unused(tmp_path, monkeypatch):
    choose = "from nxt.rundir import free_run_directory as free; print(free('a', 'b/c'), flush=True); input()"
    command = [sys.executable, "-c", choose]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": tmp_path}
    environment = {**os.environ, "PYTHONPATH": str(Path(nxt.__file__).parents[1])}
    others = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    names = {process.stdout.readline().strip() for process in others}
    assert names == {"results/a_b-c_1", "results/a_b-c_2"}
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the first comes to nothing
        path = free_run_directory("a", "b/c")
        assert path == Path("results/a_b-c_3")
        with hold_run_directory(path, "search", new=True) as directory:
            pass
    with hold_run_directory(free_run_directory("a", "b/c"), "search", new=True) as directory:
        directory.write_record({"command": "search"})
    assert free_run_directory("a", "b/c") == Path("results/a_b-c_4")
    for process in others:
        process.communicate("\n")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["a_b-c_3", "a_b-c_4"]


@pytest.mark.parametrize(("command", "kind"), [("search", "search"), ("train", "training")])
def test_one_process_at_a_time_writes_in_a_run_directory(command, kind, tmp_path):
    with hold_run_directory(tmp_path / "run", command, new=True) as directory:
        directory.write_record({"command": command})
        assert is_active(tmp_path / "run")
        with pytest.raises(RunError, match=f"run: another {kind} is writing there"):
            hold_run_directory(tmp_path / "run", command, new=False).__enter__()
    assert not is_active(tmp_path / "run")
    with hold_run_directory(tmp_path / "run", command, new=False) as directory:
        assert directory.begun
    assert (tmp_path / "run" / LOCK).exists()


def test_a_record_is_read_only_where_the_command_made_it(tmp_path):
    with pytest.raises(RunError, match=r"not a run directory \(no run.yaml in it\)"):
        read_run_record(tmp_path, "search")
    write_text(tmp_path / "run.yaml", "command: train\n")
    assert read_run_record(tmp_path, "train") == {"command": "train"}
    with pytest.raises(RunError, match="a run of 'train', where a search was expected"):
        read_run_record(tmp_path, "search")
    write_text(tmp_path / "run.yaml", "command: [")
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        read_run_record(tmp_path, "search")
