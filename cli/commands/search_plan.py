"""`nxt search --plan`: what a search would cost."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

from ..terminal import tables

if TYPE_CHECKING:
    from nxt.search.engine.estimate import Plan
    from nxt.search.engine.search import Search


def print_plan(job: Search, workers: int | None, hours: float | None, as_json: bool) -> None:
    """Measures, and prints the plan to stdout."""
    from nxt.search.engine.estimate import plan

    at_a_time = workers or os.cpu_count() or 1
    made = plan(job, job.load_data(), at_a_time, hours)
    if as_json:
        tables.print_json({**dataclasses.asdict(made), "workers": at_a_time})
        return
    console = tables.out()
    for line in _lines(job, made, at_a_time):
        console.print(line, soft_wrap=True)


def _lines(job: Search, made: Plan, workers: int) -> list[str]:
    from nxt.units import format_count, format_seconds

    request = job.request
    measured = "measured peak" if made.memory_measured else "predicted"
    lines = [f"{request.space.name}: {made.feasible:,} of {made.architectures:,} architectures fit ({request.budget})"]
    if made.explored:
        rungs = ", ".join(f"{share:.0%} go on at {r}" for r, share in zip(made.rungs, made.reaching, strict=True))
        lines.append(f"trials: {made.explored:,} of up to {made.epochs} epochs" + (f" ({rungs})" if rungs else ""))
        lines.append(f"confirmation: {made.confirming} trainings of {made.epochs} epochs")
    else:
        lines.append(f"trainings: {made.confirming:,} of {made.epochs} epochs")
    epoch = format_seconds(made.epoch_seconds)
    lines += [
        f"in all: {made.total_epochs:,.0f} epochs of {epoch} (measured on this machine's {made.device})",
        f"time: {made.device_hours:.2f} device hours; {workers} at a time on devices of their own, "
        f"{format_seconds(max(3600 * made.device_hours / workers, made.epochs * made.epoch_seconds))}",
        f"memory: {format_count(made.memory)}B a trial ({measured})",
        f"disk: {format_count(made.disk)}B at a time",
    ]
    return lines
