"""Trackers (MLflow, W&B, Trackio) told of a search or a training while it runs: an adapter each, one sender for all.

`sender` has the protocol that an adapter fulfils; `nxt.search.engine.tracked` and `nxt.train.engine.tracked` use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.tracking.sender import Sender as Sender
    from nxt.tracking.sender import Tracker as Tracker
else:
    __getattr__, __all__ = lazy_face(__name__, {"Sender": "nxt.tracking.sender", "Tracker": "nxt.tracking.sender"})
