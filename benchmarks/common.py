"""What the benchmarks have in common: facts about the machine, and how results are written."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nxt.provenance import versions

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"


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
        if key not in ("json", "out", "profile", "part", "folder")
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
