"""What the benchmarks have in common: facts about the machine, and how results are written."""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nxt.provenance import versions

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a benchmark's CSV file: nxt against one peer. The columns are defined in benchmarks/README.md."""

    what: str  # what was measured
    against: str  # the peer
    unit: str  # of value and peer_value
    value: float  # nxt's median
    peer_value: float  # the peer's median
    ratio: float  # median over the rounds of how many times better nxt was in one round; above 1: nxt is better
    low: float  # least and greatest ratio of a round
    high: float
    rounds: int
    target: float | None = None  # the ratio, or else the value, to reach
    target_is: str = "ratio"  # or "value"
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the target was reached; None without one."""
        if self.target is None:
            return None
        if self.target_is == "ratio":
            return self.ratio >= self.target
        return self.value <= self.target if self.unit in LESS_IS_BETTER else self.value >= self.target


LESS_IS_BETTER = ("s", "ms", "MB", "x")


def compared(
    *, what: str, against: str, unit: str, values: Sequence[float], peer_values: Sequence[float], **more: Any
) -> Row:
    """Make a row of what was measured in rounds: one value of nxt and one of the peer in each."""
    less = unit in LESS_IS_BETTER
    ratios = [p / v if less else v / p for v, p in zip(values, peer_values, strict=True)]
    return Row(
        what=what,
        against=against,
        unit=unit,
        value=statistics.median(values),
        peer_value=statistics.median(peer_values),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        rounds=len(ratios),
        **more,
    )


def in_rounds(arms: dict[str, Callable[[], float]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Run all arms in turn, round by round, and return what each one measured; warm-up rounds do not count."""
    values: dict[str, list[float]] = {name: [] for name in arms}
    for index in range(warm_up + rounds):
        for name, arm in arms.items():
            value = arm()
            if index >= warm_up:
                values[name].append(value)
        tell(f"round {index + 1} of {warm_up + rounds}")
    return values


def environment(device: str = "cpu") -> str:
    """Return the environment as part of a file name: device, how many CPUs, Python and torch."""
    known = versions()
    name = _cpu_name() if device == "cpu" else device
    name = re.sub(r"\(.*?\)|processor|cpu|\d+-core", " ", name, flags=re.IGNORECASE)
    parts = [*name.split(), f"{len(os.sched_getaffinity(0))}cpu", f"py{known['python']}", f"torch{known['torch']}"]
    return re.sub(r"[^a-z0-9.]+", "-", " ".join(parts).lower()).strip("-")


def write_csv(name: str, rows: Sequence[Row], device: str = "cpu", folder: Path = RESULTS) -> Path:
    """Write and show rows: `NAME-ENVIRONMENT.csv`, whole or not at all; the command and date are in every line."""
    about = circumstances()
    extra = {
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *about["command"][1:]]),
        "date": about["started"][:10],
        "load": f"{about['load_average'][0]:.1f}",
    }
    path = folder / f"{name}-{environment(device)}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    names = [field.name for field in fields(Row)]
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*names, "reached", *extra], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = {key: f"{v:.4g}" if isinstance(v, float) else v for key, v in asdict(row).items()}
            reached = {None: "", True: "yes", False: "no"}[row.reached]
            writer.writerow({**cells, "reached": reached, **extra})
    temporary.replace(path)
    table = [["what", "against", "nxt", "peer", "ratio", "range", "target"]]
    for row in rows:
        goal = "" if row.target is None else f"{row.target:g}{'' if row.target_is == 'ratio' else ' ' + row.unit}"
        mark = {None: "", True: " reached", False: " not reached"}[row.reached]
        value, peer = (f"{v:.4g} {row.unit}" for v in (row.value, row.peer_value))
        table.append(
            [row.what, row.against, value, peer, f"{row.ratio:.2f}", f"{row.low:.2f}..{row.high:.2f}", goal + mark]
        )
    show(table)
    tell(f"written to {path}")
    return path


def circumstances() -> dict[str, Any]:
    """Return how, with what and where a benchmark runs."""
    return {
        "command": [Path(text).name if Path(text).is_absolute() else text for text in sys.argv],
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": versions(),
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "load_average": os.getloadavg(),
    }


def options_of(options: argparse.Namespace) -> dict[str, str]:
    """Return a benchmark's options, without the places where it writes."""
    return {
        key: str(value)
        for key, value in vars(options).items()
        if key not in ("json", "out", "profile", "part", "folder", "keep")
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (0 of a single value)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def show(lines: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        rest = [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
        cells = [line[0].ljust(widths[0]), *rest]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Print progress on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
