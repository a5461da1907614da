"""Images and what is marked on them are changed together: a box is where its colour is, a class where its colour is."""

import numpy as np
import pytest
import torch
from PIL import Image

from nxt.data.augment import Augment
from nxt.data.preprocess import Preprocess
from nxt.data.scenes import Scene
from nxt.data.scenes.transforms import evaluation, marked, training
from nxt.errors import ConfigError

MEAN = (0.5, 0.4, 0.3)
GREY, RED, BLUE = (90, 90, 90), (250, 20, 20), (20, 20, 250)
EVERYTHING = Augment(mirror=True, jitter=0.3, lighting=0.1)


def preprocess(size, interpolation="bilinear"):
    return Preprocess(size=size, interpolation=interpolation, mean=MEAN, std=(0.2, 0.2, 0.2))


def boxed(size=(90, 60), crowd=False):
    """Return an image of a red and a blue box, and its target."""
    pixels = np.full((size[1], size[0], 3), GREY, dtype=np.uint8)
    boxes = [(10, 8, 40, 30), (50, 20, 82, 55)]
    masks = np.zeros((2, size[1], size[0]), dtype=np.uint8)
    for colour, mask, (left, top, right, bottom) in zip((RED, BLUE), masks, boxes, strict=True):
        pixels[top:bottom, left:right], mask[top:bottom, left:right] = colour, 1
    target = {
        "boxes": np.array(boxes, dtype=np.float32),
        "labels": np.array([1, 2]),
        "iscrowd": np.array([0, int(crowd)]),
        "area": np.array([660.0, 1120.0]),
        "masks": masks,
    }
    return Image.fromarray(pixels), marked(target, masks=True)


def striped(size=(90, 60)):
    """Return an image of three classes in stripes of their colours, the first row ignored, and its target."""
    mask = np.repeat(np.arange(size[0]) // 10 % 3, size[1]).reshape(size[0], size[1]).T.astype(np.uint8)
    pixels = np.array([GREY, RED, BLUE], dtype=np.uint8)[mask]
    mask[0] = 255
    return Image.fromarray(pixels), marked(mask, masks=False)


def extent(where):
    """Return the box around what is true, as corners."""
    rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


@pytest.mark.parametrize("sides", [(), (24,), (40, 90, 120)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_boxes_and_masks_stay_where_their_colours_are(sides, interpolation):
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        changed = Augment(mirror=True)
        image, target = training(*boxed(), preprocess(48, interpolation), Scene(sides=sides), changed)
        seen.add((image.shape[1], int(target["boxes"][0, 0] > target["boxes"][1, 0])))
        assert image.dtype == torch.uint8 and image.shape[2] == round(image.shape[1] * 1.5)
        pixels = image.numpy().astype(int)
        for channel, box, mask in zip((0, 2), target["boxes"], target["masks"], strict=True):
            painted = pixels[channel] - pixels[1] > 115  # half of a box's own, so that its edge is in the middle
            assert np.abs(np.array(extent(painted)) - box.numpy()).max() <= 1
            assert np.abs(np.array(extent(mask.numpy() > 0)) - box.numpy()).max() <= 1
            left, top, right, bottom = extent(mask.numpy() > 0)
            assert mask.sum() == (right - left) * (bottom - top)
    sides_seen = {side for side, _ in seen}
    assert sides_seen == set(sides or (48,)) and {mirrored for _, mirrored in seen} == {0, 1}


def test_crowds_and_boxes_of_less_than_a_pixel_are_left_out():
    image, target = boxed(crowd=True)
    _, kept = training(image, target, preprocess(48), Scene(), Augment())
    assert kept["labels"].tolist() == [1] and kept["boxes"].shape == (1, 4) and len(kept["masks"]) == 1
    target["boxes"][0, 2] = target["boxes"][0, 0] + 1  # 0.8 pixels
    _, kept = training(image, target, preprocess(48), Scene(), Augment())
    assert [kept[name].shape for name in ("boxes", "labels", "masks")] == [(0, 4), (0,), (0, 48, 72)]


def test_images_without_boxes_are_changed_as_others_are():
    image, target = boxed()
    empty = {name: value[:0] for name, value in target.items()}
    torch.manual_seed(1)
    shown, kept = training(image, empty, preprocess(48), Scene(sides=(24, 48)), EVERYTHING)
    torch.manual_seed(1)
    assert torch.equal(shown, training(image, target, preprocess(48), Scene(sides=(24, 48)), EVERYTHING)[0])
    assert kept["boxes"].shape == (0, 4) and kept["masks"].shape == (0, *shown.shape[1:])


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (400, 20), (1, 500)])
def test_the_longer_side_has_a_limit(size):
    image = Image.new("RGB", size)
    shown = evaluation(image, preprocess(30), Scene(longest=100))
    width, height = size
    scale = min(30 / min(size), 100 / max(size))
    assert shown.shape == (3, max(1, round(height * scale)), max(1, round(width * scale))) and max(shown.shape) <= 100


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.5), (2.0, 2.0), (0.5, 2.0)])
def test_classes_stay_where_their_colours_are(scale):
    padded, compared = 0, 0
    for seed in range(8):
        torch.manual_seed(seed)
        scene = Scene(scale=scale)
        image, target = training(*striped(), preprocess(48), scene, Augment(mirror=True))
        mask = target["mask"].numpy()
        assert image.shape == (3, 48, 48) and mask.shape == (48, 48) and mask.dtype == np.uint8
        pixels = image.numpy().transpose(1, 2, 0)
        for label, colour in enumerate((GREY, RED, BLUE)):
            pure = (pixels == colour).all(axis=2) & (mask != 255)
            assert (mask[pure] == label).all()
            compared += pure.sum()
        beyond = (pixels == [round(255 * value) for value in MEAN]).all(axis=2)
        assert (mask[beyond] == 255).all()
        padded += beyond.sum()
    assert compared > 1000 and (padded > 0) == (scale[0] < 1)


def test_colours_change_the_image_alone():
    for made in (boxed, striped):
        results = {}
        for name, augment in {"plain": Augment(mirror=True), "coloured": EVERYTHING}.items():
            torch.manual_seed(5)
            results[name] = training(*made(), preprocess(48), Scene(), augment)
        assert not torch.equal(results["plain"][0], results["coloured"][0])
        for name, value in results["plain"][1].items():
            assert torch.equal(value, results["coloured"][1][name])


def test_masks_are_left_out_where_they_are_not_wanted():
    target = {"boxes": np.zeros((0, 4)), "masks": np.zeros((0, 2, 2))}
    assert set(marked(target, masks=False)) == {"boxes"} and set(marked(target, masks=True)) == {"boxes", "masks"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sides": (4,)}, "scene: a side is 4; sides lie in 8..8192 pixels"),
        ({"longest": 9000}, "scene: a side is 9000"),
        ({"sides": (640, 800), "longest": 700}, "scene: a shorter side of 800 is more than longest, 700"),
        ({"scale": (1.0,)}, r"scene: scale is \[1.0\]; it has a least and a largest factor, in \[0.1, 10\]"),
        ({"scale": (2.0, 0.5)}, "scene: scale is"),
        ({"scale": (0.0, 0.5)}, "scene: scale is"),
    ],
)
def test_sizes_out_of_range_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        Scene(**changes)
