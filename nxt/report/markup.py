"""Makes pieces of an HTML page: functions escape the texts that they are given, and return HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Html:
    """Returns a value as HTML: unchanged if it is HTML already, else escaped."""
    return value if isinstance(value, Html) else Html(html.escape(str(value)))


def joined(parts: Iterable[Html]) -> Html:
    """Returns pieces in order as one."""
    return Html("\n".join(parts))


def paragraph(text: object, kind: str = "") -> Html:
    """Returns a paragraph; `kind` is its class."""
    return Html(f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>")


def notes(texts: Iterable[str]) -> Html:
    """Returns short remarks as a list; nothing if there are none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return Html(f'<ul class="notes">{items}</ul>' if items else "")


def facts(pairs: Mapping[str, object]) -> Html:
    """Returns names and values as a description list; leaves out empty values."""
    rows = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs.items() if value)
    return Html(f"<dl>{''.join(rows)}</dl>")


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "", text: Iterable[int] = ()
) -> Html:
    """Returns a table that scrolls if it is too wide.

    Args:
        columns: Heads of the columns.
        rows: Cells of each row.
        caption: Text above the table, which does not scroll.
        text: Indices of further columns that are aligned to the left, as the first one is.
    """
    left = {0, *text}
    kinds = ['<td class="text">' if index in left else "<td>" for index in range(len(columns))]
    heads = (
        f'<th scope="col"{" class=text" if index in left else ""}>{escape(c)}</th>' for index, c in enumerate(columns)
    )
    body = "".join(
        "<tr>" + "".join(f"{kind}{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    above = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    whole = f'<div class="wide" tabindex="0"><table>{head}\n<tbody>{body}</tbody></table></div>'
    return Html(f"<figure>{above}{whole}</figure>")


def code(text: str) -> Html:
    """Returns preformatted text, for copying."""
    return Html(f'<pre tabindex="0"><code>{escape(text)}</code></pre>')


def details(summary: object, body: Html) -> Html:
    """Returns a summary that the reader can unfold to see the body."""
    return Html(f"<details><summary>{escape(summary)}</summary>{body}</details>")


def plot(figure: Figure, label: str, height: int = 420) -> Html:
    """Returns an element in which the page's script draws a figure, `height` pixels high; `label` describes it.

    The figure is stored as JSON without `<`, so that it cannot end its script element.
    """
    data = figure.to_json().replace("<", "\\u003c")
    place = f'<div class="plot" role="img" aria-label="{escape(label)}" style="height:{height}px"></div>'
    return Html(f'<figure>{place}<script type="application/json">{data}</script></figure>')


def small_plots(plots: Iterable[tuple[str, Html]]) -> Html:
    """Returns titled plots in a grid."""
    cells = (f"<div><h3>{escape(title)}</h3>{body}</div>" for title, body in plots)
    return Html(f'<div class="grid">{"".join(cells)}</div>')
