"""Writes the result files of a search: trials.csv, front.json, front.csv, pareto/ and best.yaml.

Of a list of networks also ablation.csv and ablation.md, the table of all of them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from nxt.errors import RunError
from nxt.files import write_text
from nxt.search.ranking import RankedArch
from nxt.search.results.ablation import ablation, markdown
from nxt.search.results.run import Run
from nxt.space.space import counted_keys

FRONT_COLUMNS = (
    "name", "fingerprint", "params", "macs", "acts", "accuracy", "accuracy_std", "accuracy_error", "epochs", "seeds",
    "front_probability", "ties", "yaml",
)  # fmt: skip


def write(run: Run) -> None:
    """Updates trials.csv, front.json, front.csv, pareto/ and best.yaml, each atomically.

    Raises:
        RunError: if they cannot be written.
    """
    rows = [run.row(entry) for entry in run.front]
    folder = run.path / "pareto"
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be created ({error.strerror})") from None
    for entry, row in zip(run.front, rows, strict=True):
        write_text(run.path / row["yaml"], arch_file(entry, run))
    write_text(run.path / "front.json", json.dumps(rows, indent=1) + "\n")
    more = () if run.request.latency is None else ("latency_ms", "measured_ms")
    write_text(run.path / "front.csv", _csv(rows, (*FRONT_COLUMNS, *more)))
    write_text(run.path / "trials.csv", _csv(run.rows(), run.trial_columns))
    if compared := ablation(run):
        table = [row.to_dict() for row in compared]
        write_text(run.path / "ablation.csv", _csv(table, tuple(table[0])))
        write_text(run.path / "ablation.md", markdown(compared))
    if run.best:
        write_text(run.path / "best.yaml", arch_file(run.best, run))
    current = {row["yaml"] for row in rows}
    for stale in folder.glob("*.yaml"):
        if f"pareto/{stale.name}" not in current:
            stale.unlink()


def arch_file(entry: RankedArch, run: Run) -> str:
    """Returns an entry's architecture as the text of a YAML file, with its provenance."""
    kind = "" if run.full else "proxy_"
    provenance = {
        "run": run.path.resolve().name,
        "data": str(run.request.data),
        "trials": [trial.number for trial in entry.trials],
        "reference": entry.family or None,
        f"{kind}accuracy": entry.accuracy,
        f"{kind}accuracy_std": entry.deviation,
        f"{kind}epochs": len(entry.trials[0].curve),
        **entry.cost.to_dict(),
        **counted_keys(run.request.space.counted),
    }
    return entry.spec.to_yaml(provenance=provenance)


def _csv(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
