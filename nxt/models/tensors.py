"""Reads files of tensors without running any code in them."""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import torch
from torch import Tensor

from nxt.errors import CheckpointError


def read_tensors(source: Path | BinaryIO, name: str = "") -> dict[str, Any]:
    """Reads a file in torch's own format with tensors and plain data; refuses anything that would run code.

    `name` is its name in messages, by default its path. The archive's CRCs are checked (torch writes them, but does
    not check them). An `argparse.Namespace`, which the training scripts of torchvision and timm put into their
    checkpoints, counts as plain data.

    Raises:
        CheckpointError: if the file is missing, damaged, or contains anything else.
    """
    path = name or source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles: they are refused, or contain plain data
            if zipfile.is_zipfile(source):  # torch before 1.6 wrote plain pickles
                with zipfile.ZipFile(source) as archive:
                    if archive.testzip() is not None:
                        raise zipfile.BadZipFile
            if not isinstance(source, Path):
                source.seek(0)
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (pickle.UnpicklingError, AttributeError):
        raise CheckpointError(
            f"{path}: holds more than tensors and plain data, or is no checkpoint; not loaded"
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile, OSError):
        raise CheckpointError(
            f"{path}: truncated or damaged; use another checkpoint of the run, or train again"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of nxt, nor weights by name")
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file; returns its tensors on the CPU and the metadata in its header.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no safetensors file, or damaged ({str(error).splitlines()[0]})") from None
