"""Images that are not resident: the same batches however they are read, and nothing left behind."""

import dataclasses
import itertools
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from limits import wait_until
from PIL import Image
from splits import load_split

from nxt.data.augment import POLICIES, Augment
from nxt.data.dataset import Split
from nxt.data.draw import Draw
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.data.stream import Stream
from nxt.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one core

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
GEOMETRY = Augment(crop_area=0.3, shift=0.1, rotate=20, zoom=0.2, mirror=True)
EVERYTHING = dataclasses.replace(GEOMETRY, jitter=0.4, lighting=0.1, policy="randaugment", erase=0.5)
MEAN_COLOUR = torch.tensor([round(255 * value) for value in MEAN]).view(3, 1, 1)


def preprocess(size=16, crop=1.0, **other):
    return Preprocess(size=size, crop=crop, mean=MEAN, std=STD, **other)


def noise(seed, size):
    """Smooth noise: what a resize does to it is defined well."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of images in many shapes, larger and smaller than what is asked for."""
    root = tmp_path_factory.mktemp("shapes")
    for split, count in (("train", 10), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                size = (70 + 13 * index, 90 - 7 * index) if index % 2 else (20, 30 + index)
                noise(100 * label + index, size).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def source(root):
    return open_source(DataRef("folder", str(root)))


def make(source, workers=0, rows=None, split="train", **how):
    rows = np.arange(len(source.labels(split))) if rows is None else np.asarray(rows)
    return Stream(source, split, rows, preprocess(**how), CPU, workers)


def squares(tmp_path, count=20, side=16):
    """A folder of square images, and the pixels of its training split."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(count // 2):
                noise(hash((split, name)) % 1000 + index, (side, side)).save(
                    tmp_path / split / name / f"{index:03}.png"
                )
    source = open_source(DataRef("folder", str(tmp_path)))
    return source, load_split(source, "train", side)


def draw(augment=EVERYTHING, batch=6, seed=3, **place):
    return Draw(batch=batch, augment=augment, seed=seed, **place)


def pixels(images):
    """Normalised images as bytes again."""
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (255 * (images * std + mean)).round().int()


def same(found, expected):
    found, expected = list(found), list(expected)
    return len(found) == len(expected) and all(
        torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in zip(found, expected, strict=True)
    )


# The same batches, however they are read


@pytest.mark.parametrize("augment", [EVERYTHING, Augment(), Augment(shift=0.2, rotate=10, policy="trivialaugment")])
def test_batches_do_not_depend_on_the_number_of_workers_or_on_where_an_epoch_is_entered(source, augment):
    alone, together = make(source), make(source, workers=2)
    for epoch in (0, 1):
        expected = list(alone.train(draw(augment), epoch))
        assert len(expected) == 3
        assert same(together.train(draw(augment), epoch), expected)
        for start in range(4):
            assert same(alone.train(draw(augment), epoch, start), expected[start:])
            assert same(together.train(draw(augment), epoch, start), expected[start:])
    assert same(together.plain(7), alone.plain(7))


@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_several_ranks_make_the_batch_of_one(source, world):
    stream = make(source)
    parts = [list(stream.train(draw(rank=rank, world=world), 1)) for rank in range(world)]
    whole = list(stream.train(draw(), 1))
    assert same([tuple(map(torch.cat, zip(*step, strict=True))) for step in zip(*parts, strict=True)], whole)
    [(images, labels)] = stream.plain(20)
    for rank in range(world):
        [(some, theirs)] = stream.plain(20, rank, world)
        assert torch.equal(some, images[rank::world]) and torch.equal(theirs, labels[rank::world])


def test_what_is_done_to_an_image_depends_on_nothing_but_seed_epoch_and_row(source):
    """The same images in another company, in batches of another size, at other places."""

    def by_row(rows, batch, seed=3, epoch=2):
        stream, found = make(source, rows=rows), {}
        order = Draw(batch=batch, augment=EVERYTHING, seed=seed).order(len(rows), epoch)
        for places, (images, _) in zip(order, stream.train(draw(batch=batch, seed=seed), epoch), strict=True):
            found |= zip(np.asarray(rows)[places].tolist(), images, strict=True)
        return found

    whole, part = by_row(range(20), 5), by_row([3, 17, 4, 11], 2)
    assert set(part) == {3, 4, 11, 17}
    assert all(torch.equal(part[row], whole[row]) for row in part)
    for other in (by_row(range(20), 5, seed=4), by_row(range(20), 5, epoch=3)):
        assert not any(torch.equal(other[row], whole[row]) for row in whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_no_global_generator_is_touched(source, workers):
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), random.getstate()
    stream = make(source, workers)
    list(stream.train(draw(), 0)), list(stream.plain(8))
    next(stream.train(draw(), 1)), next(stream.plain(8))
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert np.random.randint(1 << 30) == np.random.RandomState(5).randint(1 << 30)  # noqa: NPY002


# What comes out


@pytest.mark.parametrize(("size", "crop"), [(16, 1.0), (14, 0.875), (13, 0.8), (24, 1.0), (28, 0.875), (9, 0.8)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_plain_gives_what_resident_batches_give(tmp_path, size, crop, kind):
    source, split = squares(tmp_path)
    how = preprocess(size, crop, interpolation=kind)
    streamed = list(Stream(source, "train", np.arange(20), how, CPU, 0).plain(8))
    resident = list(Batches(split, how, CPU).plain(8))
    assert [len(labels) for _, labels in streamed] == [8, 8, 4]
    for (a, x), (b, y) in zip(streamed, resident, strict=True):
        assert torch.equal(x, y) and a.shape == b.shape and a.dtype == b.dtype
        difference = (pixels(a) - pixels(b).clamp(0, 255)).abs()
        # bicubic bytes are clamped between the two directions; floats are not, so that overshoots differ
        assert difference.max() <= (1 if kind == "bilinear" else 8) and difference.float().mean() < 0.5


def test_plain_resizes_the_shorter_side_and_crops_the_centre(tmp_path):
    source, _ = squares(tmp_path, count=4)
    wide = Image.new("RGB", (90, 40), (255, 0, 0))
    wide.paste((0, 255, 0), (25, 0, 65, 40))
    wide.save(tmp_path / "train" / "a" / "000.png")
    wide.rotate(90, expand=True).save(tmp_path / "train" / "a" / "001.png")
    [(images, _)] = make(source, size=16).plain(4)
    assert (pixels(images[:2])[:, 1, 1:-1, 1:-1] == 255).all() and (pixels(images[:2])[:, 0, 1:-1, 1:-1] == 0).all()
    [(images, _)] = make(source, size=16, crop=0.5).plain(4)
    assert (pixels(images[:2])[:, 1] == 255).all()


def test_an_image_of_an_extreme_shape_is_cut_before_it_is_enlarged(tmp_path):
    source, _ = squares(tmp_path, count=4)
    Image.new("RGB", (30_000, 1), (255, 0, 0)).save(tmp_path / "train" / "a" / "000.png")
    [(images, _)] = make(source, size=64).plain(4)  # whole, it would take 350 MB at 64 px
    assert (pixels(images[0]) == torch.tensor([255, 0, 0]).view(1, 3, 1, 1)).all()


@pytest.mark.parametrize("crop", [1.0, 0.8])
def test_training_without_augmentation_sees_what_evaluation_sees(source, crop):
    stream = make(source, crop=crop)
    [(expected, _)] = stream.plain(20)
    [(images, _)] = stream.train(draw(Augment(), batch=20), 0)
    order = draw(batch=20).order(20, 0)[0]
    assert torch.equal(images, expected[order])


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_changes_images_and_keeps_their_shape(source, policy):
    stream = make(source)
    [(images, labels)] = stream.train(draw(Augment(policy=policy), batch=20), 0)
    [(plain, _)] = stream.train(draw(Augment(), batch=20), 0)
    assert images.shape == (20, 3, 16, 16) and images.isfinite().all() and len(labels) == 20
    assert 5 < sum(not torch.equal(a, b) for a, b in zip(images, plain, strict=True)) <= 20


def test_the_strength_of_randaugment_is_that_of_the_recipe(source):
    def change(**how):
        [(images, _)] = make(source).train(draw(Augment(policy="randaugment", **how), batch=20), 0)
        [(plain, _)] = make(source).train(draw(Augment(), batch=20), 0)
        return (images - plain).abs().mean()

    assert change(policy_magnitude=0, policy_ops=1) < change(policy_ops=1) < change(policy_ops=5, policy_magnitude=25)


def one(tmp_path, augment, colour=None, count=200, size=16):
    """Many draws of one training image, as bytes, and the image."""
    source, split = squares(tmp_path, count=4, side=size)
    if colour is not None:
        for file in (tmp_path / "train").glob("*/*"):
            Image.new("RGB", (size, size), colour).save(file)
    stream = make(source, rows=[0], size=size)
    found = [images[0] for epoch in range(count) for images, _ in stream.train(draw(augment, batch=1), epoch)]
    return pixels(torch.stack(found)), torch.from_numpy(split.images[0]).int()


def test_mirroring_turns_about_half_of_the_images_left_to_right(tmp_path):
    found, image = one(tmp_path, Augment(mirror=True))
    turned = [torch.equal(each, image.flip(-1)) for each in found]
    assert all(t != torch.equal(each, image) for t, each in zip(turned, found, strict=True))
    assert 70 < sum(turned) < 130


def test_a_shift_moves_whole_pixels_and_fills_with_the_mean_colour(tmp_path):
    found, image = one(tmp_path, Augment(shift=0.125))
    padded = MEAN_COLOUR.expand(3, 20, 20).clone()
    padded[:, 2:18, 2:18] = image
    moves = {(x, y): padded[:, 2 + y : 18 + y, 2 + x : 18 + x] for x in range(-2, 3) for y in range(-2, 3)}
    seen = [[move for move, moved in moves.items() if torch.equal(each, moved)] for each in found]
    assert all(len(fits) == 1 for fits in seen)
    assert len({fits[0] for fits in seen}) > 20


@pytest.mark.parametrize("augment", [Augment(rotate=45), Augment(zoom=0.5)])
def test_rotating_and_zooming_fill_with_the_mean_colour(tmp_path, augment):
    found, _ = one(tmp_path, augment, (255, 255, 255), count=50)
    corner, middle = found[:, :, 0, 0], found[:, :, 8, 8]
    assert (middle == 255).all()
    filled = (corner == MEAN_COLOUR.flatten()).all(dim=1)
    assert 10 < filled.sum() < 50


def test_an_area_crop_never_reads_outside_and_is_drawn_anew_every_time(tmp_path):
    found, _ = one(tmp_path, Augment(crop_area=0.1), (255, 255, 255), count=30)
    assert (found == 255).all()
    found, _ = one(tmp_path / "other", Augment(crop_area=0.1), count=30)
    assert len({each.numpy().tobytes() for each in found}) == 30


def test_erasing_fills_one_rectangle_with_the_mean_colour_in_the_share_of_images_asked_for(tmp_path):
    found, _ = one(tmp_path, Augment(erase=0.4), (255, 255, 255), count=400, size=32)
    erased = (found == MEAN_COLOUR).all(dim=1)
    assert (erased | (found == 255).all(dim=1)).all()
    count = erased.sum((1, 2))
    assert 120 < (count > 0).sum() < 200
    assert torch.equal(count, erased.any(dim=1).sum(dim=1) * erased.any(dim=2).sum(dim=1))  # rectangles, that is
    shares = count[count > 0] / 32**2
    assert shares.min() > 0.01 and shares.max() < 0.35 and shares.std() > 0.05


def test_jitter_keeps_grey_and_lighting_adds_one_colour(tmp_path):
    found, _ = one(tmp_path, Augment(jitter=0.4), (100, 100, 100), count=40)
    assert (found == found[:, :1]).all() and found[:, 0, 0, 0].float().std() > 5
    assert found.min() >= 59 and found.max() <= 141  # contrast and saturation leave an even grey as it is
    found, _ = one(tmp_path / "other", Augment(lighting=0.5), (100, 100, 100), count=40)
    assert (found == found[:, :, :1, :1]).all() and 3 < found[:, :, 0, 0].float().std() < 40


# Errors, and what is left behind


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_said_in_one_line_and_the_stream_can_go_on(tmp_path, workers):
    source, _ = squares(tmp_path)
    bad = tmp_path / "train" / "a" / "003.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    stream = make(source, workers)
    try:
        list(stream.plain(2))
    except DataError as error:  # pytest.raises would keep the stream alive, in a cycle
        message = str(error)
    assert message.startswith(f"{bad}: not readable as an image (") and "\n" not in message
    assert message.endswith("; repair or remove it, or leave such files out with `skip_bad`")
    bad.write_bytes(whole)
    assert len(list(stream.plain(2))) == 10


def test_an_iteration_can_be_left_and_two_can_run_side_by_side(source):
    stream, expected = make(source, 2), list(make(source).train(draw(batch=2), 0))
    left = stream.train(draw(batch=2), 5)
    next(left), next(left)
    left.close()
    assert same(stream.train(draw(batch=2), 0), expected)
    open_one, another = stream.train(draw(batch=2), 0), stream.train(draw(batch=2), 0)
    pairs = list(zip(open_one, another, strict=True))
    assert same([a for a, _ in pairs], expected) and same([b for _, b in pairs], expected)
    for _ in itertools.islice(stream.train(draw(batch=2), 1), 1):
        pass
    assert same(stream.train(draw(batch=2), 0), expected)


def test_the_processes_stay_for_the_next_epoch_and_end_with_the_stream(source):
    before = set(multiprocessing.active_children())
    stream = make(source, 2)
    assert set(multiprocessing.active_children()) == before  # none before they are needed
    list(stream.train(draw(), 0))
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 2
    list(stream.train(draw(), 1))
    next(stream.plain(2))
    assert set(multiprocessing.active_children()) - before == started
    del stream
    assert set(multiprocessing.active_children()) == before
    assert not any(process.is_alive() for process in started)


def test_a_worker_that_is_killed_is_an_error_and_not_a_hang(source):
    before = set(multiprocessing.active_children())
    stream = make(source, 2)
    batches = stream.train(draw(batch=1), 0)
    next(batches)
    for process in set(multiprocessing.active_children()) - before:
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"a process that reads images has died \(.*\); if memory ran out.*--shm-size"):
        list(batches)
    assert len(list(stream.train(draw(), 0))) == 3


def test_no_process_outlives_a_training_that_is_killed(root):
    code = (
        "import multiprocessing, sys, time\nimport numpy as np, torch\n"
        "from nxt.data.augment import Augment\nfrom nxt.data.draw import Draw\n"
        "from nxt.data.preprocess import Preprocess\nfrom nxt.data.ref import DataRef\n"
        "from nxt.data.sources import open_source\n"
        "from nxt.data.stream import Stream\n"
        "how = Preprocess(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)\n"
        "source = open_source(DataRef.parse(sys.argv[1]))\n"
        "stream = Stream(source, 'train', np.arange(20), how, torch.device('cpu'), 2)\n"
        "next(stream.train(Draw(batch=2, augment=Augment(), seed=0), 0))\n"
        "print(*(process.pid for process in multiprocessing.active_children()), flush=True)\ntime.sleep(100)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, f"folder:{root}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        pids = [int(pid) for pid in training.stdout.readline().split()]
        assert len(pids) == 2 and all(alive(pid) for pid in pids)
        training.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids), said=lambda: f"of {pids} some are there still")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_split_in_memory_can_be_streamed_too():
    source = open_source(DataRef("digits"))
    how = Preprocess(size=8, mean=source.mean, std=source.std)
    stream = Stream(source, "test", np.arange(50, 150), how, CPU, 0)
    split = load_split(source, "test", 8)
    expected = Batches(Split(split.images[50:150], split.labels[50:150]), how, CPU)
    assert len(stream) == 100 and math.isclose(stream.labels.float().mean(), expected.labels.float().mean())
    for (a, x), (b, y) in zip(stream.plain(32), expected.plain(32), strict=True):
        assert torch.equal(x, y) and torch.equal(a, b)
