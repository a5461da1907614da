"""What is kept on this machine: it is listed by its last use, and removed unless it is being made."""

import json
import os

import numpy as np
import pytest

from nxt.data.kept import kept, remove
from nxt.errors import RunError, UsageError
from nxt.files import locked


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A whole cache, one that was cut off, one of before, a copy of an archive, and what is none of these."""
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache"
    folder.mkdir()
    for name, done in (("search-8px-a", 4), ("train-8px-b", 3)):
        (folder / f"{name}.json").write_text(json.dumps({"what": f"folder:mine, {name}", "images": 4}))
        (folder / f"{name}.pixels").write_bytes(bytes(done * 192 + 5))
        (folder / f"{name}.shapes").write_bytes(np.full((done, 2), 8, dtype="<u2").tobytes())
        (folder / f".{name}.lock").touch()
    (folder / "train-8px-c.pixels").write_bytes(bytes(100))
    np.savez(folder / "train-8px-c.npz", shapes=np.zeros((1, 2)))
    (folder / "d.tar").write_bytes(bytes(512))
    (folder / "compute.json").write_text("{}")
    (folder / ".x.tmp").write_text("")
    for place, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        os.utime(path, (1e9 + place, 1e9 + place))
    return folder


def test_what_is_kept_is_listed_by_its_last_use(folder):
    found = {each.name: each for each in kept()}
    assert list(found) == ["train-8px-c", "train-8px-b", "search-8px-a", "d"]
    whole, cut, before, archive = (found[name] for name in ("search-8px-a", "train-8px-b", "train-8px-c", "d"))
    assert (whole.what, whole.images, whole.of, whole.state) == ("folder:mine, search-8px-a", 4, 4, "whole")
    assert (cut.images, cut.of, cut.state, cut.busy) == (3, 4, "3 of 4", False)
    assert whole.bytes == sum((folder / f"search-8px-a.{kind}").stat().st_size for kind in ("pixels", "shapes", "json"))
    assert before.what == "of no use any more" and archive.what == "a compressed archive as a plain one"
    assert kept(["d"]) == [archive]


def test_what_is_removed_is_gone_with_all_its_files_and_nothing_else_is(folder):
    assert [each.name for each in remove(["train-8px-b", "train-8px-b"])] == ["train-8px-b"]
    assert {path.name for path in folder.glob("train-8px-b*")} == set() and len(kept()) == 3
    assert {each.name for each in remove()} == {"search-8px-a", "train-8px-c", "d"}
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {"compute.json"} and kept() == []


def test_what_is_being_made_stays(folder):
    with locked(folder / ".train-8px-b.lock"):
        assert [(each.busy, each.state) for each in kept(["train-8px-b"])] == [(True, "being made, 3 of 4")]
        assert "train-8px-b" not in {each.name for each in remove()}
        assert [each.name for each in kept()] == ["train-8px-b"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"what": 1}', '{"what": "a", "images": "b"}'])
def test_a_damaged_description_is_of_no_use(folder, content):
    (folder / "search-8px-a.json").write_text(content)
    [found] = kept(["search-8px-a"])
    assert (found.what, found.images, found.of) == ("of no use any more", 0, 0)


def test_an_unknown_name_is_told_with_the_nearest(folder, monkeypatch):
    with pytest.raises(UsageError, match=r"no cache is called 'search-8px'; did you mean 'search-8px-a'\?"):
        remove(["search-8px"])
    assert len(kept()) == 4
    monkeypatch.setenv("NXT_CACHE", str(folder / "none"))
    assert kept() == [] == remove()
    monkeypatch.setenv("NXT_CACHE", str(folder / "d.tar"))
    with pytest.raises(RunError, match=r"d\.tar: cannot be read"):
        kept()
