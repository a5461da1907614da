"""The zoo, against parameters and multiply-adds published for the same networks.

Parameters are exact integers. Multiply-adds are those of convolutions and linear layers in units of 10^9, to the
printed digits; where a network is published at several image sizes, each is a row.
"""

import pytest

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import ZOO, find

# name: (parameters, ((image side, printed G multiply-adds), ...))
PUBLISHED = {
    "resnet18": (11_689_512, ((224, "1.814"),)),
    "resnet34": (21_797_672, ((224, "3.664"),)),
    "resnet50": (25_557_032, ((224, "4.089"),)),
    "resnext50_2x40d": (25_425_000, ((224, "4.125"),)),
    "resnext50_4x24d": (25_292_968, ((224, "4.160"),)),
    "resnext50_8x14d": (25_603_016, ((224, "4.267"),)),
    "resnext50_32x4d": (25_028_904, ((224, "4.230"),)),
    "resnext50_64x4d": (45_192_488, ((224, "7.981"),)),
    "resnext50_2x64d": (46_248_744, ((224, "7.699"),)),
    "resnet50_1x100d": (47_142_920, ((224, "7.745"),)),
    "resnext50_32x8d": (48_021_800, ((224, "8.444"),)),
    "resnet101": (44_549_160, ((224, "7.801"),)),
    "resnext101_2x40d": (44_456_296, ((224, "7.844"),)),
    "resnext101_4x24d": (44_363_432, ((224, "7.886"),)),
    "resnext101_8x14d": (45_104_328, ((224, "8.077"),)),
    "resnext101_32x4d": (44_177_704, ((224, "7.970"),)),
    "resnext101_2x64d": (84_198_184, ((224, "15.123"),)),
    "resnet101_1x100d": (85_611_336, ((224, "15.273"),)),
    "resnext101_64x4d": (83_455_272, ((224, "15.460"),)),
    "resnext101_32x8d": (88_791_336, ((224, "16.414"),)),
    "resnext101_32x16d": (194_026_792, ((224, "36.163"),)),
    "resnet152": (60_192_808, ((224, "11.514"),)),
    "resnet200": (64_673_832, ((224, "15.007"),)),
    "resnet200_preact": (64_666_152, ((224, "15.007"),)),
    # Without the four projections and their BNs: 64x256 + 256x512 + 512x1024 + 1024x2048 + 2 (256 + 512 + 1024 + 2048).
    "resnet50_plain": (25_557_032 - 2_776_576, ((224, "3.730"),)),
    "resnext50_32x4d_plain": (25_028_904 - 2_776_576, ((224, "3.871"),)),
    "seresnet50": (28_088_024, ((224, "4.092"),)),
    "seresnext50_32x4d": (27_559_896, ((224, "4.233"),)),
    "skresnext50_32x4d": (27_479_784, ((224, "4.463"),)),
    "resnet20": (269_722, ((32, "0.041"),)),
    "resnet32": (464_154, ((32, "0.069"),)),
    "resnet44": (658_586, ((32, "0.097"),)),
    "resnet56": (853_018, ((32, "0.125"),)),
    "resnet110": (1_727_962, ((32, "0.253"),)),
    "resnext152_32x4d": (59_951_400, ((224, "11.710"),)),
    "resnest50_fast_0s1x64d": (25_576_264, ((224, "4.329"),)),
    "resnest50_fast_1s1x64d": (26_217_896, ((224, "4.329"),)),
    "resnest50_fast_2s1x64d": (27_483_240, ((224, "4.331"),)),
    "resnest50_fast_4s1x64d": (31_912_712, ((224, "4.335"),)),
    "resnest50_fast_1s2x40d": (25_946_680, ((224, "4.365"),)),
    "resnest50_fast_2s2x40d": (26_943_792, ((224, "4.366"),)),
    "resnest50_fast_4s2x40d": (30_417_592, ((224, "4.369"),)),
    "resnest50_fast_1s4x24d": (25_677_000, ((224, "4.400"),)),
    "resnest14": (10_611_688, ((224, "2.749"),)),
    "resnest26": (17_069_448, ((224, "3.623"),)),
    "resnest50": (27_483_240, ((224, "5.371"),)),
    "resnest101": (48_275_016, ((224, "10.201"), (256, "13.321"))),
    "resnest200": (70_201_544, ((224, "17.408"), (256, "22.735"), (320, "35.520"))),
    "resnest269": (110_929_480, ((224, "22.434"), (320, "45.773"), (416, "77.349"))),
    "resnext29_1x64d_cifar": (4_914_250, ((32, "0.748"),)),
    "resnext29_2x64d_cifar": (9_130_314, ((32, "1.411"),)),
    "resnext29_4x64d_cifar": (17_562_442, ((32, "2.736"),)),
    "resnext29_8x64d_cifar": (34_426_698, ((32, "5.387"),)),
    "resnext29_16x64d_cifar": (68_155_210, ((32, "10.689"),)),
    "resnext29_32x64d_cifar": (135_612_234, ((32, "21.29"),)),
    "resnext29_1x128d_cifar": (13_775_178, ((32, "2.091"),)),
    "resnext29_2x128d_cifar": (26_852_170, ((32, "4.095"),)),
    "resnext29_1x256d_cifar": (45_431_626, ((32, "6.813"),)),
    "resnext29_1x512d_cifar": (164_482_890, ((32, "24.41"),)),
    "resnext29_2x40d_cifar": (4_879_626, ((32, "0.755"),)),
    "resnext29_4x24d_cifar": (4_845_002, ((32, "0.761"),)),
    "resnext29_8x14d_cifar": (4_901_098, ((32, "0.781"),)),
    "resnext29_32x4d_cifar": (4_775_754, ((32, "0.774"),)),
    "resnext29_4x32d_cifar": (6_807_882, ((32, "1.071"),)),
    "resnext29_8x16d_cifar": (5_646_666, ((32, "0.901"),)),
    "resnext29_16x8d_cifar": (5_066_058, ((32, "0.817"),)),
    "resnext38_32x4d_cifar": (6_255_946, ((32, "0.990"),)),
    "resnext47_32x4d_cifar": (7_736_138, ((32, "1.205"),)),
    "resnext56_32x4d_cifar": (9_216_330, ((32, "1.421"),)),
    "resnext101_32x4d_cifar": (16_617_290, ((32, "2.498"),)),
}


def test_the_table_has_every_entry_of_the_zoo():
    assert set(PUBLISHED) == set(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_parameters_equal_the_published_integer(name):
    assert cost(ZOO[name].spec).params == PUBLISHED[name][0]


@pytest.mark.parametrize(
    ("name", "size", "printed"), [(name, *row) for name, (_, rows) in PUBLISHED.items() for row in rows]
)
def test_multiply_adds_equal_the_published_figure_to_its_digits(name, size, printed):
    half_a_digit = 0.5000001 * 10 ** -len(printed.partition(".")[2])
    assert cost(ZOO[name].spec, size).macs / 1e9 == pytest.approx(float(printed), rel=0, abs=half_a_digit)


@pytest.mark.parametrize("name", [name for name in ZOO if name.endswith("_cifar")])
def test_ninety_more_classes_add_a_row_of_weights_and_a_bias_each(name):
    spec = ZOO[name].spec
    assert cost(spec, classes=100).params - cost(spec).params == 92_250


@pytest.mark.parametrize("name", ZOO)
def test_an_entry_makes_the_network_it_is_named_after(name):
    entry = ZOO[name]
    assert entry.name == name
    assert isinstance(entry.spec, ArchSpec)
    assert entry.spec.name == name


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", list(ZOO)),
        ("", list(ZOO)),
        ("resnet50", ["resnet50", "resnet50_1x100d", "resnet50_plain", "seresnet50"]),
        ("ResNet152", ["resnet152"]),
        ("*64x4d", ["resnext50_64x4d", "resnext101_64x4d"]),
        ("resnest[12]*", ["resnest14", "resnest26", "resnest101", "resnest200", "resnest269"]),
        ("resnet?0", ["resnet50", "resnet20"]),
        ("vgg", []),
    ],
)
def test_find_takes_a_shell_pattern_or_a_part_of_the_name(pattern, names):
    assert [entry.name for entry in find(pattern)] == names


def test_find_takes_all_entries_by_default():
    assert find() == list(ZOO.values())
