"""`nxt cache`: what it lists, and what it removes."""

import json

import numpy as np
import pytest

from nxt.data.cache import Cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    made = Cache(tmp_path / "cache" / "search-8px-a", 4, "folder:mine, 3 + 1 squares of 8 px")
    pixels = np.zeros((4, 3, 8, 8), dtype=np.uint8)
    assert list(made.make(lambda: 192, lambda start: iter([(pixels, np.full((4, 2), 8))]))) == [4]
    return tmp_path / "cache"


def test_what_is_kept_is_a_table_and_removing_tells_what_is_gone(nxt, folder):
    listed = nxt("cache")
    assert listed.code == 0
    head, _, row, total = listed.out.splitlines()
    assert head.split() == ["cache", "size", "state", "used", "what"]
    size = f"{sum(path.stat().st_size for path in folder.glob('search*'))}"
    assert row.split()[:3] == ["search-8px-a", f"{size}B", "whole"]
    assert row.endswith(" ago   folder:mine, 3 + 1 squares of 8 px")
    assert total == f"{size}B in {folder}"
    [found] = json.loads(nxt("cache", "--json").out)
    assert (found["name"], found["images"], found["of"], found["busy"]) == ("search-8px-a", 4, 4, False)
    gone = nxt("cache", "search-8px-a", "--remove")
    assert gone.code == 0 and gone.out.splitlines()[-1] == f"{size}B removed from {folder}"
    assert not list(folder.glob("search*"))
    assert nxt("cache").out == f"nothing in {folder}\n" and nxt("cache", "--json").out == "[]\n"


def test_an_unknown_cache_is_a_usage_error(nxt, folder):
    found = nxt("cache", "search-8px-b", "--remove")
    assert found.code == 2 and "did you mean 'search-8px-a'?" in found.err
    assert len(list(folder.glob("search*"))) == 3
