"""Writes the report of a training: its curves, what was asked, and how to go on; another training's beside it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from plotly import graph_objects as go

from nxt.config import dump_yaml, flat, read_yaml
from nxt.data.ref import DataRef
from nxt.errors import RunError
from nxt.files import is_file, write_text
from nxt.report.markup import Html, code, details, facts, joined, notes, paragraph, plot, small_plots, table
from nxt.report.page import document
from nxt.report.plotly_figures import BLUE, ORANGE, figure
from nxt.rundir import read_run_record
from nxt.search.noise import CLEAR, Noise
from nxt.train.history import History, accuracy_of, judged_on, load_history, measure_of
from nxt.train.model_card import GUESSES
from nxt.units import format_count, format_seconds, plural

_TITLES = {"summary": "Summary", "curves": "Curves", "epochs": "Epochs", "recipe": "Recipe", "provenance": "Provenance"}
_ASKED = ("name", "recipe", "seed", "weights", "freeze", "compute")  # what two trainings may differ in
_SMALL = {"loss": "training loss", "lr": "rate at the epoch's end", "images_per_second": "training images a second"}


@dataclass(frozen=True)
class Training:
    """A training's history and model card (empty before its first epoch has ended)."""

    history: History
    card: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The run's name, for legends."""
        return self.history.path.resolve().name

    @property
    def best(self) -> float | None:
        """The highest validation accuracy."""
        return None if self.history.best is None else accuracy_of(self.history.best)

    @property
    def last(self) -> float | None:
        """The validation accuracy after the last epoch so far."""
        return accuracy_of(self.history.rows[-1]) if self.history.rows else None


def load_training(run: Path) -> Training:
    """Reads a training's run directory. Raises RunError if it is none, RunError or ConfigError if it is damaged."""
    read_run_record(run, "train")
    return Training(load_history(run), read_yaml(run / "card.yaml") if is_file(run / "card.yaml") else {})


def write_training_report(run: Path, against: Path | None, file: Path) -> list[str]:
    """Writes a training's report and returns the names of its sections.

    Raises:
        RunError: if one is no training or damaged, they are on different data, or the file cannot be written.
        ConfigError: if a record is damaged.
    """
    own, other = load_training(run), None if against is None else load_training(against)
    if other is not None and own.history.record["data"] != other.history.record["data"]:
        raise RunError(f"`against` {against}: its data differs, so it does not compare")
    makers = {"summary": _summary, "curves": _curves, "epochs": _epochs, "recipe": _recipe, "provenance": _provenance}
    bodies = {name: body for name, make in makers.items() if (body := make(own, other))}
    title = f"{own.history.record['name']} on {DataRef.parse(own.history.record['data']).display}"
    write_text(file, document(title, f"Training in {run}", _TITLES, bodies))
    return list(bodies)


def _summary(own: Training, other: Training | None) -> Html:
    history, record, card = own.history, own.history.record, own.card
    path, recipe = shlex.quote(str(history.path)), record["recipe"]
    size = f", {recipe['size']} px" if recipe.get("size") else ""
    commands = {
        "ended": f"nxt eval {path}\nnxt export {path} --to onnx",
        "running": f"nxt show {path}",
        "interrupted": f"nxt train --resume {path}",
    }
    epochs = plural(history.epochs, "epoch")
    stands = f"{len(history.rows)} of {epochs}"
    verdict = f"No epoch has ended yet: {history.state}."
    if history.best is not None:
        verdict = f"{own.best:.1%} on {judged_on(history.best)}, in epoch {history.best['epoch']} of {history.epochs}."
        if history.best is not history.rows[-1]:
            verdict += f" The last one, which nxt eval measures, has {accuracy_of(history.rows[-1]):.1%}."
    entries = {
        "Stands": f"{history.state}, {stands}" + (f", {format_seconds(card['seconds'])}" if card else ""),
        "Data": _data(own),
        "Cost": _cost(own),
        "Recipe": f"{recipe['optimizer']}, {epochs}, batch {recipe['batch']}, rate {recipe['lr']}{size}",
        "Start": f"{record.get('weights') or 'random weights'}, seed {record.get('seed')}",
    }
    flatters = ["The validation split chose the best epoch, so it flatters it; nxt eval takes images nobody has seen."]
    if history.best is not None and history.best.get("split") == "train":
        flatters = ["No image was held out, so no accuracy here tells how good it is; nxt eval does."]
    if card and card.get("results", {}).get("guesses"):
        flatters.insert(0, GUESSES)
    parts = [paragraph(verdict, "verdict"), paragraph(_compared(own, other)), code(commands[history.state])]
    return joined([*parts, facts(entries), notes(flatters if history.rows else [])])


def _compared(own: Training, other: Training | None) -> str:
    """Returns how two trainings' last epochs compare, beside the noise that the images alone give them.

    The last epochs, as they are what `nxt eval` and `nxt export` take; the best were chosen by these very images.
    """
    if other is None or own.last is None or other.last is None:
        return ""
    if "train" in {(each.history.best or {}).get("split") for each in (own, other)}:
        return "No images were held out in one of the two trainings, so that their accuracies do not compare."
    gain = f"{own.last:.1%}, {100 * (own.last - other.last):+.1f} points against {other.name}"
    if measure_of(own.history.rows[-1]) != "accuracy":
        return f"Last epochs: {gain} ({other.last:.1%}); noise unknown."
    noise = Noise(None, int(own.card["data"]["images"]["val"]))
    error = math.hypot(noise.error(own.last, 1), noise.error(other.last, 1))
    sure = (
        "clearly different: more than"
        if abs(own.last - other.last) > CLEAR * error
        else "not clearly different: within"
    )
    return (
        f"Last epochs: {gain} ({other.last:.1%}); {sure} twice the noise of "
        f"{100 * error:.1f} points ({noise.images} validation images; the noise of seeds was not measured)."
    )


def _data(own: Training) -> str:
    data = DataRef.parse(own.history.record["data"]).display
    if not own.card:
        return data
    images, classes = own.card["data"]["images"], own.card["data"]["classes"]
    return f"{data}, {images['train']:,} training and {images['val']:,} validation images of {len(classes)} classes"


def _cost(own: Training) -> str:
    if not own.card:
        return ""
    cost = own.card["cost"]
    counts = f"{format_count(cost['macs'])} multiply-adds, {format_count(cost['params'])} parameters"
    return f"{counts}, {format_count(cost['acts'])} activations at {cost['size']} px"


def _curves(own: Training, other: Training | None) -> Html:
    if not own.history.rows:
        return Html("")
    both = [(own, BLUE)] + ([(other, ORANGE)] if other is not None else [])
    traces = [trace for training, colour in both for trace in _accuracies(training, colour, other is not None)]
    chart = figure(traces, showlegend=len(traces) > 1)
    measure = measure_of(own.history.rows[-1])
    chart.update_yaxes(title=f"{measure} on the validation split", tickformat=".0%")
    small = []
    for key, label in _SMALL.items():
        lines = [_line(training, key, training.name, ".4~g", color=colour) for training, colour in both]
        tight = figure(lines, margin={"l": 44, "r": 8, "t": 8, "b": 36}, showlegend=False)
        small.append((label, plot(_by_epoch(tight), f"{label} by epoch", 240)))
    return joined([plot(_by_epoch(chart), f"{measure} by epoch"), small_plots(small)])


def _accuracies(training: Training, colour: str, named: bool) -> Iterator[go.Scatter]:
    prefix = f"{training.name}: " if named else ""
    yield _line(training, "accuracy", f"{prefix}weights", ".2%", color=colour)
    if any(row["ema_accuracy"] is not None for row in training.history.rows):
        yield _line(training, "ema_accuracy", f"{prefix}averaged weights", ".2%", color=colour, dash="dash")


def _line(training: Training, key: str, name: str, shape: str, **line: Any) -> go.Scatter:
    rows = training.history.rows
    hover = f"epoch %{{x}}: %{{y:{shape}}}<extra>{escape(name)}</extra>"
    x, y = [row["epoch"] for row in rows], [row.get(key) for row in rows]
    mode = "lines+markers" if len(rows) < 40 else "lines"
    return go.Scatter(x=x, y=y, name=escape(name), mode=mode, line=line, hovertemplate=hover)


def _by_epoch(chart: go.Figure) -> go.Figure:
    most = max((max(trace.x) for trace in chart.data if trace.x), default=0)
    return chart.update_xaxes(title="epoch", tickformat="d", dtick=1 if most <= 16 else None)


def _epochs(own: Training, other: Training | None) -> Html:
    if not own.history.rows:
        return Html("")
    rows = [
        [
            row["epoch"],
            f"{row['loss']:.3f}",
            f"{row['accuracy']:.2%}",
            "-" if row["ema_accuracy"] is None else f"{row['ema_accuracy']:.2%}",
            format_seconds(row["seconds"]),
        ]
        for row in own.history.rows
    ]
    measure = measure_of(own.history.rows[-1])
    return details(f"All {len(rows)} epochs", table(["epoch", "loss", measure, "averaged weights", "time"], rows))


def _recipe(own: Training, other: Training | None) -> Html:
    """Returns the recipe; beside another training, first what differs in what was asked."""
    recipe = own.history.record["recipe"]
    parts = [paragraph(recipe.get("about") or "")]
    if other is not None:
        asked = [flat({key: training.history.record.get(key) for key in _ASKED}) for training in (own, other)]
        keys = [key for key in {**asked[0], **asked[1]} if asked[0].get(key) != asked[1].get(key)]
        keys = [key for key in keys if key != "recipe.about"]  # words, which say nothing more
        rows = [[key, *(values.get(key, "-") for values in asked)] for key in keys]
        parts.append(table(["differs", own.name, other.name], rows) if rows else paragraph("Both were asked the same."))
    return joined([*parts, details("The whole recipe", code(dump_yaml(recipe)))])


def _provenance(own: Training, other: Training | None) -> Html:
    record = own.history.record
    versions = ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items())
    compute = ", ".join(f"{key} {value}" for key, value in flat(record.get("compute") or {}).items())
    entries = {"Run": own.history.path, "Command": record.get("typed"), "Compute": compute, "Versions": versions}
    return joined([facts(entries), details("run.yaml, the whole record", code(dump_yaml(record)))])
