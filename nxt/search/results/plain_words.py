"""What a search has found, said to a newcomer."""

from __future__ import annotations

from nxt.search.results.run import Run
from nxt.units import plural


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
    once = "" if best.seeds > 1 else " It was trained only once, which confirms nothing."
    last = "Short trainings only rank: train it fully before you trust it."
    return f"In plain words: {tried}, and {found}.{once} {last}"
