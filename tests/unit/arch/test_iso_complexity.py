"""Families of equal complexity, against the tables of the papers and against trying every base width."""

import math

import pytest

from nxt.arch.costs import cost, stage_cost
from nxt.arch.iso_complexity import block_weights, macs, nearest
from nxt.arch.layers import Side
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError

RESNET, RESNEST = parse_name("resnet50"), parse_name("resnest50")
CIFAR = parse_name("resnext29_8x64d_cifar")
MEASURES = {"block": block_weights, "macs": macs}


def test_the_table_of_the_resnext_paper_comes_out():
    """Xie et al. 2017, table 2: 1x64d, 2x40d, 4x24d, 8x14d and 32x4d, all about 70 k weights a block."""
    base_widths = {c: nearest(RESNET, block_weights, cardinality=c).spec.base_width[0] for c in (1, 2, 4, 8, 32)}
    assert base_widths == {1: 64, 2: 40, 4: 24, 8: 14, 32: 4}


@pytest.mark.parametrize("cardinality", [1, 2, 3, 4, 5, 8, 16, 32, 64, 128])
def test_the_nearest_block_is_that_of_the_real_solution_rounded(cardinality):
    a, b, c = 9 * cardinality, 512 * cardinality, -69_632
    solution = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)
    assert nearest(RESNET, block_weights, cardinality=cardinality).spec.base_width == (round(solution),) * 4


def test_the_weights_of_a_block_are_those_of_its_convolutions():
    assert block_weights(RESNET) == 256 * 64 + 9 * 64 * 64 + 64 * 256 == 69_632
    for spec in (RESNET, parse_name("resnext50_32x4d"), CIFAR):
        stage = next(spec.stages())
        _, later, _ = stage_cost(spec, stage, Side.of(10))
        norms = 2 * (2 * stage.bottleneck + stage.width)
        assert block_weights(spec) == later.params - norms


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("reference", [RESNET, RESNEST, CIFAR], ids=["resnet50", "resnest50", "cifar"])
@pytest.mark.parametrize("cardinality", [1, 2, 4, 6, 32])
def test_no_other_base_width_comes_nearer(reference, cardinality, measure):
    network = nearest(reference, measure, cardinality=cardinality).spec
    misses = {}
    for base_width in range(1, 260):
        try:
            stages = len(reference.depths)
            spec = reference.replace(cardinality=(cardinality,) * stages, base_width=(base_width,) * stages)
        except ArchError:
            continue
        misses[base_width] = abs(measure(spec) - measure(reference))
    assert misses[network.base_width[0]] == min(misses.values())


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("name", ["resnet101", "resnext50_32x4d", "resnest50_fast_4s2x40d", "resnext29_8x64d_cifar"])
def test_a_network_is_its_own_nearest_at_its_own_cardinality(name, measure):
    spec = parse_name(name)
    assert nearest(spec, measure, cardinality=spec.cardinality[0]).spec == spec


def test_all_else_of_the_reference_stays():
    network = nearest(RESNEST, macs, cardinality=4).spec
    assert network.replace(cardinality=RESNEST.cardinality, base_width=RESNEST.base_width) == RESNEST
    assert set(network.cardinality) == {4} and len(set(network.base_width)) == 1
    mixed = ArchSpec(depths=(1, 1), widths=(64, 128), cardinality=(1, 8), base_width=(16, 2))
    assert nearest(mixed, macs, cardinality=2).spec.cardinality == (2, 2)


def test_the_papers_family_stays_within_five_percent_of_the_whole_network():
    for c in (1, 2, 4, 8, 32):
        assert abs(cost(nearest(RESNET, block_weights, cardinality=c).spec).macs / cost(RESNET).macs - 1) < 0.05
        assert abs(cost(nearest(RESNET, macs, cardinality=c).spec).macs / cost(RESNET).macs - 1) < 0.035


@pytest.mark.parametrize(
    ("reference", "cardinality", "problem"),
    [
        (RESNET, 0, "cardinality: 0 is not a whole number between 1 and 65536"),
        (RESNET, -3, "cardinality: -3 is not"),
        (RESNET, 65_537, "cardinality: 65537 is not"),
        (RESNET, 40_000, "bottleneck of 80000 channels is past 65536"),
        (RESNEST, 40_000, "not divisible by radix 2"),
    ],
)
def test_where_no_network_can_be_built_the_reason_is_told(reference, cardinality, problem):
    member = nearest(reference, macs, cardinality=cardinality)
    assert member.spec is None
    assert problem in member.problem
