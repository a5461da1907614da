"""The network of a training: a classifier, or one with a head of another task on it."""

from __future__ import annotations

from typing import TypeAlias

from nxt.arch.spec import ArchSpec
from nxt.models.heads import DenseNetwork, build_with_head
from nxt.models.network import Network, build
from nxt.train.recipe import Recipe

Model: TypeAlias = Network | DenseNetwork


def built(spec: ArchSpec, classes: int, recipe: Recipe | None) -> Model:
    """Builds what a recipe trains, with freshly initialised weights; without a recipe a classifier.

    Raises:
        ArchError: if the network cannot carry the recipe's head.
    """
    if recipe is None or not recipe.head:
        return build(spec, classes)
    return build_with_head(
        spec,
        recipe.head,
        classes,
        output_stride=None if recipe.output_stride is None else min(recipe.output_stride, spec.strides[-1]),
        aux=recipe.aux > 0,
        frozen_bn=recipe.frozen_bn,
        pyramid=recipe.pyramid,
        rois=recipe.rois,
    )


def backbone_of(model: Model) -> Network:
    """Returns the network itself, without a head."""
    return model.backbone_network if isinstance(model, DenseNetwork) else model
