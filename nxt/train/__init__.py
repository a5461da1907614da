"""Full training of one network: what is asked, and what is kept of it.

Here are recipes, requests, checkpoints and metrics; how a training is carried out stands in `nxt.train.engine`. The
package itself can be called: `nxt.train("resnext50_32x4d", data="folder:mine")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face, make_callable

if TYPE_CHECKING:
    from nxt.train.checkpoint import Checkpoint as Checkpoint
    from nxt.train.recipe import Recipe as Recipe
    from nxt.train.recipe import load_recipe as load_recipe
    from nxt.train.request import TrainRequest as TrainRequest
    from nxt.train.trained import load as load
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Checkpoint": "nxt.train.checkpoint",
            "Recipe": "nxt.train.recipe",
            "TrainRequest": "nxt.train.request",
            "load": "nxt.train.trained",
            "load_recipe": "nxt.train.recipe",
        },
    )

make_callable(__name__, "nxt.train.engine.train:train")
