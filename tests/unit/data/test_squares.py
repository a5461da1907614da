"""The images of a search's trials: the same bits in every form, decoded once, and sent nowhere."""

import pickle
import shutil
import subprocess
import sys
from collections import namedtuple
from itertools import pairwise

import numpy as np
import own_images
import pytest
import torch
from limits import LIMIT
from PIL import Image

from nxt.data import cache, squares
from nxt.data.augment import Augment
from nxt.data.dataset import load_train
from nxt.data.draw import Draw
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.data.squares import Squares, Streamed
from nxt.errors import DataError

CPU = torch.device("cpu")
SIDE = 20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where caches are: of all images, however few, some of them decoded at a time."""
    monkeypatch.setattr(squares, "_FEW", 0)
    monkeypatch.setattr(squares, "_CHUNK", 7 * 3 * SIDE**2)
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(30):
            small = np.random.default_rng([label, index]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            picture = Image.fromarray(small).resize((70 + index, 100 - index), Image.Resampling.BICUBIC)
            picture.save(tmp_path / "data" / name / f"{index:02}.jpg")
    return open_source(DataRef("folder", str(tmp_path / "data")))


@pytest.fixture
def no_room(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 100))


def same(found, expected):
    for a, b in ((found.train, expected.train), (found.val, expected.val)):
        assert np.array_equal(a.images[:], b.images) and np.array_equal(a.labels, b.labels)
        assert (a.images.shape, a.images.nbytes) == (b.images.shape, b.images.nbytes)
    facts = ("source", "classes", "mean", "std", "mirror")
    assert all(getattr(found, name) == getattr(expected, name) for name in facts)


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_every_form_has_the_images_of_a_data_set_in_memory(source, folder, share, monkeypatch):
    expected = load_train(source, SIDE, share)
    mapped = Squares(source, SIDE, share)
    assert mapped.missing == len(mapped) == len(expected.train) + len(expected.val) and mapped.side == SIDE
    same(mapped.open(), expected)
    assert mapped.missing == 0 and isinstance(mapped.open().train.images, np.memmap)
    assert (folder / next(folder.glob("*.pixels"))).stat().st_size == mapped.nbytes
    monkeypatch.setenv("NXT_CACHE", "/proc/none")
    streamed = Squares(source, SIDE, share).open()
    assert isinstance(streamed.train.images, Streamed)
    same(streamed, expected)
    monkeypatch.setattr(squares, "_FEW", 1 << 20)
    few = Squares(source, SIDE, share)
    same(few.open(), expected)
    assert not few.is_cached and few.missing == len(few) and list(few.decode()) == []


def test_all_readers_of_the_same_images_share_one_cache(tmp_path, folder):
    files = own_images.files_of(splits=("train",), count=12)
    names = set()
    for kind in ("folder", "zip", "tar"):
        where = own_images.packed(kind, files, tmp_path / kind)
        opened = Squares(open_source(where if isinstance(where, DataRef) else DataRef.parse(where)), 8)
        opened.open()
        names |= {path.name for path in folder.glob("*.pixels")}
    assert len(names) == 1


def test_other_data_sides_and_shares_have_caches_of_their_own(source, folder):
    for side, share in ((SIDE, 1.0), (SIDE, 0.5), (SIDE + 1, 1.0), (SIDE, 1.0)):
        Squares(source, side, share).open()
    assert len(list(folder.glob("*.pixels"))) == 3


def test_what_is_left_out_is_left_out_of_the_cache(source, folder):
    from nxt.data.readable import without_bad

    (folder.parent / "data" / "cat" / "03.jpg").write_bytes(b"no image")
    source = open_source(DataRef("folder", str(folder.parent / "data")))
    with pytest.raises(DataError, match=r"03\.jpg: not readable as an image"):
        Squares(source, SIDE).open()
    assert not list(folder.glob("*.pixels"))
    kept = without_bad(source, lambda _: None, workers=0)
    same(Squares(kept, SIDE).open(), load_train(kept, SIDE))


def test_decoding_goes_on_from_any_image(source, folder):
    expected = load_train(source, SIDE)
    whole = Squares(source, SIDE)
    done = list(whole.decode())
    assert done[-1] == len(whole) and all(b - a <= 7 for a, b in pairwise([0, *done]))
    [pixels] = folder.glob("*.pixels")
    for start in range(len(whole)):
        with pixels.open("ab") as file:
            file.truncate(start * 3 * SIDE**2 + 5)
        assert Squares(source, SIDE).missing == len(whole) - start
        again = Squares(source, SIDE)
        told = list(again.decode())
        assert told[0] > start and told[-1] == len(whole)
        same(again.open(lambda *_: pytest.fail("decoded again")), expected)


def test_opening_tells_how_many_images_are_decoded(source, folder):
    told = []
    Squares(source, SIDE).open(lambda done, total: told.append((done, total)))
    assert told == sorted(set(told)) and told[-1] == (48, 48)


def test_an_opened_set_stays_open_and_is_sent_without_its_pixels(source, folder):
    opened = Squares(source, SIDE)
    data = opened.open()
    shutil.rmtree(folder.parent / "data")  # nothing can be decoded again
    assert opened.open() is data
    sent = pickle.dumps(opened)
    assert len(sent) < 8_000 < opened.nbytes
    same(pickle.loads(sent).open(), data)


def test_where_the_disk_is_full_images_are_streamed(source, folder, no_room):
    with pytest.raises(cache.NoCacheError, match=r"38 \+ 10 squares of 20 px take about 0\.0 GiB"):
        list(Squares(source, SIDE).decode())
    assert isinstance(Squares(source, SIDE).open().val.images, Streamed)
    assert not list(folder.glob("*.pixels"))


PLANS = {
    "picked": Augment(shift=0.1, mirror=True),
    "mapped": Augment(rotate=10, zoom=0.1, mirror=True),
    "all": Augment(crop_area=0.5, jitter=0.2, lighting=0.1, erase=0.5),
}


@pytest.mark.parametrize("kind", PLANS)
def test_batches_of_streamed_images_are_those_of_images_in_memory(source, kind, folder, no_room):
    how = Preprocess(size=16, crop=0.8, mean=source.mean, std=source.std)
    assert how.resized == SIDE
    streamed, memory = (
        Batches(data.train, how, CPU) for data in (Squares(source, SIDE).open(), load_train(source, SIDE))
    )
    assert memory.on_device and not streamed.on_device and len(streamed) == len(memory)
    for rank in (0, 1):
        draw = Draw(batch=8, augment=PLANS[kind], seed=3, rank=rank, world=2)
        for start in (0, 2):
            for a, b in zip(streamed.train(draw, 1, start), memory.train(draw, 1, start), strict=True):
                assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
        for a, b in zip(streamed.plain(5, rank, 2), memory.plain(5, rank, 2), strict=True):
            assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert streamed.waited > 0


def test_batches_that_are_left_early_are_given_out_again(source, folder, no_room):
    how = Preprocess(size=SIDE, mean=source.mean, std=source.std)
    images = Batches(Squares(source, SIDE).open().train, how, CPU)
    draw = Draw(batch=8, augment=Augment(), seed=3)
    first, _ = next(images.train(draw, 0))
    again, _ = next(images.train(draw, 0))
    assert torch.equal(first, again)


MEMORY = """
import re, sys
from pathlib import Path
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.squares import Squares
from nxt.search.engine.execute import _sent_bytes

def anonymous():
    return 1024 * int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

images = Squares(open_source(DataRef("folder", sys.argv[1])), 128)
before = most = anonymous()
for _ in images.decode():
    most = max(most, anonymous())
print(images.nbytes, most - before, _sent_bytes(images))
"""


def test_neither_the_driver_nor_what_it_sends_holds_the_images(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2000):
            Image.new("RGB", (8, 8), (index % 256, index // 256, 0)).save(tmp_path / "data" / name / f"{index}.bmp")
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    script = [sys.executable, "-c", MEMORY, str(tmp_path / "data")]
    done = subprocess.run(script, capture_output=True, text=True, timeout=LIMIT, check=True)
    images, grown, sent = map(int, done.stdout.split())
    assert images > 150e6 and grown < images / 2 and sent < images / 200
