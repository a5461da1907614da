"""Reads design spaces in which one value holds for all stages, as those of the papers (ResNeXt sec. 3.1).

Here is one as YAML, with 2 x 2 depths, 3 widths, 3 cardinalities and 2 base widths:

    network: {stem: cifar, stem_width: width, radix: 0}  # shared by all networks
    axes:
      depths: [[1, 2], [1, 2]]                           # blocks, for each stage
      width: [8, 16, 32]                                 # stage base width; it doubles from stage to stage
      cardinality: [1, 2, 4]
      base_width: [4, 8]
    bottleneck: [0.5, 4]                                 # bounds of cardinality x base width / width
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nxt.config import check_keys, require
from nxt.space.space import AXES, Space, read_values


def read_uniform(data: Mapping[str, Any], name: str, where: str) -> Space:
    """Reads a space from plain data; `load.space_from_dict` has checked its keys and `network`."""
    axes, fixed = data["axes"], data.get("network", {})
    check_keys(axes, ("depths", *AXES), f"{where}: axes")
    depths = axes.get("depths")
    require(isinstance(depths, list) and bool(depths), f"{where}: depths", "one list of depths per stage was expected")
    require(len(depths) <= 8, f"{where}: depths", f"{len(depths)} stages; at most 8 are possible")
    named = {key: read_values(value, f"{where}: {key}", key) for key, value in axes.items() if key != "depths"}
    for key in ("width", "cardinality", "base_width"):
        require(key in named or key in fixed, where, f"axis {key!r} is missing")
    return Space(
        name=name,
        about=str(data.get("about", "")).strip(),
        depths=tuple(read_values(value, f"{where}: depths, stage {s + 1}", "depths") for s, value in enumerate(depths)),
        axes={key: named[key] for key in AXES if key in named},
        fixed=dict(fixed),
        bottleneck=_ratio(data["bottleneck"], f"{where}: bottleneck") if "bottleneck" in data else (0, math.inf),
    )


def _ratio(value: Any, where: str) -> tuple[float, float]:
    numbers = isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value)
    require(
        numbers and 0 <= value[0] <= value[1] < math.inf, where, "two rising numbers were expected, such as [0.5, 4]"
    )
    return float(value[0]), float(value[1])
