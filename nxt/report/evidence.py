"""Sections of a report that tell how far to trust it: effects at equal cost, the budget's gate, trust, provenance."""

from __future__ import annotations

import hashlib
import math

from nxt.analysis.effects import LEAST_FOR_INTERVAL, by_cardinality_and_radix, main_effects
from nxt.analysis.error_distribution import sampling_notes
from nxt.analysis.trust import Trust
from nxt.config import dump_yaml
from nxt.report import plotly_axes as axis_figures
from nxt.report.markup import Html, code, details, facts, joined, notes, paragraph, plot, small_plots, table
from nxt.report.report_data import Subject
from nxt.search.noise import CLEAR
from nxt.space.space import Space


def effects(subject: Subject) -> Html:
    """Return what the values of each axis are worth at equal cost."""
    found, space = subject.residuals, subject.space
    if found is None or not isinstance(space, Space):
        return Html("")
    told = (
        f"Mean {subject.measure} of the architectures with each value, in points above all {len(found.trials)} of the "
        "same multiply-adds (what a line over their logarithm explains is taken away, in bands). Bars are 95 % "
        f"bootstrap intervals, from {LEAST_FOR_INTERVAL} architectures on. The other axes are not held fixed."
    )
    drawn = axis_figures.main_effects(main_effects(found, space))
    parts = [paragraph(told), small_plots((name, plot(made, f"effect of {name}", 220)) for name, made in drawn.items())]
    pairs = by_cardinality_and_radix(found)
    if pairs:
        parts.append(Html("<h3>cardinality and radix</h3>"))
        parts.append(plot(axis_figures.heat_map(pairs), "effect of cardinality and radix together", 320))
    return joined([*parts, notes(sampling_notes(subject.run))])


def gate(subject: Subject) -> Html:
    """Return what the budget does to the space."""
    found = subject.lint
    if found is None:
        return Html("")
    told = (
        f"{found.feasible:,} of {found.space.size:,} architectures are inside the budget "
        f"({100 * found.feasible / found.space.size:.3g} %). Shares of each axis's values in the whole space (grey) "
        "and inside (blue), all exact; hover for counts. depth counts the blocks of all stages."
    )
    varied = {name: axis for name, axis in found.axes.items() if len(axis.before.counts) > 1}
    never = "; ".join(
        f"{name} {' '.join(str(value).lower() for value in axis.never)}" for name, axis in varied.items() if axis.never
    )
    return joined(
        [
            paragraph(told),
            small_plots((n, plot(axis_figures.gate(n, a), f"{n} before and after", 200)) for n, a in varied.items()),
            notes([f"never inside: {never}"] if never else []),
        ]
    )


def trust(subject: Subject) -> Html:
    """Return what early epochs tell, and how large a difference must be to mean something."""
    run = subject.run
    if run.best is None:
        return Html("")
    once = CLEAR * math.sqrt(2) * run.noise.error(run.best.accuracy, 1)
    seeds = "not measured" if run.noise.seeds is None else f"{100 * run.noise.seeds:.1f} points"
    parts = [
        facts(
            {
                "Noise between seeds": f"{seeds} (standard deviation of one training)",
                "Validation split": f"{run.noise.images} images",
                "Smallest clear difference": f"{100 * once:.1f} points (two trained once, as accurate as the best)",
            }
        )
    ]
    if subject.trust is not None:
        parts += [paragraph(subject.trust.verdict()), _agreements(subject.trust)]
    return joined(parts)


def provenance(subject: Subject) -> Html:
    """Return what the result was made with, and the whole record."""
    run, record = subject.run, subject.run.record
    versions = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
    ends = [moment for span in subject.times.values() for moment in (span.begun, span.ended) if moment is not None]
    digests = {name: _digest(subject, name) for name in ("run.yaml", "study.db")}
    known = {
        "Run": str(run.path),
        "Command": record.get("typed", ""),
        "Seed": str(record["seed"]),
        "Data": f"{record['data']}, {record['train_images']} and {record['val_images']} images",
        "Versions": versions,
        "First and last event": f"{min(ends):%Y-%m-%d %H:%M:%S} to {max(ends):%Y-%m-%d %H:%M:%S}" if ends else "",
        **{f"SHA-256 of {name}": digest for name, digest in digests.items()},
    }
    return joined([facts(known), details("run.yaml, the whole record", code(dump_yaml(record)))])


def _agreements(found: Trust) -> Html:
    rows = [
        [one.name, _figure(one.tau), " to ".join(map(_figure, one.interval))]
        + [_figure(value) for value in (one.banded, one.spearman, one.recall)]
        for one in (*found.proxies, *found.baselines)
    ]
    most = "not measured" if found.ceiling is None else f"{found.ceiling:.2f}"
    caption = f"How well the order by {found.of} is predicted (by another seed's training: tau {most})"
    return table(["by", "Kendall's tau", "95 %", "tau, similar cost", "Spearman", "top fifth"], rows, caption)


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _digest(subject: Subject, name: str) -> str:
    """Return a file's hash; of a study that is being written there is none."""
    file = subject.run.path / name
    if not file.is_file() or (name == "study.db" and subject.run.active):
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
