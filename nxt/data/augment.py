"""Which random changes training images undergo, as data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from nxt.config import require
from nxt.errors import suggestion

POLICIES = ("autoaugment", "autoaugment-cifar10", "randaugment", "trivialaugment")
_MAGNITUDES = 31  # of torchvision's RandAugment


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes to training images.

    `crop_area` is the smallest share of the image's area that a random crop has (1: no such crop; aspect ratio 3/4 to
    4/3). `shift` is the largest shift relative to the side (0.125: the papers' 4 pixels of 32), `rotate` the largest
    angle in degrees, `zoom` the largest relative change of scale. `jitter` bounds brightness, contrast and saturation;
    `lighting` is the deviation of AlexNet's colour noise. `policy` names one of torchvision's policies; `policy_ops`
    and `policy_magnitude` (of 30) are for `randaugment`. `erase` is the share of the images of which a random rectangle
    is filled with the mean colour (Zhong et al. 2017, arXiv 1708.04896).
    """

    crop_area: float = 1.0
    shift: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    mirror: bool = False
    jitter: float = 0.0
    lighting: float = 0.0
    policy: str = ""
    policy_ops: int = 2
    policy_magnitude: int = 9
    erase: float = 0.0

    def __post_init__(self) -> None:
        for name, top in {"shift": 1, "rotate": 180, "zoom": 2, "jitter": 1, "lighting": 10, "erase": 1}.items():
            value = getattr(self, name)
            require(0 <= value <= top, "augment", f"{name} is {value}; it lies in [0, {top}]")
        require(0 < self.crop_area <= 1, "augment", f"crop_area is {self.crop_area}; it lies in (0, 1]")
        near = suggestion(self.policy, POLICIES) or f"; known are {', '.join(POLICIES)}"
        require(not self.policy or self.policy in POLICIES, "augment", f"no policy is called {self.policy!r}{near}")
        require(1 <= self.policy_ops <= 10, "augment", f"policy_ops is {self.policy_ops}; it lies in 1..10")
        most = _MAGNITUDES - 1
        inside = 0 <= self.policy_magnitude <= most
        require(inside, "augment", f"policy_magnitude is {self.policy_magnitude}; it lies in 0..{most}")

    def without_mirror(self) -> Augment:
        """Returns the same without mirroring, for images whose mirror image means something else."""
        return dataclasses.replace(self, mirror=False)
