"""`nxt space`: shows what a design space contains, and what a budget leaves of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import complete, hints, options
from ..terminal import space_view, tables
from . import space_runs

if TYPE_CHECKING:
    from nxt.space.budget import Budget
    from nxt.space.space import Space


class _Group(hints.Group):
    def hint(self, name: str) -> str:
        """Returns what to type if a space stands in the place of a command."""
        return f"nxt space show {name}" if complete.spaces(name)[:1] == [name] else super().hint(name)


app = typer.Typer(cls=_Group, help="Look into design spaces.", no_args_is_help=True, add_completion=False)

Name = Annotated[
    str,
    typer.Argument(
        help="A space that comes with nxt (imagenet, cifar, ...), or a YAML file.", autocompletion=complete.spaces
    ),
]


@app.command("list", cls=hints.Command)
def list_spaces(as_json: options.Json = False) -> None:
    """List the spaces that come with nxt."""
    from nxt.space.load import load_space

    spaces = [load_space(name) for name in complete.spaces("")]
    if as_json:
        tables.print_json([{"name": each.name, "size": each.size, "about": each.about} for each in spaces])
        return
    for each in spaces:
        tables.say(f"{each.name}: {each.size:,} architectures. {each.about}")


@app.command(cls=hints.Command)
def show(
    space: Name = "imagenet",
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    latency: options.Latency = None,
    throughput: options.Throughput = None,
    latency_table: options.LatencyTable = None,
    like: options.Like = None,
    size: options.Size = None,
    classes: options.Classes = None,
    as_json: options.Json = False,
) -> None:
    """Show a space's axes and exact size; with a budget, what of it fits and how that is spread."""
    from nxt.space.coverage import overview

    limits = _limits(flops, params, acts, memory, latency, throughput)
    answer = overview(*_counted(space, limits, like, size, classes, latency_table))
    if as_json:
        tables.print_json(answer)
    else:
        space_view.print_space(answer)


@app.command("lint", cls=hints.Command)
def check(
    space: Name,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    latency: options.Latency = None,
    throughput: options.Throughput = None,
    latency_table: options.LatencyTable = None,
    like: options.Like = None,
    size: options.Size = None,
    classes: options.Classes = None,
    as_json: options.Json = False,
) -> None:
    """Hold a space against a budget: what fits, how that changes the spread, and which values it rules out."""
    from nxt.space.coverage import lint

    limits = _limits(flops, params, acts, memory, latency, throughput)
    loaded, budget = _counted(space, limits, like, size, classes, latency_table)
    if not budget.limits:
        raise typer.BadParameter("give a budget, such as --flops 4.1G")
    linted = lint(loaded, budget)
    if as_json:
        tables.print_json(linted.to_dict())
    else:
        space_view.print_lint(linted)


@app.command(cls=hints.Command)
def sample(
    space: Name,
    number: Annotated[int, typer.Option("--number", "-n", help="How many, all different.", min=1)] = 1,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    latency: options.Latency = None,
    throughput: options.Throughput = None,
    latency_table: options.LatencyTable = None,
    like: options.Like = None,
    size: options.Size = None,
    classes: options.Classes = None,
    seed: Annotated[int, typer.Option(help="Same seed, same command: same architectures.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="New folder for architecture files, instead of JSON lines on stdout.")
    ] = None,
) -> None:
    """Draw architectures uniformly from what fits a budget: as JSON lines, or as files for profile and train."""
    import numpy as np

    from nxt.arch.costs import cost
    from nxt.space.arch_list import write_files
    from nxt.space.feasible import FeasibleSet
    from nxt.space.space import counted_keys

    limits = _limits(flops, params, acts, memory, latency, throughput)
    loaded, budget = _counted(space, limits, like, size, classes, latency_table)
    points = FeasibleSet(loaded, budget).sample(np.random.default_rng(seed), number)
    specs = [loaded.spec(point) for point in points]
    if out is None:
        for spec in specs:
            costs = cost(spec, *loaded.counted, loaded.latency).to_dict()
            line = {"name": spec.name, **costs, "fingerprint": spec.fingerprint, "arch": spec.to_dict()}
            typer.echo(json.dumps(line))
        return
    bounds = {limit.cost: [limit.low, limit.high] for limit in budget.limits}
    write_files(out, specs, {"space": loaded.name, "budget": bounds, "seed": seed, **counted_keys(loaded.counted)})
    typer.echo(f"{number} architecture files written to {out}")


@app.command(cls=hints.Command)
def iso(
    like: Annotated[str, typer.Option(help="The reference: a name or an architecture file.", metavar="NAME_OR_YAML")],
    cardinality: Annotated[
        str, typer.Option(help="Cardinalities to find base widths for.", metavar="C,C,...")
    ] = "1,2,4,8,32",
    as_json: options.Json = False,
) -> None:
    """Show the family of equal complexity: for each cardinality the base width that comes nearest to a network.

    Nearest by the weights of a block's convolutions (ResNeXt table 2), and by the whole network's multiply-adds.
    """
    from nxt.arch.iso_complexity import family
    from nxt.arch.load import resolve

    try:
        cardinalities = [int(text) for text in cardinality.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--cardinality {cardinality!r}: give whole numbers, such as 1,2,4,8,32") from None
    answer = family(resolve(like), cardinalities)
    if as_json:
        tables.print_json(answer)
    else:
        space_view.print_family(answer)


def _limits(
    flops: str | None,
    params: str | None,
    acts: str | None,
    memory: str | None,
    latency: str | None,
    throughput: str | None,
) -> dict[str, str | None]:
    """Returns limits by option."""
    counted = {"flops": flops, "params": params, "acts": acts, "memory": memory}
    return {**counted, "latency": latency, "throughput": throughput}


def _counted(
    name: str,
    limits: dict[str, str | None],
    like: str | None,
    size: int | None,
    classes: int | None,
    latency_table: Path | None,
) -> tuple[Space, Budget]:
    """Returns a space with its costs counted as the options say, and the budget."""
    from nxt.arch.latency import read_table
    from nxt.space.budget import parse_budget
    from nxt.space.load import load_space

    table = None if latency_table is None else read_table(latency_table)
    budget = parse_budget(limits, like, size, classes, table)
    return load_space(name).counted_at(size, classes).with_latency(table), budget


app.command("narrow", cls=hints.Command)(space_runs.narrow)
app.command("compare", cls=hints.Command)(space_runs.compare)
