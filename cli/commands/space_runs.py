"""`nxt space compare` and `nxt space narrow`: analyse the spaces that runs have searched."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import options
from ..terminal import tables

if TYPE_CHECKING:
    from nxt.analysis.error_distribution import Comparison
    from nxt.analysis.narrow import Narrowed


class CostName(StrEnum):
    """Names of costs in options."""

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
    from nxt.analysis.error_distribution import compare as compare_populations
    from nxt.search.results.run import load_run
    from nxt.space.budget import COSTS

    runs = load_run(first), load_run(second)
    check_comparable(*runs)
    name = COSTS[cost]
    comparison = compare_populations(population(runs[0], name), population(runs[1], name), name, seed or 0)
    if plot is not None:
        from nxt.report.matplotlib_figures import plot_edf

        plot_edf(comparison, plot)
    if as_json:
        tables.print_json(comparison.to_dict())
    else:
        _print_comparison(comparison)


def _print_comparison(comparison: Comparison) -> None:
    rows = [
        [side.name, side.finished, len(side.errors), *map(tables.percent, side.quartiles)] for side in comparison.sides
    ]
    columns = ["run", "architectures", "at equal cost", "first quartile", "median error", "third quartile"]
    tables.print_table(columns, rows, ["architectures", "first quartile", "third quartile", "at equal cost"])
    tables.say(comparison.verdict())
    for side in comparison.sides:
        for note in side.notes:
            tables.say(f"{side.name}: {note}")


def narrow(
    run: options.SearchRun,
    out: Annotated[
        Path | None,
        typer.Option(help="The new space; default: narrowed.yaml in the run directory.", metavar="FILE.yaml"),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence that each range holds the best value.")] = 0.95,
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Make a narrower space of the values among which a search found its best architectures."""
    from nxt.analysis.narrow import narrow as narrow_space
    from nxt.config import dump_yaml
    from nxt.files import write_text
    from nxt.search.results.run import load_run

    file = run / "narrowed.yaml" if out is None else out
    if file.suffix not in (".yaml", ".yml"):
        raise typer.BadParameter(f"--out {file}: a space's file ends in .yaml")
    narrowed = narrow_space(load_run(run), confidence, seed or 0)
    if narrowed.cut:
        write_text(file, dump_yaml(narrowed.after.to_dict()))
    if as_json:
        tables.print_json(narrowed.to_dict() | {"run": str(run), "file": str(file) if narrowed.cut else None})
        return
    _print_narrowed(narrowed)
    if narrowed.cut:
        tables.out().print(f"Search it: nxt search {shlex.quote(str(file))}", soft_wrap=True)


def _print_narrowed(narrowed: Narrowed) -> None:
    rows = [
        [axis.name, _values(axis.values), _values(axis.kept) if axis.cut else "as it is", f"{axis.p:.2g}"]
        for axis in narrowed.axes
    ]
    tables.print_table(["axis", "values", "kept", "p"], rows, ["p", "values"])
    tables.say(narrowed.verdict())
    for note in narrowed.notes:
        tables.say(note)


def _values(values: Sequence[object]) -> str:
    if len(values) > 6:
        return f"{values[0]} to {values[-1]} ({len(values)})"
    return " ".join(str(value).lower() for value in values)
