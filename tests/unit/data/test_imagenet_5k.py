"""The script that makes ImageNet-5K by the paper's rule (ResNeXt sec. 5.2), on a toy of the same shape."""

import subprocess
import sys
from pathlib import Path

import pytest
from limits import LIMIT

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "imagenet_5k.py"
IMAGES = {"n01": 5, "n02": 9, "n03": 2, "n04": 7, "n05": 7, "n06": 1}  # of the full set; the first two are of the 1K


@pytest.fixture
def folder(tmp_path):
    for name, count in IMAGES.items():
        for part in ["full", "1k/train", "1k/val"][: 3 if name in ("n01", "n02") else 1]:
            place = tmp_path / part / name
            place.mkdir(parents=True)
            for number in range(count):
                (place / f"{number}.jpg").write_bytes(b"")
    return tmp_path


def made(folder, *arguments):
    command = [sys.executable, SCRIPT, "full", "1k", "5k", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False)


def test_the_classes_are_those_of_the_1k_and_the_largest_others(folder):
    result = made(folder, "--more", "2")
    assert result.returncode == 0 and result.stderr == "5k: 4 classes; 28 images of them in full\n"
    classes = sorted(path.name for path in (folder / "5k" / "train").iterdir())
    assert classes == ["n01", "n02", "n04", "n05"] == sorted(path.name for path in (folder / "5k" / "val").iterdir())
    assert [len(list((folder / "5k" / "val" / name).iterdir())) for name in classes] == [5, 9, 0, 0]
    assert (folder / "5k" / "train" / "n04").resolve() == folder / "full" / "n04"
    assert (folder / "5k" / "classes.txt").read_text() == "n01\nn02\n"


def test_of_equally_large_classes_the_first_by_name_is_taken(folder):
    made(folder, "--more", "1")
    assert sorted(path.name for path in (folder / "5k" / "train").iterdir()) == ["n01", "n02", "n04"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "5k").mkdir(), "5k: exists already; choose another folder"),
        (lambda folder: None, "full: has 4 other classes, fewer than 4000"),
        (lambda folder: (folder / "full" / "n02").rename(folder / "moved"), "such as n02"),
        (lambda folder: (folder / "1k" / "val").rename(folder / "moved"), "1k: there is no folder val"),
    ],
)
def test_what_is_missing_is_said_in_a_line_and_nothing_is_made(folder, change, message):
    change(folder)
    result = made(folder)
    assert result.returncode == 1 and message in result.stderr and len(result.stderr.splitlines()) == 1
    assert not (folder / "5k" / "train").exists()
