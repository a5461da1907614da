"""A search's run in a notebook: its front as HTML, its trials as a pandas frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nxt.errors import RunError
from nxt.units import format_count

if TYPE_CHECKING:
    import pandas as pd

    from nxt.search.results.run import Run

_COLUMNS = ("architecture", "MACs", "params", "acts", "accuracy", "seeds", "tie", "P(front)", "reference")


def html(run: Run) -> str:
    """Return the budget, the front and the verdict; `*` marks best.yaml, accuracies have their standard error."""
    lines = [f"<p><b>{escape(run.path.name)}</b>: {len(run.trials)} trials; {escape(run.record['budget_rule'])}</p>"]
    if run.front:
        lines += ["<table>", _row("th", _COLUMNS)]
        for entry in run.front:
            row = run.row(entry)
            cells = (
                entry.spec.name + (" *" if entry is run.best else ""),
                *(format_count(row[key], 4) for key in ("macs", "params", "acts")),
                f"{entry.accuracy:.1%} \u00b1 {100 * row['accuracy_error']:.1f}",
                str(entry.seeds),
                row["ties"],
                f"{row['front_probability']:.0%}",
                entry.role,
            )
            lines.append(_row("td", cells))
        lines.append("</table>")
    return "\n".join([*lines, f"<p>{escape(run.verdict())}</p>"])


def frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows as a pandas frame with these columns.

    Raises:
        RunError: if pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise RunError("a frame of trials needs pandas: pip install pandas, or read trials.csv in the run") from None
    return pd.DataFrame(rows, columns=list(columns))


def _row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"
