"""Folders for timm and the Hugging Face Hub: timm opens them, and computes what the network computes."""

import json
from dataclasses import replace

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
import yaml
from near import assert_near
from PIL import Image
from torch import nn

import nxt
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.transforms import network_input
from nxt.errors import ConfigError, RunError
from nxt.inference.export import export
from nxt.inference.hub import crop_pct, timm_model
from nxt.models.network import build
from nxt.train.checkpoint import Checkpoint
from nxt.train.recipe import Recipe

CLASSES = ("cat", "dog", "owl")
SHAPE = {"depths": (1, 2, 1, 1), "widths": (64, 128, 256, 512)}
SPECS = {
    "ResNeXt": ArchSpec(**SHAPE, cardinality=4, base_width=4),
    "ResNeSt": ArchSpec(**SHAPE, stem="deep", stem_width=32, base_width=16, radix=2, avd=True, avg_down=True),
    "fast, sigmoid": ArchSpec(
        **SHAPE, stem="deep", cardinality=2, base_width=16, radix=1, avd=True, avd_first=True, avg_down=True
    ),
    "pooling alone": ArchSpec(**SHAPE, cardinality=2, base_width=8, avd=True, avg_down=True),
    "uneven widths": ArchSpec(depths=(1, 1, 1, 1), widths=(96, 96, 192, 480), cardinality=4, base_width=12),
}
TINY = parse_name("resnext_1-1-1_w8_1x8d_cifar")


def checkpoint(spec, **changes):
    torch.manual_seed(0)
    network = build(spec, len(CLASSES))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    values = {
        "spec": spec, "classes": CLASSES, "data": DataRef("folder", "/home/me/pets"), "identity": "x", "seed": 7,
        "preprocess": Preprocess(
            size=40, crop=0.875, interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)
        ),
        "recipe": Recipe(epochs=3, batch=8, lr=0.1), "accuracies": {"raw": 0.625}, "metrics": [{"loss": 0.25}],
        "state": {"epoch": 2, "weights": {"raw": network.state_dict()}},
    }  # fmt: skip
    return Checkpoint(**values | changes)


def opened(folder, **options):
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **options).eval()


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_timm_opens_a_folder_and_computes_the_same(spec, tmp_path):
    made = checkpoint(spec)
    done = export(made, "timm", tmp_path / "a_timm")
    assert sorted(path.name for path in done.path.iterdir()) == ["config.json", "model.safetensors"]
    assert done.bytes == sum(path.stat().st_size for path in done.path.iterdir())
    images = torch.randn(3, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, expected = opened(done.path)(images), made.network()(images)
    assert_near(found, expected)
    assert expected.std() > 0.001 * expected.abs().max()


NAMED = {
    "resnet50": "resnet50", "resnext50_32x4d": "resnext50_32x4d", "resnext101_32x8d": "resnext101_32x8d",
    "resnest14": "resnest14d", "resnest50": "resnest50d", "resnest101": "resnest101e", "resnest269": "resnest269e",
    "resnest50_fast_4s2x40d": "resnest50d_4s2x40d", "resnest50_fast_1s4x24d": "resnest50d_1s4x24d",
    "resnet18": "resnet18", "resnet34": "resnet34", "seresnet18": "seresnet18", "seresnet34": "seresnet34",
    "seresnet50": "seresnet50", "seresnext50_32x4d": "seresnext50_32x4d", "seresnext101_32x4d": "seresnext101_32x4d",
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [*NAMED, "seresnext_1-2-1-1_w32_2x16d", "resnext50_64x4d", "resnest50_fast_0s1x64d", "resnext_3-5-7-2_w32_2s16x8d"],
)
def test_the_zoo_s_networks_have_timm_s_names_and_others_its_arguments(name):
    model, arguments = timm_model(parse_name(name))
    assert (model == NAMED[name] and not arguments) if name in NAMED else arguments
    with torch.device("meta"):
        theirs, ours = timm.create_model(model, **arguments), build(name)
    assert {key: value.shape for key, value in theirs.state_dict().items()} == {
        key: value.shape for key, value in ours.state_dict().items()
    }


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (TINY, "a CIFAR stem"),
        (ArchSpec(**SHAPE, stem_width=32), "a 7x7 stem of 32 channels"),
        (ArchSpec(depths=(1, 1), widths=(64, 128)), "2 stages"),
        (ArchSpec(**SHAPE, cardinality=(1, 1, 2, 2), base_width=16), "stages with groups of their own"),
        (ArchSpec(**SHAPE, preact=True), "pre-activation"),
        (ArchSpec(**SHAPE, shortcut=False), "no shortcuts"),
        (ArchSpec(**SHAPE, padded=True), "padded shortcuts"),
        (ArchSpec(**SHAPE, constant=True), "constant groups"),
        (ArchSpec(**SHAPE, attention="sk"), "selective kernels"),
        (ArchSpec(**SHAPE, attention="se", avd=True), "squeeze-and-excitation and average pooling in blocks"),
        (ArchSpec(**SHAPE, block="basic"), "basic blocks of such widths"),
    ],
)
def test_what_timm_cannot_express_is_said_in_one_line(spec, why, tmp_path):
    with pytest.raises(
        RunError, match=rf"^timm has no network like .*, with {why}; write `target` safetensors or hub$"
    ):
        export(checkpoint(spec), "timm", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_the_folder_says_classes_and_preprocessing(tmp_path):
    made = checkpoint(SPECS["ResNeXt"])
    model = opened(export(made, "timm", tmp_path / "a").path)
    assert model.num_classes == 3 and model.pretrained_cfg["label_names"] == list(CLASSES)
    settings = timm.data.resolve_model_data_config(model)
    assert tuple(settings["input_size"]) == (3, 40, 40) and settings["interpolation"] == "bicubic"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((75, 55), Image.Resampling.BICUBIC)
    theirs = timm.data.create_transform(**settings)(image)
    ours = network_input(made.preprocess, image)
    level = 1 / 255 / torch.tensor(made.preprocess.std)[:, None, None]  # Pillow rounds others up than torch
    assert ((theirs - ours).abs() <= 1.01 * level).all()


@pytest.mark.parametrize(("size", "crop"), [(224, 0.875), (40, 0.875), (31, 0.9), (320, 0.909), (23, 0.77), (8, 1.0)])
def test_timm_resizes_to_the_same_side(size, crop):
    preprocess = Preprocess(size=size, crop=crop, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert int(size / crop_pct(preprocess)) == preprocess.resized


def test_another_number_of_classes_is_timm_s_affair(tmp_path):
    done = export(checkpoint(SPECS["ResNeXt"]), "timm", tmp_path / "a")
    assert opened(done.path, num_classes=7)(torch.zeros(1, 3, 40, 40)).shape == (1, 7)


@pytest.mark.parametrize(("spec", "library"), [(SPECS["ResNeSt"], "timm"), (TINY, "nxt")], ids=["timm", "nxt"])
def test_a_hub_folder_has_a_card_and_tells_nothing_private(spec, library, tmp_path):
    made = checkpoint(spec)
    done = export(made, "hub", tmp_path / "a_hub")
    assert sorted(path.name for path in done.path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    head, page = (done.path / "README.md").read_text("utf-8").removeprefix("---\n").split("---\n", 1)
    assert yaml.safe_load(head) == {
        "library_name": library, "pipeline_tag": "image-classification",
        "tags": ["image-classification", *(["timm"] if library == "timm" else []), "nxt"],
    }  # fmt: skip
    for part in (f"# {spec.name}", "62.50%", "cat, dog, owl", "resized to 46 px (bicubic", "pets", f"import {library}"):
        assert part in page
    for path in done.path.iterdir():
        assert b"/home/me" not in path.read_bytes() and b'"loss"' not in path.read_bytes()
    images = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(2))
    network = nxt.load(done.path / "model.safetensors")
    with torch.inference_mode():
        assert_near(network(images), made.network()(images))
    assert network.classes == CLASSES
    about = json.loads((done.path / "config.json").read_text())
    assert about["pretrained_cfg"]["mean"] == [0.4, 0.5, 0.6] and about["label_names"] == list(CLASSES)
    assert (library == "timm") == ("arch" not in about)


class StandIn:
    """The part of the hub's interface that is used; it keeps what it is asked."""

    asked: list

    def create_repo(self, repo_id, **options):
        if "/" not in repo_id:
            raise ValueError("Repo id must be in the form 'namespace/repo_name'\nmore")
        self.asked.append(("create", repo_id, options))
        return f"https://hub/{repo_id}"

    def upload_folder(self, *, repo_id, folder_path, allow_patterns):
        self.asked.append(("upload", repo_id, folder_path, allow_patterns))


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(StandIn, "asked", [], raising=False)
    monkeypatch.setattr(huggingface_hub, "HfApi", StandIn)
    return StandIn


def test_a_folder_is_pushed_into_a_private_repository(hub, tmp_path):
    done = export(checkpoint(TINY), "hub", tmp_path / "a", push="me/tiny")
    assert done.pushed == "https://hub/me/tiny"
    create, upload = hub.asked
    assert create == ("create", "me/tiny", {"private": True, "exist_ok": True})
    assert upload[:3] == ("upload", "me/tiny", tmp_path / "a")
    assert sorted(upload[3]) == ["README.md", "config.json", "model.safetensors"]


def test_what_the_hub_refuses_is_said_in_one_line_and_the_folder_stays(hub, tmp_path):
    with pytest.raises(RunError, match=r"a: written, but not pushed to tiny \(Repo id must be .*name'\)$"):
        export(checkpoint(TINY), "hub", tmp_path / "a", push="tiny")
    assert (tmp_path / "a" / "README.md").is_file()


def test_only_a_hub_folder_is_pushed(hub, tmp_path):
    with pytest.raises(ConfigError, match="`push`: only a folder of `target` hub can be pushed"):
        export(checkpoint(TINY), "safetensors", tmp_path / "a.safetensors", push="me/tiny")
    assert not hub.asked


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    made = checkpoint(TINY)
    (tmp_path / "photo.png").touch()
    with pytest.raises(RunError, match="holds something else; give another `out`"):
        export(made, "hub", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
    for _ in range(2):  # its own folder is replaced
        export(replace(made, accuracies={"raw": 0.75}), "hub", tmp_path / "a")
    assert "75.00%" in (tmp_path / "a" / "README.md").read_text("utf-8")
