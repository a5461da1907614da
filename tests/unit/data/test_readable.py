"""Images that cannot be read are left out, each with a word about it."""

import pickle

import numpy as np
import pytest
from PIL import Image
from splits import load_split

from nxt.data.dataset import load_train
from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one core


@pytest.fixture
def root(tmp_path):
    for split in ("train", "val", "test"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(4):
                noise = np.random.default_rng([label, index]).integers(0, 256, (20, 24, 3), dtype=np.uint8)
                noise[0, 0] = 0
                Image.fromarray(noise).save(tmp_path / split / name / f"{index}.jpg")
    return tmp_path


def spoil(root):
    """Spoil one image in each way; return their names in the order of the data."""
    whole = (root / "train" / "dog" / "0.jpg").read_bytes()
    contents = {
        "train/cat/0.jpg": b"",
        "train/cat/2.jpg": b"no image at all",
        "train/dog/0.jpg": whole[: len(whole) // 2],
        "val/dog/3.jpg": whole[:100],
        "test/cat/1.jpg": b"GIF89a",
    }
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return list(contents)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_unreadable_image_is_told_by_name_and_left_out(root, workers):
    expected = load_split(open_source(DataRef("folder", str(root))), "train", 20)
    names, told, seen = spoil(root), [], []
    source = open_source(DataRef("folder", str(root)))
    kept = without_bad(source, told.append, lambda done, total: seen.append((done, total)), workers)
    assert [message.partition(": not readable as an image (")[0] for message in told] == [str(root / n) for n in names]
    assert all(message.endswith(")") and "\n" not in message for message in told)
    assert seen[-1] == (24, 24)
    assert [len(kept.labels(split)) for split in ("train", "val", "test")] == [5, 7, 7]
    good = [1, 3, 5, 6, 7]
    split = load_split(kept, "train", 20)
    assert split.labels.tolist() == [0, 0, 1, 1, 1] and np.array_equal(split.images, expected.images[good])
    for row, index in enumerate(good):
        assert np.array_equal(np.asarray(kept.open("train", row)), np.asarray(source.open("train", index)))
    assert len(load_train(kept, 20).val) == 7


def test_a_source_without_bad_images_stays_itself(root):
    source = open_source(DataRef("folder", str(root)))
    assert without_bad(source, lambda message: pytest.fail(message), workers=0) is source
    digits = open_source(DataRef("digits"))
    assert without_bad(digits, lambda message: pytest.fail(message), workers=0) is digits


def test_what_is_left_is_other_data_and_the_same_every_time(root):
    whole = open_source(DataRef("folder", str(root))).identity()
    spoil(root)
    spoilt = open_source(DataRef("folder", str(root)))
    first, second = (
        without_bad(open_source(DataRef("folder", str(root))), lambda message: None, workers=0) for _ in range(2)
    )
    assert first.identity() == second.identity()
    assert len({whole, spoilt.identity(), first.identity()}) == 3
    sent = pickle.loads(pickle.dumps(first))
    assert np.array_equal(np.asarray(sent.open("val", 6)), np.asarray(first.open("val", 6)))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("train/dog/*", r"no training image of class 'dog' is readable; remove the class"),
        ("val/*/*", "no image of the val split is readable"),
        ("test/*/*", "no image of the test split is readable"),
    ],
)
def test_nothing_left_is_an_error(root, pattern, message):
    for file in root.glob(pattern):
        file.write_bytes(b"")
    with pytest.raises(DataError, match=message):
        without_bad(open_source(DataRef("folder", str(root))), lambda message: None, workers=0)


def test_a_class_may_be_gone_from_another_split_than_train(root):
    for file in (root / "test" / "dog").iterdir():
        file.write_bytes(b"")
    assert (
        without_bad(open_source(DataRef("folder", str(root))), lambda message: None, workers=0).labels("test").tolist()
        == [0] * 4
    )
