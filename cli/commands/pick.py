"""`nxt pick`: prints one architecture of a front."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxt.arch.costs import COST_LABELS
from nxt.errors import RunError
from nxt.units import format_time, plural

from .. import options
from ..terminal import tables

if TYPE_CHECKING:
    from nxt.search.ranking import RankedArch
    from nxt.search.results.pick import Picked


def pick(
    run: options.SearchRun,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    latency: options.Latency = None,
    throughput: options.Throughput = None,
    out: Annotated[Path | None, typer.Option(help="Write the architecture here instead of to stdout.")] = None,
) -> None:
    """Pick one architecture as YAML: the front's knee, or with limits the most accurate network inside them."""
    from nxt.files import is_file, is_folder, write_text
    from nxt.search.results.files import arch_file
    from nxt.search.results.run import load_run

    loaded = load_run(run)
    picked = loaded.pick(flops=flops, params=params, acts=acts, memory=memory, latency=latency, throughput=throughput)
    text = arch_file(picked.entry, loaded)
    if out is None:
        typer.echo(text, nl=False)
    else:
        if is_file(out) or is_folder(out):
            raise RunError(f"{out}: exists already; choose another --out")
        write_text(out, text)
    entry = picked.entry
    architecture = f"{entry.spec.name} ({tables.percent(entry.accuracy)} {_conditions(entry, loaded.full)})"
    tables.err().print(f"{architecture}: {_reason(picked)}{_next_step(picked)}.", soft_wrap=True)
    if picked.higher is not None:
        other = picked.higher
        higher = f"{other.spec.name} ({tables.percent(other.accuracy)} {_conditions(other, loaded.full)})"
        tables.err().print(f"Higher, but by what proves less: {higher}.", soft_wrap=True)
    if loaded.request.latency is not None:
        row = loaded.row(entry)
        measured = "" if row["measured_ms"] is None else f", measured {format_time(1e6 * row['measured_ms'])}"
        latency_text = f"Latency {format_time(entry.cost.latency)}{measured}. {loaded.latency_note()}"
        tables.err().print(latency_text, soft_wrap=True)


def _conditions(entry: RankedArch, full: bool) -> str:
    """Returns under which conditions an accuracy was reached."""
    seeds = f"{entry.seeds} seeds" if full else f"{entry.seeds} fresh seeds"
    if entry.seeds > 1:
        return f"in {'full training' if full else 'the proxy'}, mean of {seeds}"
    if full:
        return "in full training, one seed"
    return "in the proxy, one fresh seed" if entry.confirmed else "in the proxy, one seed, not confirmed"


def _reason(picked: Picked) -> str:
    if picked.budget.limits:
        candidates, confirmed = plural(picked.candidates, "architecture"), "confirmed " * picked.entry.confirmed
        return f"the most accurate {confirmed}of {candidates} trained to the end with {picked.budget}"
    if picked.knee is None:
        return f"the most accurate of a front of {picked.candidates}, which has no knee"
    gain, price = picked.knee
    return (
        f"the knee of a front of {picked.candidates}, with {gain:.0%} of its range of accuracy for {price:.0%} of its "
        f"range of {COST_LABELS[picked.cost]}"
    )


def _next_step(picked: Picked) -> str:
    """Returns what the next costlier and more accurate architecture costs and gains; empty if there is none."""
    step = picked.next
    if step is None:
        return ""
    clearness = "more than" if step.clear else "within"
    outside = "" if picked.budget.allows(step.entry.cost) else ", outside these limits,"
    price = f"{step.more_cost:.1%} more" if step.more_cost < 1 else f"{1 + step.more_cost:.1f} times the"
    return (
        f"; the next one{outside} costs {price} {COST_LABELS[picked.cost]} and gains {100 * step.gain:.1f} "
        f"points, {clearness} twice the noise of {100 * step.error:.1f}"
    )
