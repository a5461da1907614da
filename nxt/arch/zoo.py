"""The named networks and the accuracies that others have published for them.

A published accuracy depends on the recipe as much as on the network, so every figure names its source. If there are
several, the first one is the paper's own.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass

from nxt.arch.costs import Cost
from nxt.arch.spec import ArchSpec

PAPER, README = "ResNeXt paper", "ResNeXt repository, README"
TV1, TV2 = "torchvision V1", "torchvision V2"
RSB1, RSB2, RSB3 = "ResNet strikes back A1", "ResNet strikes back A2", "ResNet strikes back A3"
PYCLS, MM, GLUON, TIMM = "pycls", "mmpretrain", "Gluon port", "timm re-evaluation"
HE = "ResNet paper, table 6"
RESNEST, ABLATION = "ResNeSt repository", "ResNeSt repository, ablation (PyTorch)"


@dataclass(frozen=True, slots=True)
class Published:
    """Top-1 accuracy in percent that a source reports, at an image side in pixels."""

    top1: float
    size: int
    source: str
    dataset: str = "ImageNet-1k"


@dataclass(frozen=True, slots=True)
class ZooEntry:
    """A network of the zoo."""

    name: str
    published: tuple[Published, ...] = ()
    flops: tuple[str, str] | None = None  # as published, and the source; these are multiply-adds

    @property
    def spec(self) -> ArchSpec:
        """The architecture."""
        return ArchSpec.from_name(self.name)


@dataclass(frozen=True, slots=True)
class RelatedNetwork:
    """A published network that no ArchSpec describes, to compare with: nxt knows its cost and cannot build it."""

    name: str
    cost: Cost  # at `size` pixels and 1,000 classes
    published: tuple[Published, ...]
    size: int = 224


def _at(size: int, *pairs: tuple[float, str]) -> tuple[Published, ...]:
    return tuple(Published(top1, size, source) for top1, source in pairs)


def _cifar(cifar10: float, cifar100: float) -> tuple[Published, ...]:
    source = f"{PAPER}, table 7"
    return Published(cifar10, 32, source, "CIFAR-10"), Published(cifar100, 32, source, "CIFAR-100")


def _cifar10(error: float) -> tuple[Published, ...]:
    return (Published(round(100 - error, 2), 32, HE, "CIFAR-10"),)


_T3, _T4, _T5 = f"{PAPER}, table 3", f"{PAPER}, table 4", f"{PAPER}, table 5"
_ENTRIES = (
    ZooEntry("resnet18", _at(224, (69.758, TV1))),
    ZooEntry("resnet34", _at(224, (73.314, TV1))),
    ZooEntry(
        "resnet50",
        _at(224, (76.1, _T3), (76.13, TV1), (80.858, TV2), (80.38, RSB1), (79.83, RSB2), (78.05, RSB3)),
        ("4.1G", f"{PAPER}, table 1"),
    ),
    ZooEntry("resnext50_2x40d", _at(224, (77.0, _T3))),
    ZooEntry("resnext50_4x24d", _at(224, (77.4, _T3))),
    ZooEntry("resnext50_8x14d", _at(224, (77.7, _T3))),
    ZooEntry(
        "resnext50_32x4d",
        _at(224, (77.8, _T3), (78.1, PYCLS), (77.9, MM), (77.618, TV1), (81.198, TV2))
        + _at(224, (80.53, RSB1), (80.44, RSB2), (79.26, RSB3)),
        ("4.2G", f"{PAPER}, table 1"),
    ),
    ZooEntry("resnext50_64x4d"),
    ZooEntry("resnext50_2x64d"),
    ZooEntry("resnet50_1x100d"),
    ZooEntry("resnext50_32x8d"),
    ZooEntry("resnet101", _at(224, (78.0, _T3), (77.374, TV1), (81.886, TV2)), ("7.8G", README)),
    ZooEntry("resnext101_2x40d", _at(224, (78.3, _T3))),
    ZooEntry("resnext101_4x24d", _at(224, (78.6, _T3))),
    ZooEntry("resnext101_8x14d", _at(224, (78.7, _T3))),
    ZooEntry("resnext101_32x4d", _at(224, (78.8, _T3), (79.3, PYCLS), (78.61, MM), (80.336, GLUON)), ("7.8G", README)),
    ZooEntry("resnext101_2x64d", _at(224, (79.3, _T4))),
    ZooEntry("resnet101_1x100d", _at(224, (78.7, _T4))),
    ZooEntry(
        "resnext101_64x4d",
        _at(224, (79.6, _T4), (83.246, TV1), (82.446, "timm c1"))
        + _at(288, (83.158, "timm c1"))
        + _at(320, (80.9, _T5)),
        ("15.6G", README),
    ),
    ZooEntry("resnext101_32x8d", _at(224, (79.312, TV1), (82.834, TV2), (79.27, MM))),
    ZooEntry("resnext101_32x16d"),
    ZooEntry("resnet152", _at(224, (78.312, TV1))),
    ZooEntry("resnet200"),
    ZooEntry("resnet200_preact", _at(224, (78.3, _T4)) + _at(320, (79.9, _T5))),
    ZooEntry("resnext152_32x4d", _at(224, (78.88, MM), (79.6, PYCLS))),
    ZooEntry("seresnet50", _at(224, (80.26, TIMM))),
    ZooEntry("seresnext50_32x4d", _at(224, (81.268, TIMM))),
    ZooEntry("skresnext50_32x4d", _at(224, (80.168, TIMM))),
    ZooEntry("resnest50_fast_0s1x64d"),
    ZooEntry("resnest50_fast_1s1x64d", _at(224, (80.33, ABLATION))),
    ZooEntry("resnest50_fast_2s1x64d", _at(224, (80.53, ABLATION))),
    ZooEntry("resnest50_fast_4s1x64d", _at(224, (80.76, ABLATION))),
    ZooEntry("resnest50_fast_1s2x40d", _at(224, (80.59, ABLATION))),
    ZooEntry("resnest50_fast_2s2x40d", _at(224, (80.61, ABLATION))),
    ZooEntry("resnest50_fast_4s2x40d", _at(224, (81.14, ABLATION))),
    ZooEntry("resnest50_fast_1s4x24d", _at(224, (80.99, ABLATION))),
    ZooEntry("resnest14", _at(224, (75.516, TIMM))),
    ZooEntry("resnest26", _at(224, (78.476, TIMM))),
    ZooEntry("resnest50", _at(224, (81.03, RESNEST), (80.958, TIMM))),
    ZooEntry("resnest101", _at(256, (82.83, RESNEST), (82.916, TIMM))),
    ZooEntry("resnest200", _at(320, (83.84, RESNEST), (83.88, TIMM))),
    ZooEntry("resnest269", _at(416, (84.54, RESNEST), (84.542, TIMM))),
    ZooEntry("resnet20", _cifar10(8.75)),
    ZooEntry("resnet32", _cifar10(7.51)),
    ZooEntry("resnet44", _cifar10(7.17)),
    ZooEntry("resnet56", _cifar10(6.97)),
    ZooEntry("resnet110", _cifar10(6.43)),
    ZooEntry("resnext29_1x64d_cifar"),
    ZooEntry("resnext29_2x64d_cifar"),
    ZooEntry("resnext29_4x64d_cifar"),
    ZooEntry("resnext29_8x64d_cifar", _cifar(96.35, 82.23)),
    ZooEntry("resnext29_16x64d_cifar", _cifar(96.42, 82.69)),
    *(ZooEntry(f"resnext29_{label}_cifar") for label in ("32x64d", "1x128d", "2x128d", "1x256d", "1x512d", "2x40d")),
    *(ZooEntry(f"resnext29_{label}_cifar") for label in ("4x24d", "8x14d", "32x4d", "4x32d", "8x16d", "16x8d")),
    *(ZooEntry(f"resnext{depth}_32x4d_cifar") for depth in (38, 47, 56, 101)),
)

ZOO: dict[str, ZooEntry] = {entry.name: entry for entry in _ENTRIES}

# RegNetX (Radosavovic et al. 2020, arXiv 2003.13678): bottlenecks of ratio 1 whose groups are equally wide at all
# stages, behind a 3x3 stem without pooling. Costs are counted on timm's code; accuracies are 100 less the errors that
# pycls's MODEL_ZOO gives, means of five trainings.
RELATED: tuple[RelatedNetwork, ...] = (
    RelatedNetwork("RegNetX-200MF", Cost(199_039_872, 2_684_792, 2_163_056), _at(224, (68.9, PYCLS))),
    RelatedNetwork("RegNetX-400MF", Cost(397_677_568, 5_157_512, 3_142_272), _at(224, (72.7, PYCLS))),
    RelatedNetwork("RegNetX-600MF", Cost(600_890_112, 6_196_040, 3_974_096), _at(224, (74.1, PYCLS))),
    RelatedNetwork(
        "RegNetX-800MF",
        Cost(799_699_712, 7_259_656, 5_147_744),
        _at(224, (75.2, PYCLS), (75.212, TV1), (77.522, TV2)),
    ),
)


def find(pattern: str = "*") -> list[ZooEntry]:
    """Returns the entries whose name matches a shell pattern, or contains the given text, ignoring case."""
    text = pattern.lower()
    shell_pattern = text if any(char in text for char in "*?[") else f"*{text}*"
    return [entry for entry in ZOO.values() if fnmatch.fnmatchcase(entry.name, shell_pattern)]
