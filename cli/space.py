"""`nxt space`: what a design space holds."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from . import options, render

app = typer.Typer(help="Look into design spaces.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Make `show` a subcommand although it is the only one."""


@app.command()
def show(
    space: Annotated[str, typer.Argument(help="imagenet, resnest, cifar, smoke, or a YAML file.")] = "imagenet",
    flops: options.Flops = None,
    params: options.Params = None,
    acts: options.Acts = None,
    memory: options.Memory = None,
    like: options.Like = None,
    as_json: options.Json = False,
) -> None:
    """Show a space's axes and exact size; with a budget, what of it fits and how that is spread."""
    from nxt.space import load_space

    loaded = load_space(space)
    budget = options.budget_of({"flops": flops, "params": params, "acts": acts, "memory": memory}, like)
    answer = {
        "name": loaded.name,
        "about": loaded.about,
        "size": loaded.size,
        "axes": dict(zip(loaded.axis_names, map(list, loaded.axis_values), strict=True)),
        "fixed": dict(loaded.fixed),
    }
    if budget.limits:
        from nxt.feasible import FeasibleSet
        from nxt.references import references

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
        _print(answer)


def _print(answer: dict[str, object]) -> None:
    console = render.out()
    console.print(f"{answer['name']}: {answer['about']}\n")
    axes, fixed = answer["axes"], answer["fixed"]
    assert isinstance(axes, dict) and isinstance(fixed, dict)
    spread = answer.get("spread")
    rows = []
    for axis, values in axes.items():
        row = [axis, len(values), _values(values)]
        if isinstance(spread, dict):
            row.append(_shares(spread[axis]))
        rows.append(row)
    heads = ["axis", "values", "", "share of the feasible (%)"][: 4 if spread else 3]
    made = render.table(heads, rows)
    for column in made.columns[2:]:
        column.justify = "left"
    console.print(made)
    console.print("fixed: " + ", ".join(f"{key} {value}" for key, value in fixed.items()))
    console.print(f"architectures: {answer['size']:,}")
    if isinstance(spread, dict):
        share = 100 * int(str(answer["feasible"])) / int(str(answer["size"]))
        console.print(f"inside the budget ({answer['budget']}): {answer['feasible']:,} ({share:.3g} %)")
        found = answer["references"]
        assert isinstance(found, dict)
        console.print(
            "references: " + (", ".join(f"{name} ({family})" for family, name in found.items()) or "none fits")
        )


def _values(values: list[object]) -> str:
    numbers = [v for v in values if isinstance(v, int)]
    if len(values) > 4 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return " ".join(str(v).lower() for v in values)


def _shares(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if len(counts) > 12:
        mean = sum(int(v) * n for v, n in counts.items()) / total
        spread = math.sqrt(sum((int(v) - mean) ** 2 * n for v, n in counts.items()) / total)
        return f"mean {mean:.1f}, deviation {spread:.1f}"
    return " ".join(f"{100 * n / total:.0f}" for n in counts.values())
