"""A user's own accuracies beside the published: a CSV table of them, as `nxt eval --csv` writes it."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nxt.arch.load import parse_name
from nxt.arch.published import PROTOCOLS, Published, records
from nxt.arch.zoo import ZOO
from nxt.config import require
from nxt.errors import ArchError, ConfigError, first_line, suggestion
from nxt.files import nearest

COLUMNS = ("network", "top1", "top5", "size", "protocol", "dataset")  # what is read; the first two are necessary
_NAMED = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
_NAMELESS = re.compile(r"\w[-\w]*~[0-9a-f]{12}")  # what no name describes is called after its fingerprint
_WORDNET = re.compile(r"n\d{8}")  # how ImageNet's folders are called


@dataclass(frozen=True, slots=True)
class Measured:
    """A user's own accuracies of a network, in percent. None: the table does not say it."""

    network: str
    top1: float
    top5: float | None = None
    size: int | None = None  # image side in pixels
    protocol: str | None = None  # one of PROTOCOLS
    dataset: str | None = None

    def published(self) -> tuple[Published, ...]:
        """Returns the published accuracies of this network on this data set in this protocol; those at this size first.

        What the table does not say is taken to be as published.
        """
        found = [
            record
            for record in records().get(self.network, ())
            if "top1" in record.figures
            and self.protocol in (None, record.protocol)
            and (self.dataset is None or _plain(self.dataset) == _plain(record.dataset))
        ]
        return tuple(sorted(found, key=lambda record: self.size not in (None, record.size)))

    def to_dict(self) -> dict[str, Any]:
        """Returns it as plain data, with all that is published and the differences of top-1, in points."""
        beside = [{**one.to_dict(), "difference": round(self.top1 - one.top1, 6)} for one in self.published()]
        return {**{name: getattr(self, name) for name in COLUMNS}, "published": beside}


def read_measured(file: Path | str) -> list[Measured]:
    """Reads a CSV table with the columns of COLUMNS, of which `network` and `top1` are necessary; others are ignored.

    Raises:
        ConfigError: if the file cannot be read, lacks a column, or has a value that is none.
        ArchError: if it names a network that is neither published nor in nxt's grammar of names.
    """
    path = Path(file)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = names
            for column in COLUMNS[:2]:
                there = ", ".join(names) or "nothing"
                require(column in names, str(path), f"no column {column!r}; it has {there}")
            rows = [_measured(row, f"{path}: line {reader.line_num}") for row in reader]
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{nearest(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: a folder, where a CSV table was expected") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; a CSV table was expected") from None
    except (OSError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read as CSV ({first_line(error)})") from None
    require(bool(rows), str(path), "has no row below its header")
    return rows


def evaluated_row(row: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Returns a result of `nxt.evaluate` as a row of such a table, with what else tells it apart behind.

    Args:
        row: One of `Evaluation.rows`.
        classes: The names of the classes that were told apart.
    """
    imagenet = len(classes) == 1000 and all(_WORDNET.fullmatch(name) for name in classes)
    data = str(row["data"])
    return {
        "network": row["name"],
        "top1": round(100 * row["accuracy"], 4),
        "top5": round(100 * row["top5"], 4) if row["classes"] > 5 else "",
        "size": row["size"],
        "protocol": row["views"],
        "dataset": "ImageNet-1k" if imagenet else _NAMED.get(data.partition(":")[0], data),
        **{name: row[name] for name in ("split", "images", "weights", "epoch", "checkpoint")},
    }


def _measured(row: Mapping[str | None, Any], where: str) -> Measured:
    require(None not in row, where, "more fields than the header has")
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    top1 = _percent(cells["top1"], f"{where}: top1")
    protocol = cells["protocol"] or None
    known = f"{protocol!r} is not one of {', '.join(PROTOCOLS)}"
    require(protocol is None or protocol in PROTOCOLS, f"{where}: protocol", known)
    size = cells["size"]
    require(size == "" or (size.isdecimal() and int(size) > 0), f"{where}: size", f"{size!r} is no number of pixels")
    return Measured(
        network=_network(cells["network"], where),
        top1=top1,
        top5=_percent(cells["top5"], f"{where}: top5") if cells["top5"] else None,
        size=int(size) if size else None,
        protocol=protocol,
        dataset=cells["dataset"] or None,
    )


def _network(name: str, where: str) -> str:
    """Returns the name as the published figures have it; any other that follows the grammar as nxt writes it."""
    published = {network.lower(): network for network in records()}
    if name.lower() in published:
        return published[name.lower()]
    if _NAMELESS.fullmatch(name):
        return name
    try:
        return parse_name(name).name
    except ArchError:
        near = suggestion(name, [*ZOO, *records()]) or "; nxt zoo lists all"
        raise ArchError(f"{where}: no network is called {name!r}{near}") from None


def _percent(text: str, where: str) -> float:
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is not a number") from None
    require(0 <= value <= 100, where, f"{text} is no percentage")  # nan, too
    is_share = 0 < value <= 1 and not text.endswith("%")
    require(not is_share, where, f"{text} looks like a share; write percent: {100 * value:g} (or {text}% if it is one)")
    return value


def _plain(dataset: str) -> str:
    """Returns a data set's name without what people write differently."""
    text = dataset.lower().replace("-", "").replace(" ", "")
    return "imagenet1k" if text == "imagenet" else text
