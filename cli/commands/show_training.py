"""`nxt show` of a training: prints its progress and its last epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxt.data.ref import DataRef
from nxt.files import display_path
from nxt.units import plural

from ..terminal import tables
from ..terminal.status_text import how_to_test, measured, resume_command

if TYPE_CHECKING:
    from nxt.train.history import History

_LAST = 8  # epochs shown


def print_training(run: Path, as_json: bool) -> None:
    """Prints the progress of a training. Raises as `load_history` does."""
    from nxt.train.history import judged_on, load_history, measure_of

    history = load_history(run)
    if as_json:
        tables.print_json(_document(history))
        return
    best = history.best
    trained = f"{history.record['name']} on {DataRef.parse(history.record['data']).display}"
    tables.say(f"{display_path(run)}: {trained}, {len(history.rows)} of {plural(history.epochs, 'epoch')}")
    tables.say(_sentence(history))
    if best is None:
        return
    rows = [_row(row, best) for row in history.rows[-_LAST:]]
    measure = measure_of(best)
    of = best.get("split", "val") if measure == "accuracy" else measure
    columns = ["epoch", "loss", of, "averaged", "images/s"]
    if all(row["ema_accuracy"] is None for row in history.rows):
        for line in (columns, *rows):
            del line[3]
    tables.print_table(columns, rows, ["images/s", "loss"])
    tables.say(f"Best: {measured(best)} on {judged_on(best)}, in epoch {best['epoch']}")
    tables.say(how_to_test(run, len(history.rows), best["epoch"]))


def _document(history: History) -> dict[str, Any]:
    from nxt.train.history import accuracy_of, measures_of

    last, best = history.rows[-1] if history.rows else None, history.best
    return {
        "run": str(history.path),
        "name": history.record["name"],
        "data": history.record["data"],
        "active": history.active,
        "state": history.state,
        "epoch": len(history.rows),
        "epochs": history.epochs,
        "seconds_left": history.seconds_left(),
        "accuracy": last and last["accuracy"],
        "ema_accuracy": last and last["ema_accuracy"],
        "best_accuracy": best and accuracy_of(best),
        "best_epoch": best and best["epoch"],
        "measures": best and measures_of(best),
        "split": best and best.get("split", "val"),
    }


def _sentence(history: History) -> str:
    """Returns the state of the training in a sentence, and how to resume it."""
    from nxt.units import format_seconds

    if history.state == "ended":
        return "Ended: all epochs are trained."
    if history.state == "running":
        left = history.seconds_left()
        estimate = "" if left is None else f", about {format_seconds(left)} left by the epochs so far"
        return f"Running: epoch {len(history.rows) + 1}{estimate}."
    command = resume_command(history.path, full=True)
    return f"Interrupted in epoch {len(history.rows) + 1}. Go on with: {command}"


def _row(row: dict[str, Any], best: dict[str, Any]) -> list[str]:
    mark = " *" if row is best else ""
    accuracies = [tables.percent(row["accuracy"]), tables.percent(row["ema_accuracy"])]
    return [f"{row['epoch']}{mark}", f"{row['loss']:.3f}", *accuracies, f"{row['images_per_second']:.0f}"]
