"""Where checkpoints are kept: a folder and a URI behave alike."""

from pathlib import Path

import pytest

from nxt.errors import ConfigError
from nxt.search.engine.checkpoints import Storage

KINDS = [str, Path.as_uri]
ABSURD = ["nonsense://bucket/x", "://", "file://", "http://example.org/x", "s3:/\0://", "a b://c"]


@pytest.fixture(params=KINDS, ids=["folder", "uri"])
def storage(request, tmp_path):
    made = Storage(request.param(tmp_path / "a" / "b c" / "trials"))
    made.prepare()
    return made


def files(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file())


def test_what_was_written_is_read(storage, tmp_path):
    content = bytes(range(256)) * 5000
    storage.write("7.pt", content)
    assert storage.read("7.pt") == content
    assert files(tmp_path) == ["7.pt"]
    assert (tmp_path / "a" / "b c" / "trials" / "7.pt").read_bytes() == content


def test_another_object_for_the_same_place_reads_it_too(storage):
    storage.write("7.pt", b"abc")
    assert Storage(storage.place).read("7.pt") == b"abc"


def test_an_empty_file_is_not_a_missing_one(storage):
    storage.write("7.pt", b"")
    assert storage.read("7.pt") == b""


def test_writing_again_replaces(storage, tmp_path):
    storage.write("7.pt", b"long and old")
    storage.write("8.pt", b"other")
    storage.write("7.pt", b"new")
    assert storage.read("7.pt") == b"new" and storage.read("8.pt") == b"other"
    assert files(tmp_path) == ["7.pt", "8.pt"]


def test_what_was_removed_is_gone_and_may_be_removed_again(storage, tmp_path):
    storage.write("7.pt", b"abc")
    storage.remove("7.pt")
    storage.remove("7.pt")
    assert storage.read("7.pt") is None and files(tmp_path) == []


def test_what_was_never_written_is_missing(storage):
    assert storage.read("7.pt") is None
    storage.remove("7.pt")


@pytest.mark.parametrize("kind", KINDS, ids=["folder", "uri"])
def test_a_place_that_does_not_exist_holds_nothing(kind, tmp_path):
    storage = Storage(kind(tmp_path / "no" / "such"))
    assert storage.read("7.pt") is None
    storage.remove("7.pt")
    assert list(tmp_path.iterdir()) == []


def test_preparing_leaves_no_file_and_what_is_there_stays(storage, tmp_path):
    assert files(tmp_path) == []
    storage.write("7.pt", b"abc")
    Storage(storage.place).prepare()
    assert files(tmp_path) == ["7.pt"] and storage.read("7.pt") == b"abc"


def refusal(place):
    with pytest.raises(ConfigError) as caught:
        Storage(place).prepare()
    text = str(caught.value)
    assert text.startswith(f"{place}: checkpoints cannot be stored there (") and text.endswith(")")
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize("kind", KINDS, ids=["folder", "uri"])
def test_a_file_in_the_way_is_one_line_of_error(kind, tmp_path):
    (tmp_path / "x").write_text("here")
    for place in (tmp_path / "x", tmp_path / "x" / "y"):
        refusal(kind(place))
    assert (tmp_path / "x").read_text() == "here"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write")
@pytest.mark.parametrize("kind", KINDS, ids=["folder", "uri"])
@pytest.mark.parametrize("place", ["/proc/self", "/proc/self/x"])
def test_a_folder_that_cannot_be_written_is_one_line_of_error(kind, place):
    refusal(kind(Path(place)))


@pytest.mark.parametrize("place", ABSURD)
def test_a_uri_that_leads_nowhere_is_one_line_of_error(place):
    with pytest.raises(ConfigError) as caught:
        Storage(place).prepare()
    assert "checkpoints cannot be stored there" in str(caught.value) and "\n" not in str(caught.value)


def test_local_files_lie_in_the_storage_folder_or_for_a_uri_on_this_machine(tmp_path):
    assert Storage(str(tmp_path)).local("7.hung") == tmp_path / "7.hung"
    places = ["s3://bucket/one", "s3://bucket/two", f"s3://bucket/{'deep/' * 100}end"]
    found = [Storage(place).local("7.hung") for place in places]
    assert len(set(found)) == 3
    for path in found:
        path.write_text("x")
        path.unlink()
