"""`nxt cache`: lists the decoded images that nxt keeps, and removes them."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

import typer

from .. import options
from ..terminal import tables


def cache(
    names: Annotated[list[str] | None, typer.Argument(help="Caches by their names; default: all.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove them.")] = False,
    as_json: options.Json = False,
) -> None:
    """List the decoded images that nxt keeps on this machine, or remove them.

    They lie in $NXT_CACHE (~/.cache/nxt/decoded). What is removed is made again when it is needed.
    """
    from nxt.data import kept
    from nxt.files import cache_folder
    from nxt.units import format_seconds

    found = kept.remove(names or ()) if remove else kept.kept(names or ())
    if as_json:
        tables.print_json([dataclasses.asdict(each) for each in found])
        return
    if found:
        now = time.time()
        rows = [
            [each.name, _bytes(each.bytes), each.state, f"{format_seconds(max(0.0, now - each.used))} ago", each.what]
            for each in found
        ]
        tables.print_table(["cache", "size", "state", "used", "what"], rows, ["used", "state"], left=["state", "what"])
    total = _bytes(sum(each.bytes for each in found)) if found else "nothing"
    tables.say(f"{total} removed from {cache_folder()}" if remove else f"{total} in {cache_folder()}")


def _bytes(count: int) -> str:
    from nxt.units import format_count

    return f"{format_count(count)}B"
