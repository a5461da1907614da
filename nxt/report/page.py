"""Writes the report of a search: one HTML file that needs no network; `document` is the frame of all reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nxt.files import write_text
from nxt.report import assets, evidence, sections
from nxt.report.markup import Html, escape, joined, paragraph
from nxt.report.report_data import ReportData

# Title and function of each section. A section with an empty body is left out.
_SECTIONS: dict[str, tuple[str, Callable[[ReportData], Html]]] = {
    "summary": ("Summary", sections.summary),
    "ablation": ("All networks", sections.ablation),
    "front": ("The front", sections.front),
    "drawings": ("Architectures of the front", sections.drawings),
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
# Forbids the browser to fetch anything. 'unsafe-eval' is for plotly's WebGL part, which compiles code at run time.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:"
)


def write_report(data: ReportData, path: Path) -> list[str]:
    """Writes a run's report and returns the names of its sections.

    Raises:
        RunError: if the file cannot be written.
        NxtError: if the run's record is damaged.
    """
    bodies = {name: body for name, (_, make) in _SECTIONS.items() if (body := make(data))}
    request = data.run.request
    title = f"{request.space.name} on {request.data.display}, {request.budget}"
    kind = "Full trainings" if data.run.full else "Search"
    titles = {name: title for name, (title, _) in _SECTIONS.items()}
    write_text(path, document(title, f"{kind} in {data.run.path}", titles, bodies))
    return list(bodies)


def document(title: str, subtitle: str, titles: Mapping[str, str], bodies: Mapping[str, Html]) -> Html:
    """Returns the complete page from the titles and bodies of its sections, by name."""
    from plotly.offline import get_plotlyjs

    links = "".join(f'<li><a href="#{name}">{titles[name]}</a></li>' for name in bodies)
    parts = [f'<section id="{name}"><h2>{titles[name]}</h2>\n{body}</section>' for name, body in bodies.items()]
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<link rel="icon" href="data:,">'),
            Html(f"<title>{escape(title)}</title><style>{assets.STYLE}</style>"),
        ]
    )
    body = joined(
        [
            Html(f"<header><h1>{escape(title)}</h1>{paragraph(subtitle, 'sub')}</header>"),
            Html(f'<nav aria-label="Sections"><ul>{links}</ul></nav>'),
            Html("<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>"),
            Html(f"<main>{joined(map(Html, parts))}</main>"),
            Html(f"<script>{get_plotlyjs()}</script><script>{assets.SCRIPT}</script>"),
        ]
    )
    return Html(f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n')
