"""How an image becomes what a network expects: any image in RGB, and the `Preprocess` that travels with the weights.

Training, evaluation and a loaded network's `transform` all make images RGB by `rgb`, the one place where depth,
orientation, transparency and colours are decided. `docs/HOWTO.md` ("My own images") tells users the same.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nxt.config import require
from nxt.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

INTERPOLATIONS = ("bilinear", "bicubic")
_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose images Pillow may give as 32-bit integers, though they have 16 bits
BACKGROUND = (255, 255, 255)  # behind transparent pixels: most such images are made for white pages


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

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
        return (
            f"RGB; shorter side resized to {self.resized} px ({self.interpolation}, antialiased, both sides in "
            f"proportion: not squashed), centre crop of {self.size} x {self.size} px, divided by 255, minus mean "
            f"({mean}), over deviation ({std}); NCHW"
        )


def rgb(image: Image) -> Image:
    """Returns an image in RGB with 8 bits a channel, as a viewer shows it.

    It is turned as its EXIF orientation says; 16-bit grey is scaled to 8 bits; transparent pixels are laid over white.
    An animation gives its first frame.

    Raises:
        DataError: for floating point and for 32-bit integers, whose range nothing tells.
    """
    import PIL.Image

    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in _SIXTEEN_BITS)
    image = _upright(image)
    if sixteen:
        values = np.asarray(image).astype(np.float32)  # whatever their byte order
        image = PIL.Image.fromarray((values * (255 / 65535) + 0.5).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        raise DataError(f"its pixels are {kind}, whose range is unknown; save it with 8 or 16 bits")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return PIL.Image.alpha_composite(PIL.Image.new("RGBA", pixels.size, (*BACKGROUND, 255)), pixels).convert("RGB")
    return image.convert("RGB")


def _upright(image: Image) -> Image:
    """Returns an image turned as its EXIF orientation says; as it is, if its EXIF data cannot be read."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def upright_size(image: Image) -> tuple[int, int]:
    """Returns the width and height that `rgb` gives an image, of which only the first bytes are read."""
    width, height = image.size
    return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def _orientation(image: Image) -> int:
    from PIL import ExifTags

    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever its parser makes of damaged data
        return 1


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silences Pillow's warnings: of large images, odd palettes, cut EXIF data. All these are read as they should be.

    They would come from each worker process, and name no file. What cannot be read is an error, with its file.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
