"""The interface of a task, and which task a recipe is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from nxt.arch.heads import task_of
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.data.resident import Images
from nxt.tasks.classification import Classification
from nxt.tasks.detection import Detection
from nxt.tasks.segmentation import Segmentation
from nxt.train.recipe import Recipe


class Task(Protocol):
    """What a network is trained for. Inputs and targets are what the task's `Images` give out."""

    alike: bool  # whether all batches have one shape, so that passes may be recorded and ways to compute measured

    def prepared(self, inputs: Any, targets: Any, compute: Compute) -> tuple[Any, Any]:
        """Returns a batch as `loss_of` takes it: mixed, where the recipe asks for it, and laid out for `compute`."""

    def loss_of(self, network: nn.Module, inputs: Any, targets: Any) -> Tensor:
        """Returns the mean loss of a network, in training mode, for a prepared batch."""

    def measures(
        self,
        network: nn.Module,
        images: Images,
        batch: int,
        compute: Compute,
        ranks: Ranks,
        notify: Callable[[], None],
    ) -> dict[str, float]:
        """Returns what a network reaches on all images, which the workers share among them, in 0..1 by name.

        The first measure is the one by which trainings are compared. `notify` is called after each batch.

        Raises:
            DivergedError: if an output is not finite.
            DataError: if nothing is there to judge by.
        """


def task_for(recipe: Recipe, classes: int) -> Task:
    """Returns the task that a recipe's head is for.

    Args:
        recipe: Says which head the network has, and what the loss is.
        classes: How many classes there are, without a detector's background.
    """
    made: dict[str, Callable[[Recipe, int], Task]] = {
        "classification": Classification,
        "detection": Detection,
        "segmentation": Segmentation,
    }
    return made[task_of(recipe.head)](recipe, classes)


def deciding(measures: Mapping[str, float]) -> float:
    """Returns the measure by which trainings are compared: the first one."""
    return next(iter(measures.values()))
