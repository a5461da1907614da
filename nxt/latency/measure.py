"""Measures the latencies of a space's parts and writes their table; cut off at any moment, it goes on with the file.

Where a space has more blocks than can be measured in some minutes, those that cover them best are measured, and the
others fitted. Then some whole networks are measured, and the sums of their parts corrected by a factor and a constant
for each block if that brings them nearer: parts that run in turn find caches colder than in a network, where blocks
repeat.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nxt
from nxt.arch.latency import CONDITIONS, SCHEMA, LatencyTable, Part, read_measured, read_table
from nxt.arch.spec import ArchSpec
from nxt.errors import ConfigError, RunError, first_line
from nxt.files import exists, write_text
from nxt.latency.fit import fit
from nxt.latency.open import open_runtime
from nxt.latency.parts import Array, chain, features, parts_of_space, spread
from nxt.latency.runtime import Asked, Runtime, clock, timed
from nxt.space.space import Space

MOST = 600  # blocks that are measured
TOGETHER = 16  # parts that run in turn
NETWORKS = 12  # whole networks that the sums are held against
_DRAWN = 3  # times as many are drawn; the slowest third, which takes long, is left out
_SAVED = 2.0  # seconds between two writes of the file
Progress = Callable[[str, int, int], None]  # what is measured, how many are done, of how many


def measure_space(space: Space, path: Path, asked: Asked, progress: Progress = lambda *_: None) -> LatencyTable:
    """Measures a space's parts, or what is missing of them in a table that was cut off.

    Args:
        space: The space; `asked` has the image side and the classes at which it is counted.
        path: The file of the table, new or to go on with.
        asked: How to measure.
        progress: Is called before each measurement.

    Raises:
        ConfigError: if the file is no table, or holds latencies of another kind or for another space.
        RunError: if packages are missing, or the file cannot be written.
        DeviceError: if there is no such device.
    """
    space = space.counted_at(asked.size, asked.classes)
    draws = _draws(space)
    return measure_parts(parts_of_space(space), draws, space.name, path, asked, progress, MOST)


def measure_parts(
    parts: Mapping[str, Part],
    networks: Sequence[ArchSpec],
    name: str,
    path: Path,
    asked: Asked,
    progress: Progress = lambda *_: None,
    most: int = MOST,
) -> LatencyTable:
    """Measures parts, as `measure_space` does for those of a space.

    Args:
        parts: The parts by key.
        networks: Networks of these parts, from which some are chosen to hold the sums against.
        name: What the parts belong to.
        path: The file of the table.
        asked: How to measure.
        progress: Is called before each measurement.
        most: Blocks that are measured; others are fitted.

    Raises:
        RunError: if memory does not suffice; and as `measure_space`.
    """
    runtime = open_runtime(asked)
    table = _Table(path, name, len(parts), asked, runtime)
    try:
        _measure(table, parts, runtime, most, progress)
        _correct(table, networks, asked, runtime, progress)
    except (RuntimeError, MemoryError) as error:  # of memory, torch's own error is a RuntimeError too
        problem = f"cannot measure this ({first_line(error)}); try a smaller `batch`"
        raise RunError(f"{runtime.device}: {problem}") from None
    finally:
        table.save()
    return read_table(path)


def measure_networks(specs: Iterable[ArchSpec], runtime: Runtime) -> dict[str, list[Any]]:
    """Measures whole networks: nanoseconds, spread and runs by fingerprint."""
    return {spec.fingerprint: timed(runtime, [runtime.network(spec)])[0] for spec in specs}


class _Table:
    """The file that is being made."""

    def __init__(self, path: Path, name: str, wanted: int, asked: Asked, runtime: Runtime) -> None:
        self.path, self._saved = path, 0.0
        given = {"device": runtime.device, "threads": runtime.threads}
        given |= {key: getattr(asked, key) for key in CONDITIONS if key not in given}
        self.data: dict[str, Any] = {
            "schema": SCHEMA,
            "space": name,
            "kind": runtime.kind,
            **given,
            "clock_mhz": clock(),
            "versions": {"nxt": nxt.__version__, **runtime.versions},
            "date": datetime.date.today().isoformat(),
            "wanted": wanted,
            "correction": {},
            "fit": {},
            "networks": {},
            "measured": {},
            "fitted": {},
        }
        if exists(path):
            before = read_measured(path)
            self._check(before)
            self.data |= {key: before[key] for key in ("clock_mhz", "date", "networks", "measured") if key in before}
        self.save()

    def _check(self, before: Mapping[str, Any]) -> None:
        """Raises ConfigError if what is measured would not go with what the file holds."""
        for key in (*CONDITIONS, "space", "wanted", "versions"):
            if before[key] != self.data[key]:
                differs = f"{key} {before[key]!r}, not {self.data[key]!r}"
                raise ConfigError(f"{self.path}: holds latencies of {differs}; give another `out`")

    def save(self, now: bool = True) -> None:
        """Writes the file; or, if not now, at most every few seconds."""
        if now or time.monotonic() - self._saved > _SAVED:
            write_text(self.path, json.dumps(self.data, indent=0) + "\n")
            self._saved = time.monotonic()


def _measure(table: _Table, parts: Mapping[str, Part], runtime: Runtime, most: int, progress: Progress) -> None:
    blocks = [part for part in parts.values() if part.stage is not None]
    inputs = features(blocks)
    rows = spread(inputs, most) if len(blocks) > most else list(range(len(blocks)))
    wanted = [part for part in parts.values() if part.stage is None] + [blocks[row] for row in rows]
    measured = table.data["measured"]
    missing = [part for part in wanted if part.key not in measured]
    for start in range(0, len(missing), TOGETHER):
        progress("parts", len(wanted) - len(missing) + start, len(wanted))
        group = missing[start : start + TOGETHER]
        figures = timed(runtime, [runtime.part(part) for part in group])
        measured |= {part.key: found for part, found in zip(group, figures, strict=True)}
        table.save(now=False)
    progress("parts", len(wanted), len(wanted))
    others = [row for row, block in enumerate(blocks) if block.key not in measured]
    if others:
        times = np.array([measured[blocks[row].key][0] for row in rows], dtype=np.float64)
        found = fit(inputs[rows], times, inputs[others])
        values = zip(others, found.values.tolist(), strict=True)
        table.data["fitted"] = {blocks[row].key: max(1, round(value)) for row, value in values}
        table.data["fit"] = {"from": len(rows), "error": round(found.error, 4), "error_90": round(found.error_90, 4)}


def _correct(table: _Table, networks: Sequence[ArchSpec], asked: Asked, runtime: Runtime, progress: Progress) -> None:
    data = table.data
    times = {**data["fitted"], **{key: row[0] for key, row in data["measured"].items()}}
    sums = {spec: sum(times[part.key] for part in chain(spec, asked.size, asked.classes)) for spec in networks}
    faster = sorted(networks, key=lambda spec: sums[spec])[: max(1, 2 * len(networks) // 3)]
    chosen = faster[:: max(1, len(faster) // NETWORKS)][:NETWORKS]
    for done, spec in enumerate(chosen):
        if spec.fingerprint not in data["networks"]:
            progress("networks", done, len(chosen))
            data["networks"][spec.fingerprint] = {
                "name": spec.name,
                "measured": timed(runtime, [runtime.network(spec)])[0],
            }
            table.save(now=False)
        data["networks"][spec.fingerprint] |= {"sum": sums[spec], "blocks": sum(spec.depths)}
    progress("networks", len(chosen), len(chosen))
    rows = list(data["networks"].values())
    sums_of, blocks, measured = ([row[key] for row in rows] for key in ("sum", "blocks", "measured"))
    data["correction"] = correction(sums_of, blocks, [found[0] for found in measured])


def correction(sums: Sequence[int], blocks: Sequence[int], measured: Sequence[int]) -> dict[str, Any]:
    """Returns what corrects sums of parts, and the median errors before and after.

    The error after it is that of networks left out. If that is no lower than before, nothing is corrected.

    Args:
        sums: The sum of the parts of each network, in nanoseconds.
        blocks: Its number of blocks.
        measured: Its measured nanoseconds.

    Returns:
        `scale`, a factor, and `block`, nanoseconds for each block; and how good they are.
    """
    y = np.array(measured, dtype=np.float64)
    x = np.stack([np.array(sums) / y, np.array(blocks) / y], axis=1)  # so that squares are of relative errors
    before = float(np.median(np.abs(x[:, 0] - 1)))
    found, after = np.array([1.0, 0.0]), before
    if len(x) > 3:
        rows = [np.delete(x, row, axis=0) for row in range(len(x))]
        left_out = [abs(float(one @ _solved(rest)) - 1) for one, rest in zip(x, rows, strict=True)]
        after = float(np.median(left_out))
        best = _solved(x)
        found = best if after < before and best[0] > 0 else found
    errors = {"error_before": round(before, 4), "error_after": round(min(before, after), 4)}
    return {"scale": round(float(found[0]), 6), "block": round(float(found[1])), "networks": len(x), **errors}


def _solved(x: Array) -> Array:
    """Returns the factors of the columns with which the rows' sums come nearest to 1."""
    return np.asarray(np.linalg.lstsq(x, np.ones(len(x)), rcond=None)[0])


def _draws(space: Space) -> list[ArchSpec]:
    """Returns architectures of a space, each drawn with the same probability; always the same ones."""
    rng = np.random.default_rng(0)
    found: dict[str, ArchSpec] = {}
    for _ in range(2 * _DRAWN * NETWORKS):
        depths = tuple(int(rng.integers(len(values))) for values in space.depths)
        choice = tuple(int(i) for i in space.choices[rng.integers(len(space.choices))])
        spec = space.spec(depths + choice)
        found.setdefault(spec.fingerprint, spec)
    return list(found.values())[: _DRAWN * NETWORKS]
