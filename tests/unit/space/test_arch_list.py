"""Lists of architectures: from names, files and run directories."""

import pytest

from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.errors import ArchError, ConfigError, NxtError
from nxt.space.arch_list import ArchList, load_list

NAMES = ("resnext29_8x64d_cifar", "resnet50", "resnest50")
LONG = "x" * 300  # longer than the name of a file can be


def names(archs):
    return [spec.name for spec in archs.specs]


def run_directory(path, *members):
    folder = path / "pareto"
    folder.mkdir(parents=True)
    for name in members:
        (folder / f"{name}.yaml").write_text(parse_name(name).to_yaml(provenance={"run": path.name}))
    return str(path)


def test_names_are_taken_in_order():
    archs = load_list(NAMES)
    assert archs.specs == tuple(parse_name(name) for name in NAMES)
    assert archs.size == 3 and archs.name == "list"


def test_its_one_axis_is_the_position():
    archs = load_list(NAMES)
    assert archs.axis_names == ["arch"] and archs.axis_values == [(0, 1, 2)]
    assert [archs.spec((i,)).name for i in range(3)] == names(archs)


def test_files_and_runs_and_names_mix(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(parse_name("resnet101").to_yaml())
    run = run_directory(tmp_path / "run", "resnet50", "resnest50")
    assert names(load_list([str(file), run, "resnet152"])) == ["resnet101", "resnest50", "resnet50", "resnet152"]


def test_a_network_that_is_named_twice_is_there_once_at_its_first_place(tmp_path):
    run = run_directory(tmp_path / "run", "resnet50", "resnet101")
    sources = ["resnet101", "ResNet-101", run, "resnet101", run]
    assert names(load_list(sources)) == ["resnet101", "resnet50"]


@pytest.mark.parametrize(
    "name",
    ["resnet51", "nonsense", "", "resnext50", "a\0b", LONG],
    ids=["depth", "word", "empty", "half", "null", "long"],
)
def test_an_unknown_name_is_one_line_of_error(name):
    with pytest.raises(ArchError) as caught:
        load_list(["resnet50", name])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("inside", [[], ["pareto"]])
def test_a_folder_without_a_front_is_an_error(tmp_path, inside):
    for name in inside:
        (tmp_path / name).mkdir()
    with pytest.raises(ArchError, match="no architectures there") as caught:
        load_list([str(tmp_path)])
    assert str(tmp_path) in str(caught.value)


def test_a_missing_file_and_a_file_of_something_else_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_list([str(tmp_path / "no.yaml")])
    (tmp_path / "x.yaml").write_text("a: 1\n")
    with pytest.raises(NxtError, match=r"x\.yaml"):
        load_list([str(tmp_path / "x.yaml")])


def test_an_empty_list_is_an_error():
    with pytest.raises(ArchError, match="empty"):
        load_list([])


def test_plain_data_makes_an_equal_list():
    archs = load_list(NAMES)
    assert ArchList.from_dict(archs.to_dict(), "run.yaml") == archs


def test_the_plain_data_survives_yaml():
    from nxt.config import dump_yaml, parse_yaml

    archs = load_list(NAMES)
    assert ArchList.from_dict(parse_yaml(dump_yaml(archs.to_dict()), "x"), "x") == archs


@pytest.mark.parametrize("data", [{}, {"architectures": []}, {"architectures": None}, {"architectures": {"a": 1}}])
def test_plain_data_without_a_list_is_an_error(data):
    with pytest.raises(ConfigError, match=r"run\.yaml: architectures: a list was expected"):
        ArchList.from_dict(data, "run.yaml")


@pytest.mark.parametrize("row", [{}, {"depths": [1], "widths": [3]}, {"depths": [1], "widths": [16], "x": 1}, 7, None])
def test_plain_data_that_makes_no_network_is_an_error(row):
    good = parse_name("resnet50").to_dict()
    assert isinstance(ArchSpec.from_dict(good), ArchSpec)
    with pytest.raises(NxtError):
        ArchList.from_dict({"architectures": [good, row]}, "run.yaml")
