"""Reads files of tensors without running any code in them."""

from __future__ import annotations

import argparse
import errno
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import torch
from torch import Tensor

from nxt.errors import CheckpointError, UnreadableError
from nxt.files import nearest


def read_tensors(source: Path | BinaryIO, name: str = "") -> dict[str, Any]:
    """Reads a file in torch's own format with tensors and plain data; refuses anything that would run code.

    `name` is its name in messages, by default its path. The archive's CRCs are checked (torch writes them, but does
    not check them). An `argparse.Namespace`, which the training scripts of torchvision and timm put into their
    checkpoints, counts as plain data.

    Raises:
        UnreadableError: if the file is missing or cannot be read.
        CheckpointError: if it is damaged, or contains anything else.
    """
    path = name or source
    _open_once(source)
    if str(path).endswith(".onnx"):
        raise CheckpointError(f"{path}: an ONNX file, not a checkpoint; nxt predict takes it")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles: they are refused, or contain plain data
            if zipfile.is_zipfile(source):  # torch before 1.6 wrote plain pickles
                with zipfile.ZipFile(source) as archive:
                    if archive.testzip() is not None:
                        raise zipfile.BadZipFile
                    _refuse_program(archive, path)
            if not isinstance(source, Path):
                source.seek(0)
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, AttributeError):
        raise CheckpointError(
            f"{path}: holds more than tensors and plain data, or is no checkpoint; not loaded"
        ) from None
    except (RuntimeError, EOFError, ValueError, LookupError, zipfile.BadZipFile, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a wrong offset is invalid
            raise _unreadable(path, error) from None
        raise CheckpointError(
            f"{path}: truncated or damaged; use another checkpoint of the run, or train again"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a checkpoint of nxt, nor weights by name")
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file; returns its tensors on the CPU and the metadata in its header.

    Raises:
        UnreadableError: if it is missing or cannot be read.
        CheckpointError: if it is damaged.
    """
    _open_once(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no safetensors file, or damaged ({str(error).splitlines()[0]})") from None


def _refuse_program(archive: zipfile.ZipFile, path: object) -> None:
    """Raises CheckpointError for an archive of a whole network, from which weights are not read."""
    inside = {name.partition("/")[2] for name in archive.namelist()}
    for member, kind in (("archive_format", "an exported program (.pt2)"), ("constants.pkl", "a TorchScript file")):
        if member in inside:
            raise CheckpointError(f"{path}: {kind}, not a checkpoint; give the checkpoint that it was made from")


def _open_once(source: Path | BinaryIO) -> None:
    """Raises UnreadableError unless the file can be opened. (Libraries take one without rights for a damaged one.)"""
    if isinstance(source, Path):
        try:
            source.open("rb").close()
        except OSError as error:
            raise _unreadable(source, error) from None


def _unreadable(path: object, error: OSError) -> UnreadableError:
    if isinstance(error, FileNotFoundError):
        return UnreadableError(f"{path}: no such checkpoint{nearest(str(path))}")
    return UnreadableError(f"{path}: cannot be read ({error.strerror})")
