"""Files are written whole or not at all, and run directories are never reused by accident."""

import os
import subprocess
import sys

import pytest
from limits import LIMIT

from nxt.errors import RunError
from nxt.files import inside, is_locked, locked, nearest, replacing, write_text


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


def test_a_lock_is_held_for_the_time_of_a_block(tmp_path):
    path = tmp_path / ".lock"
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
        with pytest.raises(BlockingIOError):
            locked(path).__enter__()
    assert path.exists() and not is_locked(path)


def test_a_path_that_is_not_there_is_answered_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "second").mkdir(parents=True)
    (tmp_path / "results" / "second" / "best.yaml").touch()
    for missing in ("results/second/bst.yaml", "reslts/secnd/best.yml", str(tmp_path / "results/second/Best.yaml")):
        assert nearest(missing).endswith("results/second/best.yaml'?"), missing
    assert nearest("reslts") == "; did you mean 'results'?"
    for nothing_like in (
        "other",
        "results/second/train.py",
        "/nowhere at all/x",
        "results/second/best.yaml",
        "a\0b",
        "",
    ):
        assert nearest(nothing_like) == ""


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("/a/b", "/a/b/run"),
        ("/a/what?", "/a/what?/run"),
        ("s3://bucket/b/", "s3://bucket/b/run"),
        ("s3://bucket/b?region=x&scheme=http", "s3://bucket/b/run?region=x&scheme=http"),
        ("s3://bucket/b/?endpoint_override=http://h:1", "s3://bucket/b/run?endpoint_override=http://h:1"),
    ],
)
def test_a_folder_inside_a_place_comes_before_the_query_of_a_uri(place, folder):
    assert inside(place, "run") == folder
