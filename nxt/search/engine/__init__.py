"""How a search is carried out: prepared, opened as a session, run on Ray, its trials trained by workers.

Ray stays in `ray_runner`; `calls` has the functions behind `nxt.search`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.search.engine.execute import Observer as Observer
    from nxt.search.engine.session import SearchSession as SearchSession
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Observer": "nxt.search.engine.execute",
            "SearchSession": "nxt.search.engine.session",
        },
    )
