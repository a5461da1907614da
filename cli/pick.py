"""`nxt pick`: one architecture of a front."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, render


def pick(
    run: Annotated[Path, typer.Argument(help="Run directory of a search.", metavar="RUN")],
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    out: Annotated[Path | None, typer.Option(help="Write the architecture here instead of to stdout.")] = None,
) -> None:
    """Pick one architecture as YAML: the front's knee, or with limits the most accurate network inside them."""
    from nxt.errors import RunError
    from nxt.pareto import knee
    from nxt.search.results import arch_file, load_run

    found = load_run(run)
    budget = options.budget_of({"flops": flops, "params": params, "acts": acts, "memory": memory})
    if not found.entries:
        raise RunError(f"{run}: no trial has reached the last epoch, so there is nothing to pick from")
    if budget.limits:
        inside = [entry for entry in found.entries if budget.allows(entry.cost)]
        if not inside:
            raise RunError(f"{run}: none of the {len(found.entries)} architectures trained to the end has {budget}")
        chosen = inside[0]
        why = f"the most accurate of {len(inside)} architectures trained to the end with {budget}"
    else:
        points = [(getattr(entry.cost, found.objective), entry.accuracy) for entry in found.front]
        chosen = found.front[knee(points)]
        why = f"the knee of a front of {len(points)}: beyond it, accuracy costs more {found.objective} than before"
        if len(points) < 3:
            why = f"the most accurate of a front of {len(points)}, which has no knee"
    text = arch_file(chosen, found)
    if out is None:
        typer.echo(text, nl=False)
    else:
        from nxt.files import write_text

        write_text(out, text)
    accuracy = render.percent(chosen.accuracy)
    seeds = f"mean of {chosen.seeds} fresh seeds" if chosen.confirmed else "one seed, not confirmed"
    render.err().print(f"{chosen.spec.name} ({accuracy} in the proxy, {seeds}): {why}.", soft_wrap=True)
