"""Reports and figures: a search as one HTML page, and figures for papers.

`load_report_data` reads a run, `write_report` writes the page, and `draw_figures` draws the figures. Drawing libraries
are imported when something is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.report.page import write_report as write_report
    from nxt.report.paper import draw_figures as draw_figures
    from nxt.report.report_data import load_report_data as load_report_data
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "draw_figures": "nxt.report.paper",
            "load_report_data": "nxt.report.report_data",
            "write_report": "nxt.report.page",
        },
    )
