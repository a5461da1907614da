"""Translates names of networks into the fields of an `ArchSpec` and back: `resnext50_32x4d`.

    resnet50                        plain ResNet
    resnext50_32x4d                 cardinality 32, base width 4
    resnext29_8x64d_cifar           three stages after a 3x3 stem; the suffix may be left out if the depth tells
    resnext29_8x64d_cifar_preact    with BN and ReLU before the convolutions
    resnest50                       radix 2, cardinality 1, base width 64
    resnest50_fast_4s2x40d          radix 4, cardinality 2, base width 40, pooling before the 3x3
    resnext_3-5-7-2_w64_2s16x8d     any depths, stage base width 64, radix 2: such names come from searches
    resnet18, resnet34              basic blocks; resnet20, 32, 44, 56, 110 and 1202 are those for CIFAR, with
                                    padded shortcuts
    resnet_2-2-2_w16_basic_cifar    basic blocks, any depths; `_basic_1x96d`: 96 channels between their convolutions
    seresnet50, skresnext50_32x4d   with squeeze-and-excitation, with selective kernels
    resnext50_128x1d_constant       groups as wide in all stages; `_padded`: shortcuts that pad with zeros
    resnext50_32x4d_plain           without shortcuts

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
BASIC_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # He et al. 2016 (arXiv 1512.03385), table 1
_BASIC_CIFAR = (20, 32, 44, 56, 110, 1202)  # 6n+2 layers; same paper, table 6
_NAME = re.compile(
    r"(?P<attention>se|sk)?(?P<family>resnet|resnext|resnest)"
    r"(?:(?P<depth>\d{1,4})(?P<timm>[de]?)|_(?P<depths>\d{1,4}(?:-\d{1,4})*)_w(?P<width>\d{1,5}))"
    r"(?P<fast>_fast)?"
    r"(?P<basic>_basic)?"
    r"(?:_(?:(?P<radix>\d{1,2})s)?(?P<cardinality>\d{1,5})x(?P<base_width>\d{1,5})d)?"
    r"(?P<cifar>_cifar)?(?P<padded>_padded)?(?P<constant>_constant)?(?P<preact>_preact)?(?P<plain>_plain)?"
)


def fields_of(name: str) -> dict[str, Any] | None:
    """Returns the fields of the network that a name describes; None if the name follows no known pattern.

    Raises:
        ArchError: if a part of the name is missing, or there is no network of that depth.
    """
    match = _NAME.fullmatch(normalised(name))
    if match is None:
        return None
    family, labelled = match["family"], match["cardinality"] is not None
    if family == "resnest":
        return _resnest(match, name)
    if match["fast"] or match["timm"]:
        return None
    if family == "resnext" and not labelled:
        raise ArchError(f"{name!r} lacks cardinality and base width; write {name}_32x4d, for example")
    depth = int(match["depth"] or 0)
    classic = family == "resnet" and depth in _BASIC_CIFAR and not labelled
    basic = classic or bool(match["basic"]) or depth in BASIC_BLOCKS
    depths, cifar = (((depth - 2) // 6,) * 3, True) if classic else _depths(match, name)
    width = 16 if classic else int(match["width"] or 64)
    return {
        **_widths(depths, width * (1 if basic else EXPANSION)),
        "cardinality": int(match["cardinality"] or 1),
        "base_width": int(match["base_width"] or (width if basic else 64)),
        "radix": int(match["radix"] or 0),
        "preact": bool(match["preact"]),
        "block": "basic" if basic else "bottleneck",
        "attention": match["attention"] or "none",
        "padded": bool(match["padded"] or (classic and not match["plain"])),
        "constant": bool(match["constant"]),
        "shortcut": not match["plain"],
        **({"stem": "cifar", "stem_width": width} if cifar else {}),
    }


def _resnest(match: re.Match[str], name: str) -> dict[str, Any] | None:
    """Returns the fields of a ResNeSt; None for what there is not."""
    depths, cifar = _depths(match, name)
    if cifar or any(match[part] for part in ("attention", "basic", "padded", "constant")):
        return None
    fast = bool(match["fast"]) or bool(match["timm"] and match["radix"] is not None)
    return {
        **_widths(depths, int(match["width"] or 64) * EXPANSION),
        "cardinality": int(match["cardinality"] or 1),
        "base_width": int(match["base_width"] or 64),
        "radix": int(match["radix"] or 2),
        "preact": bool(match["preact"]),
        "shortcut": not match["plain"],
        "stem": "deep",
        "stem_width": 128 if match["depth"] and int(match["depth"]) > 100 else 64,
        "avd": True,
        "avd_first": fast,
        "avg_down": True,
    }


def candidates(spec: ArchSpec) -> list[str]:
    """Returns the names that may describe a network, the best known first. The last one is always descriptive."""
    label = f"{spec.cardinality[0]}x{spec.base_width[0]}d"
    radix = f"{spec.radix}s"
    shape = f"{'-'.join(map(str, spec.depths))}_w{spec.width}"
    flags = ("_constant" if spec.constant else "") + ("_preact" if spec.preact else "")
    flags += "" if spec.shortcut else "_plain"
    end = ("_cifar" if spec.stem == "cifar" else "") + ("_padded" if spec.padded else "") + flags
    start = spec.attention if spec.attention != "none" else ""
    depth = 2 + (2 if spec.block == "basic" else 3) * sum(spec.depths)
    if spec.block == "basic":
        inner = "" if spec.base_width[0] == spec.widths[0] else f"_{label}"
        return [f"{start}resnet{depth}{flags}", f"{start}resnet_{shape}_basic{inner}{end}"]
    if spec.stem == "deep":
        fast = "_fast" if spec.avd_first else ""
        forms = [f"{depth}", f"{depth}{fast}_{radix}{label}", f"_{shape}{fast}_{radix}{label}"]
        return [f"{start}resnest{form}{end}" for form in forms]
    plain = "resnet" if spec.cardinality[0] == 1 and spec.stem == "imagenet" else "resnext"
    mark = radix if spec.radix else ""
    names = [f"{plain}{depth}_{mark}{label}{end}", f"resnext_{shape}_{mark}{label}{end}"]
    if spec.stem == "imagenet":
        names.insert(0, f"resnet{depth}{end}")
    return [start + name for name in names]


def normalised(name: str) -> str:
    """Returns a name in lower case and with underscores, as the grammar requires."""
    text = re.sub(r"[\s(),]+", "_", name.strip().lower().replace("\u00d7", "x")).strip("_")
    text = text.replace("-fast", "_fast")
    text = re.sub(r"^(se|sk)[-_](?=res)", r"\1", text)
    return re.sub(r"^((?:se|sk)?res(?:net|next|nest))[-_](?=\d+(?:$|[^-\d]))(?!\d+_w)", r"\1", text)


def _widths(depths: tuple[int, ...], first: int) -> dict[str, tuple[int, ...]]:
    """Returns depths, and widths that double from stage to stage."""
    return {"depths": depths, "widths": tuple(first << s for s in range(len(depths)))}


def _depths(match: re.Match[str], name: str) -> tuple[tuple[int, ...], bool]:
    """Returns the blocks by stage, and whether such a network is for CIFAR."""
    cifar = bool(match["cifar"])
    if match["depths"]:
        return tuple(int(d) for d in match["depths"].split("-")), cifar
    depth, split = int(match["depth"]), match["family"] == "resnest"
    four_stages = BLOCKS if split else {**BASIC_BLOCKS, **BLOCKS}
    if depth in four_stages and not cifar:
        return four_stages[depth], False
    if not split and depth > 2 and (depth - 2) % 9 == 0:
        return ((depth - 2) // 9,) * 3, True
    known = ", ".join(map(str, sorted(four_stages)))
    others = "" if split else f", {', '.join(map(str, _BASIC_CIFAR))}, and 9n+2 (29, 38, ...) for CIFAR"
    raise ArchError(f"{name!r}: no network of depth {depth}; known are {known}{others}")
