"""How good trained networks are: predictions on a split, and figures made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nxt.arch.costs import cost
from nxt.compute.accelerator import accelerator
from nxt.compute.mode import Compute
from nxt.data.dataset import Source, divided
from nxt.data.processes import Workers, default_workers
from nxt.data.resident import Normalised
from nxt.errors import CheckpointError, ConfigError, DataError, suggestion
from nxt.inference.views import Cutter, Views
from nxt.models.network import Network

SPLITS = ("test", "val")
BINS = 15  # of the calibration error; Guo et al. 2017
_Z = 1.959964  # 95 % of a normal distribution lie within so many deviations
_MOST = 256  # images at a time
# Convolutions' output elements at a time. A CPU was up to twice as slow with many; a GPU wants many at once.
_ON_GPU, _ON_THREAD = 500_000_000, 10_000_000
_FEW = 500  # images that are read sooner than processes have begun


@dataclass(frozen=True)
class OfClass:
    """How a class fared, and which other one its images were most often taken for, so many times."""

    name: str
    images: int
    accuracy: float
    mistaken: str | None  # None: all are right
    times: int


@dataclass(frozen=True)
class Predictions:
    """What a network, or several, said about images.

    Logarithms, because they tell small probabilities apart where probabilities in float32 are all zero.
    """

    log_probabilities: NDArray[np.float32]  # (N, K)
    labels: NDArray[np.int64]  # (N,), true classes as columns
    classes: tuple[str, ...]  # K names

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, (N,); the first one among equals."""
        return np.argmax(self.log_probabilities, axis=1)  # type: ignore[no-any-return]

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the most probable class, (N,)."""
        return np.exp(np.max(self.log_probabilities, axis=1), dtype=np.float64)  # type: ignore[no-any-return]

    @cached_property
    def _own(self) -> NDArray[np.float32]:
        return np.take_along_axis(self.log_probabilities, self.labels[:, None], axis=1)

    def top(self, k: int = 1) -> float:
        """Returns the share of images whose true class is among the k most probable ones; of equals the first count."""
        before = (self.log_probabilities > self._own).sum(axis=1)
        equal = self.log_probabilities == self._own
        before += (equal & (np.arange(len(self.classes)) < self.labels[:, None])).sum(axis=1)
        return float((before < k).mean())

    def loss(self) -> float:
        """Returns the mean cross entropy in nats."""
        return float(-self._own.mean(dtype=np.float64))

    def interval(self) -> tuple[float, float]:
        """Returns a 95 % interval of the top-1 accuracy."""
        return wilson(int((self.predicted == self.labels).sum()), len(self))

    def reliability(self, bins: int = BINS) -> list[dict[str, Any]]:
        """Returns, for equal bins (low, high] of the confidence, images and their mean confidence and accuracy."""
        place = np.clip(np.ceil(self.confidence * bins).astype(int) - 1, 0, bins - 1)
        right = self.predicted == self.labels
        rows: list[dict[str, Any]] = []
        for index in range(bins):
            inside = place == index
            row: dict[str, Any] = {"low": index / bins, "high": (index + 1) / bins, "images": int(inside.sum())}
            row["confidence"] = float(self.confidence[inside].mean()) if inside.any() else None
            row["accuracy"] = float(right[inside].mean()) if inside.any() else None
            rows.append(row)
        return rows

    def ece(self, bins: int = BINS) -> float:
        """Returns the expected calibration error in 0..1 (Guo et al. 2017, arXiv 1706.04599, eq. 3)."""
        filled = [row for row in self.reliability(bins) if row["images"]]
        return float(sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in filled) / len(self))

    def confusion(self) -> NDArray[np.int64]:
        """Returns how many images of each true class (rows) were taken for each class (columns), (K, K)."""
        count = len(self.classes)
        return np.bincount(self.labels * count + self.predicted, minlength=count * count).reshape(count, count)

    def worst(self) -> list[OfClass]:
        """Returns figures of each class that has images, the least accurate first."""
        matrix = self.confusion()
        rows: list[OfClass] = []
        for index in np.flatnonzero(matrix.sum(axis=1)):
            taken, images = matrix[index].copy(), int(matrix[index].sum())
            accuracy, taken[index] = float(taken[index] / images), 0
            mistaken = self.classes[taken.argmax()] if taken.any() else None
            rows.append(OfClass(self.classes[index], images, accuracy, mistaken, int(taken.max())))
        return sorted(rows, key=lambda row: row.accuracy)

    def per_class(self) -> dict[str, float]:
        """Returns the accuracy on each class that has images."""
        accuracies = {row.name: row.accuracy for row in self.worst()}
        return {name: accuracies[name] for name in self.classes if name in accuracies}

    def among(self, columns: NDArray[np.int64]) -> Predictions:
        """Returns the predictions as softmax over some classes only.

        Of one view and one network that is the softmax of those logits; of several it is the averaged scores, scaled.

        Args:
            columns: The classes, ascending; all true classes are among them.
        """
        chosen = torch.from_numpy(self.log_probabilities[:, columns]).log_softmax(dim=1).numpy()
        return Predictions(chosen, np.searchsorted(columns, self.labels), tuple(self.classes[c] for c in columns))

    def figures(self) -> dict[str, Any]:
        """Returns all figures but the confusion matrix as plain data. `top5` is of all classes where they are fewer."""
        return {
            "images": len(self),
            "classes": len(self.classes),
            "accuracy": self.top(1),
            "interval": list(self.interval()),
            "top5": self.top(min(5, len(self.classes))),
            "loss": self.loss(),
            "ece": self.ece(),
            "per_class": self.per_class(),
            "reliability": self.reliability(),
        }


def wilson(right: int, total: int) -> tuple[float, float]:
    """Returns a 95 % interval of a share of which `right` of `total` were seen (Wilson 1927).

    Unlike the normal one it stays within 0..1 and keeps its width where all or none are right.
    """
    share, spread = right / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def ensemble(members: Sequence[Predictions]) -> Predictions:
    """Returns the predictions of several networks together: their probabilities averaged, image by image."""
    total = members[0].log_probabilities
    for member in members[1:]:
        total = np.logaddexp(total, member.log_probabilities)
    return Predictions(total - np.float32(math.log(len(members))), members[0].labels, members[0].classes)


@dataclass(frozen=True)
class Examples:
    """Images to judge networks by: rows of a split of a source, and their true classes as the networks' outputs."""

    source: Source
    split: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def examples(source: Source, split: str, classes: Sequence[str], columns: NDArray[np.int64] | None = None) -> Examples:
    """Returns the images of the test split, or those by which a training on all of the source selects.

    Args:
        source: Where from. Its classes are found by name among the networks'; it may have fewer.
        split: "test" or "val".
        classes: The networks' classes.
        columns: Only images of these of the networks' classes; None: of all.

    Raises:
        DataError: if the source has other classes, or no image is left.
    """
    places = {name: index for index, name in enumerate(classes)}
    other = [name for name in source.classes if name not in places]
    if other:
        raise DataError(
            f"{source.name}: {len(other)} of its {len(source.classes)} classes are none of the checkpoint's "
            f"{len(classes)}, such as {other[0]!r}{suggestion(other[0], classes)}"
        )
    if split == "val":
        _, held, rows = divided(source)
    else:
        held, rows = split, np.arange(len(source.labels(split)))
    labels = np.array([places[name] for name in source.classes])[source.labels(held)[rows]]
    if columns is not None:
        kept = np.isin(labels, columns)
        rows, labels = rows[kept], labels[kept]
    if not len(rows):
        raise DataError(f"{source.name}: no {split} image is of a listed class")
    return Examples(source, held, rows, labels)


def read_classes(path: Path, classes: Sequence[str]) -> NDArray[np.int64]:
    """Reads the classes to judge on, one name a line, and returns which of the network's they are, ascending.

    Raises:
        ConfigError: if the file cannot be read, or names fewer than two classes, one twice, or one that is not there.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; one class name a line was expected") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    places = {name: index for index, name in enumerate(classes)}
    chosen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if name in chosen:
            raise ConfigError(f"{path}: line {number}: {name!r} is given twice")
        if name and name not in places:
            near = suggestion(name, classes)
            raise ConfigError(f"{path}: line {number}: the checkpoint has no class {name!r}{near}")
        if name:
            chosen[name] = places[name]
    if len(chosen) < 2:
        raise ConfigError(f"{path}: {len(chosen)} class name(s), one a line; at least two are needed")
    return np.array(sorted(chosen.values()))


@torch.inference_mode()
def predict(
    network: Network,
    images: Examples,
    views: Views,
    device: torch.device,
    workers: int | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> NDArray[np.float32]:
    """Returns the logarithm of the scores that a network gives images, averaged over their views, (N, K).

    Args:
        network: The network; it is moved to the device.
        images: What to judge.
        views: What the network is shown of each image.
        device: Where to compute.
        workers: Processes that read images; by default none for a few, and as many as there are cores for more.
        progress: Is called after each batch with the number of images in it.

    Raises:
        DataError: if an image cannot be read.
        CheckpointError: if the outputs are not finite numbers.
    """
    gpu = accelerator(device)
    # In fp32: with 16 bits logits tie in the first place, and the loss and its calibration are coarse.
    compute, normalised = Compute(channels_last=not gpu.is_gpu), Normalised(views.preprocess, device)
    model = views.applied(network).to(device).to(memory_format=compute.memory_format).eval()
    elements = _ON_GPU if gpu.is_gpu else _ON_THREAD * torch.get_num_threads()
    batch = min(_MOST, max(1, elements // cost(network.spec, views.largest).acts))
    tasks = [images.rows[start : start + batch] for start in range(0, len(images), batch)]
    if workers is None:
        workers = default_workers() if len(images) > _FEW else 0
    cutters = Workers(Cutter(images.source, images.split, views), workers)
    scores: list[NDArray[np.float32]] = []
    for rows, stacks in zip(tasks, cutters.map(tasks), strict=True):
        total = torch.full((len(rows), network.num_classes), -math.inf, device=device)
        for places, pixels in stacks:
            plain = normalised(torch.from_numpy(pixels).to(device))
            for shown in (plain, plain.flip(-1)) if views.mirrored else (plain,):
                with compute.autocast(device):
                    logits = model(shown.contiguous(memory_format=compute.memory_format))
                total[places] = torch.logaddexp(total[places], logits.float().log_softmax(dim=1))
        scores.append(total.log_softmax(dim=1).cpu().numpy())  # divided by the number of views: each one sums to 1
        if not np.isfinite(scores[-1]).all():
            raise CheckpointError("the network's outputs are not finite numbers; use an earlier checkpoint")
        progress(len(rows))
    return np.concatenate(scores)
