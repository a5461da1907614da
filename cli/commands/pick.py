"""`nxt pick`: one architecture of a front."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxt.errors import RunError

from .. import options
from ..terminal import tables as render

if TYPE_CHECKING:
    from nxt.search.ranking import Entry
    from nxt.search.results.run import Run


def pick(
    run: Annotated[Path, typer.Argument(help="Run directory of a search.", metavar="RUN")],
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    out: Annotated[Path | None, typer.Option(help="Write the architecture here instead of to stdout.")] = None,
) -> None:
    """Pick one architecture as YAML: the front's knee, or with limits the most accurate network inside them."""
    from nxt.files import is_file, is_folder, write_text
    from nxt.pareto import knee
    from nxt.search.results.run import arch_file, load_run

    found = load_run(run)
    budget = options.budget_of({"flops": flops, "params": params, "acts": acts, "memory": memory})
    if not found.entries:
        raise RunError(f"{run}: no trial has reached the last epoch, so there is nothing to pick from")
    if budget.limits:
        inside = [entry for entry in found.entries if budget.allows(entry.cost)]
        if not inside:
            nearest = min(found.entries, key=lambda entry: budget.miss(entry.cost))
            broken = " and ".join(budget.violations(nearest.cost))
            raise RunError(
                f"{run}: none of the {len(found.entries)} architectures trained to the end has {budget}; "
                f"the nearest is {nearest.spec.name}, whose {broken}"
            )
        chosen = inside[0]
        many = f"{len(inside)} architecture{'s' * (len(inside) > 1)}"
        why = f"the most accurate of {many} trained to the end with {budget}"
        cost = budget.limits[0].cost if len(budget.limits) == 1 else found.objective
    else:
        cost = found.objective
        points = [(getattr(entry.cost, cost), entry.accuracy) for entry in found.front]
        chosen = found.front[knee(points)]
        why = f"the most accurate of a front of {len(points)}, which has no knee"
        if len(points) > 2:
            why = f"the knee of a front of {len(points)}, {_share(points, chosen, cost)}"
    why += _next(found, chosen, cost)
    text = arch_file(chosen, found)
    if out is None:
        typer.echo(text, nl=False)
    else:
        if is_file(out) or is_folder(out):
            raise RunError(f"{out}: exists already; choose another --out")
        write_text(out, text)
    accuracy = render.percent(chosen.accuracy)
    seeds = f"mean of {chosen.seeds} fresh seeds" if chosen.confirmed else "one seed, not confirmed"
    render.err().print(f"{chosen.spec.name} ({accuracy} in the proxy, {seeds}): {why}.", soft_wrap=True)


def _share(points: list[tuple[float, float]], chosen: Entry, cost: str) -> str:
    """Say how much of the front's accuracy a member has for how much of its cost."""
    (least, lowest), (most, highest) = points[0], points[-1]  # a front rises in both
    gain, price = (chosen.accuracy - lowest) / (highest - lowest), (getattr(chosen.cost, cost) - least) / (most - least)
    return f"with {gain:.0%} of its range of accuracy for {price:.0%} of its range of {render.COST_LABELS[cost]}"


def _next(run: Run, chosen: Entry, cost: str) -> str:
    """Say what the next costlier architecture that is more accurate would cost and gain; empty: there is none."""
    from nxt.search.noise import CLEAR

    def value(entry: Entry) -> int:
        return int(getattr(entry.cost, cost))

    costlier = [e for e in run.entries if e.accuracy > chosen.accuracy and value(e) > value(chosen)]
    if not costlier:
        return ""
    nearest = min(costlier, key=value)
    gain, error = nearest.accuracy - chosen.accuracy, math.hypot(run.error(nearest), run.error(chosen))
    sure = "more than" if gain > CLEAR * error else "within"
    more = value(nearest) / value(chosen) - 1
    return (
        f"; the next one costs {more:.1%} more {render.COST_LABELS[cost]} and gains {100 * gain:.1f} points, "
        f"{sure} twice the noise of {100 * error:.1f}"
    )
