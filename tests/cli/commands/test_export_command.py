"""`nxt export` as its user meets it."""

import json
import re

import pytest
import torch

from nxt.arch.load import parse_name
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.models.network import build
from nxt.train.checkpoint import Checkpoint, read, save
from nxt.train.recipe import Recipe

TINY = "resnext_1-1-1_w8_1x8d_cifar"


@pytest.fixture
def run_folder(tmp_path):
    """Return a run directory with one checkpoint that has raw and averaged weights."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.manual_seed(0)
    kinds = {kind: build(TINY, 10).state_dict() for kind in ("raw", "ema")}
    checkpoint = Checkpoint(
        spec=parse_name(TINY), classes=tuple("0123456789"), data=DataRef("digits"), identity="", seed=0,
        preprocess=Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3), recipe=Recipe(epochs=1, batch=2, lr=0.1),
        accuracies={"raw": 0.5, "ema": 0.25}, state={"epoch": 1, "weights": kinds},
    )  # fmt: skip
    save(folder / "checkpoints" / "last.pt", checkpoint)
    return folder


def test_a_run_is_exported_into_its_folder_under_the_network_s_name(nxt, run_folder):
    result = nxt("export", run_folder, "--to", "safetensors")
    assert result.code == 0 and result.err == ""
    path = run_folder / f"{TINY}.safetensors"
    assert result.out == (
        f"{path}: 0.1 MB, logits equal to the network on 8 training images of digits "
        f"({TINY}, epoch 1, raw weights, 8 px)\n"
    )
    assert read(path).kinds == ("raw",)


def test_a_checkpoint_is_exported_beside_itself(nxt, run_folder):
    result = nxt("export", run_folder / "checkpoints" / "last.pt", "--to", "torch", "--features")
    assert result.code == 0 and result.err == ""
    path = run_folder / "checkpoints" / "last_features.pt2"
    assert result.out.startswith(f"{path}: 0.") and "stride1, stride2, stride4 " in result.out
    assert list(torch.export.load(path).module()(torch.zeros(3, 3, 8, 8))) == ["stride1", "stride2", "stride4"]


def test_json_says_what_was_written_and_nothing_else_is_printed(nxt, run_folder):
    arguments = ("--to", "onnx", "--out", "a.onnx", "--weights", "ema", "--size", 12, "--json")
    result = nxt("export", run_folder, *arguments)
    assert result.code == 0 and result.err == ""
    said = json.loads(result.out)
    assert 0 <= said.pop("difference") < 1e-5
    assert said == {
        "checkpoint": str(run_folder), "name": TINY, "to": "onnx", "file": "a.onnx",
        "bytes": (run_folder.parent / "a.onnx").stat().st_size, "weights": "ema", "epoch": 1, "size": 12,
        "outputs": ["logits"], "images": "8 training images of digits", "precision": "fp32", "judged": None,
        "pushed": None,
    }  # fmt: skip


def test_an_exported_network_is_measured_like_the_checkpoint(nxt, run_folder):
    nxt("export", run_folder, "--to", "safetensors", "--out", "a.safetensors")
    first, again = (json.loads(nxt("eval", path, "--json").out) for path in (run_folder, "a.safetensors"))
    assert first.pop("checkpoint") != again.pop("checkpoint")
    assert first == again


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--to", "tflite"), "--to: 'tflite' is not one of onnx, torch, safetensors, timm, hub, openvino"),
        (
            ("run", "--to", "safetensors", "--features"),
            "--features: safetensors holds weights; write --to onnx, torch, openvino",
        ),
        (("run", "--to", "torch", "--weights", "best"), "--weights: 'best' is not one of raw, ema"),
        (("run", "--to", "torch", "--size", 0), "size is 0; it lies in 4..4096 pixels"),
        (("run", "--to", "torch", "--out", "no/a.pt2"), "no/a.pt2: cannot be written (No such file or directory)"),
        (("no.pt", "--to", "torch"), "no.pt: no such checkpoint"),
        (("run/checkpoints/last.pt", "--to", "torch", "--out", "run/checkpoints/last.pt"), "give another --out"),
    ],
)
def test_what_cannot_be_exported_is_said_in_one_line(nxt, run_folder, arguments, message):
    result = nxt("export", *arguments)
    assert result.code == 1 and result.out == ""
    assert result.err.count("\n") == 1 and message in result.err
    assert sorted(path.name for path in run_folder.rglob("*")) == ["checkpoints", "last.pt"]


def test_a_checkpoint_without_the_weights_asked_for_is_named(nxt, run_folder):
    nxt("export", run_folder, "--to", "safetensors", "--out", "raw.safetensors")
    result = nxt("export", "raw.safetensors", "--to", "torch", "--weights", "ema")
    assert result.code == 1
    assert result.err == "nxt: raw.safetensors: it has no ema weights, only raw\n"


def test_the_kind_of_file_has_to_be_given(nxt, run_folder):
    result = nxt("export", run_folder)
    assert result.code == 2 and "--to" in result.err


def test_fewer_bits_are_told_with_what_they_cost(nxt, run_folder):
    result = nxt("export", run_folder, "--to", "onnx", "--precision", "int8")
    assert result.code == 0 and result.err == ""
    first, second = result.out.splitlines()
    assert first.startswith(f"{run_folder / TINY}_int8.onnx: 0.1 MB, logits in fp32 ")
    form = (
        r"int8: \d\d% of the 0\.\d MB of fp32, \d+\.\d\d% before, \d+\.\d\d% after, "
        r"the same class for \d+\.\d\d% of 287 validation images; calibrated on 128 of them; "
        r"on this machine's CPU it takes \d+\.\d times as long as fp32(, and is the slower one here)?"
    )
    assert re.fullmatch(form, second), second


def test_what_a_folder_cannot_be_made_of_and_pushed_is_said_in_one_line(nxt, run_folder):
    for arguments, message in (
        (("--to", "timm"), f"nxt: timm has no network like {TINY}, with a CIFAR stem; write --to safetensors or hub\n"),
        (("--to", "onnx", "--push", "me/x"), "nxt: --push: only a folder of --to hub can be pushed\n"),
    ):
        result = nxt("export", run_folder, *arguments)
        assert (result.code, result.out, result.err) == (1, "", message)


def test_a_hub_folder_lies_in_the_run(nxt, run_folder):
    result = nxt("export", run_folder, "--to", "hub")
    assert result.code == 0 and result.out.startswith(f"{run_folder / TINY}_hub: ")
    assert (run_folder / f"{TINY}_hub" / "README.md").is_file()
