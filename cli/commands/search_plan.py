"""`nxt search --plan`: estimates the cost of a search."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nxt.units import format_count, format_seconds, plural

from ..terminal import tables

if TYPE_CHECKING:
    from nxt.search.engine.estimate import Plan
    from nxt.search.engine.search import Search


_OVER = 1.1  # times the hours


def print_plan(
    job: Search, workers: int | None, hours: float | None, gpus_per_trial: float | None, as_json: bool
) -> None:
    """Measures how long training takes, and prints the plan to stdout."""
    from nxt.search.engine.estimate import plan

    note = tables.err()
    estimate = plan(job, workers, hours, gpus_per_trial, lambda text: note.print(f"{text} ...", soft_wrap=True))
    if as_json:
        tables.print_json(dataclasses.asdict(estimate))
        return
    console = tables.out()
    for line in _lines(job, estimate):
        console.print(line, soft_wrap=True)
    if hours is not None and estimate.seconds > 3600 * hours * _OVER:
        over = f"More than the {format_seconds(3600 * hours)} of --hours: not all of it will be done"
        less = "--set proxy.epochs=N, --set proxy.share=S and a smaller --confirm take less"
        console.print(f"{over}; {less}", soft_wrap=True)


def _lines(job: Search, plan: Plan) -> list[str]:
    request = job.request
    epochs = plural(plan.epochs, "epoch")
    measured = "measured peak" if plan.memory_measured else "predicted"
    budget = f"{request.budget}{request.counted_at}"
    lines = [f"{request.space.name}: {plan.feasible:,} of {plan.architectures:,} architectures fit ({budget})"]
    if plan.explored:
        rungs = ", ".join(f"{share:.0%} go on at {r}" for r, share in zip(plan.rungs, plan.reaching, strict=True))
        aim = f", accuracy against {request.objective}"
        lines.append(f"trials: {plan.explored:,} of up to {epochs}{f' ({rungs})' if rungs else ''}{aim}")
        lines.append(f"confirmation: up to {plural(plan.confirming, 'training')} of {epochs}")
    else:
        lines.append(f"trainings: {plan.confirming:,} of {epochs}")
    place = "on a GPU each" if plan.memory_measured else "on this machine's CPUs"
    if plan.devices < plan.workers:
        place = f"on {plan.devices} GPU(s), sharing their time"
    lines += [
        f"in all: {plan.total_epochs:,.0f} epochs of {_measured(plan)} on this machine's {plan.device}",
        f"time: {format_seconds(plan.seconds)}, {format_seconds(plan.starting)} of it to start; "
        f"{plan.workers} at a time {place}, {plan.device_hours:.2f} device hours",
        f"memory: {format_count(plan.memory)}B a trial ({measured})",
        f"disk: {format_count(plan.disk)}B at a time",
    ]
    if plan.cache:
        lines.append(f"decoded images: {format_count(plan.cache)}B in the cache of each machine, once for all searches")
    return lines


def _measured(plan: Plan) -> str:
    mean, (least, most) = format_seconds(plan.epoch_seconds), map(format_seconds, plan.epoch_range)
    if plan.measured > 1:
        drawn = " drawn by chance" if plan.explored else ""  # of a list they are the first ones
        return f"{mean} ({least} to {most}, by {plan.measured} architectures{drawn})"
    return f"{mean} (by the one architecture that there was time to measure)"
