"""ONNX in 16-bit floats or 8-bit integers, and what that costs: judged on images of the validation split."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nxt.config import to_mapping
from nxt.data.resident import Normalised
from nxt.data.sources.open import open_source
from nxt.errors import DataError, RunError
from nxt.inference.evaluation import Examples, examples
from nxt.inference.formats import Job, Outputs, add_metadata, onnx_outputs
from nxt.inference.views import Cutter, Views

PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION = 128  # images that say how large the activations become
MOST = 1000  # images that both files are judged on
_BATCH = 16
_TIMED = 4  # batches at least, of which the fastest counts; the last one may be smaller, for both files


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a file in fewer bits predicts beside the one in 32 bits."""

    images: int
    agreement: float  # share of the images with the same most probable class
    accuracy: float | None  # top-1 in few bits; None if the data is not there: the images are random then
    accuracy_fp32: float | None
    calibration: int  # images of those by which it was calibrated
    bytes_fp32: int
    slowdown: float | None  # time of the file on this machine's CPU over that of the one in 32 bits; None: not known


def reduced(job: Job, whole: bytes, precision: str) -> tuple[bytes, Judged]:
    """Returns an ONNX file in fewer bits, and what it predicts beside the `whole` one in 32 bits.

    fp16: weights and computation; input and output stay 32-bit floats. int8: weights of convolutions and of linear
    layers but the last, per channel, and their inputs, as pairs of QuantizeLinear and DequantizeLinear, with ranges
    from images of the validation split.

    Raises:
        DataError: if int8 has no images to be calibrated on.
        RunError: if numbers are too large for 16 bits.
    """
    import onnx

    found = _validation(job, required=precision == "int8")
    calibration = min(CALIBRATION, len(found)) if found is not None and precision == "int8" else 0
    if found is not None and calibration:
        program = _int8(whole, [images for images, _ in _batches(job, found, calibration)])
    else:
        from onnxruntime.transformers.float16 import convert_float_to_float16

        _check_range(job)
        program = convert_float_to_float16(onnx.load_from_string(whole), keep_io_types=True)
    batches = [(job.images, None)] if found is None else _batches(job, found, MOST)
    judged = _judge(batches, onnx_outputs(whole), onnx_outputs(program.SerializeToString()), calibration, len(whole))
    del program.metadata_props[:]  # what the quantizer says of itself
    kept = {key: value for key, value in to_mapping(judged).items() if key != "slowdown"}  # of this machine alone
    add_metadata(program, {**job.about, "precision": precision, "judged": kept})
    return program.SerializeToString(), judged


def _validation(job: Job, required: bool) -> Examples | None:
    """Returns the images of the validation split; None if they are not there."""
    if required and job.checkpoint.origin:
        raise DataError("int8 is calibrated on images of the training, which weights from elsewhere lack; use fp16")
    try:
        return examples(open_source(job.checkpoint.data), "val", job.checkpoint.classes)
    except DataError as error:
        if required:
            raise DataError(f"int8 is calibrated on images of the validation split: {error}") from None
        return None


def _batches(job: Job, found: Examples, most: int) -> Iterator[tuple[Tensor, NDArray[np.int64] | None]]:
    """Yields at most so many images from all over the split, normalised, with their labels."""
    preprocess = job.checkpoint.preprocess
    cutter, normalised = (
        Cutter(found.source, found.split, Views(preprocess=preprocess)),
        Normalised(preprocess, torch.device("cpu")),
    )
    chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(np.int64))
    for start in range(0, len(chosen), _BATCH):
        places = chosen[start : start + _BATCH]
        ((_, pixels),) = cutter(found.rows[places])
        yield normalised(torch.from_numpy(pixels)), found.labels[places]


def _check_range(job: Job) -> None:
    """Raises RunError if a layer gives numbers beyond 16 bits. (ONNX Runtime on a CPU computes fp16 files in 32.)"""
    largest = 0.0

    def look(module: nn.Module, given: object, output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, float(output.abs().max()))

    hooks = [module.register_forward_hook(look) for module in job.network.modules()]
    job.network(job.images)
    for hook in hooks:
        hook.remove()
    most = torch.finfo(torch.float16).max
    if not largest <= most:
        raise RunError(f"a layer gives numbers up to {largest:.2g}, fp16 holds {most:.0f} at most; export it as fp32")


def _int8(content: bytes, images: list[Tensor]) -> Any:
    """Returns a quantized ONNX ModelProto."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.rest, None)
            return None if batch is None else {"images": batch.numpy()}

    with TemporaryDirectory() as folder, _silent():
        first, prepared, done = (Path(folder, name) for name in ("a.onnx", "b.onnx", "c.onnx"))
        first.write_bytes(content)
        quant_pre_process(first, prepared, skip_symbolic_shape=True)  # folds batch norms into convolutions
        how = {"quant_format": QuantFormat.QDQ, "per_channel": True}
        last = [node.name for node in onnx.load(prepared).graph.node if "logits" in node.output]
        how |= {"op_types_to_quantize": ["Conv", "Gemm", "MatMul"], "nodes_to_exclude": last}
        quantize_static(prepared, done, Reader(), **how)
        return onnx.load(done)


@contextmanager
def _silent() -> Iterator[None]:
    """Silences the quantizer's advice about steps that were made already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _judge(batches: Any, whole: Outputs, few: Outputs, calibration: int, size: int) -> Judged:
    """Compares what two files predict for the same images."""
    count = same = right = right_whole = 0
    labelled, seconds = True, []
    for images, labels in batches:
        begun = time.perf_counter()
        (output,) = few(images)
        middle = time.perf_counter()
        first, second = whole(images)[0].argmax(1).numpy(), output.argmax(1).numpy()
        seconds.append((middle - begun, time.perf_counter() - middle))
        count, same = count + len(first), same + int((first == second).sum())
        if labels is None:
            labelled = False
        else:
            right, right_whole = right + int((second == labels).sum()), right_whole + int((first == labels).sum())
    return Judged(
        images=count,
        agreement=same / count,
        accuracy=right / count if labelled else None,
        accuracy_fp32=right_whole / count if labelled else None,
        calibration=calibration,
        bytes_fp32=size,
        slowdown=min(s for s, _ in seconds) / min(s for _, s in seconds) if len(seconds) >= _TIMED else None,
    )
