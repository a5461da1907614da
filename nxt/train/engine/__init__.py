"""How a training is carried out: from a recipe to network, images and trainer, in its run directory.

`open` makes or reopens the run directory, `session` says what is saved when, `trainer` has the steps, `distributed`
runs the same on several workers. Searches train their trials with `setup` and `trainer`, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.train.engine.session import Watcher as Watcher
    from nxt.train.engine.trainer import Trainer as Trainer
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Trainer": "nxt.train.engine.trainer",
            "Watcher": "nxt.train.engine.session",
        },
    )
