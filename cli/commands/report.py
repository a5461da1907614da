"""`nxt report`: writes the results of a search, or of a training, as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..terminal import tables


def report(
    run: Annotated[Path, typer.Argument(help="Run directory of a search, or of a training.", metavar="RUN")],
    out: Annotated[
        Path | None, typer.Option(help="The page; default: report.html in the run directory.", metavar="FILE.html")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Draw this run beside: the hypervolume of a search, such as one with search.sampler=random; a "
            "training's curves.",
            metavar="RUN",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Draw the main figures for papers too, as PNG and SVG, into this folder.", metavar="DIR"),
    ] = None,
) -> None:
    """Write all that a search, or a training, tells as one HTML page that needs no network, also while it runs."""
    file = run / "report.html" if out is None else out
    if file.suffix not in (".html", ".htm"):
        raise typer.BadParameter(f"--out {file}: a page's name ends in .html")
    from nxt.train.history import is_training

    if is_training(run):
        if figures is not None:
            raise typer.BadParameter("--figures is for searches; a training has drawn curves.png")
        from nxt.report.training import write_training_report

        sections = write_training_report(run, against, file)
        tables.out().print(f"{file}: {', '.join(sections)}", soft_wrap=True)
        return
    from nxt.report import load_report_data, write_report

    data = load_report_data(run, against)
    sections = write_report(data, file)
    tables.out().print(f"{file}: {', '.join(sections)}", soft_wrap=True)
    if figures is not None:
        from nxt.report import draw_figures

        for drawn in draw_figures(data, figures):
            tables.out().print(str(drawn), soft_wrap=True)
