"""The folder that timm and the Hugging Face Hub read: config.json, model.safetensors, and a model card.

timm opens it by `timm.create_model("local-dir:FOLDER", pretrained=True)`, since 1.0.16; from the hub older ones, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from nxt.arch.costs import cost
from nxt.arch.names import EXPANSION
from nxt.arch.spec import ArchSpec
from nxt.data.preprocess import Preprocess
from nxt.errors import RunError, first_line
from nxt.train.checkpoint import Checkpoint
from nxt.units import format_count

# timm's models that nxt builds alike; `nxt.arch.names` reads their names.
_NAMES = (
    "resnet50", "resnet101", "resnet152", "resnet200", "resnext50_32x4d", "resnext101_32x4d", "resnext101_32x8d",
    "resnext101_64x4d", "resnest14d", "resnest26d", "resnest50d", "resnest101e", "resnest200e", "resnest269e",
    "resnest50d_4s2x40d", "resnest50d_1s4x24d", "resnet18", "resnet34", "seresnet18", "seresnet34", "seresnet50",
    "seresnext50_32x4d", "seresnext101_32x4d",
)  # fmt: skip


def timm_model(spec: ArchSpec) -> tuple[str, dict[str, Any]]:
    """Returns the model of timm that is a network, and the arguments that it takes beside the number of classes.

    timm has no name for most networks of a search, but its models take depths, widths and groups as arguments.

    Raises:
        RunError: if timm cannot express the network; the message says why.
    """
    for name in _NAMES:
        if ArchSpec.from_name(name).fingerprint == spec.fingerprint:
            return name, {}
    width = spec.base_width[0] * 64 * EXPANSION / spec.widths[0]  # timm counts it at a stage of 64 channels
    hindrances = {
        "a CIFAR stem": spec.stem == "cifar",
        f"a 7x7 stem of {spec.stem_width} channels": spec.stem == "imagenet" and spec.stem_width != 64,
        f"{len(spec.depths)} stages": len(spec.depths) != 4,
        "stages with groups of their own": len({*zip(spec.cardinality, spec.base_width, strict=True)}) > 1,
        "basic blocks of such widths": spec.block == "basic",
        "selective kernels": spec.attention == "sk",
        "squeeze-and-excitation and average pooling in blocks": spec.attention == "se" and spec.avd,
        "pre-activation": spec.preact,
        "no shortcuts": not spec.shortcut,
        "padded shortcuts": spec.padded,
        "constant groups": spec.constant,
        "such a base width": any(
            math.floor(stage.width // EXPANSION * (width / 64)) != stage.group_width for stage in spec.stages()
        ),
    }
    if why := [words for words, true in hindrances.items() if true]:
        raise RunError(f"timm has no network like {spec.name}, with {why[0]}; write `target` safetensors or hub")
    arguments: dict[str, Any] = {
        "layers": list(spec.depths),
        "channels": [width // EXPANSION for width in spec.widths],
        "cardinality": spec.cardinality[0],
        "base_width": int(width) if width == int(width) else width,
        "stem_type": "deep" if spec.stem == "deep" else "",
        "stem_width": spec.stem_width // 2 if spec.stem == "deep" else 64,
        "avg_down": spec.avg_down,
    }
    if not (spec.radix or spec.avd):
        return "seresnet50" if spec.attention == "se" else "resnet50", arguments
    return "resnest50d", arguments | {"block_args": {"radix": spec.radix, "avd": spec.avd, "avd_first": spec.avd_first}}


def config(checkpoint: Checkpoint, required: bool) -> dict[str, Any]:
    """Returns the content of config.json.

    Where timm cannot express the network it has nxt's name, and `arch` in place of `model_args`.

    Raises:
        RunError: if timm cannot express the network, and that is `required`.
    """
    spec, preprocess = checkpoint.spec, checkpoint.preprocess
    try:
        name, arguments = timm_model(spec)
        network: dict[str, Any] = {"architecture": name, **({"model_args": arguments} if arguments else {})}
    except RunError:
        if required:
            raise
        network = {"architecture": spec.name, "library": "nxt", "arch": spec.to_dict()}
    classes = len(checkpoint.classes)
    shown = {
        "input_size": [3, preprocess.size, preprocess.size],
        "fixed_input_size": False,
        "interpolation": preprocess.interpolation,
        "crop_pct": crop_pct(preprocess),
        "crop_mode": "center",
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "num_classes": classes,
        "pool_size": None,
        "first_conv": "conv1.0" if spec.stem == "deep" else "conv1",
        "classifier": "fc",
    }
    more = {"num_classes": classes, "num_features": spec.widths[-1], "label_names": list(checkpoint.classes)}
    return {**network, **more, "pretrained_cfg": shown}


def crop_pct(preprocess: Preprocess) -> float:
    """Returns the share for which timm, which rounds down, resizes to the same side as nxt."""
    share = preprocess.size / preprocess.resized
    while math.floor(preprocess.size / share) < preprocess.resized:
        share = math.nextafter(share, 0)
    return share


def runs_in_timm(about: Mapping[str, Any]) -> bool:
    """Returns whether timm can express the network of a config.json, and is installed."""
    return "library" not in about and find_spec("timm") is not None


def timm_outputs(files: Mapping[str, bytes], batch: Tensor) -> list[Tensor]:
    """Returns the logits (B, K) that timm computes with the files of a folder."""
    import timm

    with TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return [model(batch)]


def page(checkpoint: Checkpoint, about: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Returns the model card of the Hugging Face Hub: YAML, then what the network is and how to use it."""
    spec, classes, timm = checkpoint.spec, checkpoint.classes, "library" not in settings
    own, data = cost(spec, checkpoint.preprocess.size, len(classes)), checkpoint.data.name
    reached = "".join(f", {share:.2%} on its validation split" for share in about["accuracies"].values())
    more = f" and {len(classes) - 20} more" if len(classes) > 20 else ""
    return "\n".join(
        [
            "---",
            f"library_name: {'timm' if timm else 'nxt'}",
            "pipeline_tag: image-classification",
            f"tags: [image-classification, {'timm, ' if timm else ''}nxt]",
            "---",
            f"# {spec.name}\n",
            f"Weights of {checkpoint.origin}.\n"
            if checkpoint.origin
            else f"Trained by nxt for {checkpoint.epoch} epochs on {data}{reached} (which chose it).\n",
            f"- **Cost** at {checkpoint.preprocess.size} px: {format_count(own.params)} parameters, "
            f"{format_count(own.macs)} multiply-adds.",
            f"- **Classes** ({len(classes)}): {', '.join(classes[:20])}{more}.",
            f"- **Input**: {checkpoint.preprocess}.\n",
            _USE_TIMM if timm else _USE_NXT,
        ]
    )


def push(folder: Path, names: list[str], repository: str) -> str:
    """Uploads files of a folder to the Hugging Face Hub, and returns the address; a new repository is private.

    Raises:
        RunError: if huggingface_hub is missing, or the hub refuses.
    """
    if find_spec("huggingface_hub") is None:
        raise RunError("pushing needs huggingface_hub: pip install 'nxt[hub]'")
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=names)
    except Exception as error:  # of the hub, of the network, of a name that it does not allow
        raise RunError(f"{folder}: written, but not pushed to {repository} ({first_line(error)})") from None
    return str(address)


_USE_TIMM = """```python
import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or "hf-hub:USER/NAME"
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```
"""
_USE_NXT = """```python
import nxt

network = nxt.load("FOLDER/model.safetensors")  # with its classes and its transform of images
```
"""
