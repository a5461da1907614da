"""What the outputs of weights from elsewhere stand for: in which order they have the classes of the images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nxt.data.dataset import Source
from nxt.errors import DataError
from nxt.inference.evaluation import composed, names_in_file
from nxt.train.checkpoint import Checkpoint

_WNID = re.compile(r"n\d{8}")  # a class of ImageNet by its number in WordNet


def with_outputs_named(loaded: Sequence[Checkpoint], source: Source, order: Path | None) -> list[Checkpoint]:
    """Returns checkpoints of which those from elsewhere have classes that the images have, too.

    Beside a checkpoint of nxt they are to have its classes.

    Args:
        loaded: The checkpoints.
        source: The images.
        order: A file of names; if there are as many as outputs, they are those of the outputs in their order.

    Raises:
        ConfigError: if the file cannot be read.
        DataError: if nothing tells which output is which of the classes.
    """
    own = next((checkpoint.classes for checkpoint in loaded if not checkpoint.origin), None)
    wanted, where = (source.classes, source.name) if own is None else (own, "the network that nxt trained")
    listed = tuple(names_in_file(order)) if order is not None and own is None else ()
    return [replace(one, classes=_outputs(one, wanted, listed, where)) if one.origin else one for one in loaded]


def _outputs(checkpoint: Checkpoint, wanted: Sequence[str], listed: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Returns the names of the outputs: as listed, as they are known, or ImageNet's wnids in their usual order."""
    known = {composed(name) for name in checkpoint.classes}
    if len(listed) == len(known) and set(listed) != known:
        return listed
    unknown = [name for name in wanted if composed(name) not in known]
    if not unknown:
        return checkpoint.classes
    if len(wanted) == len(known) == 1000 and all(map(_WNID.fullmatch, wanted)):
        return tuple(sorted(wanted))
    has = f" (which has {len(listed)})" if listed else ""
    raise DataError(
        f"{where}: nothing tells which of the {len(known)} outputs of {checkpoint.origin} are its {len(wanted)} "
        f"classes, such as {unknown[0]!r}; give the names of all outputs in order, one a line, with `classes` FILE{has}"
    )
