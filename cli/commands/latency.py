"""`nxt latency`: measures what the parts of a space's networks take on a device."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nxt.files import is_file
from nxt.units import format_time

from .. import complete, hints, options
from ..terminal import tables
from ..terminal.status_text import shell_path

if TYPE_CHECKING:
    from nxt.arch.latency import LatencyTable


class _Group(hints.Group):
    def hint(self, name: str) -> str:
        """Returns what to type if a space stands in the place of a command."""
        return f"nxt latency measure {name}" if complete.spaces(name)[:1] == [name] else super().hint(name)


app = typer.Typer(
    cls=_Group, help="Measure latency, so that it can be a budget.", no_args_is_help=True, add_completion=False
)


@app.callback()
def _only_commands() -> None:
    """Keeps `measure` a command of its own."""


@app.command(cls=hints.Command)
def measure(
    space: Annotated[
        str,
        typer.Argument(
            help="A space that comes with nxt (imagenet, cifar, ...), or a YAML file.", autocompletion=complete.spaces
        ),
    ],
    device: options.Device = "auto",
    runtime: Annotated[
        str, typer.Option(help="torch or onnxruntime; only the one is needed.", metavar="torch|onnxruntime")
    ] = "torch",
    precision: Annotated[
        str, typer.Option(help="fp32; in torch also bf16 or fp16.", metavar="fp32|bf16|fp16")
    ] = "fp32",
    batch: Annotated[int, typer.Option(help="Images in a batch.")] = 1,
    size: options.Size = None,
    classes: options.Classes = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file of the table; default: named by the space and how it is measured.",
            metavar="TABLE",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure each block that a space's networks can have, and write the table that --latency-table reads.

    Needs neither Ray nor Optuna. Interrupted, the same command goes on. Of thousands of blocks some hundreds are
    measured and the others fitted; the table says how well, and how near sums come to whole networks.
    """
    from nxt.latency.measure import measure_space
    from nxt.latency.runtime import Asked
    from nxt.space.load import load_space

    loaded = load_space(space)
    side, outputs = loaded.counted_at(size, classes).resolution
    asked = Asked(device, runtime, precision, batch, side, outputs)
    name = f"latency_{loaded.name}_{device}_{runtime}_{precision}_b{batch}_{side}.json"
    path = out or Path(re.sub(r"[^\w.-]", "-", name))
    try:
        with tables.counted("measuring") as progress:
            table = measure_space(loaded, path, asked, progress)
    except KeyboardInterrupt:
        kept = f"{shell_path(path)} keeps what is measured; the same command goes on"
        tables.err().print(f"Interrupted. {kept if is_file(path) else 'Nothing was measured yet'}.", soft_wrap=True)
        raise typer.Exit(130) from None
    if as_json:
        tables.print_json({key: value for key, value in table.data.items() if key not in ("measured", "fitted")})
    else:
        _print(table, path, space, size, classes)


def _print(table: LatencyTable, path: Path, space: str, size: int | None, classes: int | None) -> None:
    """Prints what was measured, and how far to trust it."""
    fit, found = table.data["fit"], table.data["correction"]
    tables.say(f"{path}: {len(table.entries)} parts of {table.data['space']}; {table}")
    if fit:
        tables.say(
            f"measured: {len(table.data['measured'])}; fitted: {len(table.data['fitted'])}, by a Gaussian process with "
            f"an error of {fit['error']:.1%} (90th percentile {fit['error_90']:.1%}) for blocks left out"
        )
    corrected = "not corrected"
    if found["scale"] != 1 or found["block"]:
        corrected = f"corrected by a factor of {found['scale']:.3f} and {found['block'] / 1000:+.3g} us a block"
    tables.say(
        f"sums against {found['networks']} whole networks: median error {found['error_before']:.1%} before, "
        f"{found['error_after']:.1%} after correction ({corrected})"
    )
    middle = sorted(row["measured"][0] for row in table.data["networks"].values())[len(table.data["networks"]) // 2]
    more = f" --size {size}" * (size is not None) + f" --classes {classes}" * (classes is not None)
    limit = f"--latency :{format_time(middle, 2)} --latency-table {shell_path(path)}"
    tables.say(f"Use it: nxt space show {space}{more} {limit}")
