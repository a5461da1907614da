"""What is done to an image and to the boxes or masks on it, together: uint8 tensors (3, h, w) and targets out.

The random ones draw from torch's global generator, as torchvision's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from nxt.data.augment import Augment
from nxt.data.preprocess import Preprocess, rgb
from nxt.data.resident import Normalised
from nxt.data.scenes.scene import Scene
from nxt.data.transforms import colours, mean_colour, uniform

if TYPE_CHECKING:
    from PIL.Image import Image

Target = dict[str, Tensor]  # boxes (n, 4), labels (n,) and perhaps masks (n, h, w); or mask (h, w)


def marked(target: dict[str, NDArray[Any]] | NDArray[Any], masks: bool) -> Target:
    """Returns a source's target as tensors: boxes with what belongs to them, with or without masks; or one mask."""
    if not isinstance(target, dict):
        return {"mask": torch.from_numpy(target)}
    return {name: torch.from_numpy(array) for name, array in target.items() if masks or name != "masks"}


def evaluation(image: Image, preprocess: Preprocess, scene: Scene) -> Tensor:
    """Returns an image as evaluation sees it: resized with antialiasing."""
    pixels = F.pil_to_tensor(image)
    resized: Tensor = _resize(pixels, preprocess.size, scene.longest, preprocess)(pixels)
    return resized


def network_input(preprocess: Preprocess, scene: Scene, image: Image) -> Tensor:
    """Returns an image as a detector or segmenter expects it: in RGB, as evaluation resizes it, normalised (3, h, w).

    Raises:
        DataError: as `preprocess.rgb` does.
    """
    pixels = evaluation(rgb(image), preprocess, scene)
    return Normalised(preprocess, pixels.device)(pixels[None])[0]


def training(
    image: Image, target: Target, preprocess: Preprocess, scene: Scene, augment: Augment
) -> tuple[Tensor, Target]:
    """Returns an image and its target, changed together: resized, cropped for a mask, mirrored; then the colours.

    Boxes of crowds are left out, as are those of less than a pixel. Beyond the image a crop has the mean colour, and
    255 in the mask.
    """
    pixels, given = tv_tensors.Image(F.pil_to_tensor(image)), _typed(target, image)
    side = scene.sides[int(torch.randint(len(scene.sides), ()))] if scene.sides else preprocess.size
    factor = uniform(*scene.scale) if "mask" in target else 1.0
    steps = [_resize(pixels, round(side * factor), round(scene.longest * factor), preprocess)]
    if "mask" in target:
        fill = {tv_tensors.Image: mean_colour(preprocess), tv_tensors.Mask: 255}
        steps.append(v2.RandomCrop(preprocess.size, pad_if_needed=True, fill=fill))
    if augment.mirror:
        steps.append(v2.RandomHorizontalFlip())
    if "boxes" in target:
        steps += [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes()]
    pixels, given = v2.Compose(steps)(pixels, given)
    shown = pixels.as_subclass(Tensor)
    for change in colours(augment):
        shown = change(shown)
    return shown, {name: value.as_subclass(Tensor) for name, value in given.items()}


def _typed(target: Target, image: Image) -> dict[str, Any]:
    """Returns a target that torchvision knows how to change, without crowds."""
    if "mask" in target:
        return {"mask": tv_tensors.Mask(target["mask"])}
    alone = target["iscrowd"] == 0
    size = (image.height, image.width)
    boxes = tv_tensors.BoundingBoxes(target["boxes"][alone], format="XYXY", canvas_size=size)
    typed = {"boxes": boxes, "labels": target["labels"][alone]}
    return typed | {"masks": tv_tensors.Mask(target["masks"][alone])} if "masks" in target else typed


def _resize(pixels: Tensor, side: int, longest: int, preprocess: Preprocess) -> Any:
    """Returns the change that gives the shorter side some pixels; fewer, where the longer side had too many."""
    height, width = pixels.shape[-2:]
    scale = min(side / min(height, width), longest / max(height, width))
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    return v2.Resize(size, interpolation=preprocess.interpolation, antialias=True)
