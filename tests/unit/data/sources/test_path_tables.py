"""Tables of paths and classes: columns by usual names, and one line for what is wrong with one."""

import numpy as np
import pytest
from own_images import files_of, packed, write_csv, write_parquet

from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import DataError


@pytest.fixture
def rows(tmp_path):
    """Write twelve images; return rows of a table about them."""
    packed("folder", files_of(("",), count=6), tmp_path)
    return [
        {"path": f"mine/{name}/{n}.png", "label": name, "split": "test" if n < 2 else "train"}
        for name in ("cat", "dog")
        for n in range(6)
    ]


def opened(path):
    return open_source(DataRef("table", str(path)))


def renamed(rows, **names):
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("path", ["path", "file", "filename", "file_name", "image", "Image_Path", " path "])
@pytest.mark.parametrize("label", ["label", "class", "target", "LABEL"])
def test_columns_are_found_by_usual_names(tmp_path, rows, path, label):
    source = opened(write_csv(tmp_path / "list.csv", renamed(rows, path=path, label=label)))
    assert source.classes == ("cat", "dog") and source.has_test and not source.has_val
    assert len(source.labels("train")) == 8 and len(source.labels("test")) == 4
    assert source.called("train", 0) == "mine/cat/2.png"


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ";"), ("csv", "\t"), ("tsv", "\t"), ("CSV", ",")])
def test_the_delimiter_and_a_mark_of_utf8_are_seen(tmp_path, rows, ending, delimiter):
    path = write_csv(tmp_path / f"list.{ending}", rows, delimiter)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n\n")
    assert len(opened(path).labels("train")) == 8


def test_paths_may_be_absolute_and_the_order_of_rows_means_nothing(tmp_path, rows):
    rows = [{"path": row["path"], "label": row["label"]} for row in rows]
    first = opened(write_csv(tmp_path / "list.csv", rows))
    again = opened(write_csv(tmp_path / "other.csv", rows[::-1]))
    assert first.identity() == again.identity() and not first.has_test
    assert [first.called("test", n) for n in range(2)] == [again.called("test", n) for n in range(2)]
    whole = [{**row, "path": str(tmp_path / row["path"])} for row in rows]
    other = opened(write_csv(tmp_path / "elsewhere" / "list.csv", whole))
    assert np.array_equal(np.asarray(other.open("train", 3)), np.asarray(first.open("train", 3)))


def test_whole_numbers_as_classes_stand_in_their_order(tmp_path, rows):
    for number, row in enumerate(rows):
        row["label"] = (2, 10, 9)[number % 3]
        del row["split"]
    for write, name in ((write_csv, "list.csv"), (write_parquet, "list.parquet")):
        assert opened(write(tmp_path / name, rows)).classes == ("2", "9", "10")


def test_rows_without_a_class_or_a_path_are_counted(tmp_path, rows):
    rows[0]["label"], rows[5]["path"] = "", ""
    rows.append(rows[3])
    (note,) = opened(write_csv(tmp_path / "list.csv", rows)).notes
    left_out = "1 rows without a class (such as row 1), 1 rows without a path (such as row 6)"
    assert note == f"left out of {tmp_path / 'list.csv'}: {left_out}"


def test_splits_have_the_usual_names(tmp_path, rows):
    for row, split in zip(rows, ["train", "Validation", "test"] * 4, strict=True):
        row["split"] = split
    source = opened(write_csv(tmp_path / "list.csv", rows))
    assert source.has_val and [len(source.labels(split)) for split in ("train", "val", "test")] == [4, 4, 4]


def change(rows, problem):
    if problem == "no path":
        return renamed(rows, path="where")
    if problem == "no label":
        return renamed(rows, label="what")
    if problem == "two classes":
        return [*rows, {**rows[2], "label": "dog"}]
    if problem == "in train and test":
        return [*rows, {**rows[2], "split": "test"}]
    if problem == "a strange split":
        return [*rows[:-1], {**rows[-1], "split": "holdout"}]
    if problem == "only test":
        return [{**row, "split": "test"} for row in rows]
    if problem == "a class only in test":
        return [{**row, "label": "elk" if row["split"] == "test" else row["label"]} for row in rows]
    if problem == "one class":
        return [{**row, "label": "cat"} for row in rows]
    return [{**row, "path": f"gone/{row['path']}"} for row in rows]


PROBLEMS = {
    "no path": r"no column of paths \(path, file, filename \.\.\.\) among 'where', 'label', 'split'",
    "no label": r"no column of classes \(label, class, target \.\.\.\) among 'path', 'what', 'split'",
    "two classes": r"row 13 has mine/cat/2\.png with another class or split than a row before",
    "in train and test": r"row 13 has mine/cat/2\.png with another class or split than a row before",
    "a strange split": r"a split is called 'holdout'; known are train, val, valid, validation, test",
    "only test": r"no images with a class to train on; there are 12 in all",
    "a class only in test": r"no training image of the class 'elk'; add some, or leave it out",
    "one class": r"1 class\(es\) with images; classification needs at least two",
    "no files": r"there is no file .*/gone/mine/cat/0\.png; its paths are relative to its own folder",
}


def test_a_table_of_a_test_split_alone_is_for_evaluation(tmp_path, rows):
    table = write_csv(tmp_path / "list.csv", change(rows, "only test"))
    source = open_source(DataRef.of(f"table:{table}"), to_train=False)
    assert (len(source.labels("train")), len(source.labels("test"))) == (0, 12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_wrong_with_a_table_is_said(tmp_path, rows, problem):
    with pytest.raises(DataError, match=PROBLEMS[problem]) as caught:
        opened(write_csv(tmp_path / "list.csv", change(rows, problem)))
    assert str(caught.value).startswith(f"{tmp_path / 'list.csv'}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", b"path,label\na.png\n", "row 1 has 1 fields, and the header has 2"),
        ("list.csv", b"", "no column of paths .* among none"),
        ("list.csv", b"path,label\n\xff\xfe,cat\n", "is not UTF-8"),
        ("list.csv", b"path,label\n", "no images with a class to train on; there are 0 in all"),
        ("list.parquet", b"no such thing", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: {message}") as caught:
        opened(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_images_inside_parquet_are_another_kind(tmp_path):
    rows = [{"image": {"bytes": b"x", "path": None}, "label": 0}]
    with pytest.raises(DataError, match=r"the images themselves are in it, in 'image'; write hf:.*list\.parquet"):
        opened(write_parquet(tmp_path / "list.parquet", rows))


@pytest.mark.parametrize(
    ("given", "right"), [("folder:list.csv", "table:list.csv"), ("table:mine", "folder:mine"), ("folder:set", "hf:set")]
)
def test_another_kind_than_it_is_read_as_is_said(tmp_path, rows, monkeypatch, given, right):
    write_csv(tmp_path / "list.csv", rows)
    write_parquet(tmp_path / "set" / "data" / "train.parquet", rows)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=rf"{given}: is read as {right}; write that"):
        open_source(DataRef.parse(given))
