"""`nxt space compare` and `nxt space narrow`: what runs tell about the spaces that they searched."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options
from ..terminal import tables as render

if TYPE_CHECKING:
    from nxt.analysis.error_distribution import Comparison
    from nxt.analysis.narrow import Narrowed


class CostName(StrEnum):
    """Costs, as options name them."""

    FLOPS = "flops"
    PARAMS = "params"
    ACTS = "acts"


def compare(
    first: Annotated[Path, typer.Argument(help="Run directory of a search.", metavar="RUN_A")],
    second: Annotated[Path, typer.Argument(help="Run directory of another one.", metavar="RUN_B")],
    cost: Annotated[CostName, typer.Option(help="The cost at which they are compared.")] = CostName.FLOPS,
    plot: Annotated[
        Path | None, typer.Option(help="Draw both error distributions, as PNG.", metavar="FILE.png")
    ] = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Compare two spaces by the errors of all architectures that two searches drew from them, at equal cost."""
    from nxt.analysis.error_distribution import check_comparable, population
    from nxt.analysis.error_distribution import compare as compared
    from nxt.search.results.run import load_run
    from nxt.space.budget import COSTS

    runs = load_run(first), load_run(second)
    check_comparable(*runs)
    name = COSTS[cost]
    found = compared(population(runs[0], name), population(runs[1], name), name, seed or 0)
    if plot is not None:
        from nxt.report.matplotlib_figures import plot_edf

        plot_edf(found, plot)
    if as_json:
        render.print_json(found.to_dict())
    else:
        _print_comparison(found)


def _print_comparison(found: Comparison) -> None:
    rows = [[side.name, side.finished, len(side.errors), *map(render.percent, side.quartiles)] for side in found.sides]
    columns = ["run", "architectures", "at equal cost", "first quartile", "median error", "third quartile"]
    render.print_table(columns, rows, ["architectures", "first quartile", "third quartile", "at equal cost"])
    render.say(found.verdict())
    for side in found.sides:
        for note in side.notes:
            render.say(f"{side.name}: {note}")


def narrow(
    run: Annotated[Path, typer.Argument(help="Run directory of a search.", metavar="RUN")],
    out: Annotated[
        Path | None,
        typer.Option(help="The new space; default: narrowed.yaml in the run directory.", metavar="FILE.yaml"),
    ] = None,
    confidence: Annotated[float, typer.Option(help="With which the best lies inside each range.")] = 0.95,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Make a narrower space of the values among which a search found its best architectures."""
    from nxt.analysis.narrow import narrow as narrowed
    from nxt.config import dump_yaml
    from nxt.files import write_text
    from nxt.search.results.run import load_run

    file = run / "narrowed.yaml" if out is None else out
    if file.suffix not in (".yaml", ".yml"):
        raise typer.BadParameter(f"--out {file}: a space's file ends in .yaml")
    found = narrowed(load_run(run), confidence, seed or 0)
    if found.cut:
        write_text(file, dump_yaml(found.after.to_dict()))
    if as_json:
        render.print_json(found.to_dict() | {"run": str(run), "file": str(file) if found.cut else None})
        return
    _print_narrowed(found)
    if found.cut:
        render.out().print(f"Search it: nxt search {shlex.quote(str(file))}", soft_wrap=True)


def _print_narrowed(found: Narrowed) -> None:
    rows = [
        [axis.name, _values(axis.values), _values(axis.kept) if axis.cut else "as it is", f"{axis.p:.2g}"]
        for axis in found.axes
    ]
    render.print_table(["axis", "values", "kept", "p"], rows, ["p", "values"])
    render.say(found.verdict())
    for note in found.notes:
        render.say(note)


def _values(values: Sequence[object]) -> str:
    if len(values) > 6:
        return f"{values[0]} to {values[-1]} ({len(values)})"
    return " ".join(str(value).lower() for value in values)
