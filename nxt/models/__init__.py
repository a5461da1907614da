"""Networks in torch: the builder, split attention, and published or other weights.

The contract tests compare the closed forms of `nxt.arch` with the networks built here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.models.network import Network as Network
    from nxt.models.network import build as build
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Network": "nxt.models.network",
            "build": "nxt.models.network",
        },
    )
