"""Weights from elsewhere are measured, predicted with, exported and loaded as those that nxt trained.

Expected outputs are those of torchvision's and timm's networks, with torchvision's transforms, on the same images.
"""

import dataclasses

import numpy as np
import pytest
import timm
import torch
import torchvision
from near import assert_near
from PIL import Image
from torch import nn
from torchvision.models import ResNeXt50_32X4D_Weights

import nxt
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.config import dump_yaml
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import CheckpointError, ConfigError, DataError, NxtError
from nxt.inference.outputs import with_outputs_named
from nxt.models.network import build
from nxt.models.published import imagenet_classes
from nxt.train.checkpoint import Checkpoint, read, save
from nxt.train.recipe import Recipe
from nxt.train.trained import open_trained

SMALL = ArchSpec(stem="cifar", stem_width=4, depths=(1,), widths=(16,), base_width=(4,))
FRUIT = ("apple", "pear", "plum")


def stirred(network, seed=0):
    """Give batch norms, too, values of their own; in evaluation mode."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5)
    return network.eval()


def images(root, names=FRUIT, size=(256, 256), count=2):
    """Write images of noise, a folder for each class, and return what `data` takes."""
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return f"folder:{root}"


def expected(network, transform, root):
    """The logits of a reference network for all images of a folder, in order."""
    files = sorted(root.rglob("*.png"))
    with torch.no_grad():
        return network(torch.stack([transform(Image.open(file)) for file in files]))


def written(spec, path):
    path.write_text(dump_yaml(spec.to_dict()))
    return path


def file_of(spec, path, classes=3, seed=0):
    torch.manual_seed(seed)
    torch.save(build(spec, classes).state_dict(), path)
    return path


def trained(spec, weights):
    """A checkpoint of nxt with weights from elsewhere."""
    recipe = Recipe(epochs=1, batch=2, lr=0.1)
    return dataclasses.replace(open_trained(spec, weights), origin="", data=DataRef("digits"), recipe=recipe)


@pytest.fixture
def small(tmp_path):
    """A network's file, and weights of it for three classes."""
    return written(SMALL, tmp_path / "small.yaml"), file_of(SMALL, tmp_path / "w.pth")


# Outputs


def test_torchvision_s_weights_give_torchvision_s_outputs(tmp_path, monkeypatch):
    """A folder of some of ImageNet's classes by name, below val/ alone, as downloaded in torch's cache."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    theirs, published = stirred(torchvision.models.resnext50_32x4d()), ResNeXt50_32X4D_Weights.IMAGENET1K_V1
    torch.save(theirs.state_dict(), cache / published.url.rpartition("/")[2])
    images(tmp_path / "imagenet" / "val", ("crane bird", "goldfish", "tench"), count=1)
    told = []
    measured = nxt.evaluate(
        "resnext50_32x4d", f"folder:{tmp_path / 'imagenet'}", weights="torchvision:IMAGENET1K_V1", note=told.append
    )
    [model], logits = measured.models, expected(theirs, published.transforms(), tmp_path / "imagenet")
    assert_near(torch.from_numpy(model.predictions.log_probabilities), logits.log_softmax(1))
    assert model.predictions.labels.tolist() == [134, 1, 0]
    said = {"weights": "torchvision:IMAGENET1K_V1", "epoch": None, "size": 224, "crop": 0.875, "images": 3}
    assert {key: measured.rows[0][key] for key in said} == said
    assert told == []
    network = nxt.load("resnext50_32x4d", "torchvision:IMAGENET1K_V1")
    file = tmp_path / "imagenet" / "val" / "tench" / "0.png"
    assert_near(network(network.transform(Image.open(file))[None]), logits[2:])
    assert network.classes == imagenet_classes()


def test_timm_s_training_checkpoints_give_timm_s_outputs(tmp_path):
    theirs = stirred(timm.create_model("skresnext50_32x4d", pretrained=False, layers=[1, 1, 1, 1], num_classes=3))
    spec = written(parse_name("skresnext50_32x4d").replace(depths=(1, 1, 1, 1)), tmp_path / "sk.yaml")
    averaged = {f"module.{key}": value.clone() for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": stirred(theirs, 1).state_dict(), "state_dict_ema": averaged}, tmp_path / "w.pth.tar")
    theirs.load_state_dict({key.removeprefix("module."): value for key, value in averaged.items()})
    data = images(tmp_path / "val", ("0", "1", "2"), size=(80, 72))
    measured = nxt.evaluate(spec, data, weights=tmp_path / "w.pth.tar", size=64, crop=64 / 72)
    transform = torchvision.transforms._presets.ImageClassification(crop_size=64, resize_size=72)
    logits = expected(theirs, transform, tmp_path / "val")
    assert_near(torch.from_numpy(measured.predictions.log_probabilities), logits.log_softmax(1))
    assert measured.predictions.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("options", [{"views": "ten"}, {"views": "dense", "scales": (32, 40)}, {"size": 40, "crop": 1}])
def test_each_view_is_that_of_a_trained_network_with_these_weights(small, tmp_path, options):
    """A checkpoint of nxt with the same weights and preprocessing gives the same figures."""
    spec, weights = small
    images(tmp_path / "mine" / "val", ("0", "1", "2"), size=(48, 40))
    save(tmp_path / "a.pt", trained(spec, weights))
    ours = nxt.evaluate(tmp_path / "a.pt", f"folder:{tmp_path / 'mine'}", **options)
    theirs = nxt.evaluate(spec, f"folder:{tmp_path / 'mine'}", weights=weights, **options)
    np.testing.assert_array_equal(ours.predictions.log_probabilities, theirs.predictions.log_probabilities)
    assert len(theirs.images) == 6 and theirs.rows[0]["views"] == options.get("views", "center")


def test_an_ensemble_takes_weights_for_each_or_one_for_all(small, tmp_path):
    spec, first = small
    second = file_of(SMALL, tmp_path / "v.pth", seed=1)
    data = images(tmp_path / "val", ("0", "1", "2"), size=(40, 32))
    measured = nxt.evaluate([spec, spec], data, weights=[first, second], device="cpu")
    assert [row["weights"] for row in measured.rows] == [str(first), str(second)]
    alone = [nxt.evaluate(spec, data, weights=one).predictions.log_probabilities for one in (first, second)]
    np.testing.assert_allclose(np.exp(measured.ensemble.log_probabilities), np.exp(alone).mean(0), rtol=1e-4)
    assert [row["weights"] for row in nxt.evaluate([spec, spec], data, weights=first).rows] == [str(first)] * 2
    with pytest.raises(ConfigError, match="`weights`: 3 for 2 networks; give one for all, or one each, in their order"):
        nxt.evaluate([spec, spec], data, weights=[first, first, first])


def test_beside_a_checkpoint_of_nxt_the_outputs_have_its_classes(small, tmp_path):
    spec, weights = small
    save(tmp_path / "a.pt", trained(spec, weights))
    data = images(tmp_path / "val", ("0", "2"), size=(40, 32), count=3)
    measured = nxt.evaluate([tmp_path / "a.pt", spec], data, weights=["raw", weights])
    ours, theirs = measured.models
    assert (ours.weights, theirs.weights) == ("raw", str(weights))
    np.testing.assert_array_equal(ours.predictions.log_probabilities, theirs.predictions.log_probabilities)


# Classes


def known(spec=SMALL, classes=FRUIT, **changes):
    return Checkpoint(
        spec=spec, classes=classes, data=DataRef("folder"), identity="", seed=0, recipe=None, accuracies={},
        preprocess=None, state={"epoch": 0, "weights": {}}, origin="w.pth", **changes,
    )  # fmt: skip


def source_of(*classes):
    return dataclasses.replace(open_source(DataRef("digits")), name="folder:val", classes=classes)


WNIDS = tuple(f"n{number:08}" for number in range(0, 3000, 3))
NUMBERS = tuple(map(str, range(1000)))


@pytest.mark.parametrize(
    ("has", "found", "listed", "named"),
    [
        (FRUIT, ("pear", "plum"), (), FRUIT),
        (imagenet_classes(), ("crane bird", "tench"), (), imagenet_classes()),
        (imagenet_classes(), WNIDS, (), WNIDS),
        (NUMBERS, tuple(reversed(WNIDS)), (), WNIDS),
        (imagenet_classes(), WNIDS[5:9], WNIDS, WNIDS),
        (("0", "1", "2"), ("a", "c"), ("c", "b", "a"), ("c", "b", "a")),
        (FRUIT, ("pear", "plum"), ("plum", "pear"), FRUIT),  # which of them to judge on
        (FRUIT, ("pear",), tuple(reversed(FRUIT)), FRUIT),
    ],
)
def test_outputs_are_named_as_listed_as_known_or_by_wnids(has, found, listed, named, tmp_path):
    order = tmp_path / "order.txt" if listed else None
    if order:
        order.write_text("\n".join(listed))
    [checkpoint] = with_outputs_named([known(classes=has)], source_of(*found), order)
    assert checkpoint.classes == named


@pytest.mark.parametrize(
    ("has", "found", "listed", "message"),
    [
        (NUMBERS, WNIDS[:10], (), "which of the 1000 outputs of w.pth are its 10 classes, such as 'n00000000'; give"),
        (
            FRUIT,
            ("apple", "fig"),
            (),
            "which of the 3 outputs of w.pth are its 2 classes, such as 'fig'; give the names",
        ),
        (FRUIT, ("a", "b"), ("a", "b"), "in order, one a line, with `classes` FILE (which has 2)"),
    ],
)
def test_what_nothing_tells_is_asked_for(has, found, listed, message, tmp_path):
    order = tmp_path / "order.txt" if listed else None
    if order:
        order.write_text("\n".join(listed))
    with pytest.raises(DataError) as error:
        with_outputs_named([known(classes=has)], source_of(*found), order)
    assert message in str(error.value) and str(error.value).startswith("folder:val: nothing tells")


def test_a_file_of_the_order_is_no_choice_of_classes(small, tmp_path):
    spec, weights = small
    data = images(tmp_path / "val", size=(40, 32))
    (tmp_path / "order.txt").write_text("plum\nfig\napple\n")
    with pytest.raises(DataError, match=r"1 of its 3 classes are none of the checkpoint's 3, such as 'pear'"):
        nxt.evaluate(spec, data, weights=weights, classes=tmp_path / "order.txt")
    (tmp_path / "order.txt").write_text("plum\npear\napple\n")
    measured = nxt.evaluate(spec, data, weights=weights, classes=tmp_path / "order.txt")
    assert measured.predictions.labels.tolist() == [2, 2, 1, 1, 0, 0]
    assert measured.rows[0]["classes"] == 3 and "accuracy_kway" not in measured.rows[0]


# What is taken for granted, and other commands


def test_what_a_file_does_not_say_is_told(small, tmp_path):
    told = []
    checkpoint = open_trained(*small, note=told.append)
    assert told == [
        f"note: {small[1]} does not say how images become its input; taken as usual: the middle 32 px of 32, bilinear, "
        "ImageNet's mean and deviation"
    ]
    assert (checkpoint.classes, checkpoint.origin, checkpoint.better) == (("0", "1", "2"), str(small[1]), "raw")
    assert open_trained("resnet18", file_of(parse_name("resnet18"), tmp_path / "r.pth", 1000)).preprocess.resized == 256


def test_it_can_be_predicted_with_exported_and_read_again(small, tmp_path):
    spec, weights = small
    images(tmp_path / "photos", ("a",), size=(40, 32))
    found = nxt.predict(spec, tmp_path / "photos", weights=weights)
    assert found.network == {
        "checkpoint": str(spec), "name": SMALL.name, "epoch": None, "weights": str(weights), "size": 32,
    }  # fmt: skip
    exported = nxt.export(spec, "safetensors", weights=weights)
    assert (exported.path, exported.epoch, exported.kind) == (tmp_path / "small.safetensors", None, str(weights))
    again = read(exported.path)
    assert (again.origin, again.recipe, again.classes) == (str(weights), None, ("0", "1", "2"))
    np.testing.assert_array_equal(nxt.predict(exported.path, tmp_path / "photos").logits, found.logits)
    with pytest.raises(ConfigError, match=r"`data`: .* has weights from elsewhere; say on what to measure it"):
        nxt.evaluate(exported.path)
    with pytest.raises(DataError, match="int8 is calibrated on images of the training, which weights from elsewhere"):
        nxt.export(spec, "onnx", weights=weights, precision="int8")
    hub = nxt.export(spec, "hub", weights=weights)
    assert f"Weights of {weights}." in (hub.path / "README.md").read_text()


@pytest.mark.parametrize(
    ("given", "weights", "kind", "message"),
    [
        ("{spec}", "nothing.pth", CheckpointError, "`weights` nothing.pth: no such file"),
        (
            "resnet18",
            None,
            CheckpointError,
            "resnet18: a network without weights; give some with `weights` torchvision",
        ),
        ("resnet18", "raw", CheckpointError, "resnet18: a network without weights"),
        ("resnet17", "{w}", NxtError, "'resnet17': no network of depth 17; known are"),
        ("{w}", "{w}", ConfigError, "w.pth' is not one of raw, ema: "),
        ("{w}", None, CheckpointError, "w.pth: not a checkpoint of nxt; if it holds weights of a network, name the"),
        ("resnext29_8x64d_cifar", "torchvision", CheckpointError, "torchvision publishes no weights of resnext29"),
        ("resnet20", "{w}", CheckpointError, "w.pth: not the weights of resnet20: "),
        ("{spec}", "{headless}", CheckpointError, "headless.pth: has no last layer (fc.weight and fc.bias), so it"),
        ("{spec}", "{part}", CheckpointError, "bn1.weight (4) is missing in the file"),
        ("{spec}", "{text}", CheckpointError, "text.pth: holds more than tensors and plain data, or is no checkpoint"),
    ],
)
def test_what_cannot_be_opened_is_told(given, weights, kind, message, small, tmp_path):
    spec, path = small
    state = torch.load(path)
    torch.save({key: value for key, value in state.items() if "fc" not in key}, tmp_path / "headless.pth")
    torch.save({key: value for key, value in state.items() if key != "bn1.weight"}, tmp_path / "part.pth")
    (tmp_path / "text.pth").write_text("no weights")
    files = {name: tmp_path / f"{name}.pth" for name in ("w", "headless", "part", "text")} | {"spec": spec}
    with pytest.raises(kind) as error:
        nxt.load(given.format(**files), weights and weights.format(**files))
    assert message in str(error.value) and "\n" not in str(error.value)
