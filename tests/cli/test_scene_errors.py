"""Boxes and masks that cannot be used: one line, before the training where that can be seen, else by the file."""

import json
import shutil

import pytest
from PIL import Image
from scenes import annotation, coco_scenes, mask_scenes, write

TRAIN = ["train", "resnet18", "--device", "cpu", "--epochs", "1", "--out", "run"]
BOXES = [*TRAIN, "--head", "faster-rcnn", "--set", "size=64"]
MASKS = [*TRAIN, "--head", "fcn", "--set", "size=32", "--set", "batch=4"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coco_scenes(tmp_path / "boxes")
    mask_scenes(tmp_path / "parts", count=10)
    (tmp_path / "parts" / "classes.txt").write_text("sea\nland\nhouse\n")
    return tmp_path


def spoilt(root, key, value):
    """Give the first annotation, or the file if there is no such key in it, another value."""
    content = json.loads((root / "boxes" / "annotations" / "instances_train.json").read_text())
    (content if key in content else content["annotations"][0])[key] = value
    write(root / "boxes", "train", content)


def refused(result, *words):
    """Assert that a command ended with one line that has some words, and return what was said before it."""
    *before, line = result.err.splitlines()
    assert result.code == 1 and line.startswith("nxt: ") and result.out == ""
    for word in words:
        assert word in line
    return before


UNUSABLE = {
    "no annotations": (
        lambda root: shutil.rmtree(root / "boxes" / "annotations"),
        ["boxes: no folder 'annotations' in it; expected annotations/instances_train.json"],
    ),
    "captions": (
        lambda root: spoilt(root, "annotations", [{"id": 1, "image_id": 1, "caption": "a cat"}]),
        ["instances_train.json: no 'category_id' in entry 1", "captions, keypoints and panoptic files are not read"],
    ),
    "another tool's": (
        lambda root: write(root / "boxes", "train", '{"shapes": [], "imagePath": "0.png"}'),
        ["instances_train.json: no list of 'images' in it, so that it is no instances file of COCO"],
    ),
    "broken": (
        lambda root: write(root / "boxes", "train", '{"images": ['),
        ["instances_train.json: not readable as JSON"],
    ),
    "unknown image": (
        lambda root: spoilt(root, "image_id", 99),
        ["annotation 100 is of image 99, which is not in the file"],
    ),
    "unknown category": (
        lambda root: spoilt(root, "category_id", 8),
        ["annotation 100 is of category 8, which is not in the file"],
    ),
    "no images": (
        lambda root: shutil.rmtree(root / "boxes" / "train"),
        ["6 of its 6 images are not there, such as 0.png"],
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_boxes_that_cannot_be_used_are_refused_before_the_training(root, nxt, name):
    spoil, words = UNUSABLE[name]
    spoil(root)
    assert refused(nxt(*BOXES, "--data", "coco:boxes"), *words) == []
    assert not (root / "run").exists()


def test_masks_that_cannot_be_used_are_refused_before_the_training(root, nxt):
    (root / "parts" / "train" / "masks" / "3.png").unlink()
    refused(nxt(*MASKS, "--data", "masks:parts"), "images/3.png: no mask of it; expected", "masks/3.png")
    refused(nxt(*MASKS, "--data", "ade20k:parts"), "no training images in it; expected images/training and annotations")
    refused(
        nxt(*MASKS, "--data", "cityscapes:parts"), "no training images in it; expected leftImg8bit/train and gtFine"
    )
    (root / "parts" / "classes.txt").write_text("sea\nvoid\n")
    (root / "parts" / "train" / "images" / "3.png").unlink()
    refused(nxt(*MASKS, "--data", "masks:parts"), "1 class(es); segmentation needs 2 to 255")
    assert not (root / "run").exists()


def test_data_of_another_kind_is_named(root, nxt):
    refused(nxt(*BOXES, "--data", "boxes"), "for the images in that folder write coco:boxes")
    refused(nxt(*MASKS, "--data", "parts"), "for the images in that folder write masks:parts")
    refused(nxt(*TRAIN, "--data", "folder:boxes"), "boxes: is read as coco:", "boxes; write that")
    refused(nxt(*TRAIN, "--data", "folder:parts"), "parts: is read as masks:", "parts; write that")


def test_boxes_without_outlines_train_no_masks(root, nxt):
    content = json.loads((root / "boxes" / "annotations" / "instances_train.json").read_text())
    for one in content["annotations"]:
        one["segmentation"] = []
    write(root / "boxes", "train", content)
    result = nxt(*TRAIN, "--head", "mask-rcnn", "--set", "size=64", "--data", "coco:boxes")
    refused(result, "its boxes have no outlines, from which masks are learnt; choose a head for boxes alone")


def test_what_is_left_out_of_boxes_is_told(root, nxt):
    content = json.loads((root / "boxes" / "annotations" / "instances_train.json").read_text())
    content["annotations"] += [annotation(1, 7, (4, 4, 0, 9), 40), annotation(1, 7, (30, 20, 30, 30), 41)]
    content["categories"].append({"id": 91, "name": "kite"})
    for split in ("train", "val"):
        write(root / "boxes", split, content)
    (root / "boxes" / "train" / "1.png").unlink()
    shutil.rmtree(root / "boxes" / "train" / "2.png", ignore_errors=True)
    Image.new("RGB", (41, 30)).save(root / "boxes" / "train" / "0.png")
    result = nxt(*BOXES, "--set", "batch=2", "--data", "coco:boxes")
    said = "\n".join(refused(result, "0.png: 41 x 30 pixels, and its annotations are of 40 x 30", "--skip-bad"))
    assert "1 images that are not there (such as 1.png)" in said
    assert "1 boxes of no width or height (such as annotation 140)" in said
    assert "1 of its 7 boxes reach beyond their images, and are cut" in said
    assert "1 of its 4 categories have no box, such as 'kite'" in said


MISFITS = {
    "a mask of 24 x 17 pixels, and its image has 24 x 18": Image.new("L", (24, 17)),
    "the value 3 in a mask of 3 classes": Image.new("L", (24, 18), 3),
    "a mask in colours (RGB), where each pixel has the number of a class": Image.new("RGB", (24, 18)),
}


@pytest.mark.parametrize("problem", MISFITS)
def test_a_mask_that_does_not_fit_is_told_by_its_name(root, nxt, problem):
    MISFITS[problem].save(root / "parts" / "train" / "masks" / "3.png")
    refused(nxt(*MASKS, "--data", "masks:parts"), f"train/masks/3.png: {problem}", "--skip-bad")


def test_images_with_masks_that_do_not_fit_are_left_out_if_asked(root, nxt):
    Image.new("L", (24, 17)).save(root / "parts" / "train" / "masks" / "3.png")
    result = nxt(*MASKS, "--data", "masks:parts", "--skip-bad")
    assert result.code == 0, result.err
    told = [line for line in result.err.splitlines() if line.startswith("left out: ")]
    assert len(told) == 1 and told[0].endswith("3.png: a mask of 24 x 17 pixels, and its image has 24 x 18")
    assert "7 training and 2 validation images" in result.err
