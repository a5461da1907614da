"""The three equivalent forms of a ResNeXt block (arXiv 1611.05431, fig. 3), and weights converted between them.

    a    C separate paths 1x1, 3x3, 1x1, whose outputs are summed
    b    C separate paths 1x1, 3x3, whose outputs are concatenated before one 1x1
    c    grouped convolutions: what nxt trains and stores, since it is the fastest

They are equal because a convolution is linear: the last 1x1 of form c sums over the groups what form a sums over the
paths. BN and ReLU act on single channels, so that they are divided like the channels.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nxt.arch.spec import ArchSpec, Stage
from nxt.errors import ArchError
from nxt.models.blocks import Block, avd_pool
from nxt.models.convolution import Conv2d

FORMS = ("a", "b", "c")
_OF_PATH = re.compile(r"(?P<block>layer\d+\.\d+)\.paths\.(?P<path>\d+)\.(?P<rest>.+)")
_DIVIDED = re.compile(r"(?P<block>layer\d+\.\d+)\.(?P<rest>(?P<layer>conv[123]|bn[12])\.\w+)")


class PathsBlock(Block):
    """A bottleneck block in form a or b, with as many paths as its stage has groups."""

    def __init__(self, spec: ArchSpec, stage: Stage, first: bool, form: str) -> None:
        super().__init__(spec)
        self.paths = nn.ModuleList(_Path(spec, stage, first, form) for _ in range(stage.cardinality))
        self.conv3 = Conv2d(stage.bottleneck, stage.width, 1, bias=False) if form == "b" else None
        self.bn3 = nn.BatchNorm2d(stage.width)
        self._close(spec, stage, first)

    @property
    def last(self) -> nn.BatchNorm2d:
        """The last layer of the branch."""
        return self.bn3

    def branch(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C_out, H', W')."""
        outputs = [path(x) for path in self.paths]
        out = torch.stack(outputs).sum(0) if self.conv3 is None else self.conv3(torch.cat(outputs, 1))
        return self.bn3(out)  # type: ignore[no-any-return]


class _Path(nn.Module):
    def __init__(self, spec: ArchSpec, stage: Stage, first: bool, form: str) -> None:
        super().__init__()
        in_width, stride, dilation = stage.block(first)
        width, pooled = stage.group_width, spec.avd and first and stage.halves
        self.conv1 = Conv2d(in_width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.avd_first = avd_pool(stride) if pooled and spec.avd_first else None
        self.conv2 = Conv2d(width, width, 3, 1 if pooled else stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.avd_last = avd_pool(stride) if pooled and not spec.avd_first else None
        self.conv3 = Conv2d(width, stage.width, 1, bias=False) if form == "a" else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, H, W) to (B, C, H', W'): the block's output channels, in form b those of the path."""
        out = self.relu(self.bn1(self.conv1(x)))
        if self.avd_first is not None:
            out = self.avd_first(out)
        out = self.relu(self.bn2(self.conv2(out)))
        if self.avd_last is not None:
            out = self.avd_last(out)
        return out if self.conv3 is None else self.conv3(out)  # type: ignore[no-any-return]


def check_form(spec: ArchSpec, form: str) -> None:
    """Raises ArchError if a network has no such form."""
    if form not in FORMS:
        raise ArchError(f"form {form!r} is not one of {', '.join(FORMS)}")
    if form != "c" and (spec.block == "basic" or spec.radix or spec.attention == "sk" or spec.preact):
        raise ArchError(f"{spec.name} has form c alone: a and b are of bottlenecks with a plain 3x3, after activation")


def converted(state: Mapping[str, Tensor], spec: ArchSpec, form: str) -> dict[str, Tensor]:
    """Returns the weights of a network, in whatever form, in another one; values are copied exactly.

    Raises:
        ArchError: if the network has no such form.
    """
    check_form(spec, form)
    grouped = _grouped(state)
    return grouped if form == "c" else _divided(grouped, spec, form)


def _grouped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights in form c."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    for key, value in state.items():  # paths come in order
        match = _OF_PATH.fullmatch(key)
        parts[f"{match['block']}.{match['rest']}" if match else key].append(value)
    return {key: _joined(key, values) for key, values in parts.items()}


def _joined(key: str, values: list[Tensor]) -> Tensor:
    if len(values) == 1 or not values[0].ndim:  # counters of batches are all equal
        return values[0].clone()
    return torch.cat(values, 1 if ".conv3." in key else 0)


def _divided(state: Mapping[str, Tensor], spec: ArchSpec, form: str) -> dict[str, Tensor]:
    """Returns weights in form a or b, from those in form c."""
    groups = {f"layer{stage.index + 1}": stage.cardinality for stage in spec.stages()}
    result: dict[str, Tensor] = {}
    for key, value in state.items():
        match = _DIVIDED.fullmatch(key)
        if match is None or (match["layer"] == "conv3" and form == "b"):
            result[key] = value.clone()
            continue
        count = groups[match["block"].partition(".")[0]]
        axis = 1 if match["layer"] == "conv3" else 0
        parts = value.chunk(count, axis) if value.ndim else [value] * count
        result |= {f"{match['block']}.paths.{i}.{match['rest']}": part.clone() for i, part in enumerate(parts)}
    return result
