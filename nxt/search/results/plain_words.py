"""What a search has found, said to a newcomer."""

from __future__ import annotations

from nxt.search.results.run import Run
from nxt.space.budget import OPTIONS
from nxt.units import format_cost, plural

_FAR, _NEAR = 0.5, 0.85  # shares of a cap


def plain_words(run: Run) -> str:
    """Says what a search has found, how sure it is, and what is still to be shown; empty if it found nothing."""
    best, reference, request = run.best, run.best_reference, run.request
    if best is None or request.is_list:
        return ""
    networks = plural(len(run.entries), "network")
    tried = f"{networks} inside {request.budget} learnt {request.data.display} in short trainings"
    found = f"{best.spec.name} came out best ({best.accuracy:.0%})"
    if all(entry.family for entry in run.entries):
        found += ": all of them are the papers' own, and no other was tried"
    elif best is reference:
        found = f"the papers' own {best.spec.name} came out best ({best.accuracy:.0%})"
    elif reference is not None:
        sure = "clearly ahead of" if run.clearly_ahead(best, reference) else "though it may be chance beside"
        found += f", {sure} the papers' own {reference.spec.name} ({reference.accuracy:.0%})"
    once = ""
    if best.seeds == 1:
        once = " It was trained only once, which confirms nothing."
        once = " Only one training with a fresh seed counts for it, which proves little." if best.confirmed else once
    last = "Short trainings only rank: train it fully before you trust it."
    return f"In plain words: {tried}, and {found}.{once} {last}{_far_below_the_cap(run)}"


def _far_below_the_cap(run: Run) -> str:
    """Says if the best network costs less than half of what a cap allows: accuracy was not all that was sought."""
    limit = run.request.budget.limit(run.objective)
    if run.best is None or limit is None or not limit.is_cap:
        return ""
    share = getattr(run.best.cost, limit.cost) / limit.high
    nearest = max(getattr(entry.cost, limit.cost) for entry in run.entries) / limit.high
    if share >= _FAR or nearest < _FAR:  # there may be none near the cap
        return ""
    near = f"{format_cost(limit.cost, _NEAR * limit.high)}:{format_cost(limit.cost, limit.high)}"
    return (
        f" It has {share:.0%} of the {limit.cost} that are allowed: under a cap cheap networks are sought as much as "
        f"accurate ones. For the most accurate near the cap, search there: `{OPTIONS[limit.cost]}` {near}."
    )
