"""`nxt space`: shows what a design space contains, and what a budget leaves of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from .. import complete, hints, options
from ..terminal import space_view, tables
from . import space_runs


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
    like: options.Like = None,
    size: options.Size = None,
    classes: options.Classes = None,
    as_json: options.Json = False,
) -> None:
    """Show a space's axes and exact size; with a budget, what of it fits and how that is spread."""
    from nxt.space.budget import parse_budget
    from nxt.space.coverage import overview
    from nxt.space.load import load_space

    budget = parse_budget({"flops": flops, "params": params, "acts": acts, "memory": memory}, like, size, classes)
    answer = overview(load_space(space).counted_at(size, classes), budget)
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
    like: options.Like = None,
    size: options.Size = None,
    classes: options.Classes = None,
    as_json: options.Json = False,
) -> None:
    """Hold a space against a budget: what fits, how that changes the spread, and which values it rules out."""
    from nxt.space.budget import parse_budget
    from nxt.space.coverage import lint
    from nxt.space.load import load_space

    budget = parse_budget({"flops": flops, "params": params, "acts": acts, "memory": memory}, like, size, classes)
    if not budget.limits:
        raise typer.BadParameter("give a budget, such as --flops 4.1G")
    linted = lint(load_space(space).counted_at(size, classes), budget)
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
    from nxt.space.budget import parse_budget
    from nxt.space.feasible import FeasibleSet
    from nxt.space.load import load_space
    from nxt.space.space import counted_keys

    budget = parse_budget({"flops": flops, "params": params, "acts": acts, "memory": memory}, like, size, classes)
    loaded = load_space(space).counted_at(size, classes)
    points = FeasibleSet(loaded, budget).sample(np.random.default_rng(seed), number)
    specs = [loaded.spec(point) for point in points]
    if out is None:
        for spec in specs:
            costs = dataclasses.asdict(cost(spec, *loaded.counted))
            line = {"name": spec.name, **costs, "fingerprint": spec.fingerprint, "arch": spec.to_dict()}
            typer.echo(json.dumps(line))
        return
    limits = {limit.cost: [limit.low, limit.high] for limit in budget.limits}
    write_files(out, specs, {"space": loaded.name, "budget": limits, "seed": seed, **counted_keys(loaded.counted)})
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


app.command("narrow", cls=hints.Command)(space_runs.narrow)
app.command("compare", cls=hints.Command)(space_runs.compare)
