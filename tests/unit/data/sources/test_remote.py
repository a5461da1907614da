"""Images at a URI, by pyarrow's file systems: the same as in a folder, and one line if they cannot be reached."""

import pickle

import numpy as np
import own_images
import pytest

from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.data.sources.remote import Uri
from nxt.errors import DataError


def test_a_uri_keeps_its_slashes_when_it_is_joined_and_printed():
    uri = Uri("s3://bucket/mine")
    assert f"{uri}" == "s3://bucket/mine" and str(uri / "cat" / "0.png") == "s3://bucket/mine/cat/0.png"
    assert (uri.name, str(uri.parent)) == ("mine", "s3://bucket")
    assert str(Uri("file:///a/b").parent / "c") == "file:///a/c"


def test_images_at_a_uri_are_those_of_the_folder_in_another_process_too(tmp_path):
    files = own_images.files_of(count=6)
    folder = open_source(DataRef.parse(own_images.packed("folder", files, tmp_path)))
    there = open_source(DataRef.of(f"folder:{(tmp_path / 'mine').as_uri()}"))
    assert there.identity() == folder.identity() and there.name == f"folder:{(tmp_path / 'mine').as_uri()}"
    there.open("train", 0)
    sent = pickle.dumps(there)
    assert b"FileSystem" not in sent  # which would have the keys of a bucket in it
    again = pickle.loads(sent)
    for split in ("train", "test"):
        rows = np.arange(len(folder.labels(split)))
        assert np.array_equal(again.labels(split), folder.labels(split))
        assert np.array_equal(again.images(split, rows, 8), folder.images(split, rows, 8))


@pytest.mark.parametrize("query", ["", "?use_mmap=false"])
def test_what_cannot_be_read_at_a_uri_is_named_by_it_without_its_query(tmp_path, query):
    uri = (tmp_path / "mine").as_uri()
    own_images.packed("folder", {**own_images.files_of(), "train/cat/0.png": b"none"}, tmp_path)
    source = open_source(DataRef.of(f"folder:{uri}{query}"))
    with pytest.raises(DataError, match=rf"^{uri}/train/cat/0\.png: not readable as an image \(of no known format\)"):
        source.open("train", 0)
    (tmp_path / "mine" / "train" / "cat" / "1.png").unlink()
    with pytest.raises(DataError, match=rf"^{uri}/train/cat/1\.png: not readable as an image \(.*No such file"):
        source.open("train", 1)
    (tmp_path / "mine" / "test" / "fox").mkdir()
    with pytest.raises(DataError, match=rf"^{uri}/test/fox: the training images have no class 'fox'"):
        open_source(DataRef.of(f"folder:{uri}{query}"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("folder:{uri}/none", r"^folder:file://.*/none: no such folder$"),
        ("folder:{uri}/a.zip", "a file; at a URI images are read from folders alone"),
        ("folder:ftp://host/mine", r"^folder:ftp://host/mine: cannot be reached \(Unrecognized filesystem type"),
        ("table:{uri}/a.csv", "at a URI images are read from folders alone: folder:file://"),
        ("hf:s3://bucket/a", "at a URI images are read from folders alone: folder:s3://bucket/a"),
        ("shards:s3://bucket/a.tar", "at a URI images are read from folders alone: folder:s3://bucket/a.tar"),
    ],
)
def test_a_uri_of_no_folder_of_images_is_one_line(tmp_path, data, said):
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(DataError, match=said) as error:
        open_source(DataRef.of(data.format(uri=tmp_path.as_uri())))
    assert "\n" not in str(error.value)
