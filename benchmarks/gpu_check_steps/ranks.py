"""Several processes that train one network: NCCL with one of them, and gloo with two on one card."""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, multiprocessing, nn

from gpu_check_steps.check import CLASSES, Check, noise, resident, spec
from nxt.compute.accelerator import accelerator
from nxt.compute.devices import choose
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.compute.sync_bn import synchronised
from nxt.models.network import Network, build
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

_IMAGES, _SIZE = 32, 8
_NEAR = 1e-3  # share by which gradients in fp32 may differ from those of one process


def ranks(check: Check) -> None:
    """Holds outputs and gradients of DDP and SyncBN against those of one process."""
    with check.gpu.exact():
        expected = _gradients(_network(check.device), check.device, slice(None))
    if check.gpu.collectives == "nccl":
        [(gradients, *_)] = _together(check, "nccl", 1)
        _compare(check, "NCCL, one process", [gradients], expected)
    else:
        check.skip("NCCL", "it is for GPUs alone")
    found = _together(check, "gloo", 2)
    _compare(check, "gloo, two processes", [gradients for gradients, *_ in found], expected)
    losses, weights = [loss for _, loss, _ in found], [weights for *_, weights in found]
    check.figures["losses_of_two"] = losses
    check.expect(losses[0] == losses[1] and losses[0] == losses[0], f"the losses of two processes are {losses}")
    check.expect(torch.equal(*weights), "the weights of two processes differ after an epoch")


def _compare(check: Check, what: str, found: list[Tensor], expected: Tensor) -> None:
    errors = [float((gradients - expected).norm() / expected.norm()) for gradients in found]
    check.figures[f"error of gradients, {what}"] = max(errors)
    check.expect(max(errors) <= _NEAR, f"{what}: gradients are {max(errors):.1e} from those of one process")


def _network(device: torch.device) -> Network:
    """Returns a network with ELU for ReLU: its gradients do not jump where rounding moves a value."""
    torch.manual_seed(0)
    network = build(spec(2), CLASSES)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.ELU())
    return network.to(device)


def _gradients(network: nn.Module, device: torch.device, part: slice) -> Tensor:
    """Returns the gradients of the mean loss of some of the images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_IMAGES, 3, _SIZE, _SIZE, generator=generator)[part].to(device)
    labels = torch.randint(CLASSES, (_IMAGES,), generator=generator)[part].to(device)
    F.cross_entropy(network.train()(images), labels).backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]).cpu().double()


def _together(check: Check, backend: str, world: int) -> list[tuple[Tensor, float, Tensor]]:
    with tempfile.TemporaryDirectory() as place:
        multiprocessing.spawn(_work, (place, check.place, backend, world), world)  # type: ignore[no-untyped-call]
        return [torch.load(Path(place, f"{rank}.pt")) for rank in range(world)]


def _work(rank: int, place: str, name: str, backend: str, world: int) -> None:
    """Computes as one of the processes: gradients of its part of the images; loss and weights after an epoch."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    device = choose(name)
    gpu = accelerator(device)
    dist.init_process_group(backend, init_method=f"file://{place}/meeting", rank=rank, world_size=world)
    try:
        each = _IMAGES // world
        with gpu.exact():
            joint = synchronised(_network(device), device)
            gradients = _gradients(
                nn.parallel.DistributedDataParallel(copy.deepcopy(joint)), device, slice(rank * each, (rank + 1) * each)
            )
        recipe = Recipe(epochs=2, batch=_IMAGES, lr=0.01)
        train, few = (resident(noise(count, _SIZE), _SIZE, device) for count in (4 * _IMAGES, _IMAGES))
        compute = Compute(channels_last=False, precision="bf16")
        trainer = Trainer(joint, train, few, recipe, 0, compute=compute, ranks=Ranks(rank, world, world))
        loss = trainer.run_epoch().loss
        weights = torch.cat([p.detach().cpu().flatten() for p in trainer.network.parameters()])
        result: tuple[Any, ...] = (gradients, loss, weights)
        torch.save(result, Path(place, f"{rank}.pt"))
    finally:
        dist.destroy_process_group()
