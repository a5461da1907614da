"""References to data: what they are read from, and that they mean the same from any folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from nxt.data.ref import KINDS, DataRef
from nxt.errors import DataError


@pytest.mark.parametrize(
    "text",
    [
        "digits",
        "cifar10",
        "cifar100:/a",
        "folder:a b/c:d",
        "table:a.csv",
        "hf:a",
        "shards:a-{0..9}.tar",
        "folder:s3://b/c",
    ],
)
def test_text_comes_back_from_a_reference(text):
    assert str(DataRef.parse(text)) == text


def test_the_path_is_what_follows_the_first_colon():
    assert DataRef.parse("folder:a b/c:d") == DataRef("folder", "a b/c:d")
    assert DataRef.parse("cifar10") == DataRef.parse("cifar10:") == DataRef("cifar10")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            "",
            "known are digits, cifar10[:PATH], cifar100[:PATH], folder:PATH (also a zip or tar, or a URI)",
        ),
        ("CIFAR10", "did you mean 'cifar10'?"),
        ("digits:/x", "did you mean 'digits'?"),
        ("imagenet", "known are digits"),
        ("pics", "for the images in that folder write folder:pics"),
        ("pics.tgz", "for the images in that file write folder:pics.tgz"),
        ("list.csv", "for the images in that file write table:list.csv"),
    ],
)
def test_what_names_no_data_is_refused_with_a_hint(tmp_path, monkeypatch, text, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pics").mkdir()
    for name in ("pics.tgz", "list.csv"):
        (tmp_path / name).touch()
    with pytest.raises(DataError) as error:
        DataRef.parse(text)
    assert str(error.value).startswith(f"no data set is called {text!r}; ") and hint in str(error.value)


def test_a_reference_means_the_same_from_any_folder_and_is_shown_as_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").symlink_to(tmp_path / "elsewhere")
    assert DataRef.of("folder:a b/c:d") == DataRef("folder", f"{tmp_path}/a b/c:d")
    assert DataRef.of("folder:there") == DataRef("folder", f"{tmp_path}/there")  # a link that is moved still serves
    assert DataRef.of(DataRef("cifar10", "~/x")) == DataRef("cifar10", f"{Path.home()}/x")
    assert DataRef.of("folder:~nosuchuser/x") == DataRef("folder", f"{tmp_path}/~nosuchuser/x")  # as in a shell
    assert DataRef.of("folder:../x/../y") == DataRef("folder", f"{tmp_path.parent}/y")
    for same in (DataRef("digits"), DataRef("cifar10")):
        assert same.absolute() == same
    assert DataRef("folder", f"{tmp_path}/mine").display == DataRef("folder", "mine").display == "folder:mine"
    assert DataRef("folder", "/elsewhere").display == "folder:/elsewhere" and DataRef("digits").display == "digits"


def test_references_and_requests_are_read_without_torch():
    code = "import sys, nxt.data.ref, nxt.train.request, nxt.search.request; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_every_kind_is_a_word_that_is_its_own_reference():
    assert [str(DataRef.parse(kind)) for kind in KINDS] == list(KINDS)


def test_a_uri_is_the_same_from_everywhere():
    data = DataRef.of("folder:s3://bucket/mine")
    assert data.path == "s3://bucket/mine" and data.is_uri and data.display == "folder:s3://bucket/mine"
    assert data.name == "mine" and not DataRef.of("folder:mine").is_uri


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b-{000..099}.tar", "b"),
        ("a/b_train-*.tar", "b_train"),
        ("a/*.tar", "a"),
        ("a/b", "b"),
        ("{0..9}.tar", "shards"),
    ],
)
def test_shards_are_named_by_what_all_of_them_have(path, name):
    assert DataRef("shards", path).name == name
