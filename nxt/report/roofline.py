"""Draws the roofline of a device with the stages of networks under it (Williams et al. 2009)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nxt.report.matplotlib_figures import save
from nxt.units import format_count

_COLOURS = ("#1f4e8c", "#c2410c", "#3f7d20", "#7b2d8b", "#8a6d00", "#555555")


def plot_roofline(networks: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draws the measured stages of networks under the ceilings of the device.

    Args:
        networks: By name, with `ceiling`, `stages`, `best`, `device` and `training` as `nxt profile --measure` gives.
        path: The file.

    Raises:
        RunError: if the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(7.5, 5), dpi=140, layout="constrained")
    axes = figure.add_subplot()
    intensities = [stage["intensity"] for each in networks.values() for stage in each["stages"]]
    left, right = min(intensities) / 2, max(intensities) * 2
    drawn: set[str] = set()
    for (name, measured), colour in zip(networks.items(), itertools.cycle(_COLOURS), strict=False):
        precision, most = measured["best"]["precision"], measured["ceiling"]
        if precision not in drawn:
            drawn.add(precision)
            ridge = most["flops"] / most["bandwidth"]
            xs = [left, *([ridge] if left < ridge < right else []), max(right, ridge)]
            ys = [min(most["flops"], x * most["bandwidth"]) for x in xs]
            axes.plot(xs, ys, color="0.3", linewidth=1.2, linestyle="-" if len(drawn) == 1 else "--")
            axes.annotate(
                f"{precision}: {format_count(most['flops'])}FLOP/s", (xs[-1], ys[-1]), (-4, 4),
                textcoords="offset points", ha="right", fontsize=8, color="0.3",
            )  # fmt: skip
        points = [(s["intensity"], s["flops"], s["name"], s["seconds"]) for s in measured["stages"]]
        total = sum(seconds for *_, seconds in points)
        sizes = [20 + 600 * seconds / total for *_, seconds in points]
        label = f"{name}, batch {measured['training']['batch']}, {precision}"
        axes.scatter([p[0] for p in points], [p[1] for p in points], s=sizes, color=colour, alpha=0.6, label=label)
        for x, y, part, _ in points:
            axes.annotate(part, (x, y), (0, -3), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value, 2)))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("arithmetic intensity, FLOPs per byte that convolutions must move")
    axes.set_ylabel("FLOP/s")
    axes.set_title(f"Roofline of {next(iter(networks.values()))['device']}; areas: share of the time", fontsize=10)
    axes.grid(alpha=0.25, which="both")
    for handle in figure.legend(fontsize=8, loc="outside lower center", ncols=2).legend_handles:
        handle.set_sizes([40])  # type: ignore[union-attr]
    save(figure, path)
