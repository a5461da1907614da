"""Passes of a training replayed as CUDA graphs: small networks on a GPU are bound by the launching of kernels.

A proxy of some 100 MMACs at 32 px launches about a thousand short kernels a step, and waits for Python to launch them.
Recorded once, all of forward, loss and backward is one launch. The numbers are those of the eager path, which stays
in use wherever recording would give other gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nxt.compute.accelerator import Accelerator, Graph, is_out_of_memory
from nxt.errors import first_line

_WARM_UP = 3  # eager passes before recording, in which libraries choose and allocate
# Share of the norm of all gradients together by which a replay may differ. In 16 bits sums are reordered: simulated so,
# single gradients of ResNeSt differ by more than 1 %, all of them together by 0.7 to 0.9 %.
_TOLERANCE = 5e-2

Pass = Callable[[Tensor, Tensor], Tensor]  # images and targets -> detached loss; leaves gradients


class RecordingError(RuntimeError):
    """A pass could not be recorded. The process may be of no more use; see `Accelerator.record`."""


@dataclass
class _Recorded:
    graph: Graph
    images: Tensor
    targets: Tensor
    loss: Tensor
    gradients: list[Tensor | None]

    def fits(self, images: Tensor, targets: Tensor) -> bool:
        return all(
            a.shape == b.shape and a.dtype == b.dtype and a.stride() == b.stride()
            for a, b in ((images, self.images), (targets, self.targets))
        )


class Replayed:
    """A pass that is eager at first, and from the fourth one on a recording of itself.

    The recording is checked once: loss and gradients must be those of an eager pass from the same state. If they are
    not, all passes stay eager, as do those on batches of another shape.

    Args:
        network: What the pass trains.
        gpu: Where it computes, and what records it.
    """

    def __init__(self, network: nn.Module, gpu: Accelerator) -> None:
        self._network, self._gpu = network, gpu
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._eager = 0
        self._recorded: _Recorded | None = None
        self.problem = ""  # why passes stay eager; empty if nothing is wrong

    @property
    def replaying(self) -> bool:
        """Whether passes are replayed."""
        return self._recorded is not None

    def __call__(self, run: Pass, images: Tensor, targets: Tensor) -> Tensor:
        """Runs one pass and returns its loss, detached.

        Args:
            run: The eager pass, the same one each time: adds to the gradients, which are none before it. It is not
                kept: with it, whoever owns both would be a cycle, which holds a GPU's memory until it is collected.
            images: A batch (B, 3, H, W).
            targets: What the loss compares with.

        Raises:
            RecordingError: if it cannot be recorded.
        """
        recorded = self._recorded
        if recorded is not None and recorded.fits(images, targets):
            return self._replay(recorded, images, targets).clone()
        if self.problem or recorded is not None:
            return run(images, targets)
        if self._eager < _WARM_UP:
            self._eager += 1
            with self._gpu.side_stream():  # as CUDA wants it before recording
                return run(images, targets)
        return self._try(run, images, targets)

    def _replay(self, recorded: _Recorded, images: Tensor, targets: Tensor) -> Tensor:
        recorded.images.copy_(images)
        recorded.targets.copy_(targets)
        recorded.graph.replay()
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.loss

    def _try(self, run: Pass, images: Tensor, targets: Tensor) -> Tensor:
        """Runs an eager pass, records another one, and keeps it if it gives the same from the same state."""
        buffers = [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        random = self._gpu.random_state()
        loss = run(images, targets)
        gradients = self._gradients()
        after = [buffer.clone() for buffer, _ in buffers]
        for buffer, before in buffers:
            buffer.copy_(before)
        recorded = self._record(run, images, targets)
        self._gpu.set_random_state(random)
        replayed = self._replay(recorded, images, targets)
        if _near([replayed], [loss]) and _near(recorded.gradients, gradients):
            self._recorded = recorded
        else:
            self.problem = "a recorded pass gave other gradients than an eager one"
        for (buffer, _), value in zip(buffers, after, strict=True):
            buffer.copy_(value)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _record(self, run: Pass, images: Tensor, targets: Tensor) -> _Recorded:
        own = images.clone(), targets.clone()
        for parameter in self._parameters:
            parameter.grad = None  # so that the recorded backward pass writes gradients of its own
        try:
            graph, loss = self._gpu.record(lambda: run(*own))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise RecordingError(f"a pass could not be recorded ({first_line(error)})") from error
        return _Recorded(graph, *own, loss, self._gradients())

    def _gradients(self) -> list[Tensor | None]:
        return [parameter.grad for parameter in self._parameters]


def _near(actual: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> bool:
    """Tells whether tensors are the same ones within the tolerance, as one vector."""
    if [tensor is None for tensor in actual] != [tensor is None for tensor in expected]:
        return False
    one, other = (torch.cat([t.float().flatten() for t in tensors if t is not None]) for tensors in (actual, expected))
    difference = torch.linalg.vector_norm(one - other)
    return bool(difference <= _TOLERANCE * torch.linalg.vector_norm(other) + 1e-6)
