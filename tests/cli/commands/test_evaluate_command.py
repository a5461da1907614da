"""`nxt eval` on networks whose answers are known: they tell plain colours apart, and nothing else."""

import csv
import dataclasses
import json
import re
import shutil

import pytest
import torch
from PIL import Image

from nxt.arch.spec import ArchSpec
from nxt.config import dump_yaml
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.inference.export import export_file
from nxt.models.network import build
from nxt.train.checkpoint import Checkpoint, save
from nxt.train.recipe import Recipe

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 8, "depths": [1, 1], "widths": [16, 32], "cardinality": 2, "base_width": 4}
)
COLOURS = {"blue": (20, 30, 230), "green": (30, 220, 40), "red": (220, 30, 40), "white": (240, 240, 240)}
NAMES = tuple(COLOURS)
PREPROCESS = Preprocess(size=16, crop=0.8, mean=(0.5,) * 3, std=(0.25,) * 3)
# What lies in the test folder of each class: all is right but a red image among the blue and a white among the red.
TEST = {
    "blue": ["blue", "blue", "red"],
    "green": ["green"] * 2,
    "red": ["red", "red", "red", "white"],
    "white": ["white"],
}


def paint(root, test=TEST):
    """Make a folder of plain images."""
    for split, kinds in (("train", {name: [name] * 5 for name in test}), ("test", test)):
        for name, colours in kinds.items():
            (root / split / name).mkdir(parents=True)
            for index, colour in enumerate(colours):
                file = root / split / name / f"{index}.png"
                Image.new("RGB", (24, 20), COLOURS[colour]).save(file)
                file.write_bytes(file.read_bytes() + split.encode())  # no image is in two splits, byte for byte
    return f"folder:{root}"


def knowing(names=NAMES, certainty=10.0, seed=0):
    """The weights of a network that tells plain colours apart: the last layer solves for it."""
    torch.manual_seed(seed)
    network = build(SPEC, len(names)).eval()
    features = {}
    network.avgpool.register_forward_hook(lambda _, given, output: features.update(pooled=output.flatten(1)))
    plain = torch.tensor([COLOURS[name] for name in names]).float() / 255
    with torch.no_grad():
        network(((plain - 0.5) / 0.25)[:, :, None, None].expand(-1, -1, 16, 16))
        network.fc.weight.copy_((torch.linalg.pinv(features["pooled"]) @ torch.eye(len(names))).T * certainty)
    return network.state_dict()


def checkpoint(data, names=NAMES, **weights):
    source = open_source(DataRef.parse(data))
    weights = weights or {"raw": knowing(names)}
    return Checkpoint(
        spec=SPEC, classes=names, data=DataRef.parse(data), identity=source.identity(), preprocess=PREPROCESS,
        recipe=Recipe(epochs=3, batch=8, lr=0.1), seed=0, accuracies=dict.fromkeys(weights, 0.5),
        state={"epoch": 3, "weights": weights},
    )  # fmt: skip


@pytest.fixture
def data(tmp_path):
    return paint(tmp_path / "colours")


@pytest.fixture
def made(tmp_path, data):
    """A checkpoint of a network that knows the colours."""
    save(tmp_path / "a.pt", checkpoint(data))
    return tmp_path / "a.pt"


@pytest.fixture
def measure(nxt):
    def run(*arguments):
        result = nxt("eval", *arguments, "--json")
        assert result.code == 0, result.err
        return json.loads(result.out)

    return run


def test_one_checkpoint_is_one_object(made, data, measure):
    found = measure(made)
    expected = {
        "checkpoint": str(made), "name": SPEC.name, "data": data, "split": "test", "images": 10, "classes": 4,
        "accuracy": 0.8, "top5": 1.0, "size": 16, "crop": 0.8, "views": "center", "weights": "raw", "epoch": 3,
    }  # fmt: skip
    assert {key: found.get(key) for key in expected} == expected
    assert set(found) - set(expected) == {
        "loss", "ece", "interval", "per_class", "reliability", "balanced_accuracy", "largest_class",
    }  # fmt: skip
    assert found["per_class"] == {"blue": pytest.approx(2 / 3), "green": 1.0, "red": 0.75, "white": 1.0}
    assert found["interval"][0] < 0.8 < found["interval"][1]
    assert 0.15 < found["ece"] <= 0.2  # sure of all, right on 80 %
    assert [row["images"] for row in found["reliability"]] == [0] * 14 + [10]
    assert 1.5 < found["loss"] < 2.5  # two of ten are wrong by about ten logits


def test_the_line_and_the_table_name_what_is_confused(made, data, nxt):
    shown = nxt("eval", made, "--per-class")
    line, table = shown.out.split("\n", 1)
    assert line.startswith(
        f"{SPEC.name}: 80.00% of 10 test images of folder:colours, 95 % interval 49.02 to 94.33%, "
        "mean over the classes 85.42%, always the largest class 40.00%, loss "
    )
    assert line.endswith("(epoch 3, raw weights, 16 px)")
    assert "top-5" not in line  # of four classes
    rows = [row.split() for row in table.splitlines()[2:]]
    assert rows == [
        ["blue", "3", "66.67%", "red", "(1)"],
        ["red", "4", "75.00%", "white", "(1)"],
        ["green", "2", "100.00%", "-"],
        ["white", "1", "100.00%", "-"],
    ]


@pytest.mark.parametrize("views", ["center", "ten", "dense"])
def test_whatever_the_view_plain_images_look_alike(made, measure, views):
    found = measure(made, "--views", views, "--size", "12", *(["--crop", "1"] if views != "dense" else []))
    assert (found["views"], found["size"], found["accuracy"]) == (views, 12, 0.8)
    assert found["crop"] == (None if views == "dense" else 1.0)
    assert found.get("scales") == ([12, 14, 21, 26, 34] if views == "dense" else None)


def test_scales_are_those_asked_for(made, measure, nxt):
    assert measure(made, "--views", "dense", "--scales", "16,24")["scales"] == [16, 24]
    assert "16 px, dense at 16, 24)" in nxt("eval", made, "--views", "dense", "--scales", "16,24").out
    assert "16 px, ten crops)" in nxt("eval", made, "--views", "ten").out


def test_the_files_hold_the_confusion_matrix_and_every_image(made, nxt, tmp_path):
    matrix, images = tmp_path / "matrix.csv", tmp_path / "images.csv"
    assert nxt("eval", made, "--confusion", matrix, "--predictions", images).code == 0
    head, *rows = csv.reader(matrix.open())
    assert head == ["", *NAMES]
    assert {row[0]: list(map(int, row[1:])) for row in rows} == {
        "blue": [2, 0, 1, 0], "green": [0, 2, 0, 0], "red": [0, 0, 3, 1], "white": [0, 0, 0, 1],
    }  # fmt: skip
    rows = list(csv.DictReader(images.open()))
    files = [(f"{name}/{number}.png", name) for name, colours in TEST.items() for number, _ in enumerate(colours)]
    assert [(row["image"], row["true"]) for row in rows] == files
    assert [row["predicted"] for row in rows] == [colour for colours in TEST.values() for colour in colours]
    assert all(0.99 < float(row["probability"]) <= 1 for row in rows)


def test_the_table_has_a_row_a_network_and_is_what_the_zoo_takes(made, nxt, tmp_path):
    table = tmp_path / "measured.csv"
    assert nxt("eval", made, made, "--views", "ten", "--csv", table).code == 0
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 2 and rows[0] == rows[1]
    expected = {
        "network": SPEC.name, "top1": "80.0", "top5": "", "size": "16", "protocol": "ten", "split": "test",
        "images": "10", "weights": "raw", "epoch": "3", "checkpoint": str(made),
    }  # fmt: skip
    assert {key: rows[0][key] for key in expected} == expected and rows[0]["dataset"].startswith("folder:")
    shown = nxt("zoo", "--against", table)
    assert (shown.code, shown.err) == (0, "")
    assert re.search(rf"^{re.escape(SPEC.name)} +16 +80\.00 +none$", shown.out, re.MULTILINE)


def test_an_ensemble_of_a_network_with_itself_is_the_network(made, measure, nxt):
    one, two = measure(made), measure(made, made)
    assert two["models"] == [one, one]
    joint = two["ensemble"]
    assert set(joint) == set(one) - {"checkpoint", "name", "epoch", "weights", "size", "crop", "views"}
    for key in ("accuracy", "interval", "per_class", "images", "data", "split"):
        assert joint[key] == one[key]
    assert joint["loss"] == pytest.approx(one["loss"], abs=1e-5)
    assert [(pair["gained"], pair["lost"], pair["p"]) for pair in two["against_first"]] == [(0, 0, 1.0)]
    assert "Classes, by the ensemble\n" in nxt("eval", made, made, "--per-class").out
    assert "by the ensemble" not in nxt("eval", made, "--per-class").out
    first, second, paired, last = nxt("eval", made, made).out.splitlines()
    assert paired.startswith(f"{made} against {made}: +0.00 points, not clearly different on these images: 0 right ")
    assert first == second and first.startswith(f"{made}: 80.00%") and last.startswith("ensemble of 2: 80.00%")


def test_members_of_an_ensemble_keep_their_own_preprocessing(made, data, measure, nxt, tmp_path):
    swapped = tuple(reversed(NAMES))
    wrong = knowing(swapped, certainty=2.0)  # takes red for green and blue for white, but less surely
    other = checkpoint(data, raw=wrong)
    save(tmp_path / "b.pt", dataclasses.replace(other, preprocess=dataclasses.replace(PREPROCESS, size=8, crop=1.0)))
    found = measure(made, tmp_path / "b.pt")
    assert [(model["size"], model["crop"]) for model in found["models"]] == [(16, 0.8), (8, 1.0)]
    assert found["models"][1]["accuracy"] < 0.2
    assert found["ensemble"]["accuracy"] == 0.8
    assert found["against_first"][0]["p"] < 0.05
    assert " points, clearly different on these images: 0 right that " in nxt("eval", made, tmp_path / "b.pt").out


def test_the_better_weights_on_validation_are_taken_unless_one_says_which(data, measure, tmp_path):
    both = checkpoint(data, raw=knowing(), ema=knowing(tuple(reversed(NAMES))))
    save(tmp_path / "raw.pt", dataclasses.replace(both, accuracies={"raw": 0.9, "ema": 0.1}))
    save(tmp_path / "ema.pt", dataclasses.replace(both, accuracies={"raw": 0.1, "ema": 0.9}))
    for kind in ("raw", "ema"):
        found = measure(tmp_path / f"{kind}.pt")
        assert found["weights"] == kind
        assert found == measure(tmp_path / f"{kind}.pt", "--weights", kind)
        assert (found["accuracy"] == 0.8) == (kind == "raw")


def test_listed_classes_are_judged_among_themselves_and_among_all(made, measure, nxt, tmp_path):
    (tmp_path / "some.txt").write_text("red\nblue\n")
    found = measure(made, "--classes", tmp_path / "some.txt")
    assert (found["images"], found["classes"]) == (7, 2)
    assert found["accuracy_kway"] == pytest.approx(5 / 7)  # the white one and the red one among the blue are wrong
    right = set(range(5, 7))
    assert round(7 * found["accuracy"]) in right  # the white one is taken for red or for blue
    assert set(found["per_class"]) == {"blue", "red"}
    shown = nxt("eval", made, "--classes", tmp_path / "some.txt", "--confusion", tmp_path / "m.csv").out
    assert "71.43% among all" in shown and "among the listed classes" in shown
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == ",blue,red"


def test_other_data_may_have_fewer_classes_and_is_judged_among_all(made, measure, tmp_path):
    few = paint(tmp_path / "few", {"red": ["red", "white"], "white": ["white"]})
    found = measure(made, "--data", few)
    assert (found["images"], found["classes"], found["data"]) == (3, 4, few)
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["per_class"] == {"red": 0.5, "white": 1.0}
    (tmp_path / "listed.txt").write_text("red\nwhite\n")
    listed = measure(made, "--data", few, "--classes", tmp_path / "listed.txt")
    assert (listed["images"], listed["accuracy"], listed["accuracy_kway"]) == (3, *[pytest.approx(2 / 3)] * 2)


def test_validation_images_can_be_judged_and_a_change_of_the_data_is_told(made, data, measure, nxt):
    found = measure(made, "--split", "val")
    assert (found["split"], found["images"], found["accuracy"]) == ("val", 4, 1.0)  # one of five of each class
    assert nxt("eval", made, "--split", "val").err == ""
    Image.new("RGB", (24, 20), COLOURS["red"]).save(f"{data.removeprefix('folder:')}/train/red/9.png")
    assert "held out from all images; it may have been trained on these" in nxt("eval", made, "--split", "val").err
    assert nxt("eval", made).err == ""


@pytest.mark.parametrize("changed", [False, True])
def test_training_images_in_another_folder_are_told(made, data, nxt, tmp_path, changed):
    shutil.copytree(tmp_path / "colours" / "train", tmp_path / "other" / "test")
    for file in (tmp_path / "other").rglob("*.png") if changed else ():  # is called the same, and is another image
        Image.new("RGB", (24, 20), (1, 2, 3)).save(file)
    said = nxt("eval", made, "--data", f"folder:{tmp_path}/other").err
    seen = f"test images are training images of folder:colours, on which {made} was trained, such as blue/0.png: what"
    assert (seen in said) != changed and ("trained" in said) != changed


def test_images_that_cannot_be_read_are_left_out_on_demand(made, data, measure, nxt, tmp_path):
    (tmp_path / "colours" / "test" / "green" / "1.png").write_bytes(b"no image")
    refused = nxt("eval", made)
    assert refused.code == 1 and "green/1.png: not readable" in refused.err and "--skip-bad" in refused.err
    result = nxt("eval", made, "--skip-bad", "--json")
    assert json.loads(result.out)["images"] == 9
    assert "left out: " in result.err and "green/1.png" in result.err


def elsewhere(tmp_path):
    """Write the network's file, and its weights as timm's training script keeps them."""
    (tmp_path / "net.yaml").write_text(dump_yaml(SPEC.to_dict()))
    state = {f"module.{key}": value for key, value in knowing(certainty=2.0).items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "w.pth")
    return "net.yaml", "--weights", "w.pth", "--size", 16


def test_weights_from_elsewhere_are_measured_on_class_folders(data, nxt, measure, tmp_path):
    (tmp_path / "order.txt").write_text("\n".join(NAMES))
    network, test = elsewhere(tmp_path), ["--data", "folder:colours/test", "--classes", "order.txt"]
    shown = nxt("eval", *network, *test)
    assert shown.out.startswith(f"{SPEC.name}: ") and "of 10 test images of folder:colours/test" in shown.out
    assert shown.out.endswith("(w.pth, 16 px)\n")
    assert shown.err.startswith("note: w.pth does not say how images become its input") and shown.err.count("\n") == 1
    found = measure(*network, *test)
    assert (found["weights"], found["epoch"], list(found["per_class"])) == ("w.pth", None, list(NAMES))
    two = measure(network[0], *network, *test, "--weights", "w.pth")
    assert two["models"] == [found, found]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["net.yaml", "--weights", "w.pth"],
            "--data: net.yaml has weights from elsewhere; say on what to measure it,",
        ),
        (
            ["net.yaml", "--weights", "w.pth", "--data", "folder:colours/test"],
            "in order, one a line, with --classes FILE",
        ),
        (["resnet18", "--weights", "w.pth", "--data", "folder:colours"], "w.pth: not the weights of resnet18: "),
        (["net.yaml", "--weights", "nix.pt", "--data", "folder:colours"], "--weights nix.pt: no such file"),
        (
            ["net.yaml", "--weights", "w.pth", "--data", "folder:empty"],
            "no folder 'val' in it; expected val/CLASS/image",
        ),
        (
            ["resnet18", "--data", "folder:colours"],
            "resnet18: a network without weights; give some with --weights torch",
        ),
        (["w.pth", "--data", "folder:colours"], "name the network, and give it as --weights w.pth"),
        (["a.pt", "--weights", "w.pth"], "--weights: 'w.pth' is not one of raw, ema: a.pt has weights of its own"),
    ],
)
def test_what_is_wrong_with_weights_from_elsewhere_is_told_in_one_line(made, nxt, tmp_path, arguments, said):
    elsewhere(tmp_path)
    (tmp_path / "empty").mkdir()
    result = nxt("eval", *arguments)
    assert (result.code, result.out) == (1, "")
    *notes, line = result.err.splitlines()
    assert line.startswith("nxt: ") and said in line and all(text.startswith("note: ") for text in notes)


@pytest.mark.parametrize("views", ["center", "ten"])
def test_an_exported_onnx_file_is_measured_as_its_checkpoint_is(made, data, measure, views):
    export_file(made, "onnx")
    first = measure(made, "--views", views)
    again = measure(made.with_suffix(".onnx"), "--data", data, "--views", views)
    assert again.pop("onnx") == "fp32" and again["checkpoint"] == str(made.with_suffix(".onnx"))
    rounded = {"loss", "ece", "reliability"}  # another program adds in another order
    exact = first.keys() - {"checkpoint", *rounded}
    assert {key: again[key] for key in exact} == {key: first[key] for key in exact}
    assert again["loss"] == pytest.approx(first["loss"], rel=1e-4) and again["ece"] == pytest.approx(first["ece"], 1e-3)


def test_an_onnx_file_in_fewer_bits_is_measured_beside_its_checkpoint(made, data, nxt):
    export_file(made, "onnx", made.with_name("int8.onnx"), precision="int8")
    shown = nxt("eval", made, "int8.onnx", "--data", data)
    assert shown.code == 0, shown.err
    first, second, paired, both = shown.out.splitlines()
    assert paired.startswith(f"int8.onnx against {made}: ")
    assert first.endswith("(epoch 3, raw weights, 16 px)")
    assert second.startswith("int8.onnx: ") and second.endswith("(epoch 3, raw weights, int8 in ONNX, 16 px)")
    assert both.startswith("ensemble of 2: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--data: a.onnx does not tell where its data is; say on what to measure it, such as folder:PATH"),
        (["--data", "folder:colours", "--size", 20], "--size: a.onnx takes images of 16 pixels alone; leave it out"),
        (["--data", "folder:colours", "--views", "dense"], "--views: a.onnx takes images of 16 pixels alone; write "),
        (["--data", "folder:colours", "--weights", "raw"], "--weights: a.onnx has one kind of weights; leave it out"),
    ],
)
def test_what_an_onnx_file_cannot_do_is_told_in_one_line(made, nxt, arguments, said):
    export_file(made, "onnx")
    result = nxt("eval", "a.onnx", *arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"nxt: {said}") and result.err.count("\n") == 1


def test_a_run_directory_stands_for_its_last_checkpoint(made, measure, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    made.rename(tmp_path / "run" / "checkpoints" / "last.pt")
    assert measure(tmp_path / "run")["accuracy"] == 0.8


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["{made}", "--split", "train"], ["--split", "'train' is not one of test, val"]),
        (["{made}", "--views", "center", "--scales", "16"], ["scales belong to dense views, not to center"]),
        (["{made}", "--views", "dense", "--scales", "16,x"], ["--scales '16,x'", "224,256,384"]),
        (["{made}", "--views", "dense", "--scales", "16,2"], ["a scale is 2", "4..4096"]),
        (["{made}", "--views", "dens"], ["did you mean 'dense'?"]),
        (["{made}", "--views", "dense", "--crop", "0.5"], ["--crop", "whole image"]),
        (["{made}", "--crop", "0"], ["--crop", "0.0 is not above 0 and at most 1"]),
        (["{made}", "--crop", "nan"], ["--crop"]),
        (["{made}", "--size", "5000"], ["--size", "5000 is not between 4 and 4096"]),
        (["{made}", "--weights", "ema"], ["a.pt: it has no ema weights, only raw"]),
        (["{made}", "--weights", "best"], ["--weights", "'best' is not one of raw, ema"]),
        (["{made}", "--classes", "{root}/nowhere.txt"], ["nowhere.txt: cannot be read"]),
        (["{made}", "--classes", "{root}/typo.txt"], ["typo.txt: line 2", "no class 'bleu'; did you mean 'blue'?"]),
        (["{made}", "--confusion", "{root}/nowhere/m.csv"], ["--confusion", "a folder that does not exist"]),
        (["{made}", "--predictions", "{root}"], ["--predictions", "of classifiers it is a table; name a file"]),
        (["{made}", "--csv", "{root}/m.txt"], ["--csv", "m.txt: name a file that ends in .csv"]),
        (["{made}", "--csv", "{root}/m.csv", "--confusion", "{root}/m.csv"], ["--csv", "is --confusion's file"]),
        (["{made}", "--data", "digits"], ["digits: 10 of its 10 classes are none of the checkpoint's 4, such as '0'"]),
        (["{made}", "{root}/nowhere.pt"], ["nowhere.pt: no such checkpoint"]),
        (["{made}", "{root}/fewer.pt"], ["fewer.pt: has 3 classes", "an ensemble needs the same"]),
        (["{made}", "{root}/elsewhere.pt"], ["elsewhere.pt: was trained on digits", "--data"]),
        (["{root}/nan.pt"], ["nan.pt: the network's outputs are not finite"]),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(made, data, nxt, tmp_path, arguments, parts):
    good = checkpoint(data)
    (tmp_path / "typo.txt").write_text("red\nbleu\n")
    save(tmp_path / "fewer.pt", checkpoint(data, NAMES[:3]))
    save(tmp_path / "elsewhere.pt", dataclasses.replace(good, data="digits"))
    broken = knowing()
    broken["fc.bias"][0] = float("nan")
    save(tmp_path / "nan.pt", checkpoint(data, raw=broken))
    result = nxt("eval", *(text.format(made=made, root=tmp_path) for text in arguments))
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("nxt: ") and result.err.count("\n") == 1
    assert all(part in result.err for part in parts), result.err
    assert not (tmp_path / "nowhere").exists()
