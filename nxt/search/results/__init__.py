"""The results of a search: its run, its front, its files, its status, and picking an architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.search.results.pick import Picked as Picked
    from nxt.search.results.run import Run as Run
    from nxt.search.results.run import load_run as load_run
    from nxt.search.results.status import status_of as status_of
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Picked": "nxt.search.results.pick",
            "Run": "nxt.search.results.run",
            "load_run": "nxt.search.results.run",
            "status_of": "nxt.search.results.status",
        },
    )
