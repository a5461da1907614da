"""The front of a search as rows of text, for the terminal, the report and notebooks."""

from __future__ import annotations

from nxt.search.ranking import RankedArch, RankedRun
from nxt.units import format_count, format_time

_COSTS, _LATENCIES = ("architecture", "MACs", "params", "acts"), ("latency", "measured")
_REST = ("accuracy", "seeds", "tie", "P(front)", "reference")


def columns(run: RankedRun) -> tuple[str, ...]:
    """Returns the names of the columns of `front_table`."""
    return (*_COSTS, *(_LATENCIES if run.front and "latency_ms" in run.row(run.front[0]) else ()), *_REST)


def front_table(run: RankedRun) -> list[list[str]]:
    """Returns a row for each member of the front, by rising cost, with the cells of `columns`; `*` marks the best."""
    rows = []
    for entry in run.front:
        row = run.row(entry)
        latencies = [row[key] for key in ("latency_ms", "measured_ms") if key in row]
        rows.append(
            [
                entry.spec.name + (" *" if entry is run.best else ""),
                *(format_count(row[key], 4) for key in ("macs", "params", "acts")),
                *("-" if ms is None else format_time(1e6 * ms) for ms in latencies),
                accuracy_text(run, entry),
                str(entry.seeds),
                row["ties"],
                f"{row['front_probability']:.0%}",
                entry.family,
            ]
        )
    return rows


def accuracy_text(run: RankedRun, entry: RankedArch) -> str:
    """Returns an accuracy with its standard error in points: `93.4% ± 0.2`."""
    return f"{entry.accuracy:.1%} \u00b1 {100 * run.error(entry):.1f}"
