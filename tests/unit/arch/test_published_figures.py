"""Published figures: against values typed from the papers, and whether the file is whole."""

import csv

import pytest

from nxt.arch.names import fields_of
from nxt.arch.published import FILE, LABELS, PROTOCOLS, TASKS, flops_of, of, records, top1_of
from nxt.arch.zoo import RELATED, ZOO

# Errors in percent as the ResNeXt paper prints them, by network, image side, data and table: top-1 and top-5.
ERRORS = {
    ("resnet50", 224, "ImageNet-1k", "table 3"): (23.9, None),
    ("resnext50_2x40d", 224, "ImageNet-1k", "table 3"): (23.0, None),
    ("resnext50_4x24d", 224, "ImageNet-1k", "table 3"): (22.6, None),
    ("resnext50_8x14d", 224, "ImageNet-1k", "table 3"): (22.3, None),
    ("resnext50_32x4d", 224, "ImageNet-1k", "table 3"): (22.2, None),
    ("resnet101", 224, "ImageNet-1k", "tables 3 to 5"): (22.0, 6.0),
    ("resnext101_2x40d", 224, "ImageNet-1k", "table 3"): (21.7, None),
    ("resnext101_4x24d", 224, "ImageNet-1k", "table 3"): (21.4, None),
    ("resnext101_8x14d", 224, "ImageNet-1k", "table 3"): (21.3, None),
    ("resnext101_32x4d", 224, "ImageNet-1k", "tables 3 and 4"): (21.2, 5.6),
    ("resnet200_preact", 224, "ImageNet-1k", "tables 4 and 5"): (21.7, 5.8),
    ("resnet101_1x100d", 224, "ImageNet-1k", "table 4"): (21.3, 5.7),
    ("resnext101_2x64d", 224, "ImageNet-1k", "table 4"): (20.7, 5.5),
    ("resnext101_64x4d", 224, "ImageNet-1k", "tables 4 and 5"): (20.4, 5.3),
    ("resnet200_preact", 320, "ImageNet-1k", "table 5"): (20.1, 4.8),
    ("resnext101_64x4d", 320, "ImageNet-1k", "table 5"): (19.1, 4.4),
    ("Inception-v3", 299, "ImageNet-1k", "table 5"): (21.2, 5.6),
    ("Inception-v4", 299, "ImageNet-1k", "table 5"): (20.0, 5.0),
    ("Inception-ResNet-v2", 299, "ImageNet-1k", "table 5"): (19.9, 4.9),
    ("resnet50", 224, "ImageNet-5k, 5K-way", "table 6"): (45.5, 19.4),
    ("resnext50_32x4d", 224, "ImageNet-5k, 5K-way", "table 6"): (42.3, 16.8),
    ("resnet101", 224, "ImageNet-5k, 5K-way", "table 6"): (42.4, 16.9),
    ("resnext101_32x4d", 224, "ImageNet-5k, 5K-way", "table 6"): (40.1, 15.1),
    ("resnet50", 224, "ImageNet-5k, 1K-way", "table 6"): (27.1, 8.2),
    ("resnext50_32x4d", 224, "ImageNet-5k, 1K-way", "table 6"): (24.4, 6.6),
    ("resnet101", 224, "ImageNet-5k, 1K-way", "table 6"): (24.2, 6.8),
    ("resnext101_32x4d", 224, "ImageNet-5k, 1K-way", "table 6"): (22.2, 5.7),
    ("Wide ResNet", 32, "CIFAR-10", "table 7"): (4.17, None),
    ("Wide ResNet", 32, "CIFAR-100", "table 7"): (20.50, None),
    ("resnext29_8x64d_cifar", 32, "CIFAR-10", "table 7"): (3.65, None),
    ("resnext29_8x64d_cifar", 32, "CIFAR-100", "table 7"): (17.77, None),
    ("resnext29_16x64d_cifar", 32, "CIFAR-10", "table 7"): (3.58, None),
    ("resnext29_16x64d_cifar", 32, "CIFAR-100", "table 7"): (17.31, None),
    ("resnet50_plain", 224, "ImageNet-1k", "section 5.1"): (31.2, None),
    ("resnext50_32x4d_plain", 224, "ImageNet-1k", "section 5.1"): (26.1, None),
    ("ResNeXt of ILSVRC 2016", None, "ImageNet-1k", "section 5.1"): (17.7, 3.7),
    ("Inception-ResNet-v2", None, "ImageNet-1k", "section 5.1"): (17.8, 3.7),
    ("ResNeXt of ILSVRC 2016", None, "ImageNet-1k, test set", "section 5.1"): (None, 3.03),
    ("winner of ILSVRC 2016", None, "ImageNet-1k, test set", "section 5.1"): (None, 2.99),
    ("Inception-v4/-ResNet-v2", None, "ImageNet-1k, test set", "section 5.1"): (None, 3.08),
}
# Other figures of both papers and of ResNeSt's repositories, by network, data, method and source.
OTHERS = {
    ("resnet50", "COCO minival", "Faster R-CNN", "ResNeXt paper, table 8"): {"ap50": 47.6, "ap": 26.5},
    ("resnext50_32x4d", "COCO minival", "Faster R-CNN", "ResNeXt paper, table 8"): {"ap50": 49.7, "ap": 27.5},
    ("resnet101", "COCO minival", "Faster R-CNN", "ResNeXt paper, table 8"): {"ap50": 51.1, "ap": 29.8},
    ("resnext101_32x4d", "COCO minival", "Faster R-CNN", "ResNeXt paper, table 8"): {"ap50": 51.9, "ap": 30.0},
    ("Wide ResNet", "", "", "ResNeXt paper, table 7"): {"params": 36.5},
    ("resnext29_8x64d_cifar", "", "", "ResNeXt paper, table 7"): {"params": 34.4},
    ("resnext29_16x64d_cifar", "", "", "ResNeXt paper, table 7"): {"params": 68.1},
    ("resnet50", "", "", "ResNeXt paper, table 1"): {"params": 25.5, "flops": 4.1},
    ("resnext50_32x4d", "", "", "ResNeXt paper, table 1"): {"params": 25.0, "flops": 4.2},
    ("resnest50", "ImageNet-1k", "center", "ResNeSt paper, abstract"): {"top1": 81.13},
    ("resnest50", "ImageNet-1k", "center", "ResNeSt repository, README"): {"top1": 81.03},
    ("resnest269", "ImageNet-1k", "center", "ResNeSt repository, README"): {"top1": 84.54},
    ("resnest50", "COCO 2017", "Faster R-CNN", "ResNeSt repository, d2 README"): {"ap": 42.33},
    ("resnet101", "COCO 2017", "Cascade R-CNN", "ResNeSt repository, d2 README"): {"ap": 44.03},
    ("resnest101", "COCO 2017", "Mask R-CNN", "ResNeSt repository, d2 README"): {"ap": 45.75, "mask_ap": 40.65},
    ("resnet50", "ADE20K", "DeepLabV3", "ResNeSt paper, abstract"): {"miou": 42.1},
    ("resnest50", "ADE20K", "DeepLabV3", "PyTorch-Encoding, model zoo"): {"miou": 45.12, "pixacc": 81.17},
    ("resnest101", "ADE20K", "DeepLabV3", "PyTorch-Encoding, model zoo"): {"miou": 46.91, "pixacc": 82.07},
}


def found(network, *wanted):
    """Return the one record of a network that has these values."""
    rows = [row for row in of(network) if set(wanted) <= {row.size, row.dataset, row.protocol, row.source}]
    (only,) = rows
    return only


@pytest.mark.parametrize("key", ERRORS)
def test_an_accuracy_is_100_less_the_error_that_the_paper_prints(key):
    network, size, dataset, place = key
    record = found(network, size, dataset, f"ResNeXt paper, {place}")
    printed = {"top1": ERRORS[key][0], "top5": ERRORS[key][1]}
    expected = {name: 100 - error for name, error in printed.items() if error is not None}
    assert record.figures == pytest.approx(expected, abs=1e-9)
    assert record.task == "classification"


@pytest.mark.parametrize("key", OTHERS)
def test_other_figures_are_as_printed(key):
    assert found(*key).figures == OTHERS[key]


def test_nothing_of_the_resnext_paper_is_in_the_file_that_is_not_typed_here():
    typed = {(network, dataset, f"ResNeXt paper, {place}") for network, _, dataset, place in ERRORS}
    typed |= {(network, dataset, source) for network, dataset, _, source in OTHERS}
    rows = [row for rows in records().values() for row in rows if row.source.startswith("ResNeXt paper")]
    assert len(rows) > 45
    assert {(row.network, row.dataset, row.source) for row in rows} <= typed


def test_resnest_s_gains_as_a_backbone_are_those_that_its_paper_tells():
    def gain(method, figure, depth):
        place = ("COCO 2017", method, "ResNeSt repository, d2 README")
        return found(f"resnest{depth}", *place).figures[figure] - found(f"resnet{depth}", *place).figures[figure]

    told = {50: (3.13, 2.36), 101: (3.51, 3.04)}
    for depth, (box, mask) in told.items():
        assert gain("Cascade Mask R-CNN", "ap", depth) == pytest.approx(box, abs=1e-9)
        assert gain("Cascade Mask R-CNN", "mask_ap", depth) == pytest.approx(mask, abs=1e-9)
    assert gain("Mask R-CNN", "mask_ap", 50) == pytest.approx(2.09, abs=1e-9)
    assert gain("Mask R-CNN", "mask_ap", 101) == pytest.approx(3.14, abs=1e-9)


@pytest.mark.parametrize(
    ("network", "source"),
    [
        ("resnet50", "ResNeXt paper, table 3"),
        ("resnet101", "ResNeXt paper, tables 3 to 5"),
        ("resnest50", "ResNeSt paper, abstract"),
        ("resnet110", "ResNet paper, table 6"),
        ("resnext29_8x64d_cifar", "ResNeXt paper, table 7"),
    ],
)
def test_a_paper_s_own_accuracy_comes_first(network, source):
    assert top1_of(network)[0].source == ZOO[network].published[0].source == source


# The file


def rows():
    with FILE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_row_has_a_network_that_nxt_builds_or_only_cites_and_a_source_with_a_place():
    cited = set()
    for row in rows():
        assert row["source"] and row["place"] and row["network"] == row["network"].strip()
        assert row["cited"] == ("" if row["network"] in ZOO else "yes"), row
        cited |= {row["network"]} if row["cited"] else set()
    assert {related.name for related in RELATED} <= cited
    assert not [name for name in cited if fields_of(name)]


def test_every_row_says_what_was_measured_on_what_and_how():
    for record in (record for rows in records().values() for record in rows):
        assert record.task in TASKS and record.figures and set(record.figures) <= set(LABELS)
        assert all(0 < value <= 100 for value in record.figures.values())
        if record.task == "cost":
            assert set(record.figures) <= {"params", "flops"} and not record.dataset
            continue
        assert record.dataset and record.protocol
        if record.task == "classification":
            assert set(record.figures) <= {"top1", "top5"} and record.protocol in PROTOCOLS
            assert record.size in (32, 224, 256, 288, 299, 320, 416) or record.protocol != "center"
            assert record.figures.get("top1", 0) < record.figures.get("top5", 100)
        else:
            assert not {"top1", "top5"} & set(record.figures)


def test_no_figure_is_there_twice():
    keys = [tuple(row[name] for name in row if name != "figures") for row in rows()]
    assert len(set(keys)) == len(keys) > 130


def test_published_flops_come_with_their_source():
    assert flops_of("resnext50_32x4d") == ZOO["resnext50_32x4d"].flops == ("4.2G", "ResNeXt paper, table 1")
    assert flops_of("resnext101_64x4d") == ("15.6G", "ResNeXt repository, README")
    assert flops_of("resnet18") is None and flops_of("nobody") is None


def test_a_record_as_plain_data_has_its_figures_by_name():
    assert found("resnet101", "ResNeXt paper, tables 3 to 5").to_dict() == {
        "top1": 78.0, "top5": 94.0, "size": 224, "dataset": "ImageNet-1k", "task": "classification",
        "protocol": "center", "source": "ResNeXt paper, tables 3 to 5",
    }  # fmt: skip
