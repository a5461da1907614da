"""Tables of measured latency, which make latency a cost like the others; no torch.

A network's latency is the sum of those of its parts: the stem, each block, the head. So it is affine in the depths, as
multiply-adds are. Latencies are whole nanoseconds, so that sums are exact.

`nxt.latency` measures the parts and writes the table, a JSON file; parts that were not measured have fitted values in
it. They are corrected by a factor, and blocks by a constant, too, so that sums are nearest to whole networks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nxt.arch.layers import Layer
from nxt.arch.spec import ArchSpec, Stage
from nxt.config import check_record, require
from nxt.errors import ConfigError, first_line
from nxt.files import is_file

SCHEMA = 1
_LEAST = 10  # a block's constant is no reason to make it more than so many times as fast
CONDITIONS = ("device", "threads", "runtime", "precision", "batch", "size", "classes")  # what a latency holds for
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("schema", "threads", "batch", "size", "classes", "wanted"), int),
    **dict.fromkeys(("device", "kind", "runtime", "precision", "space", "date"), str),
    **dict.fromkeys(("versions", "measured", "fitted", "correction", "fit"), dict),
}


@dataclass(frozen=True)
class Part:
    """The stem, a block or the head of a network."""

    spec: ArchSpec  # of which only the properties common to all stages count
    layers: Sequence[Layer]
    stage: Stage | None = None  # of a block

    @property
    def kind(self) -> str:
        """One of `stem`, `first` (the first block of a stage), `later` and `head`."""
        if self.stage is None:
            return "head" if self.layers[0].name == "fc" else "stem"
        return "first" if self.layers[0].name.split(".")[1] == "0" else "later"

    @property
    def key(self) -> str:
        """Equal for parts that do the same work: what they are, and their convolutions in short."""
        flags = " preact" * self.spec.preact
        if self.stage is not None:
            flags += " no-shortcut" * (not self.spec.shortcut) + " padded" * self.spec.padded
            flags += " pooled" * (self.spec.padded and self.spec.avg_down)
            flags += f" {self.spec.attention}" * (self.spec.attention != "none")
        kind = "block" if self.stage is not None else self.kind
        return f"{kind}{flags} {' '.join(map(_short, self.layers))}"


class PartLatency(Protocol):
    """Tells latencies of parts."""

    def of(self, part: Part) -> int:
        """Returns the latency of a part in nanoseconds."""


@dataclass(frozen=True)
class LatencyTable:
    """The latencies of a space's parts on one device.

    Attributes:
        name: The file, for messages.
        data: The content of the file.
        entries: Corrected nanoseconds by the key of the part.
    """

    name: str = field(compare=False)
    data: Mapping[str, Any] = field(repr=False)
    entries: Mapping[str, int] = field(compare=False, repr=False)

    def of(self, part: Part) -> int:
        """Returns the latency of a part in nanoseconds.

        Raises:
            ConfigError: if the table does not have it.
        """
        found = self.entries.get(part.key)
        if found is None:
            lacks = f"does not have the {part.kind}{' block' * (part.stage is not None)} of {part.spec.name}"
            raise ConfigError(
                f"{self.name}: {lacks}: the table was made for {self.data['space']!r}; "
                "nxt latency measure SPACE makes one for another"
            )
        return found

    @property
    def batch(self) -> int:
        """Images in a batch."""
        return int(self.data["batch"])

    @property
    def conditions(self) -> dict[str, Any]:
        """What the latencies hold for."""
        return {key: self.data[key] for key in CONDITIONS}

    def __str__(self) -> str:
        d = self.data
        threads = f", {d['threads']} thread{'s' * (d['threads'] > 1)}" if d["threads"] else ""
        return f"{d['device']}{threads}, {d['runtime']} {d['precision']}, batch {d['batch']}, {d['size']} px"

    def check(self, size: int, classes: int) -> None:
        """Raises ConfigError unless it was made for this image side and number of classes."""
        for key, asked in {"size": size, "classes": classes}.items():
            if self.data[key] != asked:
                unit = {"size": "px", "classes": "classes"}[key]
                raise ConfigError(
                    f"{self.name}: measured at {self.data[key]} {unit}, while costs are counted at {asked}: "
                    f"give `{key}` {self.data[key]}, or measure a table with `{key}` {asked}"
                )


def read_table(path: Path) -> LatencyTable:
    """Reads a table.

    Raises:
        ConfigError: if there is no such file, it is damaged, or not all of it is measured.
    """
    data = read_measured(path)
    entries, wanted = {**data["fitted"], **{key: row[0] for key, row in data["measured"].items()}}, data["wanted"]
    if len(entries) < wanted or not data["correction"]:
        have = (
            f"{len(data['measured'])} of {wanted} parts" if len(entries) < wanted else "not yet held against networks"
        )
        raise ConfigError(f"{path}: not complete ({have}); the same nxt latency measure goes on with it")
    scale, each = data["correction"]["scale"], data["correction"]["block"]
    corrected = {
        key: max(1, round(ns / _LEAST), round(scale * ns) + (each if key.startswith("block") else 0))
        for key, ns in entries.items()
    }
    return LatencyTable(str(path), data, corrected)


def read_measured(path: Path) -> dict[str, Any]:
    """Reads the file of a table that may not be complete yet. Raises ConfigError if it is missing or damaged."""
    if not is_file(path):
        raise ConfigError(f"{path}: there is no such latency table; nxt latency measure SPACE -o {path} makes it")
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a latency table ({first_line(error)})") from None
    require(isinstance(data, dict) and "measured" in data, str(path), "not a latency table")
    check_record(data, _KINDS, str(path))
    require(data["schema"] == SCHEMA, str(path), f"schema {data['schema']} is not known; measure again")
    sound = all(_is_time(row[0]) for row in data["measured"].values() if isinstance(row, list) and row)
    sound = sound and all(isinstance(row, list) and row for row in data["measured"].values())
    require(
        sound and all(map(_is_time, data["fitted"].values())), str(path), "damaged; a latency is not a whole number"
    )
    found = data["correction"]
    numbers = isinstance(found.get("scale"), float) and isinstance(found.get("block"), int) and found["scale"] > 0
    require(not found or numbers, str(path), "damaged; the correction has no scale and block")
    return data


def _is_time(value: object) -> bool:
    return type(value) is int and 0 < value < 10**15


def _short(layer: Layer) -> str:
    """Returns a layer as text, such as 64>64k3g32@56>56."""
    groups = f"g{layer.groups}" if layer.groups > 1 else ""
    return f"{layer.in_width}>{layer.out_width}k{layer.kernel}{groups}@{layer.in_side}>{layer.out_side}"
