"""The proxy: a declared transform of architecture and data that makes a trial cheap.

A search trains the transformed network; fingerprint, costs and all result files are those of the architecture itself.
run.yaml records the transform. Accuracies under different proxies are never compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nxt.arch.spec import STEMS, ArchSpec
from nxt.config import from_mapping, merged, read_yaml, require
from nxt.data.ref import DataRef
from nxt.errors import ArchError

FOLDER = Path(__file__).with_name("proxies")
_TRIES = 64
_LEAST = 4  # pixels
SMALL = 32  # pixels: up to here the strides of an ImageNet stem leave a pixel or less to the last stage


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """How to shrink a trial.

    Raises:
        ConfigError: if values are out of range.
    """

    about: str = ""  # a description
    size: int | None = None  # largest image side in pixels; smaller if the data's own is smaller
    scale: float = 1.0  # share of the data's own side, if it has one
    stem: str = "auto"  # "auto": 3x3 for images up to 32 px, else "own": the network's own
    width: float = 1.0  # multiplier of all widths
    share: float = 1.0  # of the training images
    epochs: int = 9  # of a trial that is not stopped
    recipe: str = "proxy"  # a recipe's name or file

    def __post_init__(self) -> None:
        where = "proxy"
        size_fits = self.size is None or _LEAST <= self.size <= 4096
        require(size_fits, where, f"size is {self.size}; it lies in 4..4096 pixels")
        require(0 < self.scale <= 1, where, f"scale is {self.scale}; it lies in (0, 1]")
        known = ("auto", "own", *STEMS)
        require(self.stem in known, where, f"stem is {self.stem!r}, not one of {', '.join(known)}")
        require(0 < self.width <= 1, where, f"width is {self.width}; it lies in (0, 1]")
        require(0 < self.share <= 1, where, f"share is {self.share}; it lies in (0, 1]")
        require(1 <= self.epochs <= 10_000, where, f"epochs is {self.epochs}; it lies in 1..10000")

    @property
    def full(self) -> bool:
        """Whether it shrinks nothing, so that trials are full trainings."""
        return self.size is None and self.scale == self.width == self.share == 1 and self.stem == "own"

    def image_size(self, natural: int | None, spec: ArchSpec) -> int:
        """Returns the image side to train at. `natural` is the data's own; None: the network decides."""
        own = None if natural is None else max(_LEAST, round(natural * self.scale))
        limits = [side for side in (self.size, own) if side is not None]
        return min(limits) if limits else spec.size

    def described(self, size: int | None, own: str) -> str:
        """Returns how it shrinks networks whose stem is `own`, and their images, apart from the side, as text."""
        stem = self._stem(size, own) if size is not None else self.stem
        stems = {"cifar": "3x3 stem", "auto": "own or 3x3 stem", "own": "own stem"} | {own: "own stem"}
        width = "" if self.width == 1 else f"{self.width:g} of the width"
        share = "" if self.share == 1 else f"{self.share:g} of the training images"
        return ", ".join(part for part in (stems.get(stem, f"{stem} stem"), width, share) if part)

    def _stem(self, size: int, own: str) -> str:
        """Returns the stem of the proxy of a network with that stem, on images of that side."""
        stem = self.stem
        if stem == "auto":
            stem = "cifar" if size <= SMALL else "own"
        return own if stem == "own" else stem

    def apply(self, spec: ArchSpec, size: int) -> ArchSpec:
        """Returns the network to train instead of an architecture, on images of the given side.

        All widths keep their ratios. Base widths are rounded, then raised if needed to the next valid one: groups are
        whole and divisible by the radix, attention channels are divisible by the cardinality.

        Raises:
            ArchError: if no base width near the scaled one is valid.
        """
        stem = self._stem(size, spec.stem)
        if self.width == 1:
            return spec.replace(stem=stem)
        unit = math.gcd(*spec.widths) // spec.expansion  # stage widths are expansion * unit * ratio
        ratios = [width // (spec.expansion * unit) for width in spec.widths]
        scaled_unit = max(1, round(unit * self.width))
        stem_width = max(2, 2 * round(spec.stem_width * self.width / 2))
        steps = [_step(spec.radix, ratio, ratios[0]) for ratio in ratios]
        base = [max(1, round(d * self.width / step)) for d, step in zip(spec.base_width, steps, strict=True)]
        for extra in range(_TRIES):
            try:
                return spec.replace(
                    stem=stem,
                    stem_width=stem_width,
                    widths=tuple(spec.expansion * scaled_unit * ratio for ratio in ratios),
                    base_width=tuple(step * (d + extra) for d, step in zip(base, steps, strict=True)),
                )
            except ArchError as error:
                problem = error
        raise ArchError(f"{spec.name} cannot be shrunk to {self.width} of its width: {problem}")


def full_training(recipe: str, epochs: int) -> Proxy:
    """Returns the proxy that leaves the architecture and the data unchanged."""
    return Proxy(about="full training", stem="own", epochs=epochs, recipe=recipe)


def load_proxy(data: DataRef, overrides: Mapping[str, Any]) -> Proxy:
    """Loads the default proxy of a kind of data, and applies the overrides.

    Raises:
        ConfigError: if keys are unknown or values out of range.
    """
    name = data.task if data.task != "classification" else "folder" if data.is_own else data.kind
    default = read_yaml(FOLDER / f"{name}.yaml")
    return from_mapping(Proxy, merged(default, overrides), "proxy")


def _step(radix: int, ratio: int, first: int) -> int:
    """Returns the smallest base width whose group width (times ratio / first) is whole and divisible by the radix."""
    splits = max(1, radix) * first
    return splits // math.gcd(splits, ratio)
