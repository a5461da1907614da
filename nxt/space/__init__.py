"""Design spaces: the networks that a search may choose from, and those of them that fit a budget.

Uses numpy, no torch. `load_space` reads a space from YAML; a `FeasibleSet` costs every combination in closed form,
counts those that fit exactly, and draws from them uniformly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.space.arch_list import ArchList as ArchList
    from nxt.space.budget import Budget as Budget
    from nxt.space.budget import parse_budget as parse_budget
    from nxt.space.feasible import FeasibleSet as FeasibleSet
    from nxt.space.load import load_space as load_space
    from nxt.space.space import Space as Space
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "ArchList": "nxt.space.arch_list",
            "Budget": "nxt.space.budget",
            "FeasibleSet": "nxt.space.feasible",
            "Space": "nxt.space.space",
            "load_space": "nxt.space.load",
            "parse_budget": "nxt.space.budget",
        },
    )
