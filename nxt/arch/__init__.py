"""Networks as data: their names, their specification, and what they cost in closed form.

Pure Python, without torch, so that `nxt profile` answers in a fifth of a second. `nxt.models` builds networks from
specifications; both read `ArchSpec.stages()`, so they cannot disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.arch.costs import Cost as Cost
    from nxt.arch.load import cost as cost
    from nxt.arch.load import load_arch as load_arch
    from nxt.arch.load import parse_name as parse_name
    from nxt.arch.load import resolve as resolve
    from nxt.arch.spec import ArchSpec as ArchSpec
    from nxt.arch.zoo import ZOO as ZOO
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "ArchSpec": "nxt.arch.spec",
            "Cost": "nxt.arch.costs",
            "ZOO": "nxt.arch.zoo",
            "cost": "nxt.arch.load",
            "load_arch": "nxt.arch.load",
            "parse_name": "nxt.arch.load",
            "resolve": "nxt.arch.load",
        },
    )
