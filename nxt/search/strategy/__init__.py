"""The decisions of a search, without Ray: which architecture is trained next, and which trial continues.

`setup` makes the parts from a request. Add samplers, schedulers and agendas here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.search.strategy.schedulers import Decision as Decision
    from nxt.search.strategy.setup import SearchSetup as SearchSetup
    from nxt.search.strategy.strategy import Strategy as Strategy
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Decision": "nxt.search.strategy.schedulers",
            "SearchSetup": "nxt.search.strategy.setup",
            "Strategy": "nxt.search.strategy.strategy",
        },
    )
