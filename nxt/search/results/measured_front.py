"""The measured latencies of a front's members, beside the predicted ones.

They are measured when a search has ended, if the device of its table is here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nxt.arch.latency import LatencyTable
from nxt.compute.machine import usable_cpus
from nxt.errors import NxtError
from nxt.files import write_text
from nxt.latency.measure import measure_networks
from nxt.latency.open import open_runtime
from nxt.latency.runtime import Asked, Runtime
from nxt.search.request import SearchRequest

if TYPE_CHECKING:
    from nxt.search.results.run import Run

FILE = "latency_front.json"


@dataclass(frozen=True)
class MeasuredFront:
    """What was measured after a search.

    Attributes:
        note: What was done, or why nothing could be measured.
        measured: Nanoseconds by fingerprint.
    """

    note: str
    measured: Mapping[str, int]

    def latency(self, fingerprint: str) -> int | None:
        """Returns the measured nanoseconds of an architecture; None if it was not measured."""
        return self.measured.get(fingerprint)


def read_measured_front(run: Path) -> MeasuredFront | None:
    """Reads what was measured; None if there is nothing, or it is damaged: measuring again brings it back."""
    try:
        data = json.loads((run / FILE).read_text(encoding="utf-8"))
        return MeasuredFront(str(data["note"]), {str(key): int(value) for key, value in data["measured"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_measured_front(run: Path, found: MeasuredFront) -> None:
    """Writes what was measured. Raises RunError if it cannot be written."""
    write_text(run / FILE, json.dumps({"note": found.note, "measured": dict(found.measured)}, indent=1) + "\n")


def counts(request: SearchRequest) -> bool:
    """Tells whether latency decides something in a search: as a limit, or as the objective."""
    return request.latency is not None and (
        request.objective == "latency" or request.budget.limit("latency") is not None
    )


def measure_front(run: Run) -> None:
    """Measures the members that are not measured yet, and writes all; says why if the device is not here.

    Nothing else should run on the device.

    Raises:
        RunError: if the file cannot be written.
    """
    table = run.request.latency
    known = {} if run.measured is None else dict(run.measured.measured)
    missing = [entry.spec for entry in run.front if entry.spec.fingerprint not in known]
    if table is None or not missing:
        return
    runtime, why = here(table)
    if runtime is None:
        write_measured_front(run.path, MeasuredFront(f"the front was not measured: {why}", known))
        return
    measured = {key: found[0] for key, found in measure_networks(missing, runtime).items()}
    write_measured_front(run.path, MeasuredFront("the front was measured here, alone on the device", known | measured))


def here(table: LatencyTable) -> tuple[Runtime | None, str]:
    """Opens the runtime of a table if its device is here; else None, and why figures would not be the table's."""
    data = table.data
    asked = Asked(data["kind"], data["runtime"], data["precision"], data["batch"], data["size"], data["classes"])
    try:
        runtime = open_runtime(asked, data["threads"])
    except NxtError as error:
        return None, str(error)
    if runtime.device != data["device"]:
        return None, f"{data['device']} is not here, but {runtime.device}"
    if data["threads"] > usable_cpus():
        return None, f"it takes {data['threads']} threads, and {usable_cpus():g} CPUs are here"
    other = [name for name, version in runtime.versions.items() if data["versions"].get(name) != version]
    return (None, f"{other[0]} has another version here") if other else (runtime, "")
