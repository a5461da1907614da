"""Where images are kept: in memory when they fit and nothing wants them whole, else cached, else where they were."""

import re

import numpy as np
import pytest
import stand_in
import torch
from PIL import Image

from nxt.data import placement
from nxt.data.augment import Augment
from nxt.data.dataset import ImagePlacement
from nxt.data.draw import Draw
from nxt.data.placement import open_images, plan_placement
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.data.stream import Stream
from nxt.errors import DataError

CPU = torch.device("cpu")
AREA, POLICY, PLAIN = Augment(crop_area=0.3), Augment(policy="trivialaugment"), Augment(mirror=True, shift=0.1)
MUCH, LITTLE = 1 << 40, 1 << 10


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    return paint(tmp_path / "large", (120, 100))


def paint(root, size):
    for split in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for index in range(6):
                small = np.random.default_rng([label, index]).integers(0, 256, (6, 6, 3), dtype=np.uint8)
                Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(root / split / name / f"{index}.png")
    return open_source(DataRef("folder", str(root)))


def have(monkeypatch, memory=MUCH, disk=MUCH):
    monkeypatch.setattr(placement, "_free_memory", lambda: memory)
    monkeypatch.setattr(placement, "_free_disk", lambda folder: disk)


def how(size=32, crop=0.8, **other):
    return Preprocess(size=size, crop=crop, mean=(0.5,) * 3, std=(0.5,) * 3, **other)


def chosen(source, augment=None, preprocess=None, **more):
    return plan_placement(
        source, "train", np.arange(len(source.labels("train"))), preprocess or how(), CPU, augment, **more
    )


@pytest.mark.parametrize(
    ("augment", "room", "kind", "why"),
    [
        (None, {}, "resident", r"train: 12 images in memory \(1 MiB\)"),
        (PLAIN, {}, "resident", "in memory"),
        (AREA, {}, "cached", r"train: 12 images decoded once, to .*/cache \(random crops want whole images\)"),
        (POLICY, {}, "cached", "trivialaugment changes images one by one"),
        (PLAIN, {"memory": 100_000}, "cached", "in memory they would take 1 MiB of 1 MiB"),
        (AREA, {"disk": LITTLE}, "streamed", r"whole images; decoded they take 1 MiB, and .*/cache has 1 MiB free"),
        (AREA, {"memory": LITTLE}, "streamed", "decoded they take 1 MiB, and 1 MiB of memory are free"),
    ],
)
def test_large_images_are_resident_cached_or_streamed(source, monkeypatch, augment, room, kind, why):
    have(monkeypatch, **room)
    found = chosen(source, augment)
    assert found.kind == kind
    assert found.sentence.startswith("train: 12 images ") and "\n" not in found.sentence
    assert re.search(why, found.sentence)


@pytest.mark.parametrize(("augment", "kind"), [(None, "resident"), (AREA, "resident"), (POLICY, "streamed")])
def test_small_images_are_resident_unless_a_policy_changes_them(tmp_path, monkeypatch, augment, kind):
    have(monkeypatch)
    for small in (open_source(DataRef("digits")), paint(tmp_path / "small", (40, 36))):
        assert small.size is not None
        assert chosen(small, augment).kind == kind


def test_what_is_read_once_is_not_kept_unless_it_is_small(source, monkeypatch):
    have(monkeypatch)
    found = chosen(source, passes=1)
    assert found.kind == "streamed" and found.sentence.endswith("(they are read only once)")
    assert chosen(open_source(DataRef("digits")), passes=1).kind == "resident"


def test_images_no_larger_than_needed_are_not_cached(source, monkeypatch):
    have(monkeypatch)
    assert chosen(source, AREA, how(size=66, crop=1.0)).side == 99
    assert "no larger than needed" in chosen(source, AREA, how(size=67, crop=1.0)).sentence
    assert chosen(source, POLICY, how(size=80, crop=0.81)).side == 99
    assert chosen(source, POLICY, how(size=80, crop=0.8)).kind == "streamed"


def test_processes_on_one_machine_share_its_memory(source, monkeypatch):
    have(monkeypatch, memory=2 * 12 * 3 * 40 * 40)
    assert chosen(source, PLAIN).kind == "resident"
    assert chosen(source, PLAIN, processes=2).kind == "cached"


def test_a_cache_that_is_there_is_used_even_if_the_disk_is_full_by_now(source, monkeypatch):
    have(monkeypatch)
    rows = np.arange(12)
    _, first = open_images(source, "train", rows, how(), CPU, AREA, workers=0)
    have(monkeypatch, disk=LITTLE)
    assert chosen(source, AREA) == first


def test_the_kind_chosen_before_is_what_is_opened(source, monkeypatch, cache):
    have(monkeypatch)
    rows = np.arange(12)
    for augment, kind, made in ((PLAIN, "resident", Batches), (AREA, "cached", Stream)):
        before = chosen(source, augment)
        have(monkeypatch, memory=LITTLE, disk=LITTLE)
        images, found = open_images(source, "train", rows, how(), CPU, augment, workers=0, placement=before)
        assert found == before and found.kind == kind and type(images) is made and len(images) == 12
        have(monkeypatch)
    assert len(list(cache.glob("*.pixels"))) == 1


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "crop"), [(32, 0.8), (30, 1.0), (33, 0.9)])
def test_evaluation_gives_the_same_to_the_bit_however_images_are_kept(source, kind, size, crop):
    preprocess, rows = how(size, crop, interpolation=kind), np.array([1, 3, 4, 8, 11])
    given, told = [], []
    for name in ("resident", "cached", "streamed"):
        before = ImagePlacement(name, preprocess.resized, "")
        images, _ = open_images(
            source,
            "train",
            rows,
            preprocess,
            CPU,
            workers=0,
            placement=before,
            on_progress=lambda *done: told.append(done),
        )
        given += images.plain(5)
    assert told[0] == (5, 5) and told[-1] == (12, 12)  # a cache is of the whole split
    (first, labels), *others = given
    assert labels.tolist() == source.labels("train")[rows].tolist()
    assert all(torch.equal(images, first) and torch.equal(found, labels) for images, found in others)


def test_training_on_resident_images_sees_what_training_on_streamed_ones_does(source, monkeypatch):
    """Not the same numbers, but the same scale: without augmentation, the very images of evaluation."""
    draw = Draw(batch=12, augment=Augment(), seed=0)
    have(monkeypatch)
    resident, _ = open_images(source, "train", np.arange(12), how(), CPU, Augment(), workers=0)
    [(a, x)] = resident.train(draw, 0)
    [(b, y)] = Stream(source, "train", np.arange(12), how(), CPU, 0).train(draw, 0)
    assert torch.equal(x, y) and torch.allclose(a, b, atol=1e-3)


def test_an_unreadable_image_is_an_error_when_images_become_resident(source, monkeypatch, tmp_path):
    have(monkeypatch)
    (tmp_path / "large" / "train" / "dog" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"dog/2\.png: not readable as an image"):
        open_images(source, "train", np.arange(12), how(), CPU, workers=0)


def test_free_memory_and_disk_are_those_of_this_machine(tmp_path):
    assert 0 < placement._free_memory() < 1 << 50
    assert placement._free_disk(tmp_path / "not" / "there" / "yet") == pytest.approx(
        placement._free_disk(tmp_path), rel=0.1
    )
    assert 0 < placement._room(CPU, 4) <= placement._room(CPU, 1)


@pytest.mark.parametrize(("gpus", "processes", "each"), [(1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 3, 2), (4, 3, 1)])
def test_processes_on_one_gpu_share_a_third_of_its_memory(monkeypatch, gpus, processes, each):
    have(monkeypatch)
    stand_in.plug_in(monkeypatch, gpus=gpus, memory=3_000_000, context=0)
    try:
        assert placement._room(torch.device("cpu", 0), processes) == 1_000_000 // each
    finally:
        stand_in.unplug()


def test_the_disk_of_a_cache_is_found_where_the_cache_cannot_be_seen(tmp_path):
    """A name that is too long raises in pathlib as a closed folder does, for root, too."""
    assert placement._free_disk(tmp_path / ("x" * 300) / "decoded") > 0
