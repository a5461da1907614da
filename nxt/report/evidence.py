"""Makes the sections on the evidence behind a result: effects at equal cost, the budget, trust, provenance."""

from __future__ import annotations

import hashlib
import math

from nxt.analysis.effects import LEAST_FOR_INTERVAL, by_cardinality_and_radix, main_effects
from nxt.analysis.error_distribution import sampling_notes
from nxt.analysis.trust import COLUMNS
from nxt.config import dump_yaml
from nxt.files import is_file
from nxt.report import plotly_axes
from nxt.report.markup import Html, code, details, facts, joined, notes, paragraph, plot, small_plots, table
from nxt.report.report_data import ReportData
from nxt.search.noise import CLEAR
from nxt.space.space import Space


def effects(data: ReportData) -> Html:
    """Returns the section on the effect of each axis's values on accuracy at equal cost."""
    residuals, space = data.residuals, data.space
    if residuals is None or not isinstance(space, Space):
        return Html("")
    explanation = (
        f"Mean {data.measure} of the architectures with each value, in points above all {len(residuals.trials)} of the "
        "same multiply-adds (what a line over their logarithm explains is taken away, in bands). Bars are 95 % "
        f"bootstrap intervals, from {LEAST_FOR_INTERVAL} architectures on. The other axes are not held fixed."
    )
    figures = plotly_axes.main_effects(main_effects(residuals, space))
    parts = [
        paragraph(explanation),
        small_plots((name, plot(chart, f"effect of {name}", 220)) for name, chart in figures.items()),
    ]
    pairs = by_cardinality_and_radix(residuals)
    if pairs:
        parts.append(Html("<h3>cardinality and radix</h3>"))
        parts.append(plot(plotly_axes.heat_map(pairs), "effect of cardinality and radix together", 320))
    return joined([*parts, notes(sampling_notes(data.run))])


def gate(data: ReportData) -> Html:
    """Returns the section on the part of the space that is inside the budget."""
    lint = data.lint
    if lint is None:
        return Html("")
    explanation = (
        f"{lint.feasible:,} of {lint.space.size:,} architectures are inside the budget "
        f"({100 * lint.feasible / lint.space.size:.3g} %). Shares of each axis's values in the whole space (grey) "
        "and inside (blue), all exact; hover for counts. depth counts the blocks of all stages."
    )
    varied = {name: axis for name, axis in lint.axes.items() if len(axis.before.counts) > 1}
    never = "; ".join(
        f"{name} {' '.join(str(value).lower() for value in axis.never)}" for name, axis in varied.items() if axis.never
    )
    return joined(
        [
            paragraph(explanation),
            small_plots((n, plot(plotly_axes.gate(n, a), f"{n} before and after", 200)) for n, a in varied.items()),
            notes([f"never inside: {never}"] if never else []),
        ]
    )


def trust(data: ReportData) -> Html:
    """Returns the section on how well early epochs predict the last one, and which differences are clear."""
    run = data.run
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
    if data.trust is not None:
        heads = ["Kendall's tau" if name == "tau" else name for name in COLUMNS]
        parts += [paragraph(data.trust.verdict()), table(heads, data.trust.table(), data.trust.caption)]
    return joined(parts)


def provenance(data: ReportData) -> Html:
    """Returns the section with command, versions, times and hashes of a run, and its complete record."""
    run, record = data.run, data.run.record
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    ends = [moment for span in data.times.values() for moment in (span.begun, span.ended) if moment is not None]
    digests = {name: _digest(data, name) for name in ("run.yaml", "study.db")}
    entries = {
        "Run": str(run.path),
        "Command": record.typed,
        "Seed": str(record.request.seed),
        "Data": f"{record.request.data}, {record.train_images} and {record.val_images} images",
        "Versions": versions,
        "First and last event": f"{min(ends):%Y-%m-%d %H:%M:%S} to {max(ends):%Y-%m-%d %H:%M:%S}" if ends else "",
        **{f"SHA-256 of {name}": digest for name, digest in digests.items()},
    }
    return joined([facts(entries), details("run.yaml, the whole record", code(dump_yaml(record.to_dict())))])


def _digest(data: ReportData, name: str) -> str:
    """Returns the hash of a file; empty if there is no file, or for a study that is being written."""
    file = data.run.path / name
    if not is_file(file) or (name == "study.db" and data.run.active):
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
