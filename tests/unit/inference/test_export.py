"""Exports: what is written gives the network's outputs, says what it is, and comes back; or nothing is written."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from near import assert_near
from torch import nn

import nxt
from nxt.arch.spec import ArchSpec
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError, ConfigError, RunError
from nxt.inference import export as exporting
from nxt.inference.agreement import TOLERANCE
from nxt.inference.export import describe, export, export_file
from nxt.models.network import build
from nxt.models.tensors import read_safetensors
from nxt.models.weights import read_weights
from nxt.train.checkpoint import Checkpoint, read, save
from nxt.train.recipe import Recipe

SPEC = ArchSpec(
    stem="cifar", stem_width=4, depths=(1, 1), widths=(16, 32), cardinality=2, base_width=4, radix=2, avd=True,
    avg_down=True,
)  # fmt: skip
CLASSES = tuple("0123456789")


def weights(seed):
    torch.manual_seed(seed)
    network = build(SPEC, len(CLASSES))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
    return network.to(memory_format=torch.channels_last).state_dict()


def make(**changes):
    values = {
        "spec": SPEC, "classes": CLASSES, "data": DataRef("digits"), "identity": "x", "seed": 7,
        "preprocess": Preprocess(size=14, crop=0.875, interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.4,) * 3),
        "recipe": Recipe(epochs=3, batch=8, lr=0.1, milestones=(0.5,)), "accuracies": {"raw": 0.5, "ema": 0.625},
        "state": {"epoch": 2, "weights": {"raw": weights(1), "ema": weights(2)}, "optimizer": {}},
    }  # fmt: skip
    return Checkpoint(**values | changes)


def images(count, size=14):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "a.onnx"
    return export(make(), "onnx", path)


@pytest.fixture(scope="module")
def program_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("torch") / "a.pt2"
    return export(make(), "torch", path, kind="raw", size=12)


# ONNX


def session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_onnx_file_gives_the_network_s_outputs_for_any_batch(onnx_file, count):
    (found,) = session_of(onnx_file.path).run(["logits"], {"images": images(count).numpy()})
    with torch.inference_mode():
        expected = make().network("ema")(images(count))
    assert_near(torch.from_numpy(found), expected)
    assert expected.std() > 0.01 * expected.abs().max()


def test_an_onnx_file_says_what_it_is(onnx_file):
    session = session_of(onnx_file.path)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(CLASSES)
    assert ArchSpec.from_dict(json.loads(about["arch"])) == SPEC
    shown = json.loads(about["preprocess"])
    assert shown == {
        "size": 14, "crop": 0.875, "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [0.4] * 3, "resized": 16,
    }  # fmt: skip
    assert about["name"] == SPEC.name and about["kind"] == "ema" and json.loads(about["accuracies"]) == {"ema": 0.625}
    assert session.get_inputs()[0].shape == ["batch", 3, 14, 14]


@pytest.mark.parametrize("target", ["onnx", "torch"])
def test_a_file_for_other_programs_tells_neither_the_log_nor_where_the_data_lay(target, tmp_path):
    made = replace(make(), data=DataRef("folder", "/home/me/clothes"), metrics=[{"epoch": 1, "loss": 0.25}])
    done = export(made, target, tmp_path / f"a{exporting.FORMATS[target].suffix}")
    extra = {"nxt.json": ""}
    if target == "onnx":
        about = session_of(done.path).get_modelmeta().custom_metadata_map
    else:
        torch.export.load(done.path, extra_files=extra)
        about = json.loads(extra["nxt.json"])
    assert about["data"] == "folder:clothes" and "metrics" not in about
    assert b"/home/me" not in done.path.read_bytes()
    if target == "onnx":  # nor where nxt is installed, as traces of calls would
        assert str(Path(nxt.__file__).parent).encode() not in done.path.read_bytes()


def test_what_was_written_is_reported(onnx_file, program_file):
    for done in (onnx_file, program_file):
        assert done.bytes == done.path.stat().st_size
        assert [path.name for path in done.path.parent.iterdir()] == [done.path.name]
        assert done.outputs == ("logits",) and done.images == "8 training images of digits"
        assert 0 <= done.difference < TOLERANCE
    assert (onnx_file.kind, onnx_file.size) == ("ema", 14)
    assert (program_file.kind, program_file.size) == ("raw", 12)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_onnx_without_its_packages_says_how_to_get_them(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(RunError, match=rf"^ONNX needs {package}: pip install 'nxt\[onnx\]'$"):
        export(make(), "onnx", tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


# Programs


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_program_gives_the_network_s_outputs_for_any_batch(program_file, count):
    program = torch.export.load(program_file.path).module()
    with torch.inference_mode():
        assert_near(program(images(count, 12)), make().network("raw")(images(count, 12)))


def test_a_program_says_what_it_is(program_file):
    extra = {"nxt.json": ""}
    torch.export.load(program_file.path, extra_files=extra)
    about = json.loads(extra["nxt.json"])
    assert about["classes"] == list(CLASSES) and ArchSpec.from_dict(about["arch"]) == SPEC
    assert about["preprocess"]["size"] == 12 and about["kind"] == "raw" and about["outputs"] == ["logits"]


# Features


@pytest.mark.parametrize("target", ["onnx", "torch"])
def test_features_come_by_stride(target, tmp_path):
    done = export(make(), target, tmp_path / "a", features=True)
    assert done.outputs == ("stride1", "stride2")
    batch = images(3)
    if target == "onnx":
        found = dict(zip(done.outputs, session_of(done.path).run(done.outputs, {"images": batch.numpy()}), strict=True))
    else:
        found = torch.export.load(done.path).module()(batch)
    network, expected = make().network("ema"), {}
    for number, name in enumerate(done.outputs, 1):
        network.get_submodule(f"layer{number}").register_forward_hook(
            lambda *call, name=name: expected.update({name: call[-1]})
        )
    with torch.inference_mode():
        network(batch)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_near(torch.as_tensor(found[name]), value)


def test_safetensors_have_no_features(tmp_path):
    with pytest.raises(ConfigError, match="`features`: safetensors holds weights"):
        export(make(), "safetensors", tmp_path / "a.safetensors", features=True)


# Safetensors


def test_a_safetensors_file_comes_back_as_a_checkpoint_without_the_training(tmp_path):
    first = make()
    done = export(first, "safetensors", tmp_path / "a.safetensors")
    assert done.difference == 0
    again = read(done.path)
    for name in ("spec", "classes", "data", "identity", "preprocess", "recipe", "seed"):
        assert getattr(again, name) == getattr(first, name)
    assert again.epoch == 2 and again.kinds == ("ema",) and again.better == "ema"
    assert again.accuracies == {"ema": 0.625}
    assert set(again.state) == {"epoch", "weights"}
    for state in (again.state["weights"]["ema"], read_weights(done.path), nxt.load(done.path).state_dict()):
        assert all(torch.equal(state[key], value) for key, value in first.state["weights"]["ema"].items())
        assert len(state) == len(first.state["weights"]["ema"])


def test_an_export_of_an_export_is_the_same(tmp_path):
    export(make(), "safetensors", tmp_path / "a.safetensors", size=20)
    export(read(tmp_path / "a.safetensors"), "safetensors", tmp_path / "b.safetensors")
    (first, said), (second, also) = (read_safetensors(tmp_path / f"{name}.safetensors") for name in "ab")
    assert said == also and first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert read(tmp_path / "b.safetensors").preprocess.size == 20


def header(change):
    """Return the header of an export, changed."""
    about = describe(make(), "ema")
    del about["name"]
    change(about)
    return {"nxt": json.dumps(about)}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "not an export of nxt"),
        ({"nxt": "{"}, "not an export of nxt"),
        ({"nxt": "[1]"}, "not an export of nxt"),
        (header(lambda about: about.update(kind="odd")), "not an export of nxt"),
        (header(lambda about: about.pop("epoch")), "not an export of nxt"),
        (header(lambda about: about.pop("classes")), "not a checkpoint of nxt.*'classes'"),
        (header(lambda about: about.update(format=99)), "format 99 is not known"),
        (header(lambda about: about.update(arch={"depths": 3})), "not a checkpoint of nxt"),
    ],
)
def test_a_safetensors_file_of_something_else_is_no_checkpoint(metadata, message, tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(CheckpointError, match=rf"a\.safetensors: .*{message}"):
        read(tmp_path / "a.safetensors")


# Anything


def test_without_the_data_random_images_are_compared(tmp_path):
    done = export(make(data=DataRef("folder", "/no/such/folder")), "safetensors", tmp_path / "a.safetensors")
    assert done.images == "8 random images"


def test_an_existing_file_is_replaced(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("old")
    export(make(), "safetensors", path)
    assert read(path).spec == SPEC
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("error", [1e-2, float("nan")])
def test_a_file_that_would_give_other_outputs_is_not_written(error, tmp_path, monkeypatch):
    true = exporting.FORMATS["torch"].write

    def wrong(*arguments):
        content, run = true(*arguments)
        return content, lambda batch: [output + error for output in run(batch)]

    monkeypatch.setitem(exporting.FORMATS, "torch", replace(exporting.FORMATS["torch"], write=wrong))
    with pytest.raises(RunError, match=r"a\.pt2: not written: its outputs would differ .* by (0\.01|nan)"):
        export(make(), "torch", tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "tflite"}, ConfigError, "`target`: 'tflite' is not one of onnx, torch, safetensors"),
        ({"kind": "swa"}, ConfigError, "`weights`: 'swa' is not one of raw, ema"),
        ({"size": 2}, ConfigError, "size is 2; it lies in 4..4096"),
    ],
)
def test_what_is_not_possible_is_refused(options, error, message, tmp_path):
    arguments = {"target": "torch", "out": tmp_path / "a", **options}
    with pytest.raises(error, match=message):
        export(make(), **arguments)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_there_are_refused(tmp_path):
    state = {"epoch": 2, "weights": {"raw": weights(1)}}
    with pytest.raises(CheckpointError, match="it has no ema weights, only raw"):
        export(replace(make(), state=state), "torch", tmp_path / "a.pt2", kind="ema")


def test_a_folder_that_is_not_there_is_said_to_be(tmp_path):
    with pytest.raises(RunError, match=r"a\.safetensors: cannot be written"):
        export(make(), "safetensors", tmp_path / "no" / "a.safetensors")


def test_a_file_lies_beside_its_checkpoint_unless_said_otherwise(tmp_path):
    save(tmp_path / "a.pt", make())
    done = export_file(tmp_path / "a.pt", "safetensors", weights="raw")
    assert (done.path, done.kind, done.name, done.epoch) == (tmp_path / "a.safetensors", "raw", SPEC.name, 2)
    assert done.path.stat().st_size == done.bytes
    assert export_file(str(tmp_path / "a.pt"), "safetensors", tmp_path / "b.safetensors").path.is_file()


@pytest.mark.parametrize(
    ("target", "out", "message"),
    [
        ("onnx", "b.pt", r"b\.pt: a file of this kind is called NAME\.onnx; give another `out`"),
        ("safetensors", "a.safetensors", r"a\.safetensors: is what is to be exported; give another `out`"),
    ],
)
def test_a_file_of_another_kind_or_the_checkpoint_itself_is_not_written(tmp_path, target, out, message):
    export(make(), "safetensors", tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises(RunError, match=message):
        export_file(tmp_path / "a.safetensors", target, tmp_path / out)
    assert (tmp_path / "a.safetensors").read_bytes() == before


def test_errors_of_a_file_name_it(tmp_path):
    export(make(), "safetensors", tmp_path / "a.safetensors", kind="raw")
    with pytest.raises(CheckpointError, match=r"a\.safetensors: it has no ema weights"):
        export_file(tmp_path / "a.safetensors", "safetensors", tmp_path / "b.safetensors", weights="ema")
