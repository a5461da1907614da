"""Images are decoded before trials run: what an observer hears of it, and what ends the search."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from nxt.data.cache import NoCacheError
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.errors import DataError
from nxt.search.engine import execute
from nxt.search.engine.progress import SearchBar


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


def test_the_time_that_decoding_takes_is_of_the_hours_of_a_search():
    assert execute._left(2.0, 1800.0) == 1.5
    assert execute._left(0.1, 1800.0) == 0.0 and execute._left(None, 1800.0) is None


def test_in_python_decoding_is_said_now_and_then_and_at_its_end(capsys):
    bar = SearchBar()
    bar.note("no room")
    bar.reading(1_000, 3_000)
    bar._looked -= 11
    bar.reading(2_000, 3_000)
    bar.reading(3_000, 3_000)
    assert capsys.readouterr().err == "note: no room\ndecoded 2,000 of 3,000 images\ndecoded 3,000 of 3,000 images\n"


def test_what_is_sent_to_workers_grows_with_the_list_of_files_and_not_with_their_pixels(images):
    source = images.source
    many = np.arange(50_000) % 10
    source = dataclasses.replace(source, labels=partial(_labels, many), images=_black, identity=_no_pixels)
    source = dataclasses.replace(source, open=_no_pixels, called=_no_pixels)
    data = Squares(source, 64)
    assert data.nbytes > 500e6 and execute._sent_bytes(data) < 3e6


def _labels(labels, split):
    return labels


def _black(split, rows, side):
    return np.zeros((len(rows), 3, side, side), dtype=np.uint8)


def _no_pixels(*_):
    return "made up"
