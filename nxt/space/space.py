"""Design spaces: the networks that a search may choose from.

A space fixes some properties of a network and lists the values of the others. There are two kinds. In a `Space` one
value holds for all stages, and the widths double from stage to stage (ResNeXt sec. 3.1), so that the stage base width
decides all of them. In a `StagewiseSpace` (stagewise.py) each stage has its own values. A `Point` is one value index
per axis; depths come first.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Self

from nxt.arch.costs import Cost, cost, resolution
from nxt.arch.heads import Head, checked_stride
from nxt.arch.latency import LatencyTable, PartLatency
from nxt.arch.names import EXPANSION
from nxt.arch.spec import ATTENTIONS, SCHEMA, ArchSpec
from nxt.config import check_keys, require
from nxt.errors import ArchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Point = tuple[int, ...]
Counted = tuple[int | None, int | None]  # image side and classes; None: what a network is made for
OF_WIDTH = ("stem_width", "base_width")  # may be "width": the stage base width
NO_NETWORK, OUTSIDE, DUPLICATE = "no network", "outside the bottleneck ratio", "duplicate"
FLAGS = ("avd", "avd_first", "avg_down", "shortcut", "preact", "padded", "constant")
AXES = ("width", "cardinality", "base_width", "radix", "stem_width", "attention", *FLAGS)
SHARED = ("stem", "block")  # that all networks of a space have in common
COUNTED = ("size", "classes")
_MAX_VALUES = 10_000


class Architectures(Protocol):
    """Translates points into architectures: a design space, or a plain list."""

    @property
    def axis_names(self) -> list[str]:
        """Names of all axes, in the order of a Point."""

    @property
    def axis_values(self) -> list[tuple[Any, ...]]:
        """Values of all axes, in the order of a Point."""

    def spec(self, point: Point) -> ArchSpec:
        """Returns the architecture at a point."""

    def cost(self, point: Point) -> Cost:
        """Returns the cost of the architecture at a point."""


@dataclass(frozen=True)
class Space:
    """A set of architectures.

    `depths` has the possible numbers of blocks of each stage; `axes` the possible values of each other property;
    `fixed` the properties that all networks share. A `stem_width` or `base_width` of "width" equals the stage base
    width.
    `bottleneck` bounds cardinality x base width relative to the stage base width: 1 in ResNet, 2 in ResNeXt-50 32x4d.
    `counted` is the image side in pixels and the number of classes at which costs are counted. `latency` has the
    latencies of the networks' parts, if they are to be counted, too; `head` is what stands on the networks and is
    counted with them, in the place of their last layers.
    """

    name: str
    about: str
    depths: tuple[tuple[int, ...], ...]
    axes: Mapping[str, tuple[Any, ...]]
    fixed: Mapping[str, Any]
    bottleneck: tuple[float, float] = (0, math.inf)
    counted: Counted = (None, None)
    latency: PartLatency | None = None
    head: Head | None = None

    @property
    def axis_names(self) -> list[str]:
        """Names of all axes, in the order of a Point."""
        return [f"depth{s + 1}" for s in range(len(self.depths))] + list(self.axes)

    @property
    def axis_values(self) -> list[tuple[Any, ...]]:
        """Values of all axes, in the order of a Point."""
        return [*self.depths, *self.axes.values()]

    @property
    def combinations(self) -> int:
        """Number of combinations of the axes' values, including those that make no network."""
        return math.prod(len(values) for values in self.axis_values)

    @property
    def size(self) -> int:
        """Exact number of architectures: combinations that make a distinct network."""
        return self.combinations - sum(self.left_out.values())

    @property
    def left_out(self) -> dict[str, int]:
        """Number of combinations that are no members, by reason: NO_NETWORK, OUTSIDE, DUPLICATE."""
        depths = math.prod(len(values) for values in self.depths)
        return {reason: self._walk[1][reason] * depths for reason in (NO_NETWORK, OUTSIDE, DUPLICATE)}

    @property
    def configs(self) -> Mapping[Point, ArchSpec]:
        """The choices of the other axes that make distinct networks, with the network at one block per stage."""
        return self._walk[0]

    @cached_property
    def choices(self) -> NDArray[np.int16]:
        """The choices of the other axes that make distinct networks: value indices (choices, axes), in order."""
        import numpy as np

        return np.array(list(self.configs), dtype=np.int16).reshape(len(self.configs), len(self.axes))

    @property
    def uniform(self) -> Mapping[Point, ArchSpec]:
        """The choices that follow the papers' rule for all stages: widths double, all else is equal."""
        return self.configs

    @property
    def example(self) -> ArchSpec:
        """One of the networks."""
        return next(iter(self.configs.values()))

    @cached_property
    def _walk(self) -> tuple[dict[Point, ArchSpec], Counter[str]]:
        """Tries all choices one by one; returns the members and, by reason, the number of the others."""
        members: dict[Point, ArchSpec] = {}
        left_out: Counter[str] = Counter()
        fingerprints: set[str] = set()
        duplicates = any(name in self.axes for name in FLAGS)  # without flags all networks differ
        for choice in itertools.product(*(range(len(values)) for values in self.axes.values())):
            try:
                spec = self._spec((1,) * len(self.depths), choice)
            except ArchError:
                left_out[NO_NETWORK] += 1
                continue
            ratio = spec.cardinality[0] * spec.base_width[0] / spec.width
            if not self.bottleneck[0] <= ratio <= self.bottleneck[1]:
                left_out[OUTSIDE] += 1
            elif duplicates and spec.fingerprint in fingerprints:
                left_out[DUPLICATE] += 1
            else:
                members[choice] = spec
                if duplicates:
                    fingerprints.add(spec.fingerprint)
        return members, left_out

    def spec(self, point: Point) -> ArchSpec:
        """Returns the architecture at a point.

        Raises:
            ArchError: if that combination makes no network.
        """
        stages = len(self.depths)
        depths = tuple(values[i] for values, i in zip(self.depths, point[:stages], strict=True))
        return self._spec(depths, point[stages:])

    def cost(self, point: Point) -> Cost:
        """Returns the cost of the architecture at a point."""
        spec, size, classes = self.spec(point), *self.counted
        if self.head is None:
            return cost(spec, size, classes, self.latency)
        name, stride, pyramid = self.head
        return cost(spec, size, classes, output_stride=stride, head=name, pyramid=pyramid)

    @property
    def resolution(self) -> tuple[int, int]:
        """The image side in pixels and the number of classes at which costs are counted."""
        return resolution(self.example, *self.counted, head=self.head and self.head.name)

    def counted_at(self, size: int | None, classes: int | None) -> Self:
        """Returns the same space with its costs counted at another image side or number of classes; None: unchanged.

        Raises:
            ArchError: if one is out of range.
        """
        before_size, before_classes = self.counted
        counted = before_size if size is None else size, before_classes if classes is None else classes
        resolution(self.example, *counted)
        return dataclasses.replace(self, counted=counted)

    def with_latency(self, table: LatencyTable | None) -> Self:
        """Returns the same space with latency as one more cost.

        Raises:
            ConfigError: if the table is for another image side or number of classes than costs are counted at.
        """
        if table is not None:
            table.check(*self.resolution)
        return dataclasses.replace(self, latency=table)

    def with_head(self, head: Head) -> Self:
        """Returns the same space with a head on its networks, which is counted with them.

        Raises:
            ArchError: if the networks cannot carry it.
            ConfigError: if latencies are counted, which are those of classifiers.
        """
        require(self.latency is None, "`latency_table`", f"latencies are of classifiers, without a head {head.name}")
        checked_stride(self.example, head.name, head.output_stride)
        return dataclasses.replace(self, head=head)

    def _spec(self, depths: tuple[int, ...], choice: Point) -> ArchSpec:
        values = dict(self.fixed) | {name: self.axes[name][i] for name, i in zip(self.axes, choice, strict=True)}
        width = values.pop("width")
        values |= {name: width for name in OF_WIDTH if values.get(name) == "width"}
        expansion = 1 if values.get("block") == "basic" else EXPANSION
        widths = tuple(expansion * width << s for s in range(len(depths)))
        return ArchSpec(depths=depths, widths=widths, **values)

    def to_dict(self) -> dict[str, Any]:
        """Returns the plain data from which `from_dict` makes an equal space."""
        axes: dict[str, Any] = {"depths": [list(values) for values in self.depths]}
        axes |= {name: list(values) for name, values in self.axes.items()}
        data = {"schema": SCHEMA, "about": self.about, "network": dict(self.fixed), "axes": axes}
        bottleneck = {} if self.bottleneck[1] == math.inf else {"bottleneck": list(self.bottleneck)}
        return {**data, **bottleneck, **counted_section(self.counted)}


def counted_keys(counted: Counted) -> dict[str, int]:
    """Returns the image side and classes that are given, by their names in files."""
    return {key: value for key, value in zip(COUNTED, counted, strict=True) if value is not None}


def counted_section(counted: Counted) -> dict[str, Any]:
    """Returns what a space's file says of how costs are counted; nothing if networks are counted as they are made."""
    return {"counted": counted_keys(counted)} if any(counted) else {}


def read_values(value: Any, where: str, axis: str) -> tuple[Any, ...]:
    """Reads the values of an axis: a list, or `{from, to, step}` with both ends included."""
    if isinstance(value, dict):
        check_keys(value, ("from", "to", "step"), where)
        numbers = [value.get("from"), value.get("to"), value.get("step", 1)]
        require(
            all(type(n) is int and 0 <= n <= 10**6 for n in numbers), where, "from, to and step must be whole numbers"
        )
        low, high, step = numbers
        require(step > 0 and low <= high, where, "from must not exceed to, and step must be positive")
        value = list(range(low, high + 1, step))
    require(isinstance(value, list) and bool(value), where, "a list of values was expected")
    if axis in FLAGS:
        require(all(type(v) is bool for v in value), where, "only true and false are possible")
    elif axis == "attention":
        require(all(v in ATTENTIONS for v in value), where, f"only {', '.join(ATTENTIONS)} are possible")
    else:
        least = 0 if axis == "radix" else 1
        whole = all(type(v) is int and v >= least for v in value)
        require(whole, where, f"only whole numbers from {least} up are possible")
    require(len(value) <= _MAX_VALUES, where, f"{len(value)} values; at most {_MAX_VALUES} are possible")
    require(len(set(value)) == len(value), where, "values must be distinct")
    return tuple(sorted(value))
