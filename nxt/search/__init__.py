"""Architecture search: requests, trials and their ranking; the subpackages run the search.

`study` records trials, `strategy` decides what is trained next and what is stopped, `engine` runs the search on Ray,
`results` reads a run, `simulation` replaces training by a table. The package itself can be called:
`nxt.search("cifar", flops="30M")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face, make_callable

if TYPE_CHECKING:
    from nxt.search.request import SearchRequest as SearchRequest
    from nxt.search.request import Settings as Settings
    from nxt.search.trial import Outcome as Outcome
    from nxt.search.trial import Trial as Trial
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Outcome": "nxt.search.trial",
            "SearchRequest": "nxt.search.request",
            "Settings": "nxt.search.request",
            "Trial": "nxt.search.trial",
        },
    )

make_callable(__name__, "nxt.search.engine.calls:search")
