"""Exports of segmenters and detectors: files give the network's outputs, or are not written."""

import json
import math

import pytest
import torch
from near import assert_near
from scenes import coco_scenes, mask_scenes
from torch import nn

import nxt
from nxt.arch.spec import ArchSpec
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.scenes.scene import Scene
from nxt.errors import CheckpointError, ConfigError, RunError
from nxt.inference.agreement import TOLERANCE, difference_of_objects
from nxt.inference.export import export
from nxt.train.checkpoint import Checkpoint, read, save
from nxt.train.model import built
from nxt.train.recipe import Recipe

SPEC = ArchSpec(
    stem="cifar", stem_width=4, depths=(1, 1), widths=(16, 32), cardinality=2, base_width=4, radix=2, avd=True,
    avg_down=True,
)  # fmt: skip
CLASSES = ("sea", "land", "house")
RUNTIME = "CPUExecutionProvider"


def make(head, data="masks:nowhere", sure=True, **changes):
    """Make a checkpoint with random weights, of which a detector is sure of what it finds."""
    torch.manual_seed(1)
    recipe = Recipe(
        epochs=1, batch=2, lr=0.1, head=head, pyramid=8, rois=16, size=64, eval_size=64, scene=Scene(longest=128)
    )
    network = built(SPEC, len(CLASSES), recipe)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
    for name, parameter in network.named_parameters() if sure else ():
        if any(part in name for part in ("cls_logits", "cls_score", "bbox", "mask_fcn_logits")):
            parameter.data.mul_(40 if "rpn" in name else 5 if parameter.ndim > 1 else 0)
    values = {
        "spec": SPEC, "classes": CLASSES, "data": DataRef.parse(data), "identity": "x", "seed": 7, "recipe": recipe,
        "preprocess": Preprocess(size=64, mean=(0.1, 0.2, 0.3), std=(0.4,) * 3), "accuracies": {"raw": 0.5},
        "state": {"epoch": 1, "weights": {"raw": network.state_dict()}},
    }  # fmt: skip
    return Checkpoint(**values | changes)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    root = tmp_path_factory.mktemp("segmenter")
    mask_scenes(root / "parts", count=10)
    (root / "parts" / "classes.txt").write_text("\n".join(CLASSES))
    return root, make("fcn", f"masks:{root / 'parts'}")


def session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=[RUNTIME])


def test_onnx_of_a_segmenter_takes_any_batch_height_and_width(segmenter):
    root, made = segmenter
    done = export(made, "onnx", root / "a.onnx")
    assert done.outputs == ("logits",) and done.difference < TOLERANCE and done.images.startswith("8 training images")
    session = session_of(done.path)
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    for shape in ((1, 3, 32, 48), (3, 3, 33, 57)):
        images = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        (found,) = session.run(["logits"], {"images": images.numpy()})
        with torch.inference_mode():
            expected = made.model()(images)["out"]
        assert expected.shape == (shape[0], len(CLASSES), *shape[2:])
        assert_near(torch.from_numpy(found), expected)


def test_a_file_says_the_task_the_head_and_how_images_are_made(segmenter):
    root, made = segmenter
    about = session_of(export(made, "onnx", root / "b.onnx").path).get_modelmeta().custom_metadata_map
    assert about["task"] == "segmentation" and about["head"] == "fcn" and json.loads(about["classes"]) == list(CLASSES)
    assert json.loads(about["scene"])["longest"] == 128 and json.loads(about["preprocess"])["size"] == 64
    assert about["data"] == "masks:parts" and str(root) not in "".join(about.values())


def test_nxt_predict_wants_the_checkpoint_of_a_segmenter(segmenter):
    root, made = segmenter
    done = export(made, "onnx", root / "c.onnx")
    with pytest.raises(CheckpointError, match=r"c\.onnx: is for segmentation; give the checkpoint that it was made fr"):
        nxt.predict(done.path, root / "parts" / "val" / "images")


def test_a_program_of_a_segmenter_gives_its_logits_for_other_sides(segmenter):
    root, made = segmenter
    done = export(made, "torch", root / "a.pt2")
    images = torch.randn(3, 3, 40, 28, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        assert_near(torch.export.load(done.path).module()(images), made.model()(images)["out"])


@pytest.mark.parametrize("head", ["fcn", "mask-rcnn"])
def test_safetensors_are_read_back_as_the_same_network_and_are_evaluated(head, tmp_path):
    if head == "fcn":
        mask_scenes(tmp_path / "data", count=4)
        (tmp_path / "data" / "classes.txt").write_text("\n".join(CLASSES))
        made = make(head, f"masks:{tmp_path / 'data'}")
    else:
        coco_scenes(tmp_path / "data", size=(80, 60))
        made = make(head, f"coco:{tmp_path / 'data'}", classes=("cat", "lamp", "tree"))
    save(tmp_path / "a.pt", made)
    done = export(made, "safetensors", tmp_path / "a.safetensors")
    again = read(done.path)
    assert (again.task, again.recipe, again.preprocess) == (made.task, made.recipe, made.preprocess)
    for name, tensor in again.model().state_dict().items():
        assert torch.equal(tensor, made.model().state_dict()[name])
    files = [tmp_path / "a.pt", done.path]
    first, second = (nxt.evaluate(file, device="cpu").rows[0]["measures"] for file in files)
    assert first == second and len(first) > 2


@pytest.mark.parametrize("head", ["mask-rcnn", "cascade-rcnn"])
def test_onnx_of_a_detector_finds_what_the_network_finds(head, tmp_path):
    made = make(head, "coco:nowhere")
    done = export(made, "onnx", tmp_path / "a.onnx")
    names = ["boxes", "labels", "scores", *(["masks"] if "mask" in head else [])]
    assert list(done.outputs) == names and done.images == "8 random images"
    session = session_of(done.path)
    image = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(5))
    found = dict(zip(names, map(torch.from_numpy, session.run(names, {"images": image.numpy()})), strict=True))
    with torch.inference_mode():
        (expected,) = made.model()([image])
    assert len(expected["boxes"]) > 10 and set(expected["labels"].tolist()) <= {1, 2, 3}
    for name in names:
        assert_near(found[name].float(), expected[name].float())


def test_a_detector_that_finds_nothing_is_not_exported(tmp_path):
    with pytest.raises(RunError, match=r"a\.onnx: not written: it finds nothing on the images to compare by"):
        export(make("retinanet", "coco:nowhere", sure=False), "onnx", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("head", "options", "words"),
    [
        ("fcn", {"target": "timm"}, "`target`: timm is not for networks of segmentation; those are onnx, torch, safe"),
        ("mask-rcnn", {"target": "torch"}, "`target`: torch is not for networks of detection; those are onnx, safet"),
        ("fcn", {"target": "onnx", "precision": "int8"}, "`precision`: int8 is for classifiers; networks of segm"),
        ("fcn", {"target": "onnx", "features": True}, "`features`: they are of classifiers, not of networks of segm"),
    ],
)
def test_what_heads_cannot_have_is_refused_in_one_line(head, options, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        export(make(head), out=tmp_path / "a", **options)


def objects(boxes, labels, scores):
    return torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels), torch.tensor(scores)


BOXES = [[0.0, 0.0, 50.0, 50.0], [10.0, 10.0, 90.0, 90.0]]
SEEN = objects(BOXES, [1, 2], [0.9, 0.8])


class Fixed(nn.Module):
    def forward(self, image):
        return SEEN


def apart(found, tmp_path):
    return difference_of_objects(Fixed(), lambda image: list(found), [torch.zeros(3, 100, 100)], tmp_path / "a.onnx")


def test_objects_in_another_order_are_the_same(tmp_path):
    assert apart(objects(BOXES[::-1], [2, 1], [0.8, 0.9]), tmp_path) == 0
    shifted = objects([[0.0, 0.0, 50.0, 50.005], BOXES[1]], [1, 2], [0.9, 0.8])
    assert math.isclose(apart(shifted, tmp_path), 0.005 / 100, rel_tol=1e-3)  # of the side


@pytest.mark.parametrize(
    "found",
    [
        objects(BOXES, [1, 1], [0.9, 0.8]),
        objects(BOXES, [1, 2], [0.9, 0.7]),
        objects([BOXES[0], [10.0, 10.0, 90.0, 91.0]], [1, 2], [0.9, 0.8]),
        objects([*BOXES, BOXES[0]], [1, 2, 3], [0.9, 0.8, 0.5]),
        objects(BOXES[:1], [1], [0.9]),
        objects([], [], []),
    ],
    ids=["label", "score", "box", "one more", "one less", "none"],
)
def test_other_objects_are_told(found, tmp_path):
    with pytest.raises(RunError, match=r"not written: \d of \d objects on 1 images would be others"):
        apart(found, tmp_path)
