"""`nxt show` of a training: how far it is, and its last epochs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxt.files import data_place, place

from ..terminal import tables as render

if TYPE_CHECKING:
    from nxt.train.history import History

_LAST = 8  # epochs shown


def print_training(run: Path, as_json: bool) -> None:
    """Print where a training stands. Raises as `load_history` does."""
    from nxt.train.history import accuracy_of, load_history

    found = load_history(run)
    if as_json:
        render.print_json(_document(found))
        return
    best = found.best
    trained = f"{found.record['name']} on {data_place(found.record['data'])}"
    render.say(f"{place(run)}: {trained}, {len(found.rows)} of {found.epochs} epochs")
    render.say(_sentence(found))
    if best is None:
        return
    rows = [_row(row, best) for row in found.rows[-_LAST:]]
    columns = ["epoch", "loss", "val", "averaged", "images/s"]
    averaged = any(row["ema_accuracy"] is not None for row in found.rows)
    if not averaged:
        columns, rows = [*columns[:3], columns[4]], [[*row[:3], row[4]] for row in rows]
    render.print_table(columns, rows, ["images/s", "loss"])
    render.say(f"Best: {render.percent(accuracy_of(best))} on the validation split in epoch {best['epoch']}")
    render.say(f"Test it: nxt eval {shlex.quote(str(place(run)))}")


def _document(found: History) -> dict[str, Any]:
    from nxt.train.history import accuracy_of

    last, best = found.rows[-1] if found.rows else None, found.best
    return {
        "run": str(found.path),
        "name": found.record["name"],
        "data": found.record["data"],
        "active": found.active,
        "state": found.state,
        "epoch": len(found.rows),
        "epochs": found.epochs,
        "seconds_left": found.seconds_left(),
        "accuracy": last and last["accuracy"],
        "ema_accuracy": last and last["ema_accuracy"],
        "best_accuracy": best and accuracy_of(best),
        "best_epoch": best and best["epoch"],
        "split": "val",
    }


def _sentence(found: History) -> str:
    """Say how the training stands, with what to do about it."""
    from nxt.units import format_seconds

    if found.state == "ended":
        return "Ended: all epochs are trained."
    if found.state == "running":
        left = found.seconds_left()
        told = "" if left is None else f", about {format_seconds(left)} left by the epochs so far"
        return f"Running: epoch {len(found.rows) + 1}{told}."
    command = f"nxt train --resume {shlex.quote(str(place(found.path)))}"
    return f"Interrupted in epoch {len(found.rows) + 1}. Go on with: {command}"


def _row(row: dict[str, Any], best: dict[str, Any]) -> list[str]:
    mark = " *" if row is best else ""
    accuracies = [render.percent(row["accuracy"]), render.percent(row["ema_accuracy"])]
    return [f"{row['epoch']}{mark}", f"{row['loss']:.3f}", *accuracies, f"{row['images_per_second']:.0f}"]
