"""Images are decoded before trials run: what an observer hears of it, and what ends the search."""

from functools import partial

import pytest

from nxt.data.cache import NoCacheError
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.errors import DataError
from nxt.search.engine import execute


class Heard:
    """An observer that notes what it hears of images."""

    def __init__(self):
        self.notes, self.read = [], []

    def note(self, text):
        self.notes.append(text)

    def reading(self, done, total):
        self.read.append((done, total))


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr("nxt.data.squares._FEW", 0)
    monkeypatch.setattr("nxt.data.squares._CHUNK", 500 * 3 * 64)
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    return Squares(open_source(DataRef("digits")), 8)


def test_this_machine_decodes_once_and_tells_how_far_it_is(images):
    heard = Heard()
    execute._decode(images, None, heard)
    count = len(images)
    assert heard.notes == [] and heard.read[-1] == (count, count) and len(heard.read) >= 3
    execute._decode(images, None, again := Heard())
    execute._decode(images.source, None, again)  # a full training's
    assert (again.notes, again.read) == ([], [])


def test_a_few_images_are_decoded_by_the_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    execute._decode(Squares(open_source(DataRef("digits")), 8), None, heard := Heard())
    assert (heard.notes, heard.read) == ([], []) and not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_told_and_the_search_goes_on(images, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", "/proc/none")
    execute._decode(images, None, heard := Heard())
    [note] = heard.notes
    assert note.startswith("images are decoded whenever they are read (/proc/none: cannot be written (")
    assert note.endswith("); set NXT_CACHE to another folder)")


def test_the_machines_of_a_cluster_are_counted_together_and_told_apart(images, monkeypatch):
    def on_each_node(task):
        assert isinstance(task, partial)
        yield from [("a", 10), ("b", 20), ("a", 30), ("c", NoCacheError("no room")), ("b", 100)]

    monkeypatch.setattr("nxt.compute.ray_cluster.on_each_node", on_each_node)
    execute._decode(images, "here:1", heard := Heard())
    count = len(images)
    assert heard.read == [(10, count), (30, 2 * count), (50, 2 * count), (130, 2 * count)]
    assert heard.notes == ["images are decoded on c whenever they are read (no room)"]


def test_an_image_that_is_not_readable_ends_the_search_wherever_it_was_found(images, monkeypatch):
    found = DataError("a.jpg: not readable as an image")
    monkeypatch.setattr("nxt.compute.ray_cluster.on_each_node", lambda task: iter([("a", 10), ("b", found)]))
    with pytest.raises(DataError, match=r"a\.jpg: not readable as an image"):
        execute._decode(images, "here:1", Heard())


def test_an_error_of_another_machine_is_its_last_answer(images, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", "/proc/none")
    [error] = execute._attempt(images)
    assert isinstance(error, NoCacheError)
