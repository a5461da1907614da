"""Tables of trained networks, which simulations use instead of a design space and its trainings.

A table is a CSV file with a row for each network, and a YAML file that declares the meaning of its columns:

    file: deep_resnets.csv                              # in the folder of the YAML file, or in a given one
    where: {dataset: tinyimagenet}                      # rows to use; default: all
    axes: [num_blocks, num_filters, filter_size]        # columns that identify the network
    cost: {num_blocks: 1, num_filters: 2}               # product of powers of columns, in MACs or proportional to them
    accuracy: {columns: "acc_*", of: 1}                 # a column for each epoch (or a single one); 100 for percent
    seconds: epoch_seconds                              # column with the seconds of an epoch; default: 1 second

With `error` instead of `accuracy` the columns hold errors. Rows that lack a value, or whose accuracy is always zero,
are dropped; rows of the same network are averaged.
"""

from __future__ import annotations

import csv
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nxt.arch.costs import Cost
from nxt.arch.spec import ArchSpec
from nxt.config import check_keys, read_yaml, require
from nxt.errors import ConfigError, RunError, first_line
from nxt.files import is_file
from nxt.search.results.run import Run, load_run
from nxt.search.trial import Outcome
from nxt.space.space import Point

_FLAGS = ("avd", "avd_first", "avg_down", "shortcut")
_KEYS = ("about", "file", "where", "axes", "cost", "accuracy", "error", "seconds")


@dataclass(frozen=True)
class Row:
    """A trained network. `curve` is its accuracy after every epoch, in 0..1; `seconds` is the time of one epoch."""

    values: tuple[float, ...]  # by axis
    macs: float
    curve: NDArray[np.float64]
    seconds: float = 1.0

    @property
    def name(self) -> str:
        """Its values, joined."""
        return "-".join(f"{value:.17g}" for value in self.values)

    @property
    def fingerprint(self) -> str:
        """The name, which is unique in a table."""
        return self.name


class Table:
    """Networks trained for the same number of epochs. It serves as a space and as its feasible set.

    Args:
        name: The table's name.
        axis_names: Names of the axes.
        rows: The trainings; those of the same network are averaged.
        dropped: Number of rows of the source that were dropped.

    Raises:
        ConfigError: if there are fewer than two networks, or their curves differ in length.
    """

    def __init__(self, name: str, axis_names: Iterable[str], rows: Iterable[Row], dropped: int = 0) -> None:
        self.name, self.axis_names, self.dropped = name, list(axis_names), dropped
        groups: dict[tuple[float, ...], list[Row]] = defaultdict(list)
        for row in rows:
            groups[row.values].append(row)
        self.trainings = sum(len(group) for group in groups.values())
        require(len(groups) >= 2, name, f"{len(groups)} usable network(s); a table needs at least two")
        lengths = {len(row.curve) for group in groups.values() for row in group}
        problem = f"curves of {min(lengths)} to {max(lengths)} epochs; they must be equally long"
        require(len(lengths) == 1, name, problem)
        self.epochs = lengths.pop()
        merged = [_mean(group) for group in groups.values()]
        self.axis_values: list[tuple[Any, ...]] = [
            tuple(sorted({row.values[a] for row in merged})) for a in range(len(self.axis_names))
        ]
        self.rows = {self._point(row): row for row in merged}

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.rows)

    def __contains__(self, point: Point) -> bool:
        """Tells whether the table has a network at a point."""
        return point in self.rows

    @property
    def space(self) -> Table:
        """The table itself: all its networks may be chosen."""
        return self

    def spec(self, point: Point) -> Any:
        """Returns the row at a point, whose name and fingerprint replace those of an architecture."""
        return self.rows[point]

    def cost(self, point: Point) -> Cost:
        """Returns the MACs at a point as a whole number, scaled so that the cheapest network has a million."""
        return Cost(macs=round(1e6 * self.rows[point].macs / self._cheapest))

    def draw(self, rng: np.random.Generator) -> Point:
        """Draws a point uniformly."""
        return self._points[int(rng.integers(len(self)))]

    def sample(self, rng: np.random.Generator, n: int) -> list[Point]:
        """Draws n different points; each set of n has the same probability."""
        return [self._points[i] for i in rng.choice(len(self), n, replace=False)]

    def fits(self, points: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tells at which of some points, (N, axes), the table has a network."""
        return np.array([point in self.rows for point in map(tuple, points.tolist())], dtype=np.bool_)

    def costs(self, points: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Returns the MACs at points, (N, axes)."""
        return {"macs": np.array([self.cost(point).macs for point in map(tuple, points.tolist())], dtype=np.float64)}

    def nearest(self, point: Point, taken: Collection[Point] = ()) -> Point | None:
        """Returns the point fewest axis steps away that is not taken (of equally near ones the first), or None."""
        steps = np.abs(self._array - np.array(point)).sum(axis=1)
        return next((self._points[i] for i in np.argsort(steps, kind="stable") if self._points[i] not in taken), None)

    @cached_property
    def training_seconds(self) -> float:
        """Mean seconds of a full training over the networks."""
        return self.epochs * float(np.mean([row.seconds for row in self.rows.values()]))

    @cached_property
    def _points(self) -> list[Point]:
        return list(self.rows)

    @cached_property
    def _array(self) -> NDArray[np.int64]:
        return np.array(self._points, dtype=np.int64)

    @cached_property
    def _cheapest(self) -> float:
        return min(row.macs for row in self.rows.values())

    def _point(self, row: Row) -> Point:
        return tuple(values.index(value) for values, value in zip(self.axis_values, row.values, strict=True))


def load_table(path: Path, folder: Path | None = None) -> Table:
    """Reads a table from a YAML file that declares a CSV file, or from a run directory of nxt.

    Args:
        path: The YAML file or the run directory.
        folder: The folder of the CSV file; default: that of the YAML file.

    Raises:
        ConfigError: if the declaration or the file is invalid.
        RunError: if a trial of the run did not reach the last epoch, so that its later accuracies are unknown.
    """
    if path.suffix not in (".yaml", ".yml"):
        return table_of_run(load_run(path))
    about = read_yaml(path)
    where = str(path)
    check_keys(about, _KEYS, where)
    require(_names(about.get("axes")), f"{where}: axes", "a list of columns was expected")
    require(_powers(about.get("cost")), f"{where}: cost", "columns with their powers were expected, such as {macs: 1}")
    require(("accuracy" in about) != ("error" in about), where, "either accuracy or error must be given")
    require(isinstance(about.get("where", {}), dict), f"{where}: where", "columns with their values were expected")
    require(isinstance(about.get("seconds", ""), str), f"{where}: seconds", "the name of a column was expected")
    columns, lines = _read_csv((folder or path.parent) / str(about.get("file")), where)
    wanted = {key: str(value) for key, value in about.get("where", {}).items()}
    read = _Reader(about, columns, where)
    chosen = [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]
    rows = [row for row in map(read.row, chosen) if row is not None]
    return Table(path.stem, about["axes"], rows, len(chosen) - len(rows))


def _names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _powers(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(type(power) in (int, float) for power in value.values())


def _read_csv(file: Path, where: str) -> tuple[list[str], list[dict[str, str]]]:
    require(is_file(file), f"{where}: file", f"{file} does not exist")
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            return list(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{file}: cannot be read as CSV ({first_line(error)})") from None


def table_of_run(run: Run) -> Table:
    """Returns the trials of a run as a table. Its axes are those of `axes_of` on which the architectures differ."""
    unfinished = [trial for trial in run.trials if trial.outcome is not Outcome.DONE]
    if unfinished:
        first = unfinished[0]
        raise RunError(
            f"{run.path}: trial {first.number} is {first.outcome} after {len(first.curve)} epochs; only where every "
            "trial ran to the end is it known what another strategy would have seen (`settings` search.scheduler=none)"
        )
    axes = [axes_of(trial.spec) for trial in run.trials]
    every_name = dict.fromkeys(name for values in axes for name in values)
    names = [name for name in every_name if len({values.get(name) for values in axes}) > 1]
    rows = [
        Row(
            tuple(float(values.get(name, 0)) for name in names),
            trial.cost.macs,
            np.array([epoch.accuracy for epoch in trial.curve]),
            min(epoch.seconds for epoch in trial.curve),
        )
        for values, trial in zip(axes, run.trials, strict=True)
    ]
    table = Table(run.path.name, names, rows)
    networks = len({trial.spec.fingerprint for trial in run.trials})
    require(len(table) == networks, str(run.path), "some of its networks differ in nothing that could be an axis")
    return table


def axes_of(spec: ArchSpec) -> dict[str, int]:
    """Returns an architecture's values on the axes of spaces, by name."""
    return {
        **{f"depth{s + 1}": depth for s, depth in enumerate(spec.depths)},
        "width": spec.width,
        "cardinality": spec.cardinality[0],
        "base_width": spec.base_width[0],
        **{name: int(getattr(spec, name)) for name in ("radix", "stem_width", *_FLAGS)},
    }


class _Reader:
    """Converts lines of a CSV file to rows as the YAML file declares."""

    def __init__(self, about: Mapping[str, Any], columns: Collection[str], where: str) -> None:
        self.about, self.where = about, where
        self.error = "error" in about
        declared = about["error" if self.error else "accuracy"]
        require(isinstance(declared, dict), where, "accuracy and error are written {columns: acc_*, of: 1}")
        check_keys(declared, ("columns", "of"), where)
        self.scale = declared.get("of", 1)
        valid = type(self.scale) in (int, float) and self.scale > 0
        require(valid, where, f"of is {self.scale!r}; 1, or 100 for percent")
        self.curve = _matching(str(declared.get("columns")), columns)
        require(bool(self.curve), where, f"no column is called {declared.get('columns')!r}")
        seconds = [about["seconds"]] if "seconds" in about else []
        needed = [*about["axes"], *about["cost"], *about.get("where", {}), *seconds]
        missing = next((name for name in needed if name not in columns), None)
        require(missing is None, where, f"no column is called {missing!r}")

    def row(self, line: Mapping[str, str]) -> Row | None:
        """Returns a line as a row, or None if values are missing or the training failed.

        Raises:
            ConfigError: if accuracies are outside 0..1.
        """
        try:
            values = tuple(float(line[name]) for name in self.about["axes"])
            factors = {name: float(line[name]) for name in self.about["cost"]}
            curve = np.array([float(line[name]) for name in self.curve]) / self.scale
            seconds = float(line[self.about["seconds"]]) if "seconds" in self.about else 1.0
        except (TypeError, ValueError):  # a short line, or no number
            return None
        if self.error:
            curve = 1 - curve
        usable = bool(np.isfinite([*values, *factors.values(), seconds, *curve]).all()) and bool(curve.any())
        if not usable or seconds <= 0 or min(factors.values()) <= 0:
            return None
        shares = bool(((curve >= 0) & (curve <= 1)).all())
        require(shares, self.where, "accuracies and errors lie in 0..1; if they are in percent, add `of: 100`")
        try:
            macs = math.prod(factors[name] ** power for name, power in self.about["cost"].items())
        except OverflowError:
            return None
        return Row(values, float(macs), curve, seconds)


def _matching(pattern: str, columns: Iterable[str]) -> list[str]:
    """Returns the columns that match a pattern, sorted by the number in the place of its asterisk, if it has one."""
    before, asterisk, after = pattern.partition("*")
    number = r"(\d+)" if asterisk else "()"
    matches = [re.fullmatch(re.escape(before) + number + re.escape(after), name) for name in columns]
    return [match[0] for match in sorted(filter(None, matches), key=lambda match: (int(match[1] or 0), match[0]))]


def _mean(rows: list[Row]) -> Row:
    first = rows[0]
    if len(rows) == 1:
        return first
    seconds = sum(row.seconds for row in rows) / len(rows)
    return Row(first.values, first.macs, np.mean([row.curve for row in rows], axis=0), seconds)
