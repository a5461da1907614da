"""Writes a network in the formats of other programs: each gives the content of its files, and a way to run them.

`FORMATS` has them all. What is written is not trusted: `export` runs it and compares outputs with the network's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from nxt.arch.heads import SEGMENTERS
from nxt.config import to_mapping
from nxt.errors import RunError
from nxt.inference.hub import config, page, runs_in_timm, timm_outputs
from nxt.models.heads import DenseNetwork
from nxt.train.checkpoint import Checkpoint
from nxt.train.model import Model, built

Outputs = Callable[[Tensor], list[Tensor]]
Written = tuple[dict[str, bytes], Outputs]  # content by name, or by suffix of the one name; what runs it


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be written."""

    checkpoint: Checkpoint
    network: Model  # in evaluation mode
    model: nn.Module  # what `tensors_alone` makes of the network, or what gives its features
    images: Tensor  # (n, 3, H, W), of a detector (3, H, W), normalised, to trace with
    names: tuple[str, ...]  # of the outputs
    about: dict[str, Any]  # what users need to know, without the log and the path of the data


@dataclass(frozen=True)
class Format:
    """A way to write a network."""

    suffix: str  # of the file; of a folder, what its name ends with
    write: Callable[[Job], Written]
    features: bool = False  # whether it can give features instead of logits
    tasks: tuple[str, ...] = ("classification",)  # whose networks it can express

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of several files."""
        return not self.suffix.startswith(".")


class TensorsAlone(nn.Module):
    """A network with a head as other programs run it, which know neither dicts nor lists of images.

    A segmenter maps (B, 3, H, W) to logits (B, K, H, W). A detector maps one image (3, H, W) to boxes (n, 4), labels
    (n,) from 1, scores (n,), and masks (n, 1, H, W) if it predicts them.
    """

    def __init__(self, network: DenseNetwork) -> None:
        super().__init__()
        self.network = network
        found = ("boxes", "labels", "scores", *(("masks",) if "mask" in network.head else ()))
        self.names = ("logits",) if network.head in SEGMENTERS else found

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Maps images as the class says."""
        if self.network.head in SEGMENTERS:
            logits: Tensor = self.network(images)["out"]
            return logits
        (found,) = self.network([images])
        return tuple(found[name] for name in self.names)


def tensors_alone(network: Model) -> nn.Module:
    """Returns a network in evaluation mode of which inputs and outputs are tensors."""
    return TensorsAlone(network).eval() if isinstance(network, DenseNetwork) else network


def onnx(job: Job) -> Written:
    """An ONNX file with weights in 32 bits."""
    program = onnx_program(job)
    add_metadata(program, {**job.about, "precision": "fp32"})
    content = program.SerializeToString()
    return {".onnx": content}, onnx_outputs(content)


def onnx_program(job: Job) -> Any:
    """Returns an ONNX ModelProto. Raises RunError if packages are missing."""
    need("ONNX", "onnx", "onnx", "onnxscript", "onnxruntime")
    asked: dict[str, Any] = {"input_names": ["images"], "output_names": list(job.names)}
    if job.checkpoint.task == "detection":
        model = _traced(job, asked)
    else:
        dynamic = _dynamic(job)
        program = torch.onnx.export(
            job.model, (job.images,), dynamo=True, verbose=False, dynamic_shapes=dynamic, **asked
        )
        assert program is not None
        model = program.model_proto
    for part in (*model.graph.node, *model.graph.value_info, model.graph):
        del part.metadata_props[:]  # traces of calls, with the paths of this machine
    return model


def _traced(job: Job, asked: dict[str, Any]) -> Any:
    """Returns a detector as torchvision documents it: by the older exporter, since the newer one knows no NMS."""
    import onnx

    file: Any = io.BytesIO()  # which it takes, though it does not say so
    sides = {"images": {1: "height", 2: "width"}} | {name: {0: "objects"} for name in job.names}
    torch.onnx.export(job.model, (job.images,), file, dynamo=False, opset_version=17, dynamic_axes=sides, **asked)
    return onnx.load_from_string(file.getvalue())


def add_metadata(program: Any, about: Mapping[str, Any]) -> None:
    """Adds what users need to know to an ONNX ModelProto, values that are no text as JSON."""
    for key, value in about.items():
        program.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))


def onnx_outputs(content: bytes) -> Outputs:
    """Returns what runs an ONNX file on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # a detector's file does not know how many objects there will be, which is told
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda batch: [torch.from_numpy(o) for o in session.run(None, {"images": batch.numpy()})]


def need(what: str, extra: str, *packages: str) -> None:
    """Raises RunError if packages are missing."""
    if missing := [name for name in packages if find_spec(name) is None]:
        raise RunError(f"{what} needs {' and '.join(missing)}: pip install 'nxt[{extra}]'")


def _program(job: Job) -> Written:
    """A program of torch.export."""
    step = job.network.spec.strides[-1]
    program = torch.export.export(job.model, (job.images,), dynamic_shapes=_dynamic(job, step))
    file = io.BytesIO()
    about = json.dumps({**job.about, "outputs": job.names}, indent=1)
    torch.export.save(program, file, extra_files={"nxt.json": about})
    file.seek(0)
    loaded = torch.export.load(file).module()
    return {".pt2": file.getvalue()}, lambda batch: listed(loaded(batch))


def listed(outputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor]) -> list[Tensor]:
    """Returns the outputs of a model as a list."""
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, Mapping) else outputs)


def _safetensors(job: Job, public: bool = False) -> Written:
    """Weights, with what `nxt.load` needs in the header: unless it is public, also the log and where the data lies."""
    own = {} if public else {"data": str(job.checkpoint.data), "metrics": [dict(row) for row in job.checkpoint.metrics]}
    said = {**job.about, "metrics": [], "preprocess": to_mapping(job.checkpoint.preprocess), **own}
    header = {"format": "pt", "nxt": json.dumps({key: value for key, value in said.items() if key != "name"})}
    content = safetensors.torch.save(job.network.state_dict(), header)
    loaded = built(job.network.spec, job.network.num_classes, job.checkpoint.recipe).eval()
    loaded.load_state_dict(safetensors.torch.load(content))
    run = tensors_alone(loaded)
    return {".safetensors": content}, lambda batch: listed(run(batch))


def _folder(job: Job, target: str) -> Written:
    """A folder that timm opens, where it knows the network; for the Hugging Face Hub with a model card."""
    checkpoint = job.checkpoint
    if target == "timm":
        need("a folder for timm", "timm", "timm")
    about = config(checkpoint, required=target == "timm")
    content, run = _safetensors(job, public=True)
    files = {"config.json": json.dumps(about, indent=1).encode(), "model.safetensors": content[".safetensors"]}
    if target == "hub":
        files["README.md"] = page(checkpoint, job.about, about).encode()
    return files, partial(timm_outputs, files) if runs_in_timm(about) else run


def _openvino(job: Job) -> Written:
    """OpenVINO's intermediate representation, made from ONNX."""
    need("OpenVINO", "openvino", "openvino")
    import openvino

    program, core = onnx_program(job), openvino.Core()
    model = core.read_model(program.SerializeToString())
    model.set_rt_info(json.dumps(job.about), ["nxt"])
    with TemporaryDirectory() as folder:
        openvino.save_model(model, f"{folder}/a.xml", compress_to_fp16=False)
        files = {suffix: Path(folder, f"a{suffix}").read_bytes() for suffix in (".xml", ".bin")}
        compiled = core.compile_model(f"{folder}/a.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return files, lambda batch: [torch.from_numpy(compiled(batch.numpy())[index]) for index in range(len(job.names))]


def _dynamic(job: Job, step: int = 1) -> Any:
    """Returns which sides of the input may change: the batch, and where pixels are classified height and width.

    Those change in steps of pixels, in which torch.export can prove that all sizes of maps are alike.
    """
    dim = torch.export.Dim
    sides = {2: step * dim("height", min=2), 3: step * dim("width", min=2)}
    return ({0: dim("batch"), **(sides if job.checkpoint.task == "segmentation" else {})},)


_DENSE = ("classification", "segmentation")

FORMATS = {
    "onnx": Format(".onnx", onnx, features=True, tasks=(*_DENSE, "detection")),
    "torch": Format(".pt2", _program, features=True, tasks=_DENSE),
    "safetensors": Format(".safetensors", _safetensors, tasks=(*_DENSE, "detection")),
    "timm": Format("_timm", partial(_folder, target="timm")),
    "hub": Format("_hub", partial(_folder, target="hub")),
    "openvino": Format(".xml", _openvino, features=True),
}
