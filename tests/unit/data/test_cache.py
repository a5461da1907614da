"""The cache of decoded images: what comes out is what went in, and nothing half-built is taken for whole."""

import dataclasses
import errno
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from limits import LIMIT
from PIL import Image

from nxt.data.augment import Augment
from nxt.data.cache import NoCacheError, decoded, estimated, is_decoded
from nxt.data.draw import Draw
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.stream import Stream
from nxt.errors import DataError
from nxt.files import cache_folder

CPU = torch.device("cpu")
SIZES = [(60, 40), (40, 60), (33, 33), (20, 25), (90, 20), (10, 10), (200, 8), (8, 200), (64, 64), (41, 40)]


@pytest.fixture
def source(tmp_path):
    return paint(tmp_path / "data")


def paint(root, count=10):
    """A folder of images in many shapes, `count` for each of two classes."""
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                small = np.random.default_rng([label, index]).integers(0, 256, (5, 5, 3), dtype=np.uint8)
                picture = Image.fromarray(small).resize(SIZES[index % len(SIZES)], Image.Resampling.BICUBIC)
                picture.save(root / split / name / f"{index:04}.png")
    return open_source(DataRef("folder", str(root)))


def build(source, folder, side=40, split="train", **how):
    return decoded(source, split, side, folder, workers=0, **how)


def images(source, split="train"):
    return [np.asarray(source.open(split, row)) for row in range(len(source.labels(split)))]


def equal(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_images_that_are_small_enough_come_back_to_the_bit(source, tmp_path):
    cached = build(source, tmp_path / "cache", side=200)
    for row, (before, after) in enumerate(zip(images(source), images(cached), strict=True)):
        height, width = before.shape[:2]
        if max(before.shape) <= 3 * min(height, width):
            assert np.array_equal(before, after), row
        else:  # 3:1 of the centre
            short = min(height, width)
            top, left = (height - min(height, 3 * short)) // 2, (width - min(width, 3 * short)) // 2
            assert np.array_equal(before[top : top + 3 * short, left : left + 3 * short], after), row


@pytest.mark.parametrize("side", [16, 33, 40])
def test_the_shorter_side_is_shrunk_and_never_enlarged(source, tmp_path, side):
    cached = build(source, tmp_path / "cache", side=side)
    for before, after in zip(images(source), images(cached), strict=True):
        (height, width), short = before.shape[:2], min(before.shape[:2])
        assert min(after.shape[:2]) == min(side, short) and after.dtype == np.uint8
        aspect = min(3, max(height, width) / short)
        assert max(after.shape[:2]) == pytest.approx(aspect * min(side, short), abs=1)
        assert (after.shape[0] > after.shape[1]) == (height > width)


@pytest.mark.parametrize(("size", "crop"), [(40, 1.0), (35, 0.875), (20, 0.5)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_evaluation_sees_the_same_images_to_the_bit(source, tmp_path, size, crop, kind):
    how = Preprocess(size=size, crop=crop, interpolation=kind, mean=source.mean, std=source.std)
    assert how.resized == 40
    cached = build(source, tmp_path / "cache", interpolation=kind)
    [(found, _)] = Stream(cached, "train", np.arange(20), how, CPU, 0).plain(20)
    [(expected, _)] = Stream(source, "train", np.arange(20), how, CPU, 0).plain(20)
    assert torch.equal(found, expected)


def test_training_sees_about_the_same_images(source, tmp_path):
    how = Preprocess(size=20, mean=(0.0,) * 3, std=(1.0,) * 3)
    cached = build(source, tmp_path / "cache", side=30)
    draw = Draw(batch=20, augment=Augment(mirror=True, shift=0.1, rotate=10, jitter=0.2), seed=1)
    [(found, _)] = Stream(cached, "train", np.arange(20), how, CPU, 0).train(draw, 0)
    [(expected, _)] = Stream(source, "train", np.arange(20), how, CPU, 0).train(draw, 0)
    assert 0 < (found - expected).abs().mean() < 0.02


def test_another_split_is_read_from_where_it_was(source, tmp_path):
    cached = build(source, tmp_path / "cache", side=8)
    assert equal(images(cached, "test"), images(source, "test"))
    both = build(cached, tmp_path / "cache", side=8, split="test")
    assert equal(images(both), images(cached)) and max(min(i.shape[:2]) for i in images(both, "test")) == 8
    assert cached.identity() == source.identity() and cached.labels is source.labels


def test_a_cache_is_read_in_another_process_without_being_sent_there(source, tmp_path):
    cached = build(source, tmp_path / "cache")
    expected = images(cached)
    sent = pickle.dumps(cached)
    assert len(sent) < 10_000 < sum(image.size for image in expected)
    assert equal(images(pickle.loads(sent)), expected)


def test_worker_processes_decode_the_same(source, tmp_path):
    alone = build(source, tmp_path / "one")
    together = decoded(source, "train", 40, tmp_path / "two", workers=2)
    assert equal(images(alone), images(together))


def test_a_cache_is_built_once_and_tells_its_progress(source, tmp_path):
    told = []
    assert not is_decoded(source, "train", 40, tmp_path / "cache")
    build(source, tmp_path / "cache", on_progress=lambda done, total: told.append((done, total)))
    assert is_decoded(source, "train", 40, tmp_path / "cache")
    assert told[-1] == (20, 20) and all(total == 20 for _, total in told)
    broken = dataclasses.replace(source, open=lambda split, row: pytest.fail("decoded again"))
    cached = build(broken, tmp_path / "cache", on_progress=lambda done, total: pytest.fail("built again"))
    assert len(images(cached)) == 20


def test_other_data_another_side_and_another_kind_have_caches_of_their_own(source, tmp_path):
    folder = tmp_path / "cache"
    for how in ({}, {"side": 20}, {"interpolation": "bicubic"}, {"split": "test"}):
        build(source, folder, **how)
    assert len(list(folder.glob("*.pixels"))) == 4
    (tmp_path / "data" / "train" / "cat" / "0000.png").unlink()
    assert len(images(build(open_source(DataRef("folder", str(tmp_path / "data"))), folder))) == 19
    assert len(list(folder.glob("*.pixels"))) == 5


def test_the_default_folder_is_that_of_the_environment(source, tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "here"))
    build(source, None)
    assert len(list((tmp_path / "here").glob("train-40px-*.pixels"))) == 1
    monkeypatch.delenv("NXT_CACHE")
    assert cache_folder().parts[-3:] == (".cache", "nxt", "decoded")


# Damage, interruption, company


def files(folder):
    [pixels], [shapes] = folder.glob("*.pixels"), folder.glob("*.shapes")
    return pixels, shapes


@pytest.mark.parametrize(
    "damage", ["pixels cut", "pixels gone", "shapes cut", "shapes gone", "shapes empty", "shapes odd"]
)
def test_what_a_damaged_cache_lacks_is_decoded_again(source, tmp_path, damage):
    expected = images(build(source, tmp_path / "cache"))
    which, how = damage.split()
    file = files(tmp_path / "cache")[which == "shapes"]
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[: len(whole) // 2], "odd": whole[:-3], "empty": b"", "gone": b""}[how])
    if how == "gone":
        file.unlink()
    assert not is_decoded(source, "train", 40, tmp_path / "cache")
    told = []
    assert equal(images(build(source, tmp_path / "cache", on_progress=lambda done, _: told.append(done))), expected)
    assert told == [20]


def test_a_whole_cache_with_more_bytes_behind_it_is_used(source, tmp_path):
    expected = images(build(source, tmp_path / "cache"))
    for file in files(tmp_path / "cache"):
        file.write_bytes(file.read_bytes() + b"more")
    assert equal(images(build(source, tmp_path / "cache", on_progress=lambda *_: pytest.fail("built again"))), expected)


def test_an_unreadable_image_is_named_and_leaves_nothing_behind(source, tmp_path):
    (tmp_path / "data" / "train" / "dog" / "0007.png").write_bytes(b"no image")
    source = dataclasses.replace(source)
    with pytest.raises(DataError, match=r"dog/0007\.png: not readable as an image.*`skip_bad`"):
        build(source, tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir() if not file.name.endswith(".lock")] == []


def test_a_disk_without_room_is_said_before_anything_is_decoded(source, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 30, 1 << 30, 1000))
    message = (
        rf"{re.escape(str(tmp_path / 'cache'))}: the decoded images of folder:.* take about 0\.0 GiB.*set NXT_CACHE"
    )
    with pytest.raises(DataError, match=message):
        build(source, tmp_path / "cache", on_progress=lambda done, total: pytest.fail("began"))


def test_a_folder_that_cannot_be_written_is_said(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/cache: cannot be written \(Not a directory\); set NXT_CACHE"):
        build(source, tmp_path / "file" / "cache")


def test_the_estimate_is_near_the_truth(source, tmp_path):
    guess, short = estimated(source, "train", range(20), 30)
    build(source, tmp_path / "cache", side=30)
    pixels, _ = files(tmp_path / "cache")
    assert guess == pytest.approx(pixels.stat().st_size, rel=0.05)
    assert short == pytest.approx(np.median([min(size) for size in SIZES]), abs=1)


OTHER = """
import sys
from pathlib import Path
from nxt.data.cache import decoded
from nxt.data.ref import DataRef
from nxt.data.sources import open_source

def told(done, total):
    print(done, flush=True)
    sys.stdin.readline()

source = open_source(DataRef("folder", str(sys.argv[1])))
decoded(source, "train", 40, Path(sys.argv[2]), workers=0, on_progress=told)
"""


def start(tmp_path):
    """Build in another process, which says how far it is and waits for a line each time, or for the end of them."""
    command = [sys.executable, "-c", OTHER, str(tmp_path / "data"), str(tmp_path / "cache")]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def when_waiting(monkeypatch, act):
    """Do something once the build of this process waits for that of another one; return what happened, in order."""
    events = []

    def sleep(seconds):
        if not events:
            events.append("waited")
            act()
        time.sleep(seconds)

    monkeypatch.setattr("nxt.data.cache.time", SimpleNamespace(sleep=sleep))
    return events


def test_a_build_that_is_killed_goes_on_with_what_is_missing(tmp_path):
    source = paint(tmp_path / "data", count=100)
    with start(tmp_path) as process:
        assert int(process.stdout.readline()) == 32
        process.stdin.write("\n")
        process.stdin.flush()
        assert int(process.stdout.readline()) == 64
        os.kill(process.pid, signal.SIGKILL)
    folder, told = tmp_path / "cache", []
    assert not is_decoded(source, "train", 40, folder)
    for file in files(folder):
        with file.open("ab") as half:
            half.write(b"x")  # as if killed in the middle of an image
    cached = build(source, folder, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(96, 200), (128, 200), (160, 200), (192, 200), (200, 200)]
    assert equal(images(cached), images(build(source, tmp_path / "other")))


def test_a_disk_that_is_full_by_others_in_the_meantime_gets_its_room_back(source, tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(NoCacheError, match="set NXT_CACHE to a folder on a larger disk"):
            build(source, tmp_path / "cache")
    assert [file.name for file in (tmp_path / "cache").iterdir() if not file.name.endswith(".lock")] == []


def test_of_two_that_build_at_once_one_waits_for_the_other(tmp_path, monkeypatch):
    source = paint(tmp_path / "data", count=100)
    with start(tmp_path) as process:
        process.stdout.readline()
        events = when_waiting(monkeypatch, process.stdin.close)  # then the other one goes on to its end
        cached = build(source, tmp_path / "cache", on_progress=lambda done, total: events.append(done))
        assert process.wait(LIMIT) == 0
    assert events[0] == "waited" and 32 not in events and events[1:] == sorted(set(events[1:]))  # the other's progress
    assert equal(images(cached), images(build(source, tmp_path / "other")))


def test_who_waits_takes_over_when_the_other_is_killed(tmp_path, monkeypatch):
    source = paint(tmp_path / "data", count=100)
    with start(tmp_path) as process:
        process.stdout.readline()
        events = when_waiting(monkeypatch, process.kill)
        build(source, tmp_path / "cache", on_progress=lambda done, total: events.append(done))
    assert events[:2] == ["waited", 64] and events[-1] == 200
    assert is_decoded(source, "train", 40, tmp_path / "cache")
