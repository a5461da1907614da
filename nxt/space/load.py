"""Finds and reads design spaces of both kinds: those that come with nxt by name, others from YAML files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nxt
from nxt.arch.spec import SCHEMA
from nxt.config import check_keys, read_yaml, require
from nxt.errors import ArchError, ConfigError, SpaceError, expecting, suggestion
from nxt.files import is_file, is_folder
from nxt.space.space import AXES, COUNTED, OF_WIDTH, SHARED, Space, read_values
from nxt.space.stagewise import STAGE_PROPERTIES, read_stagewise
from nxt.space.uniform import read_uniform

DEFAULT = "imagenet"
_MAX_POINTS = 10**8  # combinations
_MAX_CHOICES = 200_000, 10**6  # combinations of the axes other than the depths: made one by one, or by stage


def load_space(name_or_path: str) -> Space:
    """Loads a space that comes with nxt, by name, or from a YAML file.

    Raises:
        SpaceError: if there is no such space.
        ConfigError: as `space_from_dict` does.
    """
    with expecting("space", name_or_path):
        return _load(name_or_path)


def _load(name_or_path: str) -> Space:
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = spaces_folder() / f"{name_or_path}.yaml"
        if not is_file(path):
            known = sorted(file.stem for file in spaces_folder().glob("*.yaml"))
            near = suggestion(name_or_path, known) or f"; known are {', '.join(known)}, or give a YAML file"
            raise SpaceError(f"no space is called {name_or_path!r}{near}")
    return space_from_dict(read_yaml(path), path.stem, str(path))


def spaces_folder() -> Path:
    """Returns the folder of the spaces that come with nxt: inside the installed package, or beside it in a checkout."""
    package = Path(nxt.__file__).parent
    inside = package / "search_spaces"
    return inside if is_folder(inside) else package.parent / "search_spaces"


def space_from_dict(data: Mapping[str, Any], name: str, where: str) -> Space:
    """Builds a space from plain data: a stage-wise one if the data has `stages`.

    Raises:
        ConfigError: for unknown keys and values of a wrong kind.
        SpaceError: if no combination makes a network, or there are more than 10^8.
    """
    stagewise = isinstance(data, Mapping) and "stages" in data
    check_keys(data, ("schema", "about", "network", "axes", "counted", "stages" if stagewise else "bottleneck"), where)
    require(data.get("schema", SCHEMA) == SCHEMA, where, f"schema {data.get('schema')!r} is not known")
    fixed: Any = data.get("network", {})
    axes: Any = data.get("axes")
    require(isinstance(fixed, dict), f"{where}: network", "a mapping was expected")
    require(isinstance(axes, dict), f"{where}: axes", "a mapping of axis names to values was expected")
    check_keys(fixed, ("stem", *STAGE_PROPERTIES) if stagewise else (*SHARED, *AXES), f"{where}: network")
    for key, value in fixed.items():
        if key not in SHARED and not (key in OF_WIDTH and value == "width" and not stagewise):
            read_values([value], f"{where}: network: {key}", key)
    space = (read_stagewise if stagewise else read_uniform)(data, name, where)
    both = next((key for key in axes if key in fixed), "")
    require(not both, where, f"{both!r} is given both as an axis and for all networks")
    if space.combinations > _MAX_POINTS:
        problem = f"{float(space.combinations):.2g} combinations; at most 1e8 can be counted, shorten an axis"
        raise SpaceError(f"{where}: {problem}")
    choices = math.prod(len(values) for values in space.axes.values())
    most = _MAX_CHOICES[stagewise and len(space.depths) > 1]
    if choices > most:
        raise SpaceError(f"{where}: {choices} combinations of the axes other than depths; at most {most}")
    _check_networks(space, where)
    return _counted(space, data.get("counted", {}), f"{where}: counted")


def _counted(space: Space, given: Any, where: str) -> Space:
    """Returns the space with its costs counted as a mapping with `size` and `classes` says."""
    require(isinstance(given, dict), where, "a mapping was expected")
    check_keys(given, COUNTED, where)
    size, classes = (given.get(key) for key in COUNTED)
    require(all(value is None or type(value) is int for value in (size, classes)), where, "whole numbers were expected")
    try:
        return space.counted_at(size, classes)
    except ArchError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_networks(space: Space, where: str) -> None:
    """Raises SpaceError if no combination makes a network; the message says why the first one does not."""
    try:
        empty = not space.size
    except TypeError as error:
        raise ConfigError(f"{where}: network: a value of a wrong kind ({error})") from None
    if empty:
        try:
            space.spec((0,) * len(space.axis_names))
            problem = "all are outside the bottleneck ratio"
        except ArchError as error:
            problem = str(error)
        raise SpaceError(f"{where}: no combination of the axes makes a network ({problem})")
    deepest = tuple(values[-1] for values in space.depths)
    try:
        space.example.replace(depths=deepest)
    except ArchError as error:
        raise ConfigError(f"{where}: {error}") from None
