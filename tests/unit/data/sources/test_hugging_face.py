"""Hugging Face data sets: which columns and splits are taken, and one line for what is wrong with one."""

import sys

import numpy as np
import pytest
from own_images import encoded, files_of, hugging_face, write_parquet

from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import DataError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))


@pytest.fixture
def datasets():
    return pytest.importorskip("datasets", reason="the package `datasets` is not installed (nxt[hf])")


def opened(path):
    return open_source(DataRef("hf", str(path)))


def made(datasets, path, parts, names=("cat", "dog"), **columns):
    """Save {split: labels} as a data set, with an image for each label."""
    feature = datasets.ClassLabel(names=list(names)) if names else datasets.Value("string")
    features = datasets.Features({"picture": datasets.Image(), **columns, "kind": feature})
    rows = {
        split: {
            "picture": [{"bytes": encoded((n, len(split), 0)), "path": None} for n in range(len(labels))],
            "kind": labels,
            **{column: [0] * len(labels) for column in columns},
        }
        for split, labels in parts.items()
    }
    saved = {split: datasets.Dataset.from_dict(part, features=features) for split, part in rows.items()}
    datasets.DatasetDict(saved).save_to_disk(path)
    return path


def test_columns_are_found_by_their_features_and_classes_keep_their_order(tmp_path, datasets):
    path = made(
        datasets,
        tmp_path / "a",
        {"train": [1, 0, 1, 0], "test": [0, 1]},
        ("zebra", "ape"),
        other=datasets.Value("int64"),
    )
    source = opened(path)
    assert source.classes == ("zebra", "ape") and source.labels("train").tolist() == [1, 0, 1, 0]
    assert np.asarray(source.open("train", 2))[0, 0].tolist() == [2, 5, 0]
    assert source.called("test", 1) == "test/1" and source.name == f"hf:{path}"


def test_rows_without_a_class_and_other_splits_are_counted(tmp_path, datasets):
    parts = {"train": [0, 1, -1, 1, 0, 0], "test": [-1, -1], "unsupervised": [-1]}
    source = opened(made(datasets, tmp_path / "a", parts))
    assert not source.has_test and len(source.labels("train")) + len(source.labels("test")) == 5
    note = source.notes[-1]
    assert (
        "3 rows without a class (such as test/0)" in note and "1 splits of other names (such as unsupervised)" in note
    )


def test_a_single_parquet_file_and_a_single_split_of_any_name_are_divided(tmp_path, datasets):
    hugging_face(files_of(("",), count=5), tmp_path / "a", saved=False)
    (file,) = (tmp_path / "a").glob("data/*")
    assert len(opened(file).labels("train")) == 8
    assert len(opened(made(datasets, tmp_path / "b", {"full": [0, 1] * 5})).labels("test")) == 2


def test_an_image_that_is_not_there_is_a_bad_image(tmp_path, datasets):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    images = [{"bytes": encoded((n, 0, 0)), "path": None} for n in range(6)]
    images[1] = None
    part = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 3}, features=features)
    datasets.DatasetDict(train=part, test=part).save_to_disk(tmp_path / "a")
    source = opened(tmp_path / "a")
    with pytest.raises(DataError, match=r"train/1: not readable as an image \(there is no image in this row\)"):
        source.open("train", 1)


def test_images_in_parquet_files_that_others_wrote_are_seen(tmp_path, datasets):
    for number, stored in enumerate((lambda content: content, lambda content: {"bytes": content, "path": None})):
        rows = [{"label": name, "img": stored(encoded((n, n, n)))} for n in range(5) for name in ("cat", "dog")]
        write_parquet(tmp_path / str(number) / "train.parquet", rows)
        source = opened(tmp_path / str(number))
        assert source.classes == ("cat", "dog") and len(source.labels("train")) == 8
        assert source.open("train", 0).size == (12, 10) and source.identity()


def test_what_is_wrong_with_a_data_set_is_said(tmp_path, datasets):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: neither saved by `save_to_disk` nor a folder of Parquet files"):
        opened(tmp_path / "empty")
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).save_to_disk(tmp_path / "text")
    with pytest.raises(DataError, match=r"text: no column of images among 'text', 'label'"):
        opened(tmp_path / "text")
    with pytest.raises(
        DataError, match=r"no column of classes \(label, class, target \.\.\.\) among 'picture', 'kind'"
    ):
        opened(made(datasets, tmp_path / "c", {"train": ["cat", "dog"]}, names=()))
    broken = made(datasets, tmp_path / "d", {"train": [0, 1]})
    for file in (broken / "train").glob("*.arrow"):
        file.write_bytes(b"x")
    with pytest.raises(DataError, match=r"d: cannot be read as a Hugging Face data set \(") as caught:
        opened(broken)
    assert "\n" not in str(caught.value)


def test_the_package_that_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "state.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"reading it takes the package `datasets`; pip install 'nxt\[hf\]'"):
        opened(tmp_path)
