"""Predicts the classes of a split's images, and computes figures from the predictions."""

from __future__ import annotations

import math
import unicodedata
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
from nxt.data.dataset import VAL_SHARE, Source, divided, largest_share
from nxt.data.processes import Workers, default_workers
from nxt.data.resident import Normalised
from nxt.errors import CheckpointError, ConfigError, DataError, suggestion
from nxt.inference.views import Cutter, Views
from nxt.models.network import Network

SPLITS = ("test", "val")
BINS = 15  # of the calibration error; Guo et al. 2017
_Z = 1.959964  # deviations around the mean that contain 95 % of a normal distribution
_MOST = 256  # images at a time
# Output elements of the convolutions at a time. A CPU was up to twice as slow with many; a GPU needs many.
_ON_GPU, _ON_THREAD = 500_000_000, 10_000_000
_FEW = 500  # images; up to so many are read before worker processes would have started


@dataclass(frozen=True)
class OfClass:
    """Accuracy on a class, and the other class that was predicted most often for its images, with the count."""

    name: str
    images: int
    accuracy: float
    mistaken: str | None  # None: all are right
    times: int


@dataclass(frozen=True)
class Predictions:
    """Class probabilities that a network, or an ensemble, predicts for images.

    They are logarithms because small probabilities would all be zero in float32.
    """

    log_probabilities: NDArray[np.float32]  # (N, K)
    labels: NDArray[np.int64]  # (N,), true classes as columns
    classes: tuple[str, ...]  # K names

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, (N,); the first one if several are equal."""
        return np.argmax(self.log_probabilities, axis=1)  # type: ignore[no-any-return]

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the most probable class, (N,)."""
        return np.exp(np.max(self.log_probabilities, axis=1), dtype=np.float64)  # type: ignore[no-any-return]

    @cached_property
    def _true(self) -> NDArray[np.float32]:
        """Logarithm of the true class's probability, (N, 1)."""
        return np.take_along_axis(self.log_probabilities, self.labels[:, None], axis=1)

    def top(self, k: int = 1) -> float:
        """Returns the share of images whose true class is among the k most probable; equal classes rank in order."""
        higher = self.log_probabilities > self._true
        equal = self.log_probabilities == self._true
        earlier = np.arange(len(self.classes)) < self.labels[:, None]
        return float(((higher | (equal & earlier)).sum(axis=1) < k).mean())

    def loss(self) -> float:
        """Returns the mean cross entropy in nats."""
        return float(-self._true.mean(dtype=np.float64))

    def interval(self) -> tuple[float, float]:
        """Returns a 95 % interval of the top-1 accuracy."""
        return wilson(int((self.predicted == self.labels).sum()), len(self))

    def reliability(self, bins: int = BINS) -> list[dict[str, Any]]:
        """Returns the number of images, mean confidence and accuracy for equal bins (low, high] of the confidence."""
        bin_of = np.clip(np.ceil(self.confidence * bins).astype(int) - 1, 0, bins - 1)
        correct = self.predicted == self.labels
        rows: list[dict[str, Any]] = []
        for index in range(bins):
            inside = bin_of == index
            row: dict[str, Any] = {"low": index / bins, "high": (index + 1) / bins, "images": int(inside.sum())}
            row["confidence"] = float(self.confidence[inside].mean()) if inside.any() else None
            row["accuracy"] = float(correct[inside].mean()) if inside.any() else None
            rows.append(row)
        return rows

    def ece(self, bins: int = BINS) -> float:
        """Returns the expected calibration error in 0..1 (Guo et al. 2017, arXiv 1706.04599, eq. 3)."""
        filled = [row for row in self.reliability(bins) if row["images"]]
        return float(sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in filled) / len(self))

    def confusion(self) -> NDArray[np.int64]:
        """Returns the number of images by true class (rows) and predicted class (columns), (K, K)."""
        count = len(self.classes)
        return np.bincount(self.labels * count + self.predicted, minlength=count * count).reshape(count, count)

    def worst(self) -> list[OfClass]:
        """Returns a result for each class that has images, the least accurate class first."""
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

        For one view and one network this is the softmax of their logits; for several, the averaged scores, scaled.

        Args:
            columns: The classes, ascending; they include all true classes.
        """
        chosen = torch.from_numpy(self.log_probabilities[:, columns]).log_softmax(dim=1).numpy()
        return Predictions(chosen, np.searchsorted(columns, self.labels), tuple(self.classes[c] for c in columns))

    def figures(self) -> dict[str, Any]:
        """Returns all figures except the confusion matrix as plain data. With fewer than 5 classes `top5` is 1."""
        return {
            "images": len(self),
            "classes": len(self.classes),
            "accuracy": self.top(1),
            "balanced_accuracy": float(np.mean(list(self.per_class().values()))),  # mean over the classes
            "largest_class": largest_share(self.labels),  # the accuracy of naming it always
            "interval": list(self.interval()),
            "top5": self.top(min(5, len(self.classes))),
            "loss": self.loss(),
            "ece": self.ece(),
            "per_class": self.per_class(),
            "reliability": self.reliability(),
        }


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Returns a 95 % interval of a probability after `successes` in `total` trials (Wilson 1927).

    Unlike the normal interval it stays within 0..1, and has a width if all or no trials succeed.
    """
    share, spread = successes / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def ensemble(members: Sequence[Predictions]) -> Predictions:
    """Returns the predictions of an ensemble: the averaged probabilities of its members."""
    total = members[0].log_probabilities
    for member in members[1:]:
        total = np.logaddexp(total, member.log_probabilities)
    return Predictions(total - np.float32(math.log(len(members))), members[0].labels, members[0].classes)


@dataclass(frozen=True)
class Examples:
    """Images to evaluate networks on: rows of a source's split, and their true classes as indices of outputs."""

    source: Source
    split: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


def composed(name: str) -> str:
    """Returns the one form in which names are compared: some systems take letters and their accents apart."""
    return unicodedata.normalize("NFC", name)


def examples(
    source: Source,
    split: str,
    classes: Sequence[str],
    columns: NDArray[np.int64] | None = None,
    holdout: float = VAL_SHARE,
) -> Examples:
    """Returns the images of the test split, or of the validation split that a training on the source uses.

    Args:
        source: Source of the images. Its classes are matched by name with the networks'; it may have fewer.
        split: "test" or "val".
        classes: The networks' classes.
        columns: Indices of classes; only their images are returned. None: all images.
        holdout: The share of the training images that the training held out, where the source has no validation split.

    Raises:
        DataError: if the source has other classes, or no image is left.
    """
    places = {composed(name): index for index, name in enumerate(classes)}
    unknown = [name for name in source.classes if composed(name) not in places]
    if unknown:
        raise DataError(
            f"{source.name}: {len(unknown)} of its {len(source.classes)} classes are none of the checkpoint's "
            f"{len(classes)}, such as {unknown[0]!r}{suggestion(unknown[0], classes)}"
        )
    if split == "val" and not source.has_val:
        _, stored_split, rows = divided(source, holdout=holdout)
    else:
        stored_split, rows = split, np.arange(len(source.labels(split)))
    labels = np.array([places[composed(name)] for name in source.classes])[source.labels(stored_split)[rows]]
    if columns is not None:
        kept = np.isin(labels, columns)
        rows, labels = rows[kept], labels[kept]
    if not len(rows):
        raise DataError(f"{source.name}: no {split} image is of a listed class")
    return Examples(source, stored_split, rows, labels)


def names_in_file(path: Path) -> dict[str, int]:
    """Reads names of classes, one a line, and returns the number of the line of each, in order.

    Raises:
        ConfigError: if the file cannot be read, or has a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; one class name a line was expected") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        name = composed(line.strip())
        if name in found:
            raise ConfigError(f"{path}: line {number}: {name!r} is given twice")
        if name:
            found[name] = number
    return found


def read_classes(path: Path, classes: Sequence[str]) -> NDArray[np.int64]:
    """Reads the classes to evaluate, one name a line, and returns their indices in `classes`, ascending.

    Raises:
        ConfigError: if the file cannot be read, or has fewer than two classes, one twice, or an unknown one.
    """
    places, chosen = {composed(name): index for index, name in enumerate(classes)}, names_in_file(path)
    for name, number in chosen.items():
        if name not in places:
            near = suggestion(name, classes)
            raise ConfigError(f"{path}: line {number}: the checkpoint has no class {name!r}{near}")
    if len(chosen) < 2:
        raise ConfigError(f"{path}: {len(chosen)} class name(s), one a line; at least two are needed")
    return np.array(sorted(places[name] for name in chosen))


def batch_size(network: Network, side: int, device: torch.device) -> int:
    """Returns how many images of a side a network processes at a time on a device."""
    elements = _ON_GPU if accelerator(device).is_gpu else _ON_THREAD * torch.get_num_threads()
    return min(_MOST, max(1, elements // cost(network.spec, side).acts))


def readers(images: int) -> int:
    """Returns how many processes read so many images: none for a few, else as many as there are cores."""
    return default_workers() if images > _FEW else 0


def check_finite(outputs: NDArray[np.float32]) -> None:
    """Raises CheckpointError if outputs of a network are not finite numbers."""
    if not np.isfinite(outputs).all():
        raise CheckpointError("the network's outputs are not finite numbers; use an earlier checkpoint")


@torch.inference_mode()
def predict(
    network: Network,
    images: Examples,
    views: Views,
    device: torch.device,
    workers: int | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> NDArray[np.float32]:
    """Returns the logarithm of a network's scores for images, averaged over their views, (N, K).

    Args:
        network: The network; it is moved to the device.
        images: The images.
        views: The views of each image.
        device: The device to compute on.
        workers: Processes that read images; by default none for a few images, else as many as there are cores.
        progress: Called after each batch with the number of images in it.

    Raises:
        DataError: if an image cannot be read.
        CheckpointError: if the outputs are not finite numbers.
    """
    gpu = accelerator(device)
    # In float32, without TF32: with fewer bits the largest logits are often equal, and loss and calibration are coarse.
    compute, normalised = Compute(channels_last=not gpu.is_gpu), Normalised(views.preprocess, device)
    model = views.applied(network).to(device).to(memory_format=compute.memory_format).eval()
    batch = batch_size(network, views.largest, device)
    tasks = [images.rows[start : start + batch] for start in range(0, len(images), batch)]
    if workers is None:
        workers = readers(len(images))
    cutters = Workers(Cutter(images.source, images.split, views), workers)
    scores: list[NDArray[np.float32]] = []
    for rows, stacks in zip(tasks, cutters.map(tasks), strict=True):
        total = torch.full((len(rows), network.num_classes), -math.inf, device=device)
        for places, pixels in stacks:
            plain = normalised(gpu.upload(torch.from_numpy(pixels)))
            for shown in (plain, plain.flip(-1)) if views.mirrored else (plain,):
                with gpu.exact(), compute.autocast(device):
                    logits = model(shown.contiguous(memory_format=compute.memory_format))
                total[places] = torch.logaddexp(total[places], logits.float().log_softmax(dim=1))
        scores.append(total.log_softmax(dim=1).cpu().numpy())  # the same as dividing by the number of views
        check_finite(scores[-1])
        progress(len(rows))
    return np.concatenate(scores)
