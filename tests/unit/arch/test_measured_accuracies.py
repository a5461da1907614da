"""Own results beside the published: what a table of them may say, and what they are compared with."""

import pytest

from nxt.arch.measured import COLUMNS, Measured, evaluated_row, read_measured
from nxt.errors import ArchError, ConfigError


def table(tmp_path, *lines):
    path = tmp_path / "own.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def test_a_table_is_read_with_the_names_of_the_papers_and_columns_in_any_order(tmp_path):
    path = table(
        tmp_path, "top1,note, network ,size,top5,dataset,protocol",
        "77.5,a,ResNeXt-50 (32x4d),224,93.5%,ImageNet-1k,center", "78.1%,,inception-V3,,,,",
        "61,,resnext_3-4-6-3_w64_32x8d,,,,",
    )  # fmt: skip
    assert read_measured(path) == [
        Measured("resnext50_32x4d", 77.5, 93.5, 224, "center", "ImageNet-1k"),
        Measured("Inception-v3", 78.1),
        Measured("resnext50_32x8d", 61.0),
    ]


@pytest.mark.parametrize(
    ("own", "sources"),
    [
        (Measured("resnext101_64x4d", 80, size=320), ["ResNeXt paper, table 5", "ResNeXt paper, tables 4 and 5"]),
        (Measured("resnext101_64x4d", 80, size=224), ["ResNeXt paper, tables 4 and 5", "torchvision, V1 weights"]),
        (Measured("resnext101_64x4d", 80), ["ResNeXt paper, tables 4 and 5", "ResNeXt paper, table 5"]),
        (Measured("resnext29_8x64d_cifar", 82, dataset="cifar100"), ["ResNeXt paper, table 7"]),
        (Measured("resnet50", 70, dataset="imagenet-1k", protocol="dense"), []),
        (Measured("resnet50", 70, dataset="folder:flowers"), []),
        (Measured("resnet101", 70, dataset="ImageNet"), ["ResNeXt paper, tables 3 to 5", "torchvision, V1 weights"]),
        (Measured("resnext50_32x8d", 70), []),
        (Measured("ResNeXt of ILSVRC 2016", 82, protocol="dense"), ["ResNeXt paper, section 5.1"]),
    ],
)
def test_it_is_compared_on_its_data_in_its_protocol_and_first_at_its_size(own, sources):
    assert [one.source for one in own.published()][:2] == sources


def test_a_network_trained_on_5000_classes_is_compared_with_those():
    (only,) = Measured("resnet50", 54, dataset="ImageNet-5k, 5K-way").published()
    assert only.figures == {"top1": 54.5, "top5": 80.6}


def test_as_plain_data_it_has_each_difference_in_points():
    row = Measured("resnet110", 93.0, size=32).to_dict()
    assert {name: row[name] for name in COLUMNS} == {
        "network": "resnet110", "top1": 93.0, "top5": None, "size": 32, "protocol": None, "dataset": None,
    }  # fmt: skip
    assert [(one["top1"], one["difference"]) for one in row["published"]] == [(93.57, -0.57)]


ONE = "network,top1,top5,size,protocol"
WRONG = {
    "resnet50,abc,,,": (ConfigError, "line 2: top1: 'abc' is not a number"),
    "resnet50,,,,": (ConfigError, "line 2: top1: '' is not a number"),
    "resnet50,nan,,,": (ConfigError, "line 2: top1: nan is no percentage"),
    "resnet50,101,,,": (ConfigError, "line 2: top1: 101 is no percentage"),
    "resnet50,-1,,,": (ConfigError, "line 2: top1: -1 is no percentage"),
    "resnet50,0.761,,,": (ConfigError, "line 2: top1: 0.761 looks like a share; write percent: 76.1"),
    "resnet50,76.1,0.93,,": (ConfigError, "line 2: top5: 0.93 looks like a share; write percent: 93"),
    "resnet50,76.1,,big,": (ConfigError, "line 2: size: 'big' is no number of pixels"),
    "resnet50,76.1,,0,": (ConfigError, "line 2: size: '0' is no number of pixels"),
    "resnet50,76.1,,,tencrop": (ConfigError, "line 2: protocol: 'tencrop' is not one of center, ten, dense"),
    "resnet50,76.1,,,,9": (ConfigError, "line 2: more fields than the header has"),
    "resnt50,76.1,,,": (ArchError, "line 2: no network is called 'resnt50'; did you mean 'resnet50'?"),
    ",76.1,,,": (ArchError, "line 2: no network is called ''; nxt zoo lists all"),
}


@pytest.mark.parametrize("row", WRONG)
def test_a_row_that_says_nothing_is_told_by_its_line(row, tmp_path):
    kind, message = WRONG[row]
    path = table(tmp_path, ONE, row)
    with pytest.raises(kind) as error:
        read_measured(path)
    assert str(error.value).startswith(f"{path}: {message}") and "\n" not in str(error.value)


def test_a_network_that_only_a_file_describes_is_called_after_its_fingerprint(tmp_path):
    (own,) = read_measured(table(tmp_path, ONE, "resnext_3-4-6-3_w64_1x64d~dc67a8a5ba92,70,,,"))
    assert own.published() == ()


def test_a_percent_sign_makes_a_small_number_a_percentage(tmp_path):
    assert read_measured(table(tmp_path, ONE, "resnet50,0.1%,0.5%,,")) == [Measured("resnet50", 0.1, 0.5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column 'network'; it has nothing"),
        (b"network,accuracy\nresnet50,76\n", "no column 'top1'; it has network, accuracy"),
        (b"network;top1\nresnet50;76\n", "no column 'network'; it has network;top1"),
        (b"network,top1\n", "has no row below its header"),
        (b"\xff\xfe\x00\x01", "not a text file; a CSV table was expected"),
    ],
)
def test_a_file_that_is_no_such_table_is_told_why(content, message, tmp_path):
    (tmp_path / "own.csv").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_measured(tmp_path / "own.csv")
    assert str(error.value) == f"{tmp_path / 'own.csv'}: {message}"


def test_a_file_that_is_not_there_and_a_folder_are_told(tmp_path):
    table(tmp_path, ONE, "resnet50,76,,,")
    with pytest.raises(ConfigError, match=r"own\.cvs: no such file; did you mean '.*own\.csv'\?"):
        read_measured(tmp_path / "own.cvs")
    with pytest.raises(ConfigError, match="a folder, where a CSV table was expected"):
        read_measured(tmp_path)


# What `nxt eval --csv` writes

EVALUATED = {
    "checkpoint": "run", "name": "resnet20", "epoch": 3, "weights": "raw", "size": 32, "crop": 1.0, "views": "center",
    "data": "cifar10", "split": "test", "images": 100, "accuracy": 0.9125, "top5": 0.9975, "classes": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "classes", "dataset"),
    [
        ("cifar10", "abcdefghij", "CIFAR-10"),
        ("cifar100:/data/cifar", [f"c{n}" for n in range(100)], "CIFAR-100"),
        ("folder:/data/imagenet", [f"n{n:08}" for n in range(1000)], "ImageNet-1k"),
        ("folder:/data/mine", [f"class{n}" for n in range(1000)], "folder:/data/mine"),
        ("folder:/data/part", [f"n{n:08}" for n in range(100)], "folder:/data/part"),
    ],
)
def test_an_evaluation_s_row_names_published_data_as_it_is_published(data, classes, dataset):
    row = evaluated_row({**EVALUATED, "data": data, "classes": len(classes)}, list(classes))
    assert row["dataset"] == dataset
    assert (row["network"], row["top1"], row["top5"], row["protocol"]) == ("resnet20", 91.25, 99.75, "center")
    assert tuple(row)[: len(COLUMNS)] == COLUMNS


def test_top_5_of_few_classes_is_left_out():
    assert evaluated_row({**EVALUATED, "classes": 5}, "abcde")["top5"] == ""
