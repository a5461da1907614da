"""A worker's place among those that train one network together, and what they tell each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Worker number `rank` of `world`, one of `local` on its machine.

    With one worker nothing is sent, and no process group is needed.
    """

    rank: int = 0
    world: int = 1
    local: int = 1

    def total(self, value: Tensor) -> Tensor:
        """Returns the sum of all workers' tensors."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def mean(self, value: Tensor) -> Tensor:
        """Returns the mean of all workers' tensors."""
        return self.total(value) / self.world if self.world > 1 else value

    def agree(self, make: Callable[[], T]) -> T:
        """Returns what the first worker makes; the others wait for it."""
        if self.world == 1:
            return make()
        values = [make() if self.rank == 0 else None]
        dist.broadcast_object_list(values, 0)
        return values[0]  # type: ignore[return-value]

    def gather(self, value: T) -> list[T]:
        """Returns all workers' values, which can be pickled, by rank."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return values  # type: ignore[return-value]

    @torch.no_grad()
    def share_buffers(self, network: nn.Module) -> None:
        """Gives all workers the first one's buffers (BN statistics)."""
        if self.world > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)
