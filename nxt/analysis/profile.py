"""Profiles a network: computes its exact cost by stage, block or layer; on request also checks and measures it.

Imports torch only to check or measure a network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nxt.arch.breakdown import LEVELS, Portion, portions
from nxt.arch.costs import Cost, cost, resolution
from nxt.arch.heads import checked_stride
from nxt.arch.latency import LatencyTable, read_table
from nxt.arch.layers import Side, Size
from nxt.arch.load import counted, resolve
from nxt.arch.memory import Moment, peak
from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import ZOO
from nxt.config import require
from nxt.units import format_count

if TYPE_CHECKING:
    from nxt.analysis.sensitivity import Step
    from nxt.compute.measurement import Measurement

_SUMS = ("params", "macs", "acts", "flops", "fvcore", "bytes", "intensity", "peak_bytes")
_SHOWN = ("params", "macs", "acts", "bytes", "peak_bytes")


@dataclass(frozen=True)
class Profile:
    """The cost of a network for one image. A notebook shows the parts as a table."""

    spec: ArchSpec
    size: Size  # of the image in pixels: a square's side, or height and width
    classes: int
    by: str  # level of the `parts`: "stage", "block" or "layer"
    whole: Portion
    parts: tuple[Portion, ...]
    peak_at: Moment | None  # the moment of an inference with the most memory; None with a head
    steps: tuple[Step, ...] | None = None  # costs of one step up in each number of the architecture
    check: Mapping[str, int] | None = None  # closed form minus the counts of the built network; all 0 if nxt is right
    measured: Measurement | None = None
    form: str = "c"  # in which its blocks are checked and measured
    output_stride: int | None = None
    head: str | None = None  # in the place of the last layer
    latency: tuple[int, LatencyTable] | None = None  # predicted nanoseconds of a batch, and by which table

    @property
    def cost(self) -> Cost:
        """The whole network's cost."""
        return self.whole.cost

    @property
    def published(self) -> tuple[str, str] | None:
        """The published FLOPs at this image size, and their source; None if there are none."""
        entry = ZOO.get(self.spec.name)
        usual = self.size == self.spec.size and self.output_stride is None and self.head is None
        return entry.flops if entry is not None and usual else None

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain data, as `nxt profile --json` prints it."""
        whole = self.whole.to_dict()
        row: dict[str, Any] = {"name": self.spec.name, **{key: whole[key] for key in _SUMS}}
        row |= {"peak_at": None if self.peak_at is None else str(self.peak_at)}
        row |= {"size": Side.of(self.size).plain, "classes": self.classes}
        row["fingerprint"] = self.spec.fingerprint
        said = {"form": self.form if self.form != "c" else None, "output_stride": self.output_stride, "head": self.head}
        row |= {key: value for key, value in said.items() if value is not None}
        if self.published:
            row["published"] = dict(zip(("flops", "source"), self.published, strict=True))
        how = (self.spec, self.size, self.classes, "stage", self.output_stride, self.head)
        stages = self.parts if self.by == "stage" else portions(*how)
        row["stages"] = [part.to_dict() for part in stages]
        row[f"{self.by}s"] = self.rows()
        if self.steps is not None:
            row["steps"] = [dataclasses.asdict(step) for step in self.steps]
        if self.check is not None:
            row["check"] = dict(self.check)
        if self.latency is not None:
            nanoseconds, table = self.latency
            rate = 1e9 * table.batch / nanoseconds
            row["latency"] = {"ms": nanoseconds / 1e6, "images_per_second": rate, "of": str(table), **table.conditions}
        if self.measured is not None:
            row["measured"] = self.measured.to_dict()
        return row

    def rows(self) -> list[dict[str, Any]]:
        """Returns the parts as plain data, for `pandas.DataFrame(profile.rows())`."""
        return [part.to_dict() for part in self.parts]

    def _repr_html_(self) -> str:
        from nxt.search.results.notebook import html_table

        total = {**self.whole.to_dict(), "name": "total"}
        cells = [
            [row["name"], *("" if row[key] is None else format_count(row[key], 4) for key in _SHOWN)]
            for row in (*self.rows(), total)
        ]
        table = html_table([self.by, "params", "MACs", "acts", "bytes moved", "peak bytes"], cells)
        return f"<p><b>{escape(self.spec.name)}</b>, {Side.of(self.size)} px, {self.classes} classes</p>\n{table}"


def profile(
    network: str | Path | ArchSpec,
    size: Size | None = None,
    classes: int | None = None,
    by: str = "stage",
    *,
    output_stride: int | None = None,
    head: str | None = None,
    form: str = "c",
    steps: bool = False,
    check: bool = False,
    measure: bool = False,
    device: str = "auto",
    batches: Sequence[int] = (1, 8, 32),
    compile: bool = False,
    say: Callable[[str], None] | None = None,
    latency: str | Path | None = None,
) -> Profile:
    """Returns the closed-form cost of a network.

    Args:
        network: A name, the path of an architecture file, or a specification.
        size: Image side in pixels, or (height, width); by default what the file was counted at, or else the network's
            own.
        classes: Outputs of the last layer; by default likewise.
        by: The level at which to divide the cost: "stage", "block" or "layer".
        output_stride: The largest stride, as in `nxt.build`; by default of a segmenter 8.
        head: One of `nxt.arch.heads.COSTED`, such as "faster-rcnn" or "deeplabv3", in the place of the last layer. Then
            `classes` are those that it tells apart, by default 80 for detectors and 150 for segmenters.
        form: Of the blocks, as they are checked and measured: "a" (paths that are summed), "b" (early concatenation) or
            "c" (grouped convolutions); see `nxt.models.forms`. All have as many multiply-adds and parameters.
        steps: Whether to compute the cost of one more block, group, channel or pixel.
        check: Whether to build the network and compare the closed form with fvcore's and torch's counts.
        measure: Whether to measure speed and memory on a device. The next arguments are for this.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        batches: Batch sizes of inference.
        compile: Whether to measure the compiled network too.
        say: Is called with a line of text before each measurement.
        latency: A file of `nxt latency measure`, to predict the latency by.

    Raises:
        ArchError: if there is no such network or no such form of it, it does not fit into memory, or a size is out of
            range.
        ConfigError: if the architecture file or the table of latencies cannot be read, `by` is none of the three,
            the table lacks a part of the network, or arguments exclude each other.
        DeviceError: if there is no such device.
    """
    spec = resolve(network)
    require(by in LEVELS[1:], "`by`", f"{by!r} is not one of {', '.join(LEVELS[1:])}")
    given, outputs = counted(network, size, classes)
    outputs = outputs if head is None else classes  # a file tells those of classification
    size, classes = resolution(spec, given, outputs, head)
    if head is not None:
        output_stride = checked_stride(spec, head, output_stride)
    if output_stride == spec.strides[-1]:
        output_stride = None
    alone = head is None and output_stride is None and isinstance(size, int)
    timed = "`measure`" if measure else "`latency`"
    require(alone or not (measure or latency), timed, "is of square images, without `output_stride` and `head`")
    require(head is None or (form == "c" and not steps), "`head`", "goes without `form` and `steps`")
    result = Profile(
        spec=spec,
        size=size,
        classes=classes,
        by=by,
        whole=portions(spec, size, classes, "network", output_stride, head)[0],
        parts=tuple(portions(spec, size, classes, by, output_stride, head)),
        peak_at=peak(spec, size, classes, output_stride) if head is None else None,
        form=form,
        output_stride=output_stride,
        head=head,
    )
    if form != "c":
        from nxt.models.forms import check_form

        check_form(spec, form)
    if latency is not None and isinstance(size, int):
        table = read_table(Path(latency))
        table.check(size, classes)
        result = dataclasses.replace(result, latency=(cost(spec, size, classes, table).latency, table))
    if steps:
        from nxt.analysis import sensitivity

        result = dataclasses.replace(result, steps=tuple(sensitivity.steps(spec, size, classes, output_stride)))
    if check:
        from nxt.models.check import residuals

        result = dataclasses.replace(result, check=residuals(spec, size, classes, form, output_stride, head))
    if measure and isinstance(size, int):
        require(bool(batches) and min(batches) > 0, "`batches`", f"{list(batches)} are not numbers of images")
        from nxt.compute import measurement
        from nxt.compute.devices import choose

        measured = measurement.measure(spec, size, classes, batches, choose(device), compile, say, form)
        result = dataclasses.replace(result, measured=measured)
    return result
