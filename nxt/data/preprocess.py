"""How an image becomes what a network expects. It travels with a network's weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nxt.config import require

INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Resize (with antialiasing), crop at the centre, normalise.

    `size` is the side of the result in pixels; the crop keeps the share `crop` of the resized image's shorter side.
    `mean` and `std` are per channel, of values in 0..1.

    Raises:
        ConfigError: for values out of range.
    """

    size: int
    crop: float = 1.0
    interpolation: str = "bilinear"
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        where = "preprocessing"
        require(4 <= self.size <= 4096, where, f"size is {self.size}; it lies in 4..4096 pixels")
        require(0 < self.crop <= 1, where, f"crop is {self.crop}; it lies in (0, 1]")
        most = f"a crop of {self.crop} of {self.size} px asks for images of {self.resized} px; at most are 8192"
        require(self.resized <= 8192, where, most)
        known = ", ".join(INTERPOLATIONS)
        require(
            self.interpolation in INTERPOLATIONS, where, f"interpolation is {self.interpolation!r}, not one of {known}"
        )

    @property
    def resized(self) -> int:
        """Shorter side in pixels before the crop (crop 0.875 and size 224: 256)."""
        return max(self.size, math.floor(self.size / self.crop + 0.5))
