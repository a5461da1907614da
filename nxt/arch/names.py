"""Translates names of networks into the fields of an `ArchSpec` and back: `resnext50_32x4d`.

    resnet50                        plain ResNet
    resnext50_32x4d                 cardinality 32, base width 4
    resnext29_8x64d_cifar           three stages after a 3x3 stem; the suffix may be left out if the depth tells
    resnext29_8x64d_cifar_preact    with BN and ReLU before the convolutions
    resnest50                       radix 2, cardinality 1, base width 64
    resnest50_fast_4s2x40d          radix 4, cardinality 2, base width 40, pooling before the 3x3
    resnext_3-5-7-2_w64_2s16x8d     any depths, stage base width 64, radix 2: such names come from searches

Spellings of the papers ("ResNeXt-50 (32x4d)") and of timm (`resnest101e`, `resnest50d_4s2x40d`) are aliases.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nxt.errors import ArchError

if TYPE_CHECKING:
    from nxt.arch.spec import ArchSpec

EXPANSION = 4  # output channels of a bottleneck block per channel of its stage's base width
# Blocks per stage of the four-stage networks: He et al. 2016, ResNeXt's and ResNeSt's released code.
BLOCKS = {
    14: (1, 1, 1, 1),
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
    269: (3, 30, 48, 8),
}
_NAME = re.compile(
    r"(?P<family>resnet|resnext|resnest)"
    r"(?:(?P<depth>\d{1,4})(?P<timm>[de]?)|_(?P<depths>\d{1,4}(?:-\d{1,4})*)_w(?P<width>\d{1,5}))"
    r"(?P<fast>_fast)?"
    r"(?:_(?:(?P<radix>\d{1,2})s)?(?P<cardinality>\d{1,5})x(?P<base_width>\d{1,5})d)?"
    r"(?P<cifar>_cifar)?"
    r"(?P<preact>_preact)?"
)


def fields_of(name: str) -> dict[str, Any] | None:
    """Returns the fields of the network that a name describes; None if the name follows no known pattern.

    Raises:
        ArchError: if a part of the name is missing, or there is no network of that depth.
    """
    match = _NAME.fullmatch(normalised(name))
    if match is None:
        return None
    family, timm = match["family"], bool(match["timm"])
    if family != "resnest" and (match["fast"] or timm):
        return None
    if family == "resnext" and match["cardinality"] is None:
        raise ArchError(f"{name!r} lacks cardinality and base width; write {name}_32x4d, for example")
    depths, cifar = _depths(match, name)
    width = int(match["width"] or 64)
    fields: dict[str, Any] = {
        "depths": depths,
        "widths": tuple(EXPANSION * width << s for s in range(len(depths))),
        "cardinality": int(match["cardinality"] or 1),
        "base_width": int(match["base_width"] or 64),
        "radix": int(match["radix"] or (2 if family == "resnest" else 0)),
        "preact": bool(match["preact"]),
    }
    if family == "resnest":
        if cifar:
            return None
        stem_width = 128 if match["depth"] and int(match["depth"]) > 100 else 64
        fast = bool(match["fast"]) or (timm and match["radix"] is not None)
        return fields | {"stem": "deep", "stem_width": stem_width, "avd": True, "avd_first": fast, "avg_down": True}
    return fields | ({"stem": "cifar", "stem_width": width} if cifar else {})


def candidates(spec: ArchSpec) -> list[str]:
    """Returns the names that may describe a network, the best known first. The last one is always descriptive."""
    label = f"{spec.cardinality[0]}x{spec.base_width[0]}d"
    radix = f"{spec.radix}s"
    shape = f"{'-'.join(map(str, spec.depths))}_w{spec.widths[0] // EXPANSION}"
    depth = 2 + 3 * sum(spec.depths)
    if spec.stem == "deep":
        fast = "_fast" if spec.avd_first else ""
        forms = [f"{depth}", f"{depth}{fast}_{radix}{label}", f"_{shape}{fast}_{radix}{label}"]
        names = [f"resnest{form}" for form in forms]
    else:
        end = "_cifar" if spec.stem == "cifar" else ""
        plain = "resnet" if spec.cardinality[0] == 1 and not end else "resnext"
        mark = radix if spec.radix else ""
        names = [f"{plain}{depth}_{mark}{label}{end}", f"resnext_{shape}_{mark}{label}{end}"]
        if not end:
            names.insert(0, f"resnet{depth}")
    return [f"{name}_preact" for name in names] if spec.preact else names


def normalised(name: str) -> str:
    """Returns a name in lower case and with underscores, as the grammar requires."""
    text = re.sub(r"[\s(),]+", "_", name.strip().lower().replace("\u00d7", "x")).strip("_")
    text = text.replace("-fast", "_fast")
    return re.sub(r"^(resnet|resnext|resnest)[-_](?=\d+(?:$|[^-\d]))(?!\d+_w)", r"\1", text)


def _depths(match: re.Match[str], name: str) -> tuple[tuple[int, ...], bool]:
    cifar = bool(match["cifar"])
    if match["depths"]:
        return tuple(int(d) for d in match["depths"].split("-")), cifar
    depth = int(match["depth"])
    if depth in BLOCKS and not cifar:
        return BLOCKS[depth], False
    if match["family"] != "resnest" and depth > 2 and (depth - 2) % 9 == 0:
        return ((depth - 2) // 9,) * 3, True
    known = ", ".join(map(str, BLOCKS))
    raise ArchError(f"{name!r}: no network of depth {depth}; known are {known}, and 9n+2 (29, 38, ...) for CIFAR")
