"""Images in tar shards: which tars, which split and class, and what is missing or damaged."""

import os
import pickle

import numpy as np
import own_images
import pytest

from nxt.data.dataset import divided
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import DataError

FILES = own_images.files_of(splits=("",), classes=("cat", "dog", "eel"), count=10)


def opened(path):
    return open_source(DataRef.of(f"shards:{path}"))


def images(source, split="train"):
    return [np.asarray(source.open(split, row)) for row in range(len(source.labels(split)))]


def shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    return own_images.tarred(members, path)


def numbered(members, folder, order, of_shard=7):
    """Write images as 000000.png with a number as class, in some order."""
    for start in range(0, len(order), of_shard):
        inside = {}
        for place in order[start : start + of_shard]:
            name, content = members[place]
            inside |= {f"{place:06}.png": content, f"{place:06}.cls": b"%d\n" % ("cat", "dog", "eel").index(name[:3])}
        shard(folder / f"part-{start:03}.tar", inside)


def test_the_same_images_in_a_folder_and_in_shards_in_any_order_are_divided_alike(tmp_path):
    folder = open_source(DataRef.parse(own_images.packed("folder", FILES, tmp_path)))
    members = sorted(FILES.items())
    expected = divided(folder, 0.5)
    for name, order in (("a", range(30)), ("b", np.random.default_rng(0).permutation(30).tolist())):
        numbered(members, tmp_path / name, order)
        source = opened(tmp_path / name)
        assert source.classes == ("0", "1", "2") and source.called("train", 0) == "0/" + folder.called("train", 0)[
            4:
        ].rjust(10, "0")
        assert all(
            np.array_equal(a, b) for a, b in zip(divided(source, 0.5), expected, strict=True) if not isinstance(a, str)
        )
        for split in ("train", "test"):
            assert all(np.array_equal(a, b) for a, b in zip(images(source, split), images(folder, split), strict=True))


def test_shards_are_named_by_a_folder_a_pattern_or_a_range(tmp_path):
    pattern = own_images.sharded(own_images.files_of(), tmp_path / "s")
    found = [opened(path) for path in (pattern, tmp_path / "s")]
    assert found[0].identity() == found[1].identity() and found[0].has_test
    source = opened(tmp_path / "s" / "mine-train-{0000..0001}.tar")
    assert not source.has_test and len(source.labels("train")) < len(found[0].labels("train"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("imagenet-train-0001", "train"),
        ("imagenet1k-validation-07", "val"),
        ("val", "val"),
        ("TEST_3", "test"),
        ("evaluate-1", "train"),
    ],
)
def test_a_word_in_a_shards_name_is_its_split(tmp_path, name, split):
    for part, at in (("train-0", 0), (name, 1)):
        inside = {
            f"{c}{at}{i}.{kind}": content
            for c in "ab"
            for i in range(4)
            for kind, content in (("png", own_images.encoded((at, i, ord(c)))), ("cls", c.encode()))
        }
        shard(tmp_path / f"{part}.tar", inside)
    source = opened(tmp_path)
    assert source.has_test == (split != "train") and (len(source.labels("train")) == 8) == source.has_test


def test_other_members_are_passed_over_and_keys_may_lie_in_folders(tmp_path):
    inside = {}
    for number in range(8):
        inside |= {
            f"./part/{number}.jpg": own_images.encoded((number, 0, 0), suffix="jpg"),
            f"./part/{number}.cls": b"a" if number % 2 else b"b",
            f"./part/{number}.json": b"{}",
            f"./part/{number}.seg.png": own_images.encoded((0, 0, 0)),
        }  # fmt: skip
    shard(tmp_path / "x.tar", inside)
    source = opened(tmp_path / "x.tar")
    assert len(source.labels("train")) + len(source.labels("test")) == 8 and source.called("train", 0).endswith(".jpg")


def test_a_source_of_shards_is_sent_to_other_processes(tmp_path):
    source = opened(own_images.sharded(own_images.files_of(), tmp_path / "s"))
    again = pickle.loads(pickle.dumps(source))
    assert all(np.array_equal(a, b) for a, b in zip(images(again), images(source), strict=True))


PICTURE = own_images.encoded((1, 2, 3))


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"1.png": PICTURE, "1.cls": b"a", "2.png": PICTURE}, r"x\.tar: a member is missing: 2\.png has no cls"),
        ({"1.png": PICTURE, "1.cls": b"a", "2.cls": b"b"}, r"x\.tar: a member is missing: 2\.cls has no image"),
        ({"1.png": PICTURE, "1.jpg": PICTURE, "1.cls": b"a"}, r"x\.tar: '1' has two images, 1\.png and 1\.jpg"),
        ({"1.png": PICTURE, "1.cls": b"\xff"}, r"x\.tar: not readable as an uncompressed tar \('utf-8' codec"),
        ({"1.cls": b"a", "1.png": PICTURE}, r"1 class\(es\) with images; classification needs at least two"),
        ({"1.json": b"{}"}, "no images with a class to train on"),
    ],
)  # fmt: skip
def test_what_is_missing_in_a_shard_is_one_line(tmp_path, members, said):
    shard(tmp_path / "x.tar", members)
    with pytest.raises(DataError, match=said) as error:
        opened(tmp_path / "x.tar")
    assert "\n" not in str(error.value)


def test_shards_that_are_not_there_twice_there_or_damaged_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"shards:.*/x-\*\.tar: no such shards; write a folder of tars, or a pattern"):
        opened(tmp_path / "x-*.tar")
    members = {f"{c}.{kind}": content for c in "ab" for kind, content in (("png", PICTURE), ("cls", c.encode()))}
    whole = shard(tmp_path / "x-0.tar", members)
    with pytest.raises(DataError, match=r"x-1\.tar: no such shard; 1 of 2 are there"):
        opened(tmp_path / "x-{0..1}.tar")
    shard(tmp_path / "x-1.tar", members)
    with pytest.raises(DataError, match=r"'a' is twice in the train split, in x-0\.tar and x-1\.tar"):
        opened(tmp_path / "x-*.tar")
    (tmp_path / "x-2.tar").write_bytes(whole.read_bytes()[:1024])
    with pytest.raises(DataError, match=r"x-2\.tar: not readable as an uncompressed tar"):
        opened(tmp_path / "x-2.tar")
    own_images.tarred(members, tmp_path / "x-3.tar.gz")
    with pytest.raises(DataError, match=r"x-3\.tar\.gz: not readable as an uncompressed tar"):
        opened(tmp_path / "x-3.tar.gz")


def test_a_shard_that_is_cut_off_while_it_is_read_names_the_image(tmp_path):
    pattern = own_images.sharded(own_images.files_of(), tmp_path / "s")
    source = opened(pattern)
    for path in (tmp_path / "s").glob("*.tar"):
        os.truncate(path, 530)
    with pytest.raises(DataError, match=r"cat/0\.png: not readable as an image \(mine-train-0000\.tar is cut off\)"):
        source.open("train", 0)
