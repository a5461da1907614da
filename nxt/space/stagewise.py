"""Design spaces in which each stage has its own values, as those of Radosavovic et al. 2019 (arXiv 1905.13214).

Here is one as YAML, with 4 x 5 x 3 x 2 possibilities for each of three stages:

    stages: 3
    network: {stem: cifar, stem_width: 16}  # shared by all networks; also width, ratio or groups, and radix
    axes:
      depth: [1, 2, 4, 8]                   # blocks
      width: [16, 32, 64, 128, 256]         # output channels
      ratio: [1, 2, 4]                      # output channels per channel of the bottleneck
      groups: [1, 4]                        # of the 3x3
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nxt.arch.spec import SCHEMA, ArchSpec
from nxt.config import check_keys, require
from nxt.errors import ArchError
from nxt.space.space import DUPLICATE, FLAGS, NO_NETWORK, OUTSIDE, Point, Space, counted_section, read_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_AXES = ("width", "ratio", "groups")
STAGE_PROPERTIES = ("stem_width", "radix", *FLAGS, *_AXES)  # that all stages may share


@dataclass(frozen=True)
class StagewiseSpace(Space):
    """A space in which each stage has its own depth, width, bottleneck ratio and groups.

    A point has depth1, depth2, ..., width1, ..., ratio1, ..., groups1, ... Combinations are left out if the group
    width is not a whole number, at the stage itself or at the width of the first stage, where an ArchSpec counts it.
    """

    @cached_property
    def blocks(self) -> dict[tuple[int, ...], ArchSpec | None]:
        """The options of a stage, (width, ratio, groups), each with a network of two such stages, or None."""
        blocks: dict[tuple[int, ...], ArchSpec | None] = {}
        for block in itertools.product(*(self._options(name) for name in _AXES)):
            try:
                blocks[block] = self._network((1, 1), [block, block])
            except ArchError:
                blocks[block] = None
        return blocks

    def block_index(self, choices: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Returns the position in `blocks` of each stage's option, (stages, N), for choices (N, axes)."""
        import numpy as np

        index = np.zeros((len(self.depths), len(choices)), dtype=np.int64)
        names = list(self.axes)
        for name in _AXES:
            index *= len(self._options(name))
            if f"{name}1" in names:
                start = names.index(f"{name}1")
                index += choices.T[start : start + len(self.depths)]
        return index

    @cached_property
    def choices(self) -> NDArray[np.int16]:
        """The choices of the other axes that make networks: value indices (choices, axes), in order."""
        import numpy as np

        shape = [len(values) for values in self.axes.values()]
        every = np.indices(shape, dtype=np.int16).reshape(len(shape), math.prod(shape)).T
        stages = self.block_index(every)
        possible = np.array([spec is not None for spec in self.blocks.values()])
        spans = np.array([ratio * groups for _, ratio, groups in self.blocks])
        first = np.array([width for width, _, _ in self.blocks])[stages[0]]
        fits = np.ones(len(every), dtype=np.bool_)
        for stage in stages:
            fits &= possible[stage] & (first % spans[stage] == 0)
        return np.ascontiguousarray(every[fits])

    @property
    def left_out(self) -> dict[str, int]:
        """Number of combinations that are no members, by reason: NO_NETWORK, OUTSIDE, DUPLICATE."""
        members = len(self.choices) * math.prod(len(values) for values in self.depths)
        return {NO_NETWORK: self.combinations - members, OUTSIDE: 0, DUPLICATE: 0}

    @cached_property
    def uniform(self) -> Mapping[Point, ArchSpec]:
        """The choices that follow the papers' rule for all stages: widths double, all else is equal."""
        choices = {}
        for width, *rest in self.blocks:
            blocks = [(width << s, *rest) for s in range(len(self.depths))]
            try:
                spec = self._network((1,) * len(self.depths), blocks)
                choices[self._choice(blocks)] = spec
            except (ArchError, ValueError):  # ValueError: a width that is not on the axis
                continue
        return choices

    @property
    def example(self) -> ArchSpec:
        """One of the networks."""
        return self._spec((1,) * len(self.depths), tuple(int(i) for i in self.choices[0]))

    def _options(self, name: str) -> tuple[int, ...]:
        """Returns the values that each stage may take."""
        return self.axes[f"{name}1"] if f"{name}1" in self.axes else (self.fixed[name],)

    def _choice(self, blocks: list[tuple[int, ...]]) -> Point:
        choice: Point = ()
        for name, values in zip(_AXES, zip(*blocks, strict=True), strict=True):
            indices = tuple(self._options(name).index(value) for value in values)
            choice += indices if f"{name}1" in self.axes else ()
        return choice

    def _spec(self, depths: tuple[int, ...], choice: Point) -> ArchSpec:
        values = {name: self.axes[name][i] for name, i in zip(self.axes, choice, strict=True)}
        stages = range(1, len(depths) + 1)
        blocks = [tuple(values[f"{n}{s}"] if f"{n}{s}" in values else self.fixed[n] for n in _AXES) for s in stages]
        return self._network(depths, blocks)

    def _network(self, depths: tuple[int, ...], blocks: list[tuple[int, ...]]) -> ArchSpec:
        """Returns the network whose stages have these (width, ratio, groups)."""
        first = blocks[0][0]
        for s, (_, ratio, groups) in enumerate(blocks):
            if first % (ratio * groups):
                problem = f"group width {first} / ({ratio} * {groups}) at the first stage's width is not an integer"
                raise ArchError(f"stage {s + 1}: {problem}")
        return ArchSpec(
            depths=depths,
            widths=tuple(width for width, _, _ in blocks),
            cardinality=tuple(groups for _, _, groups in blocks),
            base_width=tuple(first // (ratio * groups) for _, ratio, groups in blocks),
            **{key: value for key, value in self.fixed.items() if key not in _AXES},
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the plain data from which `from_dict` makes an equal space."""
        axes = {"depth": list(self.depths[0])}
        axes |= {name: list(self._options(name)) for name in _AXES if f"{name}1" in self.axes}
        network = dict(self.fixed)
        data = {"schema": SCHEMA, "about": self.about, "stages": len(self.depths), "network": network, "axes": axes}
        return {**data, **counted_section(self.counted)}


def read_stagewise(data: Mapping[str, Any], name: str, where: str) -> StagewiseSpace:
    """Reads a space from plain data; `load.space_from_dict` has checked its keys and `network`."""
    axes, fixed, stages = data["axes"], data.get("network", {}), data["stages"]
    require(type(stages) is int and 1 <= stages <= 8, f"{where}: stages", "a whole number from 1 to 8 was expected")
    check_keys(axes, ("depth", *_AXES), f"{where}: axes")
    named = {key: read_values(value, f"{where}: {key}", key) for key, value in axes.items()}
    require("depth" in named, where, "axis 'depth' is missing")
    for key in _AXES:
        require(key in named or key in fixed, where, f"axis {key!r} is missing")
    return StagewiseSpace(
        name=name,
        about=str(data.get("about", "")).strip(),
        depths=(named["depth"],) * stages,
        axes={f"{key}{s + 1}": named[key] for key in _AXES if key in named for s in range(stages)},
        fixed=dict(fixed),
    )
