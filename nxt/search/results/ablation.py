"""The table of a list of networks, each trained several times: all of them against the first one, the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import variance
from typing import TYPE_CHECKING, Any

from nxt.space.arch_list import ArchList
from nxt.units import format_count

if TYPE_CHECKING:
    from nxt.search.ranking import RankedArch
    from nxt.search.results.run import Run

COLUMNS = ("network", "MACs", "params", "accuracy", "std", "best", "seeds", "training", "against the first")


@dataclass(frozen=True)
class Compared:
    """A network of a list. Accuracies lie in 0..1; differences are from the baseline's mean accuracy."""

    entry: RankedArch
    training: float | None  # mean accuracy on the training images; None: not measured
    difference: float | None  # None for the baseline
    half: float | None  # half width of the 95 % interval of the difference, by Welch's t; None: too few trainings

    @property
    def verdict(self) -> str:
        """Says in a word how it compares: better, worse, or no clear difference; empty if nothing tells."""
        if self.difference is None or self.half is None:
            return ""
        if abs(self.difference) <= self.half:
            return "no clear difference"
        return "better" if self.difference > 0 else "worse"

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain data."""
        entry = self.entry
        return {
            "name": entry.spec.name,
            "fingerprint": entry.spec.fingerprint,
            **{key: getattr(entry.cost, key) for key in ("params", "macs", "acts")},
            "accuracy": entry.accuracy,
            "accuracy_std": entry.deviation,
            "best": max(entry.accuracies),
            "seeds": entry.seeds,
            "train_accuracy": self.training,
            "difference": self.difference,
            "difference_half": self.half,
            "verdict": self.verdict,
        }


def ablation(run: Run) -> list[Compared]:
    """Returns all networks of a list that were trained to the end, in the list's order; none for a search's run."""
    space = run.request.space
    if not isinstance(space, ArchList) or space.size < 2:
        return []
    trained = {entry.spec.fingerprint: entry for entry in run.entries}
    entries = [trained[spec.fingerprint] for spec in space.specs if spec.fingerprint in trained]
    baseline = entries[0] if entries and entries[0].spec.fingerprint == space.specs[0].fingerprint else None
    return [_compared(entry, None if entry is baseline else baseline) for entry in entries]


def _compared(entry: RankedArch, baseline: RankedArch | None) -> Compared:
    known = [trial.train_accuracy for trial in entry.trials if trial.train_accuracy is not None]
    training = sum(known) / len(known) if known else None
    if baseline is None:
        return Compared(entry, training, None, None)
    return Compared(entry, training, entry.accuracy - baseline.accuracy, _half(entry.accuracies, baseline.accuracies))


def _half(values: Sequence[float], others: Sequence[float]) -> float | None:
    """Returns half the width of the 95 % interval of a difference of means (Welch 1947); None for one value a side.

    scipy's own test warns where the values of a side are equal, as accuracies on few images often are.
    """
    if min(len(values), len(others)) < 2:
        return None
    first, second = (variance(side) / len(side) for side in (values, others))
    if not first + second:
        return 0.0
    from scipy.stats import t

    freedom = (first + second) ** 2 / (first**2 / (len(values) - 1) + second**2 / (len(others) - 1))
    return float(t.ppf(0.975, freedom)) * math.sqrt(first + second)


def ablation_table(rows: Sequence[Compared]) -> list[list[str]]:
    """Returns the cells of COLUMNS for each row; differences are in points."""
    return [
        [
            row.entry.spec.name,
            format_count(row.entry.cost.macs, 4),
            format_count(row.entry.cost.params, 4),
            f"{row.entry.accuracy:.2%}",
            "-" if row.entry.deviation is None else f"{100 * row.entry.deviation:.2f}",
            f"{max(row.entry.accuracies):.2%}",
            str(row.entry.seeds),
            "-" if row.training is None else f"{row.training:.2%}",
            _difference(row),
        ]
        for row in rows
    ]


def _difference(row: Compared) -> str:
    if row.difference is None:
        return "baseline"
    half = "" if row.half is None else f" \u00b1 {100 * row.half:.2f}"
    return f"{100 * row.difference:+.2f}{half}" + (f" {row.verdict}" if row.verdict else "")


def markdown(rows: Sequence[Compared]) -> str:
    """Returns the table in Markdown."""
    lines = [COLUMNS, ["---"] + ["--:"] * (len(COLUMNS) - 2) + ["---"], *ablation_table(rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
