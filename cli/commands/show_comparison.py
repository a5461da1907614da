"""`nxt show` of a search beside another search, or beside networks with published accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nxt.arch.costs import COST_LABELS
from nxt.search.results.front_table import accuracy_text
from nxt.units import format_cost, format_count

from ..terminal import tables

if TYPE_CHECKING:
    from nxt.analysis.compare_runs import RunPair
    from nxt.search.ranking import RankedArch
    from nxt.search.results.run import Run


def print_both(pair: RunPair, as_json: bool) -> None:
    """Prints two fronts side by side; joint figures only if the runs are comparable."""
    from nxt.search.results.status import status_of

    if as_json:
        tables.print_json(_document(pair))
        return
    for letter, run in zip("AB", pair.runs, strict=True):
        state = status_of(run).state
        tables.say(f"{letter}: {run.path}: {state}, {len(run.entries)} architectures, {run.request.budget}")
    _print_fronts(pair)
    if pair.difference:
        tables.say(f"No joint ranking: {pair.difference}.")
    elif pair.ranked:
        highest, lowest = pair.reference_point()
        areas = "A {:.3f}, B {:.3f}".format(*pair.hypervolumes())
        point = f"{format_cost(pair.cost, highest, 4)} {COST_LABELS[pair.cost]} and {lowest:.1%}"
        tables.say(f"Hypervolume (accuracy times the logarithm of cost; reference point {point}): {areas}.")


def _document(pair: RunPair) -> dict[str, Any]:
    from nxt.search.results.status import status_of

    ranked = pair.ranked
    joint = pair.joint_front() if ranked else set()
    sides = [
        {
            "run": str(run.path),
            "state": status_of(run).state,
            "budget": str(run.request.budget),
            "hypervolume": pair.hypervolumes()[index] if ranked else None,
            "front": [
                run.row(entry) | {"joint_front": (index, entry.spec.fingerprint) in joint if ranked else None}
                for entry in run.front
            ],
        }
        for index, run in enumerate(pair.runs)
    ]
    reference = dict(zip((pair.cost, "accuracy"), pair.reference_point(), strict=True)) if ranked else None
    return {"difference": pair.difference or None, "reference_point": reference, "runs": sides}


def _print_fronts(pair: RunPair) -> None:
    """Prints both fronts as one table with a row for each network and its accuracy in each run."""
    ranked = pair.ranked
    joint = pair.joint_front() if ranked else set()
    members: dict[str, dict[int, RankedArch]] = {}
    for index, run in enumerate(pair.runs):
        for entry in run.front:
            members.setdefault(entry.spec.fingerprint, {})[index] = entry

    def cost(entries: dict[int, RankedArch]) -> int:
        return int(getattr(next(iter(entries.values())).cost, pair.cost))

    rows = []
    for fingerprint, entries in sorted(members.items(), key=lambda item: cost(item[1])):
        name = next(iter(entries.values())).spec.name
        cells = [accuracy_text(run, entries[i]) if i in entries else "" for i, run in enumerate(pair.runs)]
        mark = " ".join("AB"[index] for index in entries if (index, fingerprint) in joint)
        rows.append([name, format_cost(pair.cost, cost(entries), 4), *cells, *([mark] if ranked else [])])
    columns = [
        "architecture",
        COST_LABELS[pair.cost],
        "A: accuracy",
        "B: accuracy",
        *(["joint front"] if ranked else []),
    ]
    if rows:
        tables.print_table(columns, rows, ["joint front"], "Both fronts by rising cost")


def published(run: Run) -> list[dict[str, Any]]:
    """Returns published networks that cost about as much as the run's, as plain data."""
    from nxt.report.published import published as published_networks

    return [
        {
            "name": entry.name,
            "macs": costs.macs,
            "params": costs.params,
            "published": [figure.to_dict() for figure in entry.published],
        }
        for entry, costs in published_networks(run)
    ]


def print_published(run: Run) -> None:
    """Prints published networks that cost about as much as the run's, and that accuracies do not compare."""
    networks = published(run)
    if not networks:
        tables.say("No network with a published accuracy costs about as much as this run's.")
        return
    rows = []
    for network in networks:
        first = network["published"][0]
        figures = [f"{first['top1']:.2f} @{first['size']}", first["dataset"], first["source"]]
        rows.append([network["name"], format_count(network["macs"], 4), format_count(network["params"], 4), *figures])
    columns = ["network", "MACs", "params", "top-1 @px", "data", "source"]
    tables.print_table(columns, rows, ["params", "source"], "Published accuracies of networks of about the same cost")
    own = run.request.data.display
    tables.say(
        f"They are others', on the data named and each under its own recipe; this run's are on {own}: "
        "the two do not compare."
    )
