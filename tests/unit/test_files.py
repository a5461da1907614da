"""Files are written whole or not at all, and run directories are never reused by accident."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from limits import LIMIT

from nxt.errors import RunError
from nxt.files import data_from_anywhere, data_place, is_locked, locked, new_run_directory, replacing, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_holds_the_text_and_leaves_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a.txt", "caf\u00e9\n")
    assert (tmp_path / "a.txt").read_bytes() == "caf\u00e9\n".encode()
    assert names(tmp_path) == ["a.txt"]


def test_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a longer old text")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_a_reader_sees_the_old_content_until_the_end(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_inside_keeps_the_old_file_and_cleans_up(tmp_path, error):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = (
        "import os, pathlib\nfrom nxt.files import replacing\n"
        f"with replacing(pathlib.Path({str(path)!r})) as file:\n"
        "    file.write(b'half'); file.flush(); os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=LIMIT).returncode == 9
    assert path.read_bytes() == b"old"


def test_a_missing_folder_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "no" / "a.txt", "x")


def test_a_folder_in_place_of_the_file_is_a_run_error_and_stays(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(RunError, match="a: cannot be written"):
        write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


def test_a_file_in_place_of_the_folder_is_a_run_error(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / "a" / "b.txt", "x")


def test_a_name_too_long_for_the_file_system_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="cannot be written"):
        write_text(tmp_path / ("x" * 300), "x")


def test_a_full_disk_is_a_run_error(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "a").write_text("old")
    with pytest.raises(RunError, match="No space left on device"):
        write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_a_run_directory_is_created_with_its_parents_and_returned_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with new_run_directory(Path("runs/first")) as path:
        assert path == (tmp_path / "runs" / "first").resolve()
        assert path.is_dir() and path.is_absolute()
    assert path.is_dir()


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_directory_goes_again_only_if_nothing_came_of_it(tmp_path, begun):
    directory = new_run_directory(tmp_path / "results" / "run")
    path = directory.__enter__()
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
    ways = {"folder": "another --out, or continue .* --resume", "file": "no run to continue; choose another --out$"}
    with pytest.raises(RunError, match=rf"exists already; .*{ways[kind]}"):
        new_run_directory(path).__enter__()


def test_a_run_directory_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be created"):
        new_run_directory(tmp_path / "file" / "run").__enter__()


@pytest.mark.parametrize(
    ("left", "taken"),
    [([".lock"], True), ([".run.yaml.7.tmp", ".lock"], True), ([], False), ([".git"], False), ([".lock", "a"], False)],
)
def test_only_what_a_run_left_that_had_not_begun_is_taken_and_it_stays(tmp_path, left, taken):
    for name in left:
        (tmp_path / name).touch()
    directory = new_run_directory(tmp_path, ".lock")
    if taken:
        assert directory.__enter__() == tmp_path.resolve()
        assert not directory.__exit__(KeyError, KeyError(), None)
    else:
        with pytest.raises(RunError, match="exists already"):
            directory.__enter__()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(left)


def test_a_lock_is_held_for_the_time_of_a_block(tmp_path):
    path = tmp_path / ".lock"
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
        with pytest.raises(BlockingIOError):
            locked(path).__enter__()
    assert path.exists() and not is_locked(path)


def test_data_means_the_same_from_any_folder_and_is_shown_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").symlink_to(tmp_path / "elsewhere")
    assert data_from_anywhere("folder:a b/c:d") == f"folder:{tmp_path}/a b/c:d"
    assert data_from_anywhere("folder:there") == f"folder:{tmp_path}/there"  # a link that is moved still serves
    assert data_from_anywhere("cifar10:~/x") == f"cifar10:{Path.home()}/x"
    for text in ("digits", "cifar10", "folder:", "folder:~nosuchuser/x", ""):
        assert data_from_anywhere(text) == text
    assert data_place(f"folder:{tmp_path}/mine") == data_place("folder:mine") == "folder:mine"
    assert data_place("folder:/elsewhere") == "folder:/elsewhere" and data_place("digits") == "digits"
