"""COCO's table is that of pycocotools on files, and of torchmetrics, called apart on the same predictions."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from near import assert_near
from scenes import coco_scenes

from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.scenes import Scene, SceneStream
from nxt.data.sources import open_source
from nxt.tasks.average_precision import Found, average_precision

CATEGORIES = (3, 7, 90)  # of the labels 1, 2, 3
PLACES = {"AP": 0, "AP50": 1, "AP75": 2, "AP small": 3, "AP medium": 4, "AP large": 5, "AR": 8}  # in COCO's table


def predictions(target, rng):
    """Return boxes near those that are there, some of another class, and some that are nowhere."""
    height, width = target["size"]
    boxes = [np.array(box) + rng.normal(0, 1.5, 4) for box in target["boxes"].tolist() for _ in range(2)]
    boxes += [np.array([5, 5, 20, 22]) + rng.normal(0, 2, 4) for _ in range(2)]
    boxes = np.sort(np.array(boxes).clip(0, [width, height] * 2).reshape(-1, 2, 2), axis=1).reshape(-1, 4)
    labels = [int(label) for label in target["labels"] for _ in range(2)] + [1, 2]
    masks = np.zeros((len(boxes), height, width), dtype=bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.round().astype(int), strict=True):
        mask[top:bottom, left:right] = True
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32),
        "labels": torch.tensor(labels),
        "scores": torch.tensor(rng.random(len(boxes)), dtype=torch.float32),
        "masks": torch.from_numpy(masks),
    }


def assert_same_figure(found, expected, precision):
    """Assert that two figures in 0..1 agree, one of which was computed in some precision."""
    assert_near(torch.tensor(found, dtype=precision), torch.tensor(expected, dtype=precision), scale=1.0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Return a folder of scenes, and for each image of a split its target and what was found."""
    root = tmp_path_factory.mktemp("scenes")
    coco_scenes(root, count=9, size=(120, 90))
    source = open_source(DataRef("coco", str(root)))
    preprocess = Preprocess(size=32, mean=source.mean, std=source.std)
    images = SceneStream(source, "test", np.arange(11), preprocess, Scene(), torch.device("cpu"), 0, masks=True)
    rng = np.random.default_rng(0)
    return root, [(target, predictions(target, rng)) for _, targets in images.plain(4) for target in targets]


def apart(root, judged, kind):
    """Return what pycocotools makes of the annotation file and a file of results."""
    from pycocotools import mask as codes
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = []
    for target, found in judged:
        for box, label, score, mask in zip(
            *(found[key] for key in ("boxes", "labels", "scores", "masks")), strict=True
        ):
            left, top, right, bottom = box.tolist()
            code = codes.encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
            one = {"image_id": 10 * target["row"] + 1, "category_id": CATEGORIES[label - 1], "score": float(score)}
            one |= {"segmentation": {**code, "counts": code["counts"].decode()}} if kind == "segm" else {}
            results.append(one | ({"bbox": [left, top, right - left, bottom - top]} if kind == "bbox" else {}))
    (root / "results.json").write_text(json.dumps(results))
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(root / "annotations" / "instances_val.json"))
        evaluation = COCOeval(known, known.loadRes(str(root / "results.json")), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def figures(judged, kind, classes=3):
    return average_precision([Found.of(target, found) for target, found in judged], classes, kind)


@pytest.mark.parametrize(("kind", "type_"), [("box", "bbox"), ("mask", "segm")])
def test_the_table_is_that_of_pycocotools_on_files(scenes, kind, type_):
    root, judged = scenes
    table = figures(judged, kind)
    expected = apart(root, judged, type_)
    assert table.kind == kind and 0.1 < table.figures["AP"] < table.figures["AP50"] < 1
    assert list(table.figures) == list(PLACES)
    for figure, place in PLACES.items():
        assert (table.figures[figure] is None) == (expected.stats[place] == -1)
        if table.figures[figure] is not None:
            assert_same_figure(table.figures[figure], expected.stats[place], torch.float64)
    assert table.figures["AP large"] is None  # no box of 96 x 96 pixels
    by_class = expected.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1))
    for found, wanted in zip(table.per_class, by_class, strict=True):
        assert_same_figure(found, wanted, torch.float64)


def test_the_table_is_that_of_torchmetrics(scenes):
    from torchmetrics.detection import MeanAveragePrecision

    _, judged = scenes
    metric = MeanAveragePrecision(iou_type=("bbox", "segm"), backend="pycocotools")
    keys = ("boxes", "labels", "iscrowd", "area", "masks")
    truth = [{key: target[key].bool() if key == "masks" else target[key] for key in keys} for target, _ in judged]
    metric.update([found for _, found in judged], truth)
    expected = metric.compute()
    for kind, type_ in (("box", "bbox"), ("mask", "segm")):
        table = figures(judged, kind)
        names = {"AP": "map", "AP50": "map_50", "AP75": "map_75", "AP medium": "map_medium", "AR": "mar_100"}
        for figure, name in names.items():
            assert_same_figure(table.figures[figure], float(expected[f"{type_}_{name}"]), torch.float32)


def test_a_box_in_a_crowd_counts_neither_for_nor_against(scenes):
    _, judged = scenes
    crowd, found = next((target, found) for target, found in judged if target["iscrowd"].any())
    others = [pair for pair in judged if pair[0] is not crowd]
    inside = {name: value[:2] for name, value in found.items()}
    inside["boxes"] = crowd["boxes"].repeat(2, 1)
    inside["masks"] = crowd["masks"].repeat(2, 1, 1) > 0
    for kind in ("box", "mask"):
        assert figures([*others, (crowd, inside)], kind).figures == figures(others, kind).figures


def test_the_order_of_images_changes_nothing_and_nothing_is_printed(scenes, capsys):
    _, judged = scenes
    assert figures(judged[::-1], "mask") == figures(judged, "mask")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_nothing_found_is_zero_and_what_is_not_there_none(scenes, kind):
    _, judged = scenes
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    pairs = [(target, empty | {"masks": torch.zeros(0, *target["size"])}) for target, _ in judged]
    table = figures(pairs, kind, classes=4)
    assert table.figures["AP"] == 0 == table.figures["AR"] and table.figures["AP large"] is None
    assert table.per_class == (0, 0, 0, None)
    nothing = [pair for pair in pairs if not len(pair[0]["boxes"])]
    assert len(nothing) == 1 and set(figures(nothing, kind).figures.values()) == {None}
