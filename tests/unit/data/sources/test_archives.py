"""Archives are read without unpacking; what is odd or wrong in one is said on one line."""

import stat
import tarfile
import zipfile

import numpy as np
import pytest
from own_images import encoded, files_of, tarred, zipped

from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources import archives, open_source
from nxt.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def opened(path):
    return open_source(DataRef("folder", str(path)))


def written(files, ending, tmp_path):
    return (zipped if ending == "zip" else tarred)(files, tmp_path / f"mine.{ending}")


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_one_folder_around_all_is_passed_over_and_what_systems_add_is_left_out(tmp_path, ending):
    files = {f"flowers/{name}": content for name, content in files_of().items()}
    files |= {
        "__MACOSX/flowers/train/cat/._0.png": b"x",
        "flowers/.DS_Store": b"x",
        "flowers/train/cat/Thumbs.db": b"x",
    }
    source = opened(written(files, ending, tmp_path))
    assert source.classes == ("cat", "dog") and len(source.labels("train")) == 6
    assert source.called("train", 0) == "cat/0.png"
    (note,) = source.notes
    assert "1 hidden files or folders (such as .DS_Store)" in note
    assert "1 files of other kinds (such as train/cat/Thumbs.db)" in note


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_class_folders_alone_may_have_a_folder_around_them(tmp_path, ending):
    for around in ("", "flowers/"):
        files = {f"{around}{name}": content for name, content in files_of(("",), count=5).items()}
        source = opened(written(files, ending, tmp_path))
        assert source.classes == ("cat", "dog") and len(source.labels("test")) == 2


def test_a_split_alone_is_no_folder_around_all(tmp_path):
    source = opened(zipped(files_of(("train",), count=5), tmp_path / "a.zip"))
    assert source.classes == ("cat", "dog") and source.called("train", 0).startswith("cat/")
    with pytest.raises(
        DataError, match=r"b\.zip: no folder 'train' in it; expected train/CLASS/image files, or CLASS/"
    ):
        opened(zipped(files_of(("test",)), tmp_path / "b.zip"))


@pytest.mark.parametrize("ending", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_compressed_tar_is_made_plain_once(tmp_path, cache, ending):
    path = tarred(files_of(), tmp_path / f"mine.{ending}")
    first = opened(path)
    (plain,) = cache.glob("*.tar")
    stamp = plain.stat().st_mtime_ns
    assert opened(path).identity() == first.identity() and plain.stat().st_mtime_ns == stamp
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=rf"mine\.{ending}: is damaged \(") as caught:
        opened(path)
    assert "\n" not in str(caught.value) and len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", "/proc/none")
    with pytest.raises(DataError, match=r"/proc/none.*; set NXT_CACHE to another folder"):
        opened(tarred(files_of(), tmp_path / "mine.tar.gz"))


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../train/cat/x.png", "/train/cat/x.png", "train/../../x.png"])
def test_a_name_outside_of_the_archive_is_refused(tmp_path, ending, name):
    with pytest.raises(DataError, match=rf"mine\.{ending}: has a file '.*', outside of its own folder; pack it again"):
        opened(written({**files_of(), name: b"x"}, ending, tmp_path))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 and no more", b"Rar!\x1a\x07\x01\x00"])
def test_a_file_that_is_no_archive_is_named(tmp_path, content):
    for name, message in (
        ("a.zip", "is no zip archive, or is cut off"),
        ("a.rar", "no folder, and not readable as a zip"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name}: {message}") as caught:
            opened(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_an_archive_cut_off_anywhere_is_named(tmp_path, ending):
    path = written(files_of(), ending, tmp_path)
    whole = path.read_bytes()
    content = len(whole) if ending == "zip" else 12 * 1024
    for length in (*range(0, content, 512), content - 700, content - 1):  # at the ends of members, and inside them
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"mine\.{ending}") as caught:
            opened(path)
        assert "\n" not in str(caught.value)


def test_an_encrypted_archive_is_refused(tmp_path):
    path = zipped(files_of(), tmp_path / "a.zip", zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"'train/cat/0\.png' is encrypted; pack it again without a password"):
        opened(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_a_bad_image(tmp_path, compression):
    files = files_of()
    path = zipped(files, tmp_path / "a.zip", compression)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("train/cat/1.png").header_offset + 30 + len("train/cat/1.png")
    content[start + 40] ^= 255
    path.write_bytes(content)
    source = opened(path)
    with pytest.raises(DataError, match=r"cat/1\.png: not readable as an image \(the archive is damaged here\)"):
        source.open("train", 1)
    told = []
    assert len(without_bad(source, told.append, workers=0).labels("train")) == 5 and len(told) == 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_compressed_otherwise_is_said(tmp_path, compression):
    source = opened(zipped(files_of(), tmp_path / "a.zip", compression))
    with pytest.raises(DataError, match="compressed by another method than deflate; pack the archive again"):
        source.open("train", 0)


def test_a_member_that_unpacks_to_more_than_an_image_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST", 5_000)
    files = {**files_of(), "train/cat/1.png": bytes(10_000)}
    source = opened(zipped(files, tmp_path / "a.zip"))
    with pytest.raises(DataError, match=r"cat/1\.png: not readable as an image \(it takes .*more than an image does"):
        source.open("train", 1)


def test_links_in_an_archive_are_counted_and_not_followed(tmp_path):
    for path in (tmp_path / "a.zip", tmp_path / "a.tar"):
        if path.suffix == ".zip":
            zipped(files_of(), path)
            with zipfile.ZipFile(path, "a") as archive:
                info = zipfile.ZipInfo("train/cat/link.png")
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(info, "/etc/passwd")
        else:
            tarred(files_of(), path)
            with tarfile.open(path, "a") as archive:
                info = tarfile.TarInfo("train/cat/link.png")
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
        source = opened(path)
        assert len(source.labels("train")) == 6
        assert "1 links inside the archive (such as train/cat/link.png)" in source.notes[0]


def test_of_two_members_with_one_name_the_last_counts(tmp_path):
    path = zipped(files_of(), tmp_path / "a.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/cat/0.png", encoded((7, 7, 7)))
    source = opened(path)
    assert len(source.labels("train")) == 6 and np.asarray(source.open("train", 0))[0, 0].tolist() == [7, 7, 7]


def test_names_in_utf8_are_read_also_where_the_zip_does_not_say_so(tmp_path):
    files = {name.replace("cat", "kočka"): content for name, content in files_of().items()}
    path = zipped(files, tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x01\x02", 9), (b"PK\x03\x04", 7)):
        start = content.find(mark)
        while start >= 0:
            content[start + place] &= ~8
            start = content.find(mark, start + 4)
    path.write_bytes(content)
    assert opened(path).classes == ("dog", "kočka")
