"""Images that a CSV, TSV or Parquet file lists: a column of paths, one of classes, and perhaps one of splits."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from nxt.data.sources.image_files import Found, OnDisk, found
from nxt.errors import DataError, first_line
from nxt.files import is_file

TABLES = (".csv", ".tsv", ".parquet")
PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
LABELS = ("label", "class", "target", "class_name", "label_name", "category")
_SPLIT = ("split", "set", "subset", "partition")
_DELIMITERS = ",;\t"


def in_table(table: Path, to_train: bool = True) -> Found:
    """Finds the images that a table lists. Paths are relative to its folder; the order of rows means nothing.

    Raises:
        DataError: if the table cannot be read, columns are missing, or a path stands in it with two classes or splits.
    """
    columns = _parquet(table) if table.suffix.lower() == ".parquet" else _text(table)
    path = pick(columns, PATHS, "paths", table)
    label = pick(columns, LABELS, "classes", table)
    split = next((name for name in columns if name.strip().lower() in _SPLIT), None)
    left_out: dict[str, set[str]] = {}
    rows: dict[str, tuple[str, str]] = {}
    splits = columns[split] if split is not None else [""] * len(columns[path])
    for number, (name, of_class, part) in enumerate(zip(columns[path], columns[label], splits, strict=True), 1):
        if not name or not of_class or (split is not None and not part):
            missing = "path" if not name else "class" if not of_class else "split"
            left_out.setdefault(f"rows without a {missing}", set()).add(f"row {number}")
        elif rows.setdefault(name, (of_class, part.lower())) != (of_class, part.lower()):
            raise DataError(f"{table}: row {number} has {name} with another class or split than a row before")
    items = [(number, *rows[name]) for number, name in enumerate(sorted(rows))]
    files = OnDisk(table.parent, sorted(rows))
    if rows and not any(is_file(files.open(number)) for number in range(len(rows))):
        raise DataError(f"{table}: there is no file {files.open(0)}; its paths are relative to its own folder")
    return found(files, items, in_order({of_class for of_class, _ in rows.values()}), left_out, table, to_train)


def pick(columns: Any, names: tuple[str, ...], what: str, where: Path) -> str:
    """Returns the column that has one of some names, the first name first. Raises DataError if none has."""
    by_name = {str(column).strip().lower(): column for column in columns}
    for name in names:
        if name in by_name:
            return str(by_name[name])
    known = ", ".join(names[:3])
    raise DataError(f"{where}: no column of {what} ({known} ...) among {', '.join(map(repr, columns)) or 'none'}")


def in_order(classes: set[str]) -> list[str]:
    """Returns classes sorted by name; by value, if all are whole numbers."""
    numbers = all(name.isdecimal() and len(name) < 20 for name in classes)
    return sorted(classes, key=int) if numbers else sorted(classes)


def _text(table: Path) -> dict[str, list[str]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            delimiter = "\t" if table.suffix.lower() == ".tsv" else max(_DELIMITERS, key=first.count)
            file.seek(0)
            header, *rows = [row for row in csv.reader(file, delimiter=delimiter) if row] or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read ({first_line(error)})"
        raise DataError(f"{table}: {why}") from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(f"{table}: row {number} has {len(row)} fields, and the header has {len(header)}")
    return {name: [row[place].strip() for row in rows] for place, name in enumerate(header)}


def _parquet(table: Path) -> dict[str, list[str]]:
    import pyarrow
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(table)
        wanted = [name for name in schema.names if name.strip().lower() in (*PATHS, *LABELS, *_SPLIT)]
        inside = [name for name in wanted if pyarrow.types.is_struct(schema.field(name).type)]
        if inside:
            raise DataError(f"{table}: the images themselves are in it, in {inside[0]!r}; write hf:{table}")
        columns = parquet.read_table(table, columns=wanted).to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{table}: cannot be read as Parquet ({first_line(error)})") from None
    return {name: ["" if value is None else str(value) for value in values] for name, values in columns.items()}
