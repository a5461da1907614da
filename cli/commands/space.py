"""`nxt space`: what a design space holds, and what a budget leaves of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import complete, options
from .. import hints as meant
from ..terminal import space_view
from ..terminal import tables as render
from . import space_runs

if TYPE_CHECKING:
    from nxt.arch.iso_complexity import Member
    from nxt.arch.spec import ArchSpec
    from nxt.space.coverage import Axis, Spread


class _Group(meant.Group):
    def hint(self, name: str) -> str:
        """Return what to type where a space stands in a command's place."""
        return f"nxt space show {name}" if complete.spaces(name)[:1] == [name] else super().hint(name)


app = typer.Typer(cls=_Group, help="Look into design spaces.", no_args_is_help=True, add_completion=False)

Name = Annotated[
    str,
    typer.Argument(
        help="A space that comes with nxt (imagenet, cifar, ...), or a YAML file.", autocompletion=complete.spaces
    ),
]


@app.command("list")
def list_spaces(as_json: options.Json = False) -> None:
    """List the spaces that come with nxt."""
    from nxt.space.space import load_space

    spaces = [load_space(name) for name in complete.spaces("")]
    if as_json:
        render.print_json([{"name": each.name, "size": each.size, "about": each.about} for each in spaces])
        return
    for each in spaces:
        render.say(f"{each.name}: {each.size:,} architectures. {each.about}")


@app.command()
def show(
    space: Name = "imagenet",
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    like: options.Like = None,
    as_json: options.Json = False,
) -> None:
    """Show a space's axes and exact size; with a budget, what of it fits and how that is spread."""
    from nxt.space.space import load_space

    loaded = load_space(space)
    budget = options.budget_of({"flops": flops, "params": params, "acts": acts, "memory": memory}, like)
    answer: dict[str, Any] = {
        "name": loaded.name,
        "about": loaded.about,
        "size": loaded.size,
        "axes": dict(zip(loaded.axis_names, map(list, loaded.axis_values), strict=True)),
        "fixed": dict(loaded.fixed),
    }
    if budget.limits:
        from nxt.space.feasible import FeasibleSet
        from nxt.space.references import references

        feasible = FeasibleSet(loaded, budget)
        answer |= {
            "budget": str(budget),
            "feasible": len(feasible),
            "spread": {axis: {str(v): n for v, n in by.items()} for axis, by in feasible.spread().items()},
            "references": {family: loaded.spec(point).name for family, point in references(feasible).items()},
        }
    if as_json:
        render.print_json(answer)
    else:
        space_view.print_space(answer)


@app.command("lint")
def check(
    space: Name,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    like: options.Like = None,
    as_json: options.Json = False,
) -> None:
    """Hold a space against a budget: what fits, how that changes the spread, and which values it rules out."""
    from nxt.space.coverage import lint
    from nxt.space.space import load_space

    budget = options.budget_of({"flops": flops, "params": params, "acts": acts, "memory": memory}, like)
    if not budget.limits:
        raise typer.BadParameter("give a budget, such as --flops 4.1G")
    found = lint(load_space(space), budget)
    if as_json:
        render.print_json(
            {
                "name": found.space.name,
                "budget": str(budget),
                "combinations": found.space.combinations,
                "left_out": found.space.left_out,
                "size": found.space.size,
                "feasible": found.feasible,
                "axes": {name: _axis(axis) for name, axis in found.axes.items()},
            }
        )
    else:
        space_view.print_lint(found)


@app.command()
def sample(
    space: Name,
    number: Annotated[int, typer.Option("--number", "-n", help="How many, all different.", min=1)] = 1,
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    like: options.Like = None,
    seed: Annotated[int, typer.Option(help="Same seed, same command: same architectures.", min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="New folder for architecture files, instead of JSON lines on stdout.")
    ] = None,
) -> None:
    """Draw architectures uniformly from what fits a budget: as JSON lines, or as files for profile and train."""
    import numpy as np

    from nxt.space.feasible import FeasibleSet
    from nxt.space.space import load_space

    budget = options.budget_of({"flops": flops, "params": params, "acts": acts, "memory": memory}, like)
    loaded = load_space(space)
    points = FeasibleSet(loaded, budget).sample(np.random.default_rng(seed), number)
    specs = [loaded.spec(point) for point in points]
    if out is None:
        for spec in specs:
            line = {**_figures(spec), "fingerprint": spec.fingerprint, "arch": spec.to_dict()}
            typer.echo(json.dumps(line))
        return
    limits = {limit.cost: [limit.low, limit.high] for limit in budget.limits}
    _write(out, specs, {"space": loaded.name, "budget": limits, "seed": seed})
    typer.echo(f"{number} architecture files written to {out}")


@app.command()
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
    from nxt.arch.iso_complexity import block_weights, macs, nearest
    from nxt.arch.names import resolve

    try:
        wanted = [int(text) for text in cardinality.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--cardinality {cardinality!r}: give whole numbers, such as 1,2,4,8,32") from None
    reference = resolve(like)
    answer = {
        "reference": {**_figures(reference), "block": block_weights(reference)},
        "by_block": [_member(nearest(reference, c, block_weights), reference) for c in wanted],
        "by_macs": [_member(nearest(reference, c, macs), reference) for c in wanted],
    }
    if as_json:
        render.print_json(answer)
    else:
        space_view.print_family(answer)


def _figures(spec: ArchSpec) -> dict[str, Any]:
    from nxt.arch.costs import cost

    total = cost(spec)
    return {"name": spec.name, "macs": total.macs, "params": total.params, "acts": total.acts}


def _write(out: Path, specs: Sequence[ArchSpec], provenance: Mapping[str, Any]) -> None:
    """Write architecture files into a new folder, numbered in the order of the draw."""
    from nxt.errors import RunError
    from nxt.files import write_text

    try:
        out.mkdir(parents=True)
    except FileExistsError:
        raise RunError(f"{out}: exists already; choose another --out") from None
    except OSError as error:
        raise RunError(f"{out}: cannot be created ({error.strerror}); choose another --out") from None
    digits = len(str(len(specs) - 1))
    for index, spec in enumerate(specs):
        write_text(out / f"{index:0{digits}}_{spec.name}.yaml", spec.to_yaml(provenance={**provenance, "index": index}))


def _member(member: Member, reference: ArchSpec) -> dict[str, Any]:
    from nxt.arch.iso_complexity import block_weights

    if member.spec is None:
        return {"cardinality": member.cardinality, "problem": member.problem}
    own, other = ({**_figures(spec), "block": block_weights(spec)} for spec in (member.spec, reference))
    return {
        "cardinality": member.cardinality,
        "base_width": member.spec.base_width[0],
        **own,
        "deviation": {key: own[key] / other[key] - 1 for key in ("block", "macs", "params", "acts")},
    }


def _axis(axis: Axis) -> dict[str, Any]:
    def spread(found: Spread) -> dict[str, Any]:
        least, greatest = found.range
        counts = {space_view.word(value): n for value, n in found.counts.items()}
        return {
            "mean": found.mean, "deviation": found.deviation, "least": least, "greatest": greatest, "counts": counts,
        }  # fmt: skip

    return {
        "before": spread(axis.before),
        "after": spread(axis.after),
        "never": axis.never,
        "nearly_never": axis.nearly_never,
    }


app.command("narrow")(space_runs.narrow)
app.command("compare")(space_runs.compare)
