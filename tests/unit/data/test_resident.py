"""Batches: reproducible from the generator alone, geometry exact to the pixel where it can be."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from nxt.data.augment import Augment
from nxt.data.dataset import Split
from nxt.data.draw import Draw, derived
from nxt.data.preprocess import Preprocess
from nxt.data.resident import Batches

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
EVERYTHING = Augment(crop_area=0.3, shift=0.1, rotate=20, zoom=0.2, mirror=True, jitter=0.4, lighting=0.1, erase=0.5)


def batches_of(pixels, size=None, crop=1.0, mean=MEAN, std=STD, **how):
    preprocess = Preprocess(size=size or pixels.shape[-1], crop=crop, mean=mean, std=std, **how)
    return Batches(Split(pixels, np.arange(len(pixels))), preprocess, CPU)


def make(count=20, side=8, size=None, seed=0, **how):
    rng = np.random.default_rng(seed)
    return batches_of(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8), size, **how)


def normalised(batches):
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (batches.images.double() / 255 - mean.double()) / std.double()


def draw(augment, batch=6, seed=0, **place):
    return Draw(batch=batch, augment=augment, seed=seed, **place)


def train(batches, augment, batch=None, seed=0, epoch=0):
    return list(batches.train(draw(augment, batch or len(batches), seed), epoch))


def same(found, expected):
    return len(found) == len(expected) and all(
        torch.equal(a, b) and torch.equal(x, y) for (a, x), (b, y) in zip(found, expected, strict=True)
    )


def close(a, b, atol=2e-4):
    return torch.allclose(a.double(), b.double(), rtol=0, atol=atol)


def close_pixels(a, b, atol=1e-3):
    """Tell for each place of each image whether it is the same."""
    return (a - b).abs().amax(dim=1) < atol


def shifted(images, right, down):
    """The images read at (x + right, y + down), zero (the mean colour) outside."""
    side, most = images.shape[-1], max(abs(right), abs(down))
    padded = F.pad(images, (most,) * 4)
    return padded[..., most + down : most + down + side, most + right : most + right + side]


def each_close(a, b, atol=2e-3):
    """Tell for each image of a batch whether it is the same."""
    return (a - b).abs().amax((1, 2, 3)) < atol


@pytest.mark.parametrize("augment", [Augment(), EVERYTHING, Augment(jitter=0.4), Augment(shift=0.125, mirror=True)])
def test_the_same_seed_gives_the_same_batches_and_another_one_others(augment):
    batches = make()
    first, again, other = train(batches, augment, 6), train(batches, augment, 6), train(batches, augment, 6, seed=1)
    assert same(first, again)
    assert not any(torch.equal(a, b) for (_, a), (_, b) in zip(first, other, strict=True))


@pytest.mark.parametrize("augment", [Augment(), EVERYTHING])
def test_an_epoch_can_be_entered_at_any_batch(augment):
    batches = make()
    whole = list(batches.train(draw(augment), 4))
    assert len(whole) == 3
    for start in range(4):
        assert same(list(batches.train(draw(augment), 4, start)), whole[start:])


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("augment", [Augment(), EVERYTHING])
def test_the_parts_of_several_ranks_make_the_batch_of_one(world, augment):
    batches = make()
    parts = [list(batches.train(draw(augment, rank=rank, world=world), 1)) for rank in range(world)]
    joined = [tuple(map(torch.cat, zip(*step, strict=True))) for step in zip(*parts, strict=True)]
    for (a, x), (b, y) in zip(joined, batches.train(draw(augment), 1), strict=True):
        assert torch.equal(x, y) and close(a, b, 1e-5)
    everything = [labels for rank in range(world) for _, labels in batches.plain(4, rank, world)]
    assert sorted(torch.cat(everything).tolist()) == list(range(20))


@pytest.mark.parametrize(("batch", "world", "whole"), [(7, 2, 6), (7, 3, 6), (64, 3, 18), (2, 5, 5)])
def test_a_batch_is_the_same_size_on_every_rank(batch, world, whole):
    batches = make()
    for rank in range(world):
        sizes = [len(labels) for _, labels in batches.train(draw(Augment(), batch, rank=rank, world=world), 0)]
        assert sizes == [whole // world] * (20 // whole)


def test_derived_seeds_differ_and_fit_a_generator():
    seeds = {derived(seed, epoch, row) for seed in range(5) for epoch in range(5) for row in range(50)}
    assert len(seeds) == 1250 and all(0 <= seed < 2**63 for seed in seeds)
    assert derived(1, 2) == derived(1, 2) != derived(2, 1)


def test_batches_do_not_touch_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(make(), EVERYTHING, 6)
    assert torch.equal(torch.rand(3), expected)


def test_without_augmentation_the_normalised_images_come_back():
    batches = make()
    [(images, labels)] = train(batches, Augment())
    assert sorted(labels.tolist()) == list(range(20))
    assert close(images, normalised(batches)[labels])


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 10, 19, 20])
def test_a_last_smaller_batch_is_left_out_and_no_image_comes_twice(batch):
    found = train(make(), Augment(), batch)
    assert [len(labels) for _, labels in found] == [batch] * (20 // batch)
    seen = torch.cat([labels for _, labels in found]).tolist()
    assert len(set(seen)) == len(seen)


def test_a_set_smaller_than_a_batch_is_one_batch():
    [(images, labels)] = train(make(count=5), Augment(), 64)
    assert images.shape == (5, 3, 8, 8) and sorted(labels.tolist()) == [0, 1, 2, 3, 4]


def test_every_epoch_has_its_own_order():
    batches = make()
    orders = [torch.cat([labels for _, labels in train(batches, Augment(), 5, epoch=n)]).tolist() for n in range(3)]
    assert orders[0] != orders[1] != orders[2] != list(range(20))


@pytest.mark.parametrize(("side", "share"), [(8, 0.125), (8, 0.25), (32, 0.125), (10, 0.25), (9, 0.12)])
def test_a_shift_moves_whole_pixels_and_fills_with_the_mean_colour(side, share):
    batches = make(count=200, side=side)
    [(images, labels)] = train(batches, Augment(shift=share))
    originals = normalised(batches)
    most = math.floor(share * side + 0.5)
    moves = [(x, y) for x in range(-most, most + 1) for y in range(-most, most + 1)]
    fits = torch.stack([each_close(images, shifted(originals[labels], *move)) for move in moves])
    assert (fits.sum(dim=0) == 1).all()
    found = [moves[i] for i in fits.int().argmax(dim=0)]
    assert {x for x, _ in found} == {y for _, y in found} == set(range(-most, most + 1))


def test_a_shift_smaller_than_half_a_pixel_moves_nothing():
    batches = make()
    [(images, labels)] = train(batches, Augment(shift=0.06))
    assert close(images, normalised(batches)[labels])


def test_mirroring_turns_about_half_of_the_images_left_to_right():
    batches = make(count=400)
    [(images, labels)] = train(batches, Augment(mirror=True))
    originals = normalised(batches)[labels]
    kept = torch.tensor([close(a, b) for a, b in zip(images, originals, strict=True)])
    turned = torch.tensor([close(a, b.flip(-1)) for a, b in zip(images, originals, strict=True)])
    assert (kept ^ turned).all()
    assert 150 < turned.sum() < 250


def test_mirroring_and_shifting_together_only_move_whole_pixels():
    batches = make(count=50)
    [(images, labels)] = train(batches, Augment(mirror=True, shift=0.125))
    originals = normalised(batches)[labels]
    moves = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    fits = [each_close(images, shifted(kind, *move)) for kind in (originals, originals.flip(-1)) for move in moves]
    assert (torch.stack(fits).sum(dim=0) == 1).all()


@pytest.mark.parametrize(("side", "size", "crop"), [(16, 16, 1.0), (20, 16, 0.8), (19, 16, 0.85)])
@pytest.mark.parametrize("place", [{}, {"rank": 1, "world": 2}])
def test_pixels_that_are_picked_are_those_of_the_affine_map(side, size, crop, place):
    """A zoom too small to be seen draws the same numbers, and takes the way of all other changes."""
    batches = make(count=40, side=side, size=size, crop=crop)
    for augment in (Augment(), Augment(shift=0.25), Augment(mirror=True), Augment(shift=0.25, mirror=True)):
        as_affine = dataclasses.replace(augment, zoom=1e-9)
        for batch in (16, 8):  # another size in the same object
            pair = (batches.train(draw(kind, batch, **place), 1) for kind in (augment, as_affine))
            for (images, labels), (expected, expected_labels) in zip(*pair, strict=True):
                assert torch.equal(labels, expected_labels) and images.shape == expected.shape
                assert close(images, expected)


def test_batches_given_out_before_are_not_written_over():
    batches = make(count=24)
    first, second = (next(batches.train(draw(Augment(shift=0.25, mirror=True)), 0)) for _ in range(2))
    copy = first[0].clone()
    next(batches.train(draw(Augment(shift=0.25, mirror=True), seed=9), 3))
    assert torch.equal(first[0], copy) and torch.equal(first[0], second[0])


def test_a_rotation_by_little_keeps_the_middle_and_changes_the_corners():
    pixels = np.zeros((50, 3, 33, 33), dtype=np.uint8)
    pixels[:, :, 16, :], pixels[:, :, :, 16] = 255, 255
    batches = batches_of(pixels)
    [(images, _)] = train(batches, Augment(rotate=30))
    assert close(images[:, :, 16, 16], normalised(batches)[:, :, 16, 16], 1e-2)
    assert not close(images, normalised(batches), 0.5)
    # a rotation keeps distances: the arms of the cross stay as bright in sum (within the circle that stays inside)
    inside = (torch.arange(33) - 16).square()[:, None] + (torch.arange(33) - 16).square() <= 14**2
    brightness = (images * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1))[..., inside].mean(
        2
    )
    assert (brightness / brightness.mean()).std() < 0.05


@pytest.mark.parametrize("augment", [Augment(zoom=0.3), Augment(crop_area=0.08), Augment(rotate=180), EVERYTHING])
def test_geometry_never_leaves_the_range_between_the_image_and_the_mean_colour(augment):
    pixels = np.full((64, 3, 16, 16), 255, dtype=np.uint8)
    batches = batches_of(pixels)
    [(images, _)] = train(batches, Augment(crop_area=augment.crop_area, zoom=augment.zoom, rotate=augment.rotate))
    top = normalised(batches).amax((0, 2, 3)).view(1, 3, 1, 1)
    assert (images >= -1e-5).all() and (images <= top + 1e-4).all()


def test_a_random_crop_never_reads_farther_outside_than_half_a_pixel():
    pixels = np.full((200, 3, 16, 16), 255, dtype=np.uint8)
    batches = batches_of(pixels)
    [(images, _)] = train(batches, Augment(crop_area=0.08))
    border = math.ceil(0.5 / math.sqrt(0.08 * 3 / 4))  # half a pixel of the image, enlarged
    inside = slice(border, 16 - border)
    assert close(images[:, :, inside, inside], normalised(batches)[:, :, inside, inside], 1e-3)


def test_a_random_crop_has_the_areas_asked_for():
    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    pixels = np.zeros((500, 3, 64, 64), dtype=np.uint8)
    pixels[:, 0], pixels[:, 1] = ramp[None, None, :], ramp[None, :, None]
    batches = batches_of(pixels, mean=(0.0,) * 3, std=(1.0,) * 3)
    [(images, _)] = train(batches, Augment(crop_area=0.25))
    width = (images[:, 0, 32, 60] - images[:, 0, 32, 3]) * 64 / 57
    height = (images[:, 1, 60, 32] - images[:, 1, 3, 32]) * 64 / 57
    area = width * height
    assert area.min() > 0.22 and area.max() < 1.05
    assert area.mean() == pytest.approx(0.625, abs=0.05)
    assert (width / height).min() > 0.72 and (width / height).max() < 1.38


@pytest.mark.parametrize("augment", [Augment(jitter=1.0), Augment(lighting=10.0), Augment(jitter=0.4, lighting=0.1)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_colour_changes_keep_the_shape_and_stay_finite(augment, value):
    pixels = np.full((32, 3, 8, 8), value, dtype=np.uint8)
    batches = batches_of(pixels)
    [(images, _)] = train(batches, augment)
    assert images.shape == (32, 3, 8, 8) and images.dtype == torch.float32 and images.isfinite().all()


def test_jitter_and_lighting_do_not_move_anything():
    """Grey images stay grey under jitter; lighting adds one colour to a whole image."""
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.integers(0, 256, (16, 1, 8, 8), dtype=np.uint8), 3, axis=1)
    batches = batches_of(grey, mean=(0.0,) * 3, std=(1.0,) * 3)
    [(images, labels)] = train(batches, Augment(jitter=0.4))
    assert close(images[:, 0], images[:, 1], 1e-4) and close(images[:, 0], images[:, 2], 1e-4)
    assert not close(images, batches.images[labels] / 255, 0.02)
    [(images, labels)] = train(batches, Augment(lighting=0.1))
    added = images - batches.images[labels] / 255
    assert (added.amax((2, 3)) - added.amin((2, 3))).max() < 1e-4
    assert 0.001 < added.std() < 0.1


def test_jitter_of_nothing_is_nothing():
    batches = make()
    [(images, labels)] = train(batches, Augment(jitter=1e-9))
    assert close(images, normalised(batches)[labels], 1e-3)


@pytest.mark.parametrize(("side", "size"), [(8, 16), (8, 32), (8, 12), (9, 13)])
def test_enlarging_without_augmentation_is_plain_interpolation_away_from_the_border(side, size):
    batches = make(side=side, size=size)
    [(images, labels)] = train(batches, Augment())
    expected = F.interpolate(normalised(batches)[labels], (size, size), mode="bilinear")
    border = math.ceil(size / side / 2)
    inside = slice(border, size - border)
    assert images.shape == (20, 3, size, size)
    assert close(images[:, :, inside, inside], expected[:, :, inside, inside], 1e-3)


@pytest.mark.parametrize(("side", "size"), [(8, 16), (8, 32), (9, 13)])
def test_enlarging_without_augmentation_gives_what_evaluation_sees(side, size):
    batches = make(side=side, size=size)
    [(images, labels)] = train(batches, Augment())
    [(expected, _)] = batches.plain(20)
    assert close(images, expected[labels], 1e-3)


@pytest.mark.parametrize(("side", "size"), [(16, 8), (24, 8)])
def test_shrinking_without_augmentation_is_plain_interpolation(side, size):
    batches = make(side=side, size=size)
    [(images, labels)] = train(batches, Augment())
    assert close(images, F.interpolate(normalised(batches)[labels], (size, size), mode="bilinear"), 1e-3)


@pytest.mark.parametrize("batch", [1, 3, 20, 64])
def test_plain_gives_every_image_once_in_order(batch):
    batches = make()
    found = list(batches.plain(batch))
    assert torch.cat([labels for _, labels in found]).tolist() == list(range(20))
    assert close(torch.cat([images for images, _ in found]), normalised(batches), 1e-5)
    assert max(len(labels) for _, labels in found) == min(batch, 20)


@pytest.mark.parametrize(("size", "crop", "side"), [(28, 0.875, 32), (224, 0.875, 256), (7, 0.875, 8), (8, 0.5, 16)])
def test_plain_crops_the_centre_of_images_of_the_resized_side_exactly(size, crop, side):
    batches = make(count=2, side=side, size=size, crop=crop)
    [(images, _)] = batches.plain(2)
    start = (side - size) // 2
    assert close(images, normalised(batches)[:, :, start : start + size, start : start + size], 1e-5)


@pytest.mark.parametrize(("side", "size", "crop"), [(16, 8, 1.0), (8, 16, 1.0), (20, 8, 0.8), (10, 7, 0.875)])
def test_plain_resizes_with_antialiasing(side, size, crop):
    batches = make(side=side, size=size, crop=crop)
    [(images, _)] = batches.plain(20)
    resized = batches.preprocess.resized
    whole = F.interpolate(normalised(batches), (resized, resized), mode="bilinear", antialias=True)
    start = (resized - size) // 2
    assert images.shape == (20, 3, size, size)
    assert close(images, whole[:, :, start : start + size, start : start + size], 1e-4)


@pytest.mark.parametrize(("size", "crop"), [(28, 0.875), (7, 0.7), (13, 0.8), (9, 0.65), (8, 0.5)])
def test_the_centre_is_that_of_torchvision(size, crop):
    batches = make(count=2, size=size, crop=crop, side=Preprocess(size=size, crop=crop, mean=MEAN, std=STD).resized)
    [(images, _)] = batches.plain(2)
    assert close(images, v2.functional.center_crop(normalised(batches), [size, size]), 1e-5)


@pytest.mark.parametrize("side", [8, 16, 13])
@pytest.mark.parametrize(("size", "crop"), [(8, 1.0), (7, 0.7), (9, 0.65), (14, 0.875), (12, 0.8)])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_training_without_augmentation_sees_what_evaluation_sees_unless_it_has_to_shrink(side, size, crop, kind):
    batches = make(side=side, size=size, crop=crop, interpolation=kind)
    [(images, labels)] = train(batches, Augment())
    [(expected, _)] = batches.plain(20)
    if side <= batches.preprocess.resized:
        assert close(images, expected[labels], 1e-3)
    else:
        assert images.shape == expected.shape


def test_a_shift_reads_beyond_the_centre_crop():
    batches = make(count=200, side=16, size=8, crop=0.5)
    [(images, labels)] = train(batches, Augment(shift=0.25))
    originals = normalised(batches)[labels]
    moves = [(x, y) for x in range(-2, 3) for y in range(-2, 3)]
    fits = torch.stack([each_close(images, originals[:, :, 4 + y : 12 + y, 4 + x : 12 + x]) for x, y in moves])
    assert (fits.sum(dim=0) == 1).all() and fits.any(dim=1).all()


def test_erasing_fills_one_rectangle_with_the_mean_colour_in_the_share_of_images_asked_for():
    batches = batches_of(np.full((1000, 3, 32, 32), 255, dtype=np.uint8))
    [(images, _)] = train(batches, Augment(erase=0.4))
    erased = (images == 0).all(dim=1)
    assert (erased | close_pixels(images, normalised(batches))).all()
    count = erased.sum((1, 2))
    assert 340 < (count > 0).sum() < 460
    assert torch.equal(count, erased.any(dim=1).sum(dim=1) * erased.any(dim=2).sum(dim=1))  # rectangles, that is
    high, wide = (erased.any(dim=3 - axis).sum(dim=1)[count > 0].double() for axis in (1, 2))
    areas = high * wide / 32**2
    assert areas.min() > 0.015 and areas.max() < 0.35 and areas.mean() == pytest.approx(0.175, abs=0.02)
    ratios = high / wide
    assert ratios.min() > 0.25 and ratios.max() < 4 and abs(ratios.log().mean()) < 0.15
    places = erased.double().mean(0)  # anywhere, and more often in the middle, since all lie inside
    assert (places > 0).double().mean() > 0.99 and places[12:20, 12:20].mean() > 2 * places[[0, -1]].mean()


def test_plain_is_the_same_every_time():
    batches = make(side=8, size=12)
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches.plain(7), batches.plain(7), strict=True))


def test_images_stay_bytes_on_the_device():
    batches = make()
    assert batches.images.dtype == torch.uint8 and len(batches) == 20


@pytest.mark.parametrize("room", [0, 20 * 3 * 8 * 8 - 1, 20 * 3 * 8 * 8, None])
@pytest.mark.parametrize("augment", [Augment(shift=0.125, mirror=True), EVERYTHING])
def test_images_that_do_not_fit_are_sent_batch_by_batch_with_the_same_numbers(room, augment):
    pixels = make().images.numpy()
    preprocess = Preprocess(size=8, mean=MEAN, std=STD)
    apart = Batches(Split(pixels, np.arange(20)), preprocess, CPU, room)
    assert apart.on_device == (room is None or room >= pixels.nbytes)
    assert same(train(apart, augment, 6), train(make(), augment, 6))
    assert same(list(apart.plain(6, 1, 2)), list(make().plain(6, 1, 2)))


@pytest.mark.parametrize("count", [5, 40, 100])
def test_batches_are_drawn_some_at_a_time_and_an_epoch_is_entered_between(monkeypatch, count):
    batches = make(count=count)
    whole = list(batches.train(draw(EVERYTHING, 2), 1))
    monkeypatch.setattr("nxt.data.resident._AHEAD", 3)
    for start in range(5):
        assert same(list(batches.train(draw(EVERYTHING, 2), 1, start)), whole[start:])
