"""Image classification data: where it comes from, how it is divided, and how images reach a network.

A `DataRef` names a data set and `open_source` opens it. What fits is resident on the device; other images are decoded
once into a cache, or streamed by worker processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.data.dataset import Dataset as Dataset
    from nxt.data.dataset import Source as Source
    from nxt.data.ref import DataRef as DataRef
    from nxt.data.sources.open import open_source as open_source
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "DataRef": "nxt.data.ref",
            "Dataset": "nxt.data.dataset",
            "Source": "nxt.data.dataset",
            "open_source": "nxt.data.sources.open",
        },
    )
