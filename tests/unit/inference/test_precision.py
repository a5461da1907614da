"""ONNX in fewer bits: what is said of its accuracy is what the files predict; and OpenVINO's files."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from near import assert_near

from nxt.arch.load import parse_name
from nxt.config import to_mapping
from nxt.data.dataset import divided
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.transforms import network_input
from nxt.errors import ConfigError, DataError, RunError
from nxt.inference import precision
from nxt.inference.export import export, export_file
from nxt.models.network import build
from nxt.train.checkpoint import Checkpoint, save
from nxt.train.recipe import Recipe

SPEC = parse_name("resnext_1-1-1_w16_2s2x8d_cifar")


@pytest.fixture(scope="module")
def made():
    """A checkpoint of a network whose last layer alone is fitted to the digits."""
    source = open_source(DataRef("digits"))
    preprocess = Preprocess(size=8, mean=source.mean, std=source.std)
    torch.manual_seed(0)
    network = build(SPEC, 10).eval()
    features = {}
    network.avgpool.register_forward_hook(lambda _, given, output: features.update(pooled=output.flatten(1)))
    rows, _, _ = divided(source)
    images = torch.stack([network_input(preprocess, source.open("train", row)) for row in rows[:400]])
    with torch.no_grad():
        network(images)
        target = torch.nn.functional.one_hot(torch.from_numpy(source.labels("train")[rows[:400]]), 10).double()
        inputs = torch.cat([features["pooled"].double(), torch.ones(400, 1, dtype=torch.double)], 1)
        solved = torch.linalg.solve(inputs.T @ inputs + 1e-6 * torch.eye(inputs.shape[1]), inputs.T @ target)
        network.fc.weight.copy_(10 * solved[:-1].T)
        network.fc.bias.copy_(10 * solved[-1])
    return Checkpoint(
        spec=SPEC, classes=source.classes, data=DataRef("digits"), identity="", seed=0, preprocess=preprocess,
        recipe=Recipe(epochs=1, batch=2, lr=0.1), accuracies={"raw": 0.5},
        state={"epoch": 1, "weights": {"raw": network.state_dict()}},
    )  # fmt: skip


def session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def validation(made):
    """The images of the validation split, normalised, and their labels."""
    source = open_source(made.data)
    _, split, rows = divided(source)
    images = torch.stack([network_input(made.preprocess, source.open(split, row)) for row in rows])
    return images.numpy(), source.labels(split)[rows]


@pytest.fixture(scope="module", params=["fp16", "int8"])
def done(request, made, tmp_path_factory):
    return export(made, "onnx", tmp_path_factory.mktemp("few") / "a.onnx", precision=request.param)


def test_the_accuracies_are_those_of_both_files_on_the_validation_split(done, made, validation):
    images, labels = validation
    with torch.inference_mode():
        before = made.network()(torch.from_numpy(images)).argmax(1).numpy()
    after = session_of(done.path).run(["logits"], {"images": images})[0].argmax(1)
    judged = done.judged
    assert judged.images == len(labels) == 287
    near = 1.5 / len(labels)  # one image may lie between two classes
    assert judged.accuracy_fp32 == pytest.approx((before == labels).mean(), abs=near)
    assert judged.accuracy == pytest.approx((after == labels).mean(), abs=near)
    assert judged.agreement == pytest.approx((before == after).mean(), abs=near)
    assert judged.accuracy_fp32 > 0.4 and judged.agreement > 0.9
    assert judged.calibration == (precision.CALIBRATION if done.precision == "int8" else 0)


def test_the_file_is_smaller_and_says_what_it_is(done, made):
    assert done.bytes == done.path.stat().st_size < done.judged.bytes_fp32
    session = session_of(done.path)
    about = session.get_modelmeta().custom_metadata_map
    assert about["precision"] == done.precision and {
        **json.loads(about["judged"]), "slowdown": done.judged.slowdown,  # of this machine alone
    } == to_mapping(done.judged)  # fmt: skip
    assert done.judged.slowdown > 0
    assert json.loads(about["classes"]) == list(made.classes)
    assert session.get_inputs()[0].type == session.get_outputs()[0].type == "tensor(float)"


def test_its_weights_have_few_bits(done):
    import onnx

    graph = onnx.load(done.path).graph
    kinds = {one.name: (one.data_type, tuple(one.dims)) for one in graph.initializer}
    if done.precision == "fp16":
        assert kinds["conv1.weight"][0] == onnx.TensorProto.FLOAT16
    else:
        assert kinds["conv1.weight_quantized"][0] == onnx.TensorProto.INT8
        assert kinds["conv1.weight_scale"][1] == (16,)  # one scale for each channel
        assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}


def test_without_the_data_fp16_is_judged_on_random_images_and_int8_is_refused(made, tmp_path):
    lost = replace(made, data=DataRef("folder", "/no/such/folder"))
    judged = export(lost, "onnx", tmp_path / "a.onnx", precision="fp16").judged
    assert judged.accuracy is judged.accuracy_fp32 is None and judged.images == 8
    with pytest.raises(
        DataError, match="int8 is calibrated on images of the validation split: folder:/no/such/folder: no such"
    ):
        export(lost, "onnx", tmp_path / "b.onnx", precision="int8")
    assert not (tmp_path / "b.onnx").exists()


def test_numbers_beyond_16_bits_are_refused(made, tmp_path):
    state = {key: value.clone() for key, value in made.state["weights"]["raw"].items()}
    state["layer3.0.bn3.bias"] += 1e4
    state["fc.weight"] *= 1e3
    huge = replace(made, state={"epoch": 1, "weights": {"raw": state}})
    with pytest.raises(RunError, match=r"a layer gives numbers up to .*, fp16 holds 65504 at most; export it as fp32"):
        export(huge, "onnx", tmp_path / "a.onnx", precision="fp16")
    assert not list(tmp_path.iterdir())


def test_images_to_judge_on_come_from_all_over_the_split(made, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "MOST", 10)
    judged = export(made, "onnx", tmp_path / "a.onnx", precision="fp16").judged
    assert judged.images == 10 and judged.accuracy is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "torch", "precision": "fp16"}, "`precision`: fp16 is for logits in ONNX alone"),
        ({"target": "onnx", "precision": "int8", "features": True}, "`precision`: int8 is for logits in ONNX alone"),
        ({"target": "onnx", "precision": "int4"}, "`precision`: 'int4' is not one of fp32, fp16, int8"),
    ],
)
def test_what_cannot_be_written_in_few_bits_is_refused(options, message, made, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export(made, out=tmp_path / "a.onnx", **options)


def test_the_file_s_name_has_its_precision(made, tmp_path):
    save(tmp_path / "a.pt", made)
    assert export_file(tmp_path / "a.pt", "onnx", precision="fp16").path == tmp_path / "a_fp16.onnx"


def test_openvino_gives_the_network_s_outputs(made, tmp_path):
    openvino = pytest.importorskip("openvino")
    done = export(made, "openvino", tmp_path / "a.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "a.xml"]
    core = openvino.Core()
    model = core.read_model(done.path)
    about = json.loads(model.get_rt_info(["nxt"]).astype(str))
    assert about["classes"] == list(made.classes) and about["preprocess"]["resized"] == 8
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        images = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
        with torch.inference_mode():
            assert_near(torch.from_numpy(np.array(compiled(images.numpy())[0])), made.network()(images))
