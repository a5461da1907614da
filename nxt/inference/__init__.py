"""Uses trained networks: evaluation on a split, dense and multi-scale views, export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.inference.classifier_evaluation import Evaluation as Evaluation
    from nxt.inference.evaluation import Predictions as Predictions
    from nxt.inference.evaluation import predict as predict
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Evaluation": "nxt.inference.classifier_evaluation",
            "Predictions": "nxt.inference.evaluation",
            "predict": "nxt.inference.evaluation",
        },
    )
