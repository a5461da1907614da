"""How the proxies of a search compute on a GPU: measured for each family of networks, before the first trial.

Which memory layout is faster depends on the convolutions: cuDNN's grouped ones were many times slower in channels last
on some GPUs, while others are mostly faster so. Accuracies of a search are compared, so all its trials compute in one
precision, and all of a family in one layout. On a CPU nothing is measured.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator
from nxt.compute.cuda_graph import RecordingError, Replayed
from nxt.compute.devices import choose
from nxt.compute.mode import Compute, for_proxy
from nxt.tasks.classification import Classification
from nxt.train.engine.autotune import CLEARLY, known_ways, remember
from nxt.train.engine.setup import network_for
from nxt.train.recipe import Recipe

_WARM_UP, _PASSES = 6, 20  # passes before: eager ones, the recording and a first replay; passes that are timed

Times = Mapping[Compute, float]  # seconds of a pass; infinity where it cannot be computed here


def family(spec: ArchSpec) -> str:
    """Returns which networks it computes like: by split attention, or by the groups of its 3x3 convolutions."""
    if spec.radix:
        return "split attention"
    groups = [(stage.cardinality, stage.group_width) for stage in spec.stages()]
    if all(cardinality == 1 for cardinality, _ in groups):
        return "dense"
    return "depthwise" if any(width == 1 for _, width in groups) else "grouped"


def way_for(spec: ArchSpec, ways: Mapping[str, Compute], device: torch.device) -> Compute:
    """Returns how to compute a proxy: as was chosen for its family, or by rule where this device cannot do that.

    Args:
        spec: The network.
        ways: What `proxy_ways` returned, perhaps on another machine.
        device: Where to compute.
    """
    gpu, chosen = accelerator(device), ways.get(family(spec))
    if chosen is None or not gpu.is_gpu or chosen.precision not in ("fp32", gpu.half):
        return for_proxy(device)
    return chosen


def proxy_ways(
    specs: Iterable[ArchSpec],
    recipe: Recipe,
    size: int,
    classes: int,
    device: torch.device,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Compute]:
    """Returns how the proxies of each family compute fastest on a device; measured, unless it is known, in seconds.

    What is timed is a pass as trials run it: on a GPU a replay of its recording. A recording that fails may leave a
    process in which CUDA is of no more use, so this is for one that ends afterwards.

    Args:
        specs: Proxy networks such as the search trains; of each family the one of middle cost is measured.
        recipe: How they are trained.
        size: Image side in pixels.
        classes: Outputs of the last layer.
        device: Where trials will compute.
        note: Is called with what was measured, a line for each family.

    Returns:
        A way for each family of `specs`: the rule, where nothing can be measured.
    """
    rule, gpu = for_proxy(device), accelerator(device)
    middle = _middle(specs, size, classes)
    ways = dict.fromkeys(middle, rule)
    if not gpu.is_gpu:
        return ways
    batch, known = recipe.batch // recipe.accumulate, known_ways()
    # Of all families together: with others beside it another precision may have been chosen.
    conditions = (gpu.name, torch.__version__, f"proxies {' + '.join(ways)}", size, batch, recipe.accumulate > 1)
    keys = {name: ", ".join(map(str, (*conditions, name))) for name in ways}
    if all(key in known for key in keys.values()):
        return {name: known[key] for name, key in keys.items()}
    candidates = [
        dataclasses.replace(rule, precision=precision, channels_last=last)
        for precision in (rule.precision, "fp32")
        for last in (False, True)
    ]
    try:
        measured = {
            name: {way: _seconds(spec, recipe, size, classes, device, way) for way in candidates}
            for name, spec in middle.items()
        }
    except RecordingError as error:
        note(f"{error}; computed by rule: {rule}")
        return ways
    ways = fastest(measured, rule)
    for name, times in measured.items():
        rates = sorted(((batch / seconds, str(way)) for way, seconds in times.items()), reverse=True)
        note(f"{name}: {ways[name]}; measured: " + "; ".join(f"{way} {rate:.0f} images/s" for rate, way in rates))
    remember({**known_ways(), **{keys[name]: way for name, way in ways.items()}})
    return ways


def measured_here(specs: Sequence[ArchSpec], recipe: Recipe, size: int, classes: int) -> dict[str, Compute]:
    """Returns `proxy_ways` of this process's GPU; for a process of its own."""
    return proxy_ways(specs, recipe, size, classes, choose("cuda"))


def fastest(measured: Mapping[str, Times], rule: Compute) -> dict[str, Compute]:
    """Returns a way for each family: all in the precision that is fastest over all of them, each in its best layout.

    A difference of a few percent decides nothing: then it is the rule's.
    """
    shares = dict.fromkeys((rule.precision, "fp32"), 0.0)  # how many times the shortest, summed over families
    for times in measured.values():
        shortest = min(times.values())
        for precision in shares if shortest < float("inf") else ():
            shares[precision] += min(times[way] for way in times if way.precision == precision) / shortest
    precision = min(shares, key=shares.__getitem__)
    if not shares[precision] < CLEARLY * shares[rule.precision]:
        precision = rule.precision
    ways = {}
    for name, times in measured.items():
        usual = dataclasses.replace(rule, precision=precision)
        best_way = min((way for way in times if way.precision == precision), key=times.__getitem__)
        ways[name] = best_way if times[best_way] < CLEARLY * times[usual] else usual
    return ways


def _middle(specs: Iterable[ArchSpec], size: int, classes: int) -> dict[str, ArchSpec]:
    """Returns of each family, in the order of their names, the network of middle cost."""
    members: dict[str, list[ArchSpec]] = {}
    for spec in specs:
        members.setdefault(family(spec), []).append(spec)
    ordered = {name: sorted(members[name], key=lambda spec: cost(spec, size, classes).macs) for name in sorted(members)}
    return {name: row[len(row) // 2] for name, row in ordered.items()}


def _seconds(spec: ArchSpec, recipe: Recipe, size: int, classes: int, device: torch.device, compute: Compute) -> float:
    """Returns the seconds of a pass, forward and backward; infinity where this cannot be computed here."""
    try:
        return _timed(spec, recipe, size, classes, device, compute)
    except RecordingError:
        raise
    except RuntimeError:  # out of memory, or no kernel for it
        return float("inf")
    finally:
        accelerator(device).release_memory()


def _timed(spec: ArchSpec, recipe: Recipe, size: int, classes: int, device: torch.device, compute: Compute) -> float:
    gpu, objective = accelerator(device), Classification(recipe, classes)
    gpu.prepare()
    network = network_for(spec, classes, recipe, seed=0).to(device).to(memory_format=compute.memory_format).train()
    batch = recipe.batch // recipe.accumulate
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=compute.memory_format)
    labels = torch.randint(classes, (batch,), device=device)
    # As in the trainer: what needs a scaler, or several passes a step, is not recorded.
    recorded = compute.graph and recipe.accumulate == 1 and compute.precision != "fp16"
    replayed = Replayed(network, gpu) if recorded else None

    def run(shown: Tensor, targets: Tensor) -> Tensor:
        with compute.autocast(device):
            loss = objective.loss(network(shown), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def step() -> None:
        network.zero_grad()
        if replayed is None:
            run(images, labels)
        else:
            replayed(run, images, labels)

    gpu.durations(step, _WARM_UP)
    return statistics.median(gpu.durations(step, _PASSES))
