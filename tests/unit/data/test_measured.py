"""Images that are only to be measured on: a test split alone will do."""

import re

import pytest
from own_images import files_of, packed

from nxt.data.dataset import divided
from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import DataError


def opened(data, hold_out=True):
    return open_source(DataRef.parse(data), to_train=False, hold_out=hold_out)


def counts(source):
    splits = ("train", "val", "test") if source.has_val else ("train", "test")
    return {split: len(source.labels(split)) for split in splits}


@pytest.mark.parametrize("kind", ["folder", "zip", "uri"])
@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("val",), {"train": 0, "test": 6}),
        (("test",), {"train": 0, "test": 6}),
        (("validation", "test"), {"train": 0, "val": 6, "test": 6}),
        (("train", "val"), {"train": 6, "test": 6}),
    ],
)
def test_splits_without_one_to_train_on_will_do(tmp_path, kind, splits, expected):
    data = packed(kind, files_of(splits), tmp_path)
    source = opened(data)
    assert (counts(source), source.classes, source.has_test) == (expected, ("cat", "dog"), True)
    assert source.called("test", 0) == "cat/0.png" and source.size == 10
    if "train" not in splits:
        with pytest.raises(DataError, match="no folder 'train' in it"):
            open_source(DataRef.parse(data))
        with pytest.raises(DataError, match="no images to train on"):
            divided(source)


def test_a_split_itself_is_a_test_split_where_others_lie_beside_it(tmp_path):
    root = packed("folder", files_of(("train", "val")), tmp_path)
    assert counts(opened(f"{root}/val")) == {"train": 0, "test": 6}
    for refused in (lambda: open_source(DataRef.parse(f"{root}/val")), lambda: opened(f"{root}/train")):
        with pytest.raises(DataError, match=re.escape(f"no folder 'train' in it; did you mean {root}?")):
            refused()


@pytest.mark.parametrize("kind", ["folder", "tar", "csv"])
def test_without_splits_all_are_the_test_split_unless_some_are_held_out(tmp_path, kind):
    data = packed(kind, files_of(("",), count=5), tmp_path)
    held_out, whole = opened(data), opened(data, hold_out=False)
    assert (counts(held_out), held_out.has_test) == ({"train": 8, "test": 2}, False)
    assert (counts(whole), whole.has_test, whole.notes) == ({"train": 0, "test": 10}, True, ())
    assert whole.labels("test").tolist() == [0] * 5 + [1] * 5


def test_images_that_cannot_be_read_are_left_out_of_a_test_split_alone(tmp_path):
    files = files_of(("val",))
    files["val/dog/1.png"] = b"no image"
    told = []
    source = without_bad(opened(packed("folder", files, tmp_path)), told.append, workers=0)
    assert counts(source) == {"train": 0, "test": 5} and "val/dog/1.png" in told[0]
    files |= dict.fromkeys([name for name in files if "dog" in name], b"no image")
    with pytest.raises(DataError, match="no test image of class 'dog' is readable"):
        without_bad(opened(packed("folder", files, tmp_path)), told.append, workers=0)


def test_a_folder_without_images_is_told_what_was_expected(tmp_path):
    with pytest.raises(DataError, match="no folder 'val' in it; expected val/CLASS/image files, or CLASS/image files"):
        opened(f"folder:{tmp_path}")
