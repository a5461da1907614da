"""Where and how to compute: devices, precision and layout, CUDA graphs, several workers, the Ray cluster.

Nothing here knows what is trained. `benchmark` measures latency, throughput and memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.compute.mode import Compute as Compute
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Compute": "nxt.compute.mode",
        },
    )
