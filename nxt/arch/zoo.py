"""The named networks. What others have published of them is in `nxt.arch.published`."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from nxt.arch.costs import Cost
from nxt.arch.published import Published, flops_of, top1_of
from nxt.arch.spec import ArchSpec


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A network of the zoo."""

    name: str

    @property
    def spec(self) -> ArchSpec:
        """The architecture."""
        return ArchSpec.from_name(self.name)

    @property
    def published(self) -> tuple[Published, ...]:
        """Published accuracies; if there are several, the first one is the paper's own."""
        return top1_of(self.name)

    @property
    def flops(self) -> tuple[str, str] | None:
        """The FLOPs as published, and the source; these are multiply-adds."""
        return flops_of(self.name)


@dataclass(frozen=True, slots=True)
class RelatedNetwork:
    """A published network that no ArchSpec describes, to compare with: nxt knows its cost and cannot build it."""

    name: str
    cost: Cost  # at `size` pixels and 1,000 classes
    size: int = 224

    @property
    def published(self) -> tuple[Published, ...]:
        """Published accuracies."""
        return top1_of(self.name)


_IMAGENET = """
    resnet18 resnet34
    resnet50 resnext50_2x40d resnext50_4x24d resnext50_8x14d resnext50_32x4d
    resnext50_64x4d resnext50_2x64d resnet50_1x100d resnext50_32x8d
    resnet101 resnext101_2x40d resnext101_4x24d resnext101_8x14d resnext101_32x4d
    resnext101_2x64d resnet101_1x100d resnext101_64x4d resnext101_32x8d resnext101_32x16d
    resnet152 resnet200 resnet200_preact resnext152_32x4d resnet50_plain resnext50_32x4d_plain
    seresnet50 seresnext50_32x4d skresnext50_32x4d
    resnest50_fast_0s1x64d resnest50_fast_1s1x64d resnest50_fast_2s1x64d resnest50_fast_4s1x64d
    resnest50_fast_1s2x40d resnest50_fast_2s2x40d resnest50_fast_4s2x40d resnest50_fast_1s4x24d
    resnest14 resnest26 resnest50 resnest101 resnest200 resnest269
"""
_CIFAR = """
    resnet20 resnet32 resnet44 resnet56 resnet110
    resnext29_1x64d_cifar resnext29_2x64d_cifar resnext29_4x64d_cifar resnext29_8x64d_cifar resnext29_16x64d_cifar
    resnext29_32x64d_cifar resnext29_1x128d_cifar resnext29_2x128d_cifar resnext29_1x256d_cifar resnext29_1x512d_cifar
    resnext29_2x40d_cifar resnext29_4x24d_cifar resnext29_8x14d_cifar resnext29_32x4d_cifar
    resnext29_4x32d_cifar resnext29_8x16d_cifar resnext29_16x8d_cifar
    resnext38_32x4d_cifar resnext47_32x4d_cifar resnext56_32x4d_cifar resnext101_32x4d_cifar
"""
ZOO: dict[str, ZooEntry] = {name: ZooEntry(name) for name in (_IMAGENET + _CIFAR).split()}

# RegNetX (Radosavovic et al. 2020, arXiv 2003.13678): bottlenecks of ratio 1 whose groups are equally wide at all
# stages, behind a 3x3 stem without pooling. Costs are counted on timm's code; pycls's accuracies are means of five
# trainings.
RELATED: tuple[RelatedNetwork, ...] = (
    RelatedNetwork("RegNetX-200MF", Cost(199_039_872, 2_684_792, 2_163_056)),
    RelatedNetwork("RegNetX-400MF", Cost(397_677_568, 5_157_512, 3_142_272)),
    RelatedNetwork("RegNetX-600MF", Cost(600_890_112, 6_196_040, 3_974_096)),
    RelatedNetwork("RegNetX-800MF", Cost(799_699_712, 7_259_656, 5_147_744)),
)


def find(pattern: str = "*") -> list[ZooEntry]:
    """Returns the entries whose name matches a shell pattern, or contains the given text, ignoring case."""
    return [entry for name, entry in ZOO.items() if matches(name, pattern)]


def matches(name: str, pattern: str) -> bool:
    """Returns whether a name matches a shell pattern, or contains the given text, ignoring case."""
    text = pattern.lower()
    shell_pattern = text if any(char in text for char in "*?[") else f"*{text}*"
    return fnmatch.fnmatchcase(name.lower(), shell_pattern)
