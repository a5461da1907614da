"""Passes of a training replayed as CUDA graphs: small networks on a GPU are bound by the launching of kernels.

A proxy of some 100 MMACs at 32 px launches about a thousand short kernels a step, and waits for Python to launch them.
Recorded once, all of forward, loss and backward is one launch. The numbers are those of the eager path, which stays
in use wherever recording fails or would give other gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_WARM_UP = 3  # eager passes before recording, in which libraries choose and allocate
_TOLERANCE = 1e-2  # share of a gradient's norm by which the replayed one may differ: in 16 bits sums are reordered

Pass = Callable[[Tensor, Tensor], Tensor]  # images and targets -> detached loss; leaves gradients


class Graph(Protocol):
    """What has recorded a function and runs it again on the same memory."""

    def replay(self) -> None:
        """Runs it."""


Record = Callable[[Callable[[], Tensor]], tuple[Graph, Tensor]]  # -> the graph, and the memory of what was returned


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


def record_cuda(run: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
    """Records what a function launches on the current CUDA device."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = run()
    return graph, loss


class Replayed:
    """A pass that is eager at first, and from the fourth one on a recording of itself.

    The recording is checked once: loss and gradients must be those of an eager pass from the same state. If they are
    not, or recording fails, all passes stay eager, as do those on batches of another shape.

    Args:
        run: The eager pass: adds to the gradients, which are none before it.
        network: What it trains.
        record: Records a function; by default on a CUDA device.
    """

    def __init__(self, run: Pass, network: nn.Module, record: Record = record_cuda) -> None:
        self._run, self._network, self._record = run, network, record
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._eager = 0
        self._recorded: _Recorded | None = None
        self.problem = ""  # why passes stay eager; empty if nothing is wrong

    @property
    def replaying(self) -> bool:
        """Whether passes are replayed."""
        return self._recorded is not None

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Runs one pass and returns its loss, detached."""
        recorded = self._recorded
        if recorded is not None and recorded.fits(images, targets):
            return self._replay(recorded, images, targets).clone()
        if self.problem or recorded is not None:
            return self._run(images, targets)
        if self._eager < _WARM_UP:
            self._eager += 1
            return self._apart(images, targets)
        return self._try(images, targets)

    def _apart(self, images: Tensor, targets: Tensor) -> Tensor:
        """Runs an eager pass beside the default stream, as CUDA wants it before recording."""
        if images.device.type != "cuda":
            return self._run(images, targets)
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._run(images, targets)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _replay(self, recorded: _Recorded, images: Tensor, targets: Tensor) -> Tensor:
        recorded.images.copy_(images)
        recorded.targets.copy_(targets)
        recorded.graph.replay()
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.loss

    def _try(self, images: Tensor, targets: Tensor) -> Tensor:
        """Runs an eager pass, records another one, and keeps it if it gives the same from the same state."""
        buffers = [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        random = _random_state(images.device)
        loss = self._run(images, targets)
        gradients = self._taken()
        after = [buffer.clone() for buffer, _ in buffers]
        try:
            for buffer, before in buffers:
                buffer.copy_(before)
            recorded = self._recording(images, targets)
            _set_random_state(images.device, random)
            replayed = self._replay(recorded, images, targets)
            same = _near(replayed, loss) and all(
                (a is None and b is None) or (a is not None and b is not None and _near(a, b))
                for a, b in zip(recorded.gradients, gradients, strict=True)
            )
            self.problem = "" if same else "a recorded pass gave other gradients than an eager one"
            self._recorded = recorded if same else None
        except RuntimeError as error:
            self.problem = f"a pass could not be recorded ({str(error).splitlines()[0]})"
        for (buffer, _), value in zip(buffers, after, strict=True):
            buffer.copy_(value)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    def _recording(self, images: Tensor, targets: Tensor) -> _Recorded:
        own = images.clone(), targets.clone()
        for parameter in self._parameters:
            parameter.grad = None  # so that the recorded backward pass writes gradients of its own
        graph, loss = self._record(lambda: self._run(*own))
        return _Recorded(graph, *own, loss, self._taken())

    def _taken(self) -> list[Tensor | None]:
        return [parameter.grad for parameter in self._parameters]


def _near(actual: Tensor, expected: Tensor) -> bool:
    difference = torch.linalg.vector_norm(actual.float() - expected.float())
    return bool(difference <= _TOLERANCE * torch.linalg.vector_norm(expected.float()) + 1e-6)


def _random_state(device: torch.device) -> Any:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Any) -> None:
    torch.cuda.set_rng_state(state, device) if device.type == "cuda" else torch.set_rng_state(state)
