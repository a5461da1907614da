"""Prints what detectors and segmenters reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nxt.data.ref import DataRef

from . import tables

if TYPE_CHECKING:
    from nxt.inference.scene_evaluation import SceneEvaluation


def print_scenes(measured: SceneEvaluation, per_class: bool) -> None:
    """Prints a line of figures for each network and, if asked, a table of the classes of the last, worst first."""
    for row in measured.rows:
        tables.out().print(_line(row), soft_wrap=True)
    if per_class:
        shares = measured.rows[-1]["per_class"].items()
        ranked = sorted(shares, key=lambda pair: 2.0 if pair[1] is None else pair[1])
        name = "IoU" if measured.rows[-1]["task"] == "segmentation" else "AP"
        tables.print_table(["class", name], [[kind, tables.percent(share)] for kind, share in ranked], [])


def _line(row: dict[str, Any]) -> str:
    figures = ", ".join(f"{name} {tables.percent(value)}" for name, value in row["measures"].items())
    views = f", at {', '.join(map(str, row['scales']))} px, mirrored" if "scales" in row else f", {row['size']} px"
    how = f"epoch {row['epoch']}, {row['weights']} weights{views}"
    where = f"{row['images']} {row['split']} images of {DataRef.parse(row['data']).display}"
    return f"{row['name']} with {row['head']}: {figures} on {where} ({how})"
