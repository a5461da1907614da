"""What to know about a search before it starts: images left out, little to choose from, a dear proxy."""

from __future__ import annotations

import math
import re

from nxt.arch.costs import cost, resolution
from nxt.arch.names import BLOCKS
from nxt.data.dataset import divided
from nxt.search.engine.search import Search
from nxt.search.noise import CLEAR
from nxt.search.options import TRIALS
from nxt.search.proxy import SMALL
from nxt.search.request import SearchRequest
from nxt.search.results.measured_front import counts, here
from nxt.search.strategy.setup import SearchSetup
from nxt.space.budget import OPTIONS, Budget
from nxt.space.feasible import FOR_SMALL, FeasibleSet
from nxt.units import format_count

_NOTABLE = 0.05  # share of a cost
_COARSE = 0.1  # smallest clear difference of accuracies that is said


def notices(search: Search) -> list[str]:
    """Returns what a user should know before a search starts; arguments stand in backquotes, as in errors."""
    setup = search.setup
    texts = (
        *search.source.notes,
        _choice(setup),
        _toys(setup),
        _classes(search),
        _pixels(search),
        _few_judges(search),
        _unmodelled(setup),
        _dear_proxy(search),
        _elsewhere(search.request),
    )
    return [text for text in texts if text]


def _choice(setup: SearchSetup) -> str:
    """Says if fewer architectures fit than trials are asked, and which limit leaves so few."""
    request, feasible = setup.request, setup.feasible
    asked = TRIALS if request.trials is None else request.trials
    if feasible is None or len(feasible) >= asked:
        return ""
    text = f"only {len(feasible):,} of {request.space.size:,} architectures fit, fewer than the {asked:,} trials"
    limits = request.budget.limits
    if len(limits) > 1:
        others = {limit: Budget(tuple(other for other in limits if other is not limit)) for limit in limits}
        counts = {limit: len(FeasibleSet(feasible.space, rest, feasible.cost_table)) for limit, rest in others.items()}
        limits = tuple(sorted(counts, key=lambda limit: -counts[limit]))
        text += "; " + ", ".join(f"without {limit} {counts[limit]:,}" for limit in limits)
    windows = [limit for limit in limits if limit.is_window and limit.text[:1].isdigit() and ":" not in limit.text]
    caps = [f"`{OPTIONS[limit.cost]}` :{re.split('[+±]', limit.text)[0].strip()}" for limit in windows]
    return text + ("; a number alone is a window, a cap has a colon: " * bool(caps)) + ", ".join(caps)


def _toys(setup: SearchSetup) -> str:
    """Says if all references are far shallower than the networks they stand for, so that they are easily beaten."""
    specs = [setup.request.space.spec(point) for point in setup.references]
    template = {3: 9, 4: sum(BLOCKS[50])}.get(len(specs[0].depths), 0) if specs else 0
    if not specs or any(2 * sum(spec.depths) >= template for spec in specs):
        return ""
    deepest = max(specs, key=lambda spec: sum(spec.depths))
    return (
        f"the references inside the budget have at most {sum(deepest.depths)} blocks ({deepest.name}), where the "
        f"papers' have {template}: to be better says little; a space of narrower networks has fairer ones"
    )


def _classes(search: Search) -> str:
    """Says if the budget is counted for another number of classes than the data has, and that matters."""
    request, classes = search.request, len(search.source.classes)
    if search.setup.feasible is None or request.task != "classification":
        return ""
    space = request.space
    size, counted = resolution(space.example, *space.counted)
    spec = search.samples(1)[0]
    ours, own = cost(spec, size, counted), cost(spec, size, classes)
    for limit in request.budget.limits:
        there, here = getattr(ours, limit.cost), getattr(own, limit.cost)
        if abs(here - there) > _NOTABLE * there:
            return (
                f"the budget is counted for {counted:,} classes and the data has {classes:,}: the {limit.cost} of "
                f"{spec.name}, for one, count as {format_count(there)} and will be {format_count(here)}; "
                f"`classes` {classes} counts as it will be"
            )
    return ""


def _pixels(search: Search) -> str:
    """Says if the budget is counted for images far larger than the data's; not of digits, by which nxt is tried."""
    request, natural = search.request, search.source.size
    if search.setup.feasible is None or natural is None or request.task != "classification":
        return ""
    size, _ = resolution(request.space.example, *request.space.counted)
    if size <= 2 * natural or request.data.kind == "digits":
        return ""
    return (
        f"the budget is counted at {size} px and the images have {natural} px: `size` {natural} counts what they will "
        f"cost; {FOR_SMALL}"
    )


def _few_judges(search: Search) -> str:
    """Says if so few images judge that most networks cannot be told apart."""
    _, _, val = divided(search.source, search.request.proxy.share)
    smallest = CLEAR * math.sqrt(2 * 0.25 / max(1, len(val)))  # of two accuracies near a half, which vary most
    if smallest < _COARSE:
        return ""
    return (
        f"{len(val)} images judge: two networks differ clearly from about {100 * smallest:.0f} points on, so that the "
        "search can tell little more than poor from fair; more images, or fewer held out for a test, tell more"
    )


def _unmodelled(setup: SearchSetup) -> str:
    """Says if a search ends before its sampler has a model, so that it only draws."""
    request, feasible = setup.request, setup.feasible
    if feasible is None or request.trials is None or request.trials >= len(feasible):
        return ""
    begins, references = setup.model_begins, len(setup.references)
    if begins is None or request.trials > max(begins, references):
        return ""
    return (
        f"the sampler {request.settings.sampler} proposes by what it has learnt only after {max(begins, references)} "
        f"architectures ({references} of them references): all {request.trials} asked are chosen without it"
    )


def _elsewhere(request: SearchRequest) -> str:
    """Says if latency decides, but its device is not here, so that the front will not be measured."""
    if request.latency is None or not counts(request):
        return ""
    runtime, why = here(request.latency)
    return "" if runtime is not None else f"latency is predicted, and the front will not be measured: {why}"


def _dear_proxy(search: Search) -> str:
    """Says if larger images would make the proxy cheaper, since they keep the network's own stem."""
    request, size, natural = search.request, search.size, search.source.size
    larger = SMALL + 1
    if request.recipe.size is not None or size >= larger or (natural is not None and natural < larger):
        return ""
    example = request.space.example
    here, there = (cost(request.proxy.apply(example, side), side).macs for side in (size, larger))
    if here <= there:
        return ""
    return (
        f"at {size} px proxies have a 3x3 stem without strides, which costs {here / there:.0f} times as much as "
        f"{larger} px with the networks' own; `settings` proxy.size={larger} or proxy.stem=own is cheaper"
    )
