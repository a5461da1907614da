"""`nxt runs`: lists all searches and trainings in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nxt.files import display_path
from nxt.units import format_seconds

from .. import options
from ..messages import as_options
from ..terminal import tables


def runs(
    folder: Annotated[Path, typer.Argument(help="Where to look, also in the folders inside it.", metavar="DIR")] = Path(
        "results"
    ),
    as_json: options.Json = False,
) -> None:
    """List all searches and trainings in a folder: how far they are, and the best of each; the latest first."""
    from nxt.search.results.runs import list_runs

    found = list_runs(folder)
    if as_json:
        tables.print_json({"folder": str(folder), "runs": [run.to_dict() for run in found]})
        return
    if not found:
        tables.say(f"{display_path(folder)}: no runs here; nxt search and nxt train make them")
        return
    rows = []
    for run in found:
        unit = "epochs" if run.kind == "training" else "trials"
        done = f"{run.done} of {run.asked} {unit}" if run.asked else f"{run.done} {unit}"
        if run.asked and run.done is not None and run.done > run.asked:
            done = f"{run.asked} {unit} and {run.done - run.asked} more to confirm"
        rows.append(
            [
                display_path(run.path),
                run.kind,
                run.state,
                "" if run.done is None else done,
                tables.percent(run.accuracy),
                "" if run.age is None else f"{format_seconds(run.age)} ago",
                as_options(run.problem) or run.best,
            ]
        )
    columns = ["run", "kind", "state", "done", "best", "recorded", "network, or what is wrong"]
    tables.print_table(columns, rows, ["recorded", "kind"], left=["kind", "state", columns[-1]])
