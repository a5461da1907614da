"""What the commands tell and write of detectors and segmenters, against pycocotools and torchmetrics on the files."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run
from PIL import Image
from scenes import coco_scenes, mask_scenes

import nxt as package
from nxt.config import read_yaml
from nxt.data import readable, stream

ARCH = "resnext_1-1_w8_2x4d_cifar"
SMALL = ["--set", "size=32", "--set", "eval_size=32", "--set", "scene.longest=64", "--device", "cpu"]
SMALL += ["--set", "warmup=1"]
SEGMENTER = ["--head", "fcn", "--epochs", 6, "--set", "batch=2", "--set", "lr=0.05", "--set", "output_stride=null"]
DETECTOR = ["--head", "mask-rcnn", "--epochs", 10, "--set", "batch=4", "--set", "pyramid=8", "--set", "rois=16"]
DETECTOR += ["--set", "optimizer=adamw", "--set", "lr=0.01", "--set", "scene.sides=[32]"]


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    """Read images in this process: starting others takes longer than these trainings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        for module in (stream, readable):
            patched.setattr(module, "default_workers", lambda processes=1: 0)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a folder with boxes and masks, and a training of a detector (`boxes-run`) and a segmenter on them."""
    root = tmp_path_factory.mktemp("scenes")
    coco_scenes(root / "boxes", count=12)
    mask_scenes(root / "masks", count=7)
    (root / "masks" / "classes.txt").write_text("sea\nland\nhouse\n")
    for kind, data, given in (("masks", "masks:", SEGMENTER), ("boxes", "coco:", DETECTOR)):
        out = root / f"{kind}-run"
        result = run("train", ARCH, "--data", f"{data}{root / kind}", *given, *SMALL, "--out", out)
        assert result.code == 0, result.err
        (root / f"{kind}.txt").write_text(result.out)
    return root


def figures(line):
    """Return the figures in a line, as it shows them: 'mIoU 71.23%, ...' by name."""
    return dict(re.findall(r"([A-Za-z][A-Za-z0-9 ]*?) (\d+\.\d+%|-)(?=,| on )", line))


def shown(value):
    return "-" if value is None else f"{value:.1%}"


def refused(result, *words):
    line = result.err.splitlines()[-1]
    assert result.code == 1 and line.startswith("nxt: ") and result.out == ""
    for word in words:
        assert word in line


# nxt eval


def test_masks_are_measured_as_torchmetrics_does_on_the_files(root, nxt):
    from torchmetrics.classification import MulticlassJaccardIndex

    found = nxt("eval", root / "masks-run", "--predictions", "written", "--device", "cpu", "--json")
    assert found.code == 0, found.err
    told = json.loads(found.out)
    names = sorted(path.name for path in (root / "masks" / "val" / "masks").iterdir())
    assert sorted(path.name for path in Path("written").iterdir()) == names and told["images"] == len(names) == 7
    truth, taken = (
        torch.stack([torch.from_numpy(np.array(Image.open(folder / name))).long() for name in names])
        for folder in (root / "masks" / "val" / "masks", Path("written"))
    )
    judge = {kind: MulticlassJaccardIndex(3, average=kind, ignore_index=255) for kind in ("macro", "none")}
    assert told["measures"]["mIoU"] == pytest.approx(float(judge["macro"](taken, truth)), abs=1e-6)
    assert list(told["per_class"]) == ["sea", "land", "house"]
    assert list(told["per_class"].values()) == pytest.approx(judge["none"](taken, truth).tolist(), abs=1e-6)
    known = truth != 255
    assert told["measures"]["pixel accuracy"] == pytest.approx(float((taken == truth)[known].double().mean()), abs=1e-9)
    assert told["measures"]["mIoU"] > 0.4
    assert (told["task"], told["head"], told["size"], told["views"]) == ("segmentation", "fcn", 32, "center")
    assert (told["split"], told["epoch"], told["name"]) == ("test", 6, ARCH)


def test_boxes_and_masks_are_measured_as_pycocotools_does_on_the_files(root, nxt):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = nxt("eval", root / "boxes-run", "--predictions", "found.json", "--device", "cpu", "--json")
    assert found.code == 0, found.err
    told, written = json.loads(found.out), json.loads(Path("found.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(root / "boxes" / "annotations" / "instances_val.json")
        image = {Path(each["file_name"]).name: each["id"] for each in truth.dataset["images"]}
        kind = {each["name"]: each["id"] for each in truth.dataset["categories"]}
        images = {each["id"]: image[Path(each["file_name"]).name] for each in written["images"]}
        kinds = {each["id"]: kind[each["name"]] for each in written["categories"]}
        assert sorted(images.values()) == sorted(image.values()) and told["images"] == len(images) == 14
        boxes = [
            {**one, "image_id": images[one["image_id"]], "category_id": kinds[one["category_id"]]}
            for one in written["annotations"]
        ]
        for name, iou in {"box": "bbox", "mask": "segm"}.items():
            keys = ("image_id", "category_id", "score", "bbox" if name == "box" else "segmentation")
            judge = COCOeval(truth, truth.loadRes([{key: one[key] for key in keys} for one in boxes]), iou)
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
            expected = dict(zip(("AP", "AP50", "AP75", "AP small", "AP medium", "AP large"), judge.stats, strict=False))
            for figure, value in expected.items():
                known = None if value < 0 else pytest.approx(value, abs=1e-9)
                assert told["measures"][f"{name} {figure}"] == known, (name, figure)
            assert told["measures"][f"{name} AR"] == pytest.approx(judge.stats[8], abs=1e-9)
            assert expected["AP50"] > 0
    assert (told["task"], told["head"]) == ("detection", "mask-rcnn")
    assert list(told["per_class"]) == ["cat", "lamp", "tree"]


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_a_line_and_a_table_of_classes_have_the_figures_of_the_document(root, nxt, kind):
    out = root / f"{kind}-run"
    lines = nxt("eval", out, "--per-class", "--device", "cpu").out.splitlines()
    told = json.loads(nxt("eval", out, "--device", "cpu", "--json").out)
    start, rest = lines[0].split(": ", 1)
    assert start == f"{ARCH} with {told['head']}"
    assert figures(rest) == {name: shown(value) for name, value in told["measures"].items()}
    assert f" on {told['images']} test images of " in rest and "32 px)" in rest
    table = [line.split() for line in lines[1:] if line.split()[:1] and line.split()[0] in told["per_class"]]
    assert dict(table) == {name: shown(value) for name, value in told["per_class"].items()}
    known = [told["per_class"][name] for name, _ in table if told["per_class"][name] is not None]
    assert known == sorted(known)


def test_segmenters_are_tested_at_several_scales(root, nxt):
    given = ["eval", root / "masks-run", "--device", "cpu", "--views", "dense"]
    told = json.loads(nxt(*given, "--scales", "24,32,48", "--json").out)
    assert (told["views"], told["scales"]) == ("dense", [24, 32, 48]) and told["measures"]["mIoU"] > 0.3
    assert "at 24, 32, 48 px, mirrored)" in nxt(*given, "--scales", "24,32,48").out
    assert json.loads(nxt(*given, "--json").out)["scales"] == [16, 24, 32, 40, 48, 56]


def test_what_does_not_go_with_a_task_is_refused(root, nxt, trained, monkeypatch):
    masks, boxes = root / "masks-run", root / "boxes-run"
    other = Path("other")
    shutil.copytree(root / "masks", other)
    (other / "classes.txt").write_text("sea\nland\nbarn\n")
    given = ["--device", "cpu"]
    refused(nxt("eval", masks, "--data", "masks:other", *given), "1 of its 3 classes are none of", "such as 'barn'")
    (other / "classes.txt").write_text("sea\nhouse\nland\n")
    refused(nxt("eval", masks, "--data", "masks:other", *given), "its classes are not those of", "(sea, land, house")
    refused(nxt("eval", masks, "--data", f"coco:{root / 'boxes'}", *given), "was trained for segmentation", "detection")
    refused(nxt("eval", trained, "--data", f"masks:{root / 'masks'}", *given), "was trained for classification")
    refused(nxt("eval", masks, "--data", "digits", *given), "was trained for segmentation", "is for classification")
    refused(nxt("eval", boxes, "--crop", "0.8", *given), "--crop: it is for classification, not for detection")
    refused(nxt("eval", boxes, "--views", "dense", *given), "--views: 'dense' is not one of center of detection")
    refused(nxt("eval", masks, "--views", "ten", *given), "--views: 'ten' is not one of center, dense of segmentation")
    refused(nxt("eval", masks, "--scales", "24", *given), "--scales: they are for dense views")
    monkeypatch.delattr("nxt.inference.evaluate.evaluate_scenes")  # nothing is measured before it is refused
    for option in ("--confusion", "--csv", "--predictions"):
        refused(nxt("eval", masks, option, "table.csv", *given), f"{option}: table.csv: a table of classifications")
    assert not Path("table.csv").exists()


# nxt predict


@pytest.fixture
def photos(root, nxt):
    """Return a folder with two images of one name, and one that cannot be read."""
    Path("photos", "more").mkdir(parents=True)
    for source, name in (("boxes/val/0.png", "a.png"), ("masks/val/images/0.png", "more/a.png")):
        shutil.copy(root / source, Path("photos", name))
    shutil.copy(root / "boxes/val/1.png", Path("photos", "a-2.png"))
    Path("photos", "bad.png").write_bytes(Path("photos", "a.png").read_bytes()[:50])
    return Path("photos")


def test_objects_are_told_and_drawn(root, nxt, photos):
    given = ["predict", root / "boxes-run", photos, "--device", "cpu"]
    result = nxt(*given, "--json", "--out", "drawn")
    assert result.code == 1 and "left out: photos/bad.png" in result.err
    told = json.loads(result.out)
    assert told["task"] == "detection" and len(told["unreadable"]) == 1 and "bad.png" in told["unreadable"][0]
    assert {row["image"]: row["picture"] for row in told["images"]} == {
        "photos/a-2.png": "drawn/a-2.jpg", "photos/a.png": "drawn/a.jpg", "photos/more/a.png": "drawn/a-3.jpg",
    }  # fmt: skip
    for row in told["images"]:
        with Image.open(row["picture"]) as picture, Image.open(row["image"]) as image:
            assert picture.size == image.size and picture.mode == "RGB"
            width, height = image.size
        scores = [one["score"] for one in row["objects"]]
        assert scores == sorted(scores, reverse=True) and all(0.05 <= score <= 1 for score in scores)
        for one in row["objects"]:
            left, top, right, bottom = one["box"]
            assert 0 <= left <= right <= width and 0 <= top <= bottom <= height
            assert one["class"] in ("cat", "lamp", "tree")
    lines = nxt(*given).out.splitlines()
    assert len(lines) == 3 and lines[0].startswith("photos/a-2.png: ") and "drawn" not in lines[0]
    if told["images"][0]["objects"]:
        assert f": {told['images'][0]['objects'][0]['class']} " in lines[0]


def test_areas_are_told_and_drawn_and_written(root, nxt, photos):
    given = ["predict", root / "masks-run", photos, "--device", "cpu"]
    result = nxt(*given, "--json", "--out", "drawn")
    assert result.code == 1
    for row in json.loads(result.out)["images"]:
        mask = np.array(Image.open(row["mask"]))
        with Image.open(row["image"]) as image, Image.open(row["picture"]) as picture:
            assert (image.height, image.width) == mask.shape == (picture.height, picture.width)
        shares = {name: float((mask == number).mean()) for number, name in enumerate(("sea", "land", "house"))}
        assert row["classes"] == pytest.approx({name: share for name, share in shares.items() if share})
        assert list(row["classes"].values()) == sorted(row["classes"].values(), reverse=True)
    line = nxt(*given, "--out", "again").out.splitlines()[0]
    assert re.fullmatch(r"photos/a-2\.png: [a-z]+ \d+%(, [a-z]+ \d+%)*; drawn in again/a-2\.jpg", line)


def test_predictions_that_there_are_none_of_are_refused(root, nxt, photos, trained):
    result = nxt("predict", root / "masks-run", photos, "--device", "cpu", "--csv")
    assert result.code == 2 and "--csv: is for classifiers; give --json" in result.err
    refused(
        nxt("predict", root / "masks-run", photos / "bad.png", "--device", "cpu"), "none of the 1 images can be read"
    )
    refused(nxt("predict", trained, photos, "--out", "drawn"), "--out: pictures are drawn of detectors and segmenters")


# What tells of a training


def accuracies(text):
    """Return where a text speaks of accuracies that are none of a segmenter's measures."""
    return re.findall(r"(?i)(?<!pixel )(?<!mean )\baccurac(?:y|ies)\b", text)


@pytest.mark.parametrize(("kind", "measure"), [("masks", "mIoU"), ("boxes", "mask AP")])
def test_show_card_and_report_name_the_measure(root, nxt, kind, measure):
    out = root / f"{kind}-run"
    shown_run = nxt("show", out)
    assert shown_run.code == 0 and "Ended: all epochs are trained." in shown_run.out
    assert measure in shown_run.out and accuracies(shown_run.out) == []
    told = json.loads(nxt("show", out, "--json").out)
    assert told["state"] == "ended" and next(iter(told["measures"])) == measure
    assert told["best_accuracy"] == told["measures"][measure]
    card = read_yaml(out / "card.yaml")
    assert next(iter(card["results"]["best"]["measures"])) == measure
    page = (out / "CARD.md").read_text()
    head = "fcn" if kind == "masks" else "mask-rcnn"
    assert f"images | {measure} |" in page and f"with {head} on the network" in page and "top-1" not in page
    assert (out / "curves.png").stat().st_size > 1000
    printed = (root / f"{kind}.txt").read_text()
    assert f"{measure} " in printed.splitlines()[0]
    report = nxt("report", out, "--out", "page.html")
    assert report.code == 0, report.err
    html = Path("page.html").read_text()
    assert measure in html
    visible = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.S)
    assert accuracies(visible) == []


def test_a_running_or_interrupted_training_is_shown(root, nxt):
    shutil.copytree(root / "masks-run", "run")
    rows = Path("run", "metrics.jsonl").read_text().splitlines(keepends=True)
    Path("run", "metrics.jsonl").write_text("".join(rows[:2]))
    found = nxt("show", "run").out
    assert "2 of 6 epochs" in found and "Interrupted in epoch 3. Go on with:" in found and "mIoU" in found


def test_several_segmenters_are_compared_by_the_measure(root, nxt, nxt_process):
    given = ["--data", f"masks:{root / 'masks'}", *SEGMENTER, *SMALL, "--workers", 1, "--out", "list"]
    result = nxt_process("train", ARCH, ARCH.replace("2x4d", "1x8d"), *given)
    assert result.code == 0, result.err
    assert "compared by mIoU" in result.out and "Means of mIoU, in points against the first network's" in result.out
    (head,) = (line.split() for line in result.out.splitlines() if line.startswith("network "))
    assert "mIoU" in head and accuracies(result.out) == []
    advice = result.out.splitlines()[-1]
    assert advice.startswith("Test it: nxt eval list/trials/")
    assert nxt(*advice.removeprefix("Test it: nxt ").split(), "--device", "cpu").out.startswith("resnext_1-1_w8_")


# In Python


def test_a_loaded_network_has_its_classes_and_makes_its_input(root):
    segmenter, detector = package.load(root / "masks-run"), package.load(root / "boxes-run" / "checkpoints" / "best.pt")
    assert not segmenter.training and (segmenter.head, segmenter.classes) == ("fcn", ("sea", "land", "house"))
    assert (detector.head, detector.classes) == ("mask-rcnn", ("cat", "lamp", "tree"))
    with Image.open(root / "masks" / "val" / "images" / "0.png") as image, torch.inference_mode():
        assert segmenter.transform(image).shape == (3, 32, 43)
        found = segmenter(segmenter.transform(image)[None])["out"]
        boxes = detector([detector.transform(image)])[0]["boxes"]
    assert found.shape == (1, 3, 32, 43) and boxes.shape[1] == 4
    taken = package.predict(root / "masks-run", root / "masks" / "val" / "images" / "0.png", device="cpu")
    larger = torch.nn.functional.interpolate(found, (18, 24), mode="bilinear").softmax(1).argmax(1)
    shares = {name: float((larger == n).double().mean()) for n, name in enumerate(segmenter.classes)}
    assert taken.rows[0]["classes"] == pytest.approx({name: share for name, share in shares.items() if share})


def test_a_head_may_be_named_in_python(root, tmp_path):
    settings = {"batch": 2, "eval_size": 32, "warmup": 0, "output_stride": None}
    result = package.train(
        ARCH, f"masks:{root / 'masks'}", head="fcn", epochs=1, size=32, settings=settings, out=tmp_path / "run",
        device="cpu", tune=False,
    )  # fmt: skip
    assert read_yaml(result.out / "run.yaml")["recipe"]["head"] == "fcn"
