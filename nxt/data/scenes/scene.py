"""stub"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scene:
    sides: tuple[int, ...] = ()
    longest: int = 1333
    scale: tuple[float, ...] = (1.0, 1.0)
