"""Resolves what a user gives as a network: a name, an architecture file, or a specification."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from nxt.arch import costs
from nxt.arch.layers import Size
from nxt.arch.names import fields_of, normalised
from nxt.arch.spec import SCHEMA, ArchSpec
from nxt.arch.zoo import ZOO
from nxt.config import check_keys, read_yaml, require
from nxt.errors import ArchError, ConfigError, expecting, suggestion
from nxt.files import exists, is_folder

_Size = TypeVar("_Size", bound=Size)
_LABELS = ("schema", "name", "provenance")  # of an architecture file, no part of the network


def resolve(network: str | Path | ArchSpec) -> ArchSpec:
    """Returns the network for a specification, the path of an architecture file, or a name.

    Raises:
        ArchError, ConfigError: as `load_arch` and `parse_name` do.
    """
    if isinstance(network, ArchSpec):
        return network
    text, path = str(network), Path(network)
    if text.endswith((".yaml", ".yml")) or (exists(path) and not is_folder(path)):  # also a pipe
        return load_arch(text)
    return parse_name(text)


def parse_name(name: str) -> ArchSpec:
    """Returns the network of that name.

    Raises:
        ArchError: if the name follows no known pattern (the message has the nearest known name), or the numbers in it
            do not make a network.
    """
    with expecting("network", name):
        if fields_of(name) is None:
            near = suggestion(normalised(name), ZOO) or "; see 'nxt zoo', or give the path of an architecture file"
            raise ArchError(f"no network is called {name!r}{near}")
        return ArchSpec.from_name(name)


def load_arch(path: Path | str) -> ArchSpec:
    """Reads an architecture file. `name` and `provenance` in it do not change the network.

    Raises:
        ConfigError: if it is no such file.
        ArchError: if it does not make a network.
    """
    with expecting("architecture", path):
        data = read_yaml(path)
        check_keys(data, [*_LABELS, *(field.name for field in dataclasses.fields(ArchSpec))], str(path))
        if data.get("schema", SCHEMA) != SCHEMA:
            raise ConfigError(f"{path}: schema {data['schema']!r} is not known to this version of nxt")
        return ArchSpec.from_dict({k: v for k, v in data.items() if k not in _LABELS}, str(path))


def provenance_of(network: str | Path | ArchSpec) -> Mapping[str, Any]:
    """Returns where an architecture file says that it comes from; nothing for names, specifications and other files.

    Raises:
        ConfigError: if the file cannot be read.
    """
    if isinstance(network, ArchSpec) or not str(network).endswith((".yaml", ".yml")):
        return {}
    provenance = read_yaml(network).get("provenance")
    return provenance if isinstance(provenance, dict) else {}


def counted(
    network: str | Path | ArchSpec, size: _Size | None = None, classes: int | None = None
) -> tuple[_Size | int | None, int | None]:
    """Returns at which image size and classes to count: as given, or else as an architecture file says it was counted.

    Raises:
        ConfigError: if the file cannot be read, or says something else than numbers.
    """
    found = provenance_of(network)
    for name, value in {key: found.get(key) for key in ("size", "classes")}.items():
        whole = value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)
        require(whole, str(network), f"provenance: {name} is {value!r}, no positive whole number")
    return found.get("size") if size is None else size, found.get("classes") if classes is None else classes


def cost(
    network: str | Path | ArchSpec,
    size: Size | None = None,
    classes: int | None = None,
    output_stride: int | None = None,
    head: str | None = None,
) -> costs.Cost:
    """Returns the exact cost of a network for one image.

    Args:
        network: A name, the path of an architecture file, or a specification.
        size: Image side in pixels, or (height, width); by default what the file was counted at, or else what the
            network is made for.
        classes: Outputs of the last layer; by default likewise.
        output_stride: The largest stride, as in `nxt.build`; by default of a segmenter 8.
        head: One of `nxt.arch.heads.COSTED`, which says what is counted of it, in the place of the last layer.

    Raises:
        ArchError, ConfigError: if there is no such network.
    """
    size, outputs = counted(network, size, classes)
    outputs = outputs if head is None else classes  # a file tells those of classification
    return costs.cost(resolve(network), size, outputs, output_stride=output_stride, head=head)
