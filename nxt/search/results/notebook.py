"""A search's run in a notebook: its front as HTML, its trials as a pandas frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from nxt.errors import RunError

if TYPE_CHECKING:
    import pandas as pd


def html(name: str, about: str, columns: Sequence[str], front: Sequence[Sequence[str]], verdict: str) -> str:
    """Returns a run's name, description, front (columns and rows of `front_table`) and verdict as HTML."""
    table = [html_table(columns, front)] if front else []
    return "\n".join([f"<p><b>{escape(name)}</b>: {escape(about)}</p>", *table, f"<p>{escape(verdict)}</p>"])


def frame(rows: Sequence[dict[str, Any]], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Returns rows as a pandas frame with these columns, by default those of the rows.

    Raises:
        RunError: if pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise RunError("a frame of trials needs pandas: pip install pandas, or read trials.csv in the run") from None
    return pd.DataFrame(rows, columns=None if columns is None else list(columns))


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns an HTML table; all text is escaped."""
    return "\n".join(["<table>", _row("th", columns), *(_row("td", row) for row in rows), "</table>"])


def _row(kind: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"
