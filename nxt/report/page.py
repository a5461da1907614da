"""The report of a search: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nxt.files import data_place, write_text
from nxt.report import assets as look
from nxt.report import evidence, sections
from nxt.report.markup import Html, escape, joined, paragraph
from nxt.report.report_data import Subject

# Title and body of each section. A section whose body is empty is left out.
_SECTIONS: dict[str, tuple[str, Callable[[Subject], Html]]] = {
    "summary": ("Summary", sections.summary),
    "front": ("The front", sections.front),
    "drawings": ("Architectures of the front", sections.drawn),
    "hypervolume": ("Hypervolume over time", sections.progress),
    "curves": ("Learning curves", sections.curves),
    "errors": ("Error distribution", sections.errors),
    "effects": ("Effects at equal cost", evidence.effects),
    "gate": ("What the budget leaves", evidence.gate),
    "timeline": ("Timeline", sections.timeline),
    "failures": ("Failures", sections.failures),
    "trust": ("How far to trust it", evidence.trust),
    "provenance": ("Provenance", evidence.provenance),
}
# The browser itself is told to fetch nothing. plotly's WebGL part compiles shaders' wrappers at run time.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:"
)


def write_report(subject: Subject, path: Path) -> list[str]:
    """Write a run's report and return the names of its sections.

    Raises:
        RunError: if the file cannot be written.
        NxtError: if the run's record is damaged.
    """
    bodies = {name: body for name, (_, make) in _SECTIONS.items() if (body := make(subject))}
    write_text(path, page(subject, bodies))
    return list(bodies)


def page(subject: Subject, bodies: dict[str, Html]) -> Html:
    """Return the whole page from the bodies of its sections, by name."""
    from plotly.offline import get_plotlyjs

    record = subject.run.record
    title = f"{record['space_name']} on {data_place(record['data'])}, {record['budget_rule']}"
    links = "".join(f'<li><a href="#{name}">{_SECTIONS[name][0]}</a></li>' for name in bodies)
    parts = [f'<section id="{n}"><h2>{_SECTIONS[n][0]}</h2>\n{body}</section>' for n, body in bodies.items()]
    kind = "Full trainings" if subject.run.full else "Search"
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<link rel="icon" href="data:,">'),
            Html(f"<title>{escape(title)}</title><style>{look.STYLE}</style>"),
        ]
    )
    body = joined(
        [
            Html(f"<header><h1>{escape(title)}</h1>{paragraph(f'{kind} in {subject.run.path}', 'sub')}</header>"),
            Html(f'<nav aria-label="Sections"><ul>{links}</ul></nav>'),
            Html("<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>"),
            Html(f"<main>{joined(map(Html, parts))}</main>"),
            Html(f"<script>{get_plotlyjs()}</script><script>{look.SCRIPT}</script>"),
        ]
    )
    return Html(f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n')
