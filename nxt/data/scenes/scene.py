"""Which sizes images with boxes or masks get, as data."""

from __future__ import annotations

from dataclasses import dataclass

from nxt.config import require


@dataclass(frozen=True, kw_only=True)
class Scene:
    """How scenes are resized, both sides in proportion.

    In training the shorter side becomes one of `sides`, drawn anew for each image (none: the recipe's size); where the
    longer side would exceed `longest`, it becomes that. Of a segmentation both are multiplied by a factor drawn from
    `scale`, before a square of the recipe's size is cropped. All in pixels. Evaluation takes the recipe's size for the
    shorter side, with the same limit.
    """

    sides: tuple[int, ...] = ()
    longest: int = 1333
    scale: tuple[float, ...] = (1.0, 1.0)

    def __post_init__(self) -> None:
        for side in (*self.sides, self.longest):
            require(8 <= side <= 8192, "scene", f"a side is {side}; sides lie in 8..8192 pixels")
        short = max(self.sides, default=8)
        require(short <= self.longest, "scene", f"a shorter side of {short} is more than longest, {self.longest}")
        rising = len(self.scale) == 2 and 0.1 <= self.scale[0] <= self.scale[1] <= 10
        require(rising, "scene", f"scale is {list(self.scale)}; it has a least and a largest factor, in [0.1, 10]")
