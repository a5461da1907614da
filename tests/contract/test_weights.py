"""Weights from elsewhere: what is loaded, adapted, left new and refused.

The reference networks are torchvision's and timm's with random weights: their state dicts, as those libraries write
them, give ours equal outputs.
"""

import argparse
import copy
import json
import pickle

import pytest
import safetensors.torch
import timm
import timm.models
import torch
import torchvision
from near import assert_near
from torch import nn

from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import ZOO
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError
from nxt.models.heads import freeze_norms
from nxt.models.network import build
from nxt.models.published import find_weights, published
from nxt.models.weights import load_weights, read_weights
from nxt.train.checkpoint import Checkpoint, save
from nxt.train.recipe import Recipe

SPEC = ArchSpec(stem="cifar", stem_width=8, depths=(1, 1), widths=(16, 32), cardinality=2, base_width=4)
PREFIXES = ("model", "net", "network", "backbone", "model.backbone")
DEEP = SPEC.replace(stem="deep", radix=2)
REFERENCES = {
    "torchvision resnet50": "resnet50",
    "torchvision resnext50_32x4d": "resnext50_32x4d",
    "timm resnext50_32x4d": "resnext50_32x4d",
    "timm skresnext50_32x4d": "skresnext50_32x4d",
    "timm resnest26d": "resnest26",
    "timm resnest50d": "resnest50",
    "timm resnest50d_4s2x40d": "resnest50_fast_4s2x40d",
}


def network(seed=0, spec=SPEC, classes=3, channels=3):
    """Builds a network whose batch norms, too, differ from freshly initialised ones."""
    torch.manual_seed(seed)
    return stirred(build(spec, classes, channels)).eval()


def stirred(made):
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5)
    return made


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[key], value) for key, value in other.items())


def checkpoint(raw, ema):
    return Checkpoint(
        spec=SPEC, classes=("a", "b", "c"), data=DataRef("digits"), identity="", seed=0,
        preprocess=Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3), recipe=Recipe(epochs=1, batch=2, lr=0.1),
        accuracies={"raw": raw, "ema": ema},
        state={"epoch": 1, "weights": {"raw": network(1).state_dict(), "ema": network(2).state_dict()}},
    )  # fmt: skip


# Reference networks


@pytest.mark.parametrize("name", REFERENCES)
def test_files_of_reference_networks_give_their_outputs(name, tmp_path):
    library, _, theirs_name = name.partition(" ")
    torch.manual_seed(1)
    made = timm.create_model(theirs_name) if library == "timm" else torchvision.models.get_model(theirs_name)
    theirs = stirred(made).eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = copy.deepcopy(theirs).double()(images)
    zipped, safe = tmp_path / "w.pth", tmp_path / "w.safetensors"
    for path in (zipped, safe):
        torch.save(theirs.state_dict(), path) if path is zipped else safetensors.torch.save_model(theirs, path)
        ours = build(REFERENCES[name])
        report = load_weights(ours, read_weights(path), str(path))
        path.unlink()  # 100 MB
        assert len(report.loaded) == len(theirs.state_dict()) and not report.adapted and not report.fresh
        with torch.no_grad():
            assert_near(ours.eval().double()(images), expected)
    assert expected.std() > 0.01 * expected.abs().max()


# Files


def legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [torch.save, legacy, safetensors.torch.save_file])
def test_a_state_dict_is_read_from_each_format(write, tmp_path):
    path = tmp_path / ("w.safetensors" if write is safetensors.torch.save_file else "w.pth")
    write(network().state_dict(), path)
    assert same(read_weights(path), network().state_dict())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "arch": "resnet50"},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, model="resnet50")},
        lambda state: {"state_dict": network(9).state_dict(), "state_dict_ema": state},
        lambda state: {"model": network(9).state_dict(), "model_ema": state},
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
        lambda state: {"state_dict": {f"module._orig_mod.{key}": value for key, value in state.items()}},
        *(lambda state, key=key: {key: state, "epoch": 1} for key in ("model_state_dict", "net", "params")),
        lambda state: {"params": network(9).state_dict(), "params_ema": state},
        *(lambda state, at=at: {f"{at}.{key}": value for key, value in state.items()} for at in PREFIXES),
        lambda state: {"n_averaged": torch.tensor(5)} | {f"module.{key}": value for key, value in state.items()},
    ],
    ids=[
        "state_dict", "model", "args", "timm's EMA", "torchvision's EMA", "module.", "_orig_mod.", "both",
        "model_state_dict", "net", "params", "params_ema", *(f"{at}." for at in PREFIXES), "averaged",
    ],
)  # fmt: skip
def test_wrappers_and_prefixes_are_taken_off(wrap, tmp_path):
    torch.save(wrap(network().state_dict()), tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth"), network().state_dict())


def test_files_of_timm_s_saver_are_read(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    from timm.utils import CheckpointSaver

    saver = CheckpointSaver(model, optimizer, args=argparse.Namespace(model="x"), checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(epoch=1, metric=0.5)
    assert same(read_weights(tmp_path / "last.pth.tar"), model.state_dict())


@pytest.mark.parametrize(
    ("raw", "ema", "kind", "expected"),
    [(0.6, 0.5, None, 1), (0.5, 0.6, None, 2), (0.5, 0.6, "raw", 1), (0.6, 0.5, "ema", 2)],
)
def test_a_checkpoint_of_nxt_gives_the_better_weights_or_those_asked_for(raw, ema, kind, expected, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    save(tmp_path / "run" / "checkpoints" / "last.pt", checkpoint(raw, ema))
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.pt"):
        assert same(read_weights(path, kind), network(expected).state_dict())


def test_weights_of_a_kind_that_is_not_there_are_refused(tmp_path):
    torch.save({"model": network().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: has no ema weights, only raw"):
        read_weights(tmp_path / "w.pth", "ema")


class Trap:
    def __reduce__(self):
        return print, ("the trap was sprung",)


@pytest.mark.parametrize("content", [Trap(), {"state_dict": {}, "args": Trap()}, SPEC])
@pytest.mark.parametrize("write", [torch.save, legacy, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_pickles_that_would_run_code_are_refused(write, content, tmp_path, capsys):
    write(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: holds more than tensors and plain data"):
        read_weights(tmp_path / "w.pth")
    assert capsys.readouterr().out == ""


def test_a_whole_pickled_network_is_refused(tmp_path):
    torch.save(network(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content", [{}, {"epoch": 3}, {"state_dict": {}}, {"state_dict": {"a": 1}, "b": torch.ones(1)}]
)
def test_files_without_weights_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"w\.pth: holds no weights by name"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [[torch.ones(1)], torch.ones(1)])
def test_files_of_something_else_are_refused(content, tmp_path):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="nor weights by name"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["an exported program", "a TorchScript file", "an ONNX file"])
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_a_whole_network_is_called_what_it_is(kind, tmp_path):
    model, images, path = nn.Linear(2, 2), torch.ones(1, 2), tmp_path / ("w.onnx" if "ONNX" in kind else "w.pt")
    if kind == "an exported program":
        torch.export.save(torch.export.export(model, (images,)), tmp_path / "w.pt2")
        (tmp_path / "w.pt2").rename(path)
    elif kind == "an ONNX file":
        path.write_bytes(b"\x08\x08\x12\x07pytorch")
    else:
        torch.jit.save(torch.jit.trace(model, images), path)
    with pytest.raises(CheckpointError, match=rf"w\.[a-z]+: {kind}.*, not a checkpoint"):
        read_weights(path)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.9999])
def test_truncated_files_are_refused(name, share, tmp_path):
    path = tmp_path / name
    (torch.save if name == "w.pth" else safetensors.torch.save_file)(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match=r"damaged|holds more than tensors"):
        read_weights(path)


@pytest.mark.parametrize("name", ["no.pth", "no.safetensors", ""])
def test_a_missing_file_is_said_to_be(name, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_weights(tmp_path / name)


# Loading


def test_weights_of_the_same_network_replace_all_of_it():
    mine, state = network(1), network(2).state_dict()
    report = load_weights(mine, state, "w.pth")
    assert same(mine.state_dict(), state)
    assert report.loaded == tuple(state)
    assert str(report) == f"{len(state)} tensors from w.pth"


@pytest.mark.parametrize("headless", [False, True])
def test_a_head_for_other_classes_or_none_is_left_new(headless):
    mine, state = network(1, classes=7), network(2).state_dict()
    if headless:
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    before = copy.deepcopy(mine.state_dict())
    report = load_weights(mine, state, "w.pth")
    for key, value in mine.state_dict().items():
        assert torch.equal(value, (before if key.startswith("fc.") else state)[key]), key
    assert report.fresh == ("fc.weight", "fc.bias")
    assert set(report.loaded) == set(state) - set(report.fresh)
    assert str(report) == f"{len(report.loaded)} tensors from w.pth, fc.weight, fc.bias left new"


@pytest.mark.parametrize("spec", [SPEC, DEEP, SPEC.replace(stem="imagenet")])
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_a_stem_is_adapted_to_other_channels_as_timm_does(spec, channels):
    mine, state = network(1, spec, channels=channels), network(2, spec).state_dict()
    report = load_weights(mine, state, "w.pth")
    key = "conv1.0.weight" if spec is DEEP else "conv1.weight"
    assert report.adapted == (key,)
    expected = timm.models.adapt_input_conv(channels, state[key])
    torch.testing.assert_close(mine.state_dict()[key], expected)
    if channels == 1:  # a grey image gives what it gave as RGB
        grey, rgb = torch.randn(2, 1, 32, 32), network(2, spec)
        with torch.no_grad():
            assert_near(mine(grey), rgb(grey.repeat(1, 3, 1, 1)))


def test_half_precision_weights_are_loaded_in_the_network_s_precision():
    state = {
        key: value.half() if value.is_floating_point() else value for key, value in network(2).state_dict().items()
    }
    mine = network(1)
    load_weights(mine, state, "w.pth")
    assert mine.fc.weight.dtype == torch.float32
    assert torch.equal(mine.fc.weight, state["fc.weight"].float())


def test_files_without_the_counters_of_batch_norms_load():
    state = {key: value for key, value in network(2).state_dict().items() if not key.endswith("num_batches_tracked")}
    mine = network(1)
    report = load_weights(mine, state, "w.pth")
    assert set(report.loaded) == set(state)
    assert all(torch.equal(mine.state_dict()[key], value) for key, value in state.items())


def test_counters_of_batch_norms_do_not_hinder_those_that_are_frozen_and_have_none():
    state, mine = network(2).state_dict(), network(1)
    freeze_norms(mine)
    load_weights(mine, state, "w.pth")
    assert len(mine.state_dict()) < len(state)
    assert all(torch.equal(value, state[key]) for key, value in mine.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {**state, "bn1.weight": torch.ones(9)},
            r"^w\.pth: not the weights of .*: bn1\.weight is 9 in the file and 8 in the network$",
        ),
        (
            lambda state: {**state, "bn1.weight": torch.ones(9), "conv1.weight": torch.ones(8, 5, 3, 3)},
            r"conv1\.weight is 8x5x3x3 in the file and 8x3x3x3 in the network, and 1 more such$",
        ),
        (
            lambda state: {key: value for key, value in state.items() if not key.startswith("bn1.running")},
            r"bn1\.running_mean \(8\) is missing in the file, and 1 more such$",
        ),
        (
            lambda state: {key: value for key, value in state.items() if key != "fc.weight"},
            r"fc\.weight \(3x32\) is missing in the file$",
        ),
        (lambda state: {**state, "head.weight": torch.ones(2, 2)}, r"head\.weight \(2x2\) is not in the network$"),
        (lambda state: {**state, "fc.weight": torch.ones(5, 6)}, r"fc\.weight is 5x6 in the file and 3x32"),
        (lambda state: {**state, "fc.bias": torch.tensor(1.0)}, r"fc\.bias is one number in the file and 3 in"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(change, message):
    mine = network(1)
    before = copy.deepcopy(mine.state_dict())
    with pytest.raises(CheckpointError, match=message):
        load_weights(mine, change(network(2).state_dict()), "w.pth")
    assert same(mine.state_dict(), before)


@pytest.mark.parametrize(
    ("name", "classes", "said"),
    [
        ("resnet50", 1000, "resnet50"),
        ("resnext50_32x4d", 7, "resnext50_32x4d"),
        ("resnest50", 10, "resnest50_fast_2s1x64d or resnest50"),  # which differ in nothing that has weights
        ("resnext29_8x64d_cifar", 10, "resnext29_8x64d_cifar"),
    ],
)
def test_weights_of_another_network_of_the_zoo_are_recognised(name, classes, said):
    with torch.device("meta"):
        state = build(name, classes).state_dict()
    with pytest.raises(CheckpointError, match=rf", and \d+ more such; they are those of {said}$"):
        load_weights(network(), state, "w.pth")


# Files with what belongs to them


def test_a_file_alone_says_neither_preprocessing_nor_classes(tmp_path):
    torch.save(network().state_dict(), tmp_path / "w.pth")
    found = find_weights(SPEC, tmp_path / "w.pth")
    assert (found.name, found.preprocess, found.classes) == (str(tmp_path / "w.pth"), {}, ())
    assert same(found.state, network().state_dict())


def test_a_file_called_as_torchvision_publishes_it_is_known_by_its_name(tmp_path):
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(network().state_dict(), path)  # what is in it, only loading tells
    found = find_weights(ZOO["resnet18"].spec, path)
    assert (found.preprocess["crop"], found.classes[0], len(found.classes)) == (0.875, "tench", 1000)
    assert find_weights(ZOO["resnet34"].spec, path).preprocess == {}


def test_timm_s_description_beside_a_file_is_read(tmp_path):
    model = timm.create_model("resnet18", num_classes=3)
    told = {
        "input_size": [3, 160, 160],
        "crop_pct": 0.95,
        "interpolation": "bicubic",
        "mean": [0.5] * 3,
        "std": [1] * 3,
    }
    safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = tmp_path / "config.json"
    for content in (told, {"architecture": "resnet18", "pretrained_cfg": told, "label_names": ["a", "b", "c"]}):
        config.write_text(json.dumps(content))
        found = find_weights(ZOO["resnet18"].spec, tmp_path / "model.safetensors")
        theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=told))
        preprocess = Preprocess(**found.preprocess)
        assert (preprocess.size, preprocess.resized, preprocess.interpolation) == (
            160,
            theirs.transforms[0].size,
            "bicubic",
        )
        assert (preprocess.mean, preprocess.std) == ((0.5,) * 3, (1.0,) * 3)
        assert found.classes == tuple(content.get("label_names", ()))
    for content in ("{", "[]", "{}", json.dumps({**told, "crop_pct": 1000})):
        config.write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json: not timm's description of a network"):
            find_weights(ZOO["resnet18"].spec, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing.pth", "`weights` nothing.pth: no such file; for published"), ("torchvision:V9", "no weights 'V9'")],
)
def test_weights_that_are_not_there_are_told(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        find_weights(ZOO["resnet18"].spec, name)


# torchvision's published weights


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Returns torch's cache of downloads: empty, and without a network connection."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("version", "file", "crop"),
    [("DEFAULT", "resnext50_32x4d-1a0047aa.pth", 224 / 232), ("IMAGENET1K_V1", "resnext50_32x4d-7cdf4587.pth", 0.875)],
)
def test_published_weights_come_with_their_preprocessing(version, file, crop, cache):
    theirs = torchvision.models.resnext50_32x4d().state_dict()
    torch.save(theirs, cache / file)
    found = published(ZOO["resnext50_32x4d"].spec, version)
    (cache / file).unlink()  # 100 MB
    assert same(found.state, theirs)
    assert found.name == f"torchvision:IMAGENET1K_V{2 if version == 'DEFAULT' else 1}"
    preprocess = Preprocess(**found.preprocess)
    assert (preprocess.size, preprocess.crop, preprocess.interpolation) == (224, crop, "bilinear")
    assert preprocess.resized == (232 if version == "DEFAULT" else 256)
    assert preprocess.mean == (0.485, 0.456, 0.406) and preprocess.std == (0.229, 0.224, 0.225)


def test_every_published_network_has_preprocessing_that_nxt_knows():
    from torchvision.models import get_model_weights, list_models

    names = [name for name in list_models() if name in ZOO]
    assert len(names) == 8
    for name in names:
        for weights in get_model_weights(name):
            made = weights.transforms()
            assert made.interpolation.value in ("bilinear", "bicubic")
            assert len(made.crop_size) == len(made.resize_size) == 1


@pytest.mark.parametrize("name", ["resnest50", "resnext50_2x40d", "resnext29_8x64d_cifar"])
def test_networks_that_torchvision_does_not_publish_are_refused_with_those_it_does(name):
    with pytest.raises(CheckpointError, match=rf"no weights of {name}; it does of resnet101, .*, resnext50_32x4d$"):
        published(ZOO[name].spec)


def test_an_unknown_version_is_refused_with_those_there_are():
    with pytest.raises(CheckpointError, match=r"no weights 'V9' of resnet50; it has IMAGENET1K_V1, IMAGENET1K_V2, DEF"):
        published(ZOO["resnet50"].spec, "V9")


def test_without_a_network_the_message_says_where_the_file_is(cache, capsys):
    with pytest.raises(CheckpointError, match=r"cannot be had from https://.*/resnet50-11ad3fa6\.pth \(.*\); download"):
        published(ZOO["resnet50"].spec)
    assert not list(cache.iterdir())


def test_a_damaged_or_hostile_download_is_refused(cache, capsys):
    for content in (b"nothing", pickle.dumps(Trap())):
        (cache / "resnet50-11ad3fa6.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"weights of resnet50 cannot be had from"):
            published(ZOO["resnet50"].spec)
    assert capsys.readouterr().out == ""
