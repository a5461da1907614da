"""Names of networks, in both directions: `resnext50_32x4d` <-> `ArchSpec`.

    resnet50                        plain ResNet
    resnext50_32x4d                 cardinality 32, base width 4
    resnext29_8x64d_cifar           three stages behind a 3x3 stem; the suffix may go where the depth is unambiguous
    resnext29_8x64d_cifar_preact    with BN and ReLU before the convolutions
    resnest50                       radix 2, cardinality 1, base width 64
    resnest50_fast_4s2x40d          radix 4, cardinality 2, base width 40, pooling before the 3x3
    resnext_3-5-7-2_w64_2s16x8d     any depths, stage base width 64, radix 2: the names that searches give

Spellings of the papers ("ResNeXt-50 (32x4d)") and of timm (`resnest101e`, `resnest50d_4s2x40d`) are aliases.
"""

from __future__ import annotations

import re
from pathlib import Path

from nxt.arch.spec import EXPANSION, ArchSpec, load_arch
from nxt.errors import ArchError, suggestion
from nxt.files import is_file
from nxt.mistaken import mistaken

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


def parse_name(name: str) -> ArchSpec:
    """Return the network of that name.

    Raises:
        ArchError: if the name follows no known pattern (with the nearest known name), or if the
            numbers in it do not make a network.
    """
    match = _NAME.fullmatch(_normalise(name))
    if match is None:
        raise _unknown(name)
    family, timm = match["family"], bool(match["timm"])
    if family != "resnest" and (match["fast"] or timm):
        raise _unknown(name)
    if family == "resnext" and match["cardinality"] is None:
        raise ArchError(f"{name!r} lacks cardinality and base width; write {name}_32x4d, for example")
    depths, cifar = _depths(match, name)
    width = int(match["width"] or 64)
    values = {
        "depths": depths,
        "widths": tuple(EXPANSION * width << s for s in range(len(depths))),
        "cardinality": int(match["cardinality"] or 1),
        "base_width": int(match["base_width"] or 64),
        "radix": int(match["radix"] or (2 if family == "resnest" else 0)),
        "preact": bool(match["preact"]),
    }
    if family == "resnest":
        if cifar:
            raise _unknown(name)
        stem_width = 128 if match["depth"] and int(match["depth"]) > 100 else 64
        fast = bool(match["fast"]) or (timm and match["radix"] is not None)
        values |= {"stem": "deep", "stem_width": stem_width, "avd": True, "avd_first": fast, "avg_down": True}
    elif cifar:
        values |= {"stem": "cifar", "stem_width": width}
    try:
        return ArchSpec(**values)  # type: ignore[arg-type]  # one value per network is spread over the stages
    except ArchError as error:
        raise ArchError(f"{name!r}: {error}") from None


def name_of(spec: ArchSpec) -> str:
    """Return the name that `parse_name` turns back into this network, where there is one.

    Other networks get a descriptive label that ends in `~` and their fingerprint.
    """
    label = f"{spec.cardinality[0]}x{spec.base_width[0]}d"
    radix = f"{spec.radix}s"
    shape = f"{'-'.join(map(str, spec.depths))}_w{spec.widths[0] // EXPANSION}"
    depth = 2 + 3 * sum(spec.depths)
    if spec.stem == "deep":
        fast = "_fast" if spec.avd_first else ""
        forms = [f"{depth}", f"{depth}{fast}_{radix}{label}", f"_{shape}{fast}_{radix}{label}"]
        candidates = [f"resnest{form}" for form in forms]
    else:
        end = "_cifar" if spec.stem == "cifar" else ""
        plain = "resnet" if spec.cardinality[0] == 1 and not end else "resnext"
        mark = radix if spec.radix else ""
        candidates = [f"{plain}{depth}_{mark}{label}{end}", f"resnext_{shape}_{mark}{label}{end}"]
        if not end:
            candidates.insert(0, f"resnet{depth}")
    if spec.preact:
        candidates = [f"{candidate}_preact" for candidate in candidates]
    for candidate in candidates:
        try:
            if parse_name(candidate).fingerprint == spec.fingerprint:
                return candidate
        except ArchError:
            continue
    return f"{candidates[-1]}~{spec.fingerprint}"


def resolve(name_or_path: str) -> ArchSpec:
    """Return the network that a command-line argument means: an architecture file, or a name.

    Raises:
        ArchError, ConfigError: as `load_arch` and `parse_name` do.
    """
    if name_or_path.endswith((".yaml", ".yml")) or is_file(Path(name_or_path)):
        return load_arch(name_or_path)
    return parse_name(name_or_path)


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


def _normalise(name: str) -> str:
    text = re.sub(r"[\s(),]+", "_", name.strip().lower().replace("\u00d7", "x")).strip("_")
    text = text.replace("-fast", "_fast")
    return re.sub(r"^(resnet|resnext|resnest)[-_](?=\d+(?:$|[^-\d]))(?!\d+_w)", r"\1", text)


def _unknown(name: str) -> ArchError:
    from nxt.arch.zoo import ZOO

    if other := mistaken(name, "network"):
        return ArchError(other)
    near = suggestion(_normalise(name), ZOO) or "; see 'nxt zoo', or give the path of an architecture file"
    return ArchError(f"no network is called {name!r}{near}")
