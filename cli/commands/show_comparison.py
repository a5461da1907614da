"""What `nxt show` puts beside a search: another one, or networks with published accuracies."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nxt.files import data_place
from nxt.units import format_count

from ..terminal import tables as render
from .standing import standing

if TYPE_CHECKING:
    from nxt.search.ranking import Entry
    from nxt.search.results.run import Run


@dataclass(frozen=True)
class Both:
    """Two searches side by side."""

    first: Run
    second: Run

    @property
    def cost(self) -> str:
        """The cost of both fronts, a field of `Cost`; where they have different ones, multiply-adds."""
        return self.first.objective if self.first.objective == self.second.objective else "macs"

    @property
    def difference(self) -> str:
        """Why their accuracies or fronts do not compare; empty: they do."""
        from nxt.analysis.error_distribution import check_comparable
        from nxt.errors import RunError

        try:
            check_comparable(self.first, self.second)
        except RunError as error:
            return str(error)
        if self.first.objective != self.second.objective:
            return f"the fronts cannot be compared: they are of {self.first.objective} and {self.second.objective}"
        return ""

    def reference(self) -> tuple[float, float]:
        """Return the common reference point: highest cost and lowest accuracy of all they trained to the end."""
        entries = [*self.first.entries, *self.second.entries]
        return max(getattr(e.cost, self.cost) for e in entries), min(e.accuracy for e in entries)

    def hypervolumes(self) -> tuple[float, float]:
        """Return the area that each front dominates, of accuracy times the natural logarithm of cost.

        The logarithm is what samplers are told, too: in plain costs the costliest networks would make up nearly all.
        """
        from nxt.pareto import hypervolume

        highest, lowest = self.reference()
        first, second = (
            hypervolume(
                [(math.log(getattr(e.cost, self.cost)), e.accuracy) for e in run.front], (math.log(highest), lowest)
            )
            for run in (self.first, self.second)
        )
        return first, second

    def joint(self) -> set[tuple[int, str]]:
        """Return which members of the fronts are on the front of both together: (0 or 1 for the run, fingerprint)."""
        from nxt.pareto import front

        members = [(i, entry) for i, run in enumerate((self.first, self.second)) for entry in run.front]
        kept = front([(getattr(entry.cost, self.cost), entry.accuracy) for _, entry in members])
        return {(members[i][0], members[i][1].spec.fingerprint) for i in kept}


def print_both(both: Both, as_json: bool) -> None:
    """Print two fronts side by side; what holds of both together only where they compare."""
    runs, difference = (both.first, both.second), both.difference
    ranked = not difference and all(run.front for run in runs)
    joint = both.joint() if ranked else set()
    if as_json:
        sides = [
            {
                "run": str(run.path),
                "state": standing(run).state,
                "budget": run.record["budget_rule"],
                "hypervolume": both.hypervolumes()[i] if ranked else None,
                "front": [
                    run.row(entry) | {"joint_front": (i, entry.spec.fingerprint) in joint if ranked else None}
                    for entry in run.front
                ],
            }
            for i, run in enumerate(runs)
        ]
        reference = dict(zip((both.cost, "accuracy"), both.reference(), strict=True)) if ranked else None
        render.print_json({"difference": difference or None, "reference_point": reference, "runs": sides})
        return
    for letter, run in zip("AB", runs, strict=True):
        stands = standing(run)
        render.say(
            f"{letter}: {run.path}: {stands.state}, {len(run.entries)} architectures, {run.record['budget_rule']}"
        )
    _print_fronts(both, ranked, joint)
    if difference:
        render.say(f"No joint ranking: {difference}.")
    elif ranked:
        highest, lowest = both.reference()
        areas = "A {:.3f}, B {:.3f}".format(*both.hypervolumes())
        point = f"{format_count(highest, 4)} {render.COST_LABELS[both.cost]} and {lowest:.1%}"
        render.say(f"Hypervolume (accuracy times the logarithm of cost; reference point {point}): {areas}.")


def _print_fronts(both: Both, ranked: bool, joint: set[tuple[int, str]]) -> None:
    runs = (both.first, both.second)
    members: dict[str, dict[int, Entry]] = {}
    for i, run in enumerate(runs):
        for entry in run.front:
            members.setdefault(entry.spec.fingerprint, {})[i] = entry
    rows = []
    for fingerprint, found in sorted(members.items(), key=lambda item: _cost(both, item[1])):
        entry = next(iter(found.values()))
        cells = [
            f"{found[i].accuracy:.1%} \u00b1 {100 * run.error(found[i]):.1f}" if i in found else ""
            for i, run in enumerate(runs)
        ]
        mark = " ".join("AB"[i] for i in found if (i, fingerprint) in joint)
        rows.append([entry.spec.name, format_count(_cost(both, found), 4), *cells, *([mark] if ranked else [])])
    columns = [
        "architecture",
        render.COST_LABELS[both.cost],
        "A: accuracy",
        "B: accuracy",
        *(["joint front"] if ranked else []),
    ]
    if rows:
        render.print_table(columns, rows, ["joint front"], "Both fronts by rising cost")


def _cost(both: Both, found: dict[int, Entry]) -> int:
    return int(getattr(next(iter(found.values())).cost, both.cost))


def published(run: Run) -> list[dict[str, Any]]:
    """Return the published networks of about the run's cost as plain data."""
    from nxt.report import published as context

    return [
        {
            "name": entry.name,
            "macs": spent.macs,
            "params": spent.params,
            "published": [dataclasses.asdict(figure) for figure in entry.published],
        }
        for entry, spent in context.published(run)
    ]


def print_published(run: Run) -> None:
    """Print them, and that they are of other data."""
    found = published(run)
    if not found:
        render.say("No network with a published accuracy costs about as much as this run's.")
        return
    rows = []
    for network in found:
        first = network["published"][0]
        figures = [f"{first['top1']:.2f} @{first['size']}", first["dataset"], first["source"]]
        rows.append([network["name"], format_count(network["macs"], 4), format_count(network["params"], 4), *figures])
    columns = ["network", "MACs", "params", "top-1 @px", "data", "source"]
    render.print_table(columns, rows, ["params", "source"], "Published accuracies of networks of about the same cost")
    own = data_place(run.record["data"])
    render.say(
        f"They are others', on the data named and each under its own recipe; this run's are on {own}: "
        "the two do not compare."
    )
