"""Whether a network in another format gives the same: what `nxt export` asks of a file before it writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nxt.errors import RunError
from nxt.inference.formats import Outputs, listed

TOLERANCE = 1e-4  # largest difference of outputs, relative to the largest output if that is above 1


def difference(model: nn.Module, run: Outputs, batches: Sequence[Tensor], out: Path) -> float:
    """Returns the largest difference between outputs. Raises RunError if it is too large."""
    worst = 0.0
    for images in batches:
        for expected, actual in zip(listed(model(images)), run(images), strict=True):
            difference, largest = float((actual - expected).abs().max()), float(expected.abs().max())
            if not difference <= TOLERANCE * max(1.0, largest):
                raise RunError(
                    f"{out}: not written: its outputs would differ from the network's by {difference:.2g}, "
                    f"where the largest is {largest:.2g}"
                )
            worst = max(worst, difference)
    return worst


def difference_of_objects(model: nn.Module, run: Outputs, images: Sequence[Tensor], out: Path) -> float:
    """Returns the largest difference between objects that belong together; of boxes relative to the largest side.

    Raises RunError if nothing is found to compare by, or more than one object in a hundred is another: those whose
    overlap or score lies at a limit, to the last bit, are found by one program alone.
    """
    worst, count, lost = 0.0, 0, 0
    for image in images:
        expected, actual = listed(model(image)), run(image)
        (boxes, labels, scores), (others, other_labels, other_scores) = expected[:3], actual[:3]
        apart = (boxes[:, None] - others).abs().amax(-1) / max(image.shape[1:])
        apart = torch.maximum(apart, (scores[:, None] - other_scores).abs())
        apart = apart.where(labels[:, None] == other_labels, torch.inf)
        nearest, place = F.pad(apart, (0, 1), value=torch.inf).min(dim=1)  # also where nothing is found
        for masks, other_masks in zip(expected[3:], actual[3:], strict=True):
            known = nearest <= TOLERANCE
            masks_apart = (masks[known] - other_masks[place[known]]).abs().amax((1, 2, 3))
            nearest[known] = torch.maximum(nearest[known], masks_apart)
        same = nearest[nearest <= TOLERANCE]
        count += max(len(boxes), len(others))
        lost += max(len(boxes), len(others)) - len(same)
        worst = max([worst, *same.tolist()])
    if not count:
        raise RunError(f"{out}: not written: it finds nothing on the images to compare by; train it for longer")
    if lost > count / 100:
        raise RunError(f"{out}: not written: {lost} of {count} objects on {len(images)} images would be others")
    return worst
