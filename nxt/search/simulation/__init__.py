"""Simulated searches on a virtual clock: the real strategy, with a table of trained networks instead of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.search.simulation.table import load_table as load_table
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "load_table": "nxt.search.simulation.table",
        },
    )
