"""The record of a search's trials: in memory for samplers, and in SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.search.study.database import DurableStudy as DurableStudy
    from nxt.search.study.database import read_trials as read_trials
    from nxt.search.study.memory import InMemoryStudy as InMemoryStudy
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "DurableStudy": "nxt.search.study.database",
            "InMemoryStudy": "nxt.search.study.memory",
            "read_trials": "nxt.search.study.database",
        },
    )
