"""Every kind of image in every kind of source is decoded alike; splits and what is told of them do not depend on it."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
from own_images import KINDS, encoded, files_of, packed
from PIL import Image
from splits import load_split

from nxt.data.cache import decoded
from nxt.data.dataset import divided
from nxt.data.preprocess import Preprocess
from nxt.data.processes import Workers
from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources import image_files, open_source
from nxt.data.stream import Reader, Task
from nxt.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one core


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def opened(kind, files, where):
    return open_source(DataRef.of(packed(kind, dict(sorted(files.items())), where)))


def turned():
    """A JPEG that is red on its left, by its EXIF orientation on its right."""
    image = Image.new("RGB", (24, 16), (250, 0, 0))
    image.paste((0, 0, 250), (12, 0, 24, 16))
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 3
    image.save(file, "JPEG", exif=exif, quality=95)
    return file.getvalue()


def sixteen_bits():
    file = io.BytesIO()
    Image.fromarray(np.full((16, 24), 0x8000, dtype=np.uint16)).save(file, "PNG")
    return file.getvalue()


def transparent():
    file = io.BytesIO()
    Image.new("RGBA", (24, 16), (0, 0, 0, 0)).save(file, "PNG")
    return file.getvalue()


def animated():
    file = io.BytesIO()
    frames = [Image.new("RGB", (24, 16), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def bomb():
    content = encoded((1, 2, 3))
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


IMAGES = {  # bytes, and the colour at the left and at the right, or why it is not readable
    "exif": (turned(), ((0, 0, 250), (250, 0, 0))),
    "cmyk": (encoded((250, 250, 250), (24, 16), "jpg", "CMYK"), ((250, 250, 250),) * 2),
    "palette": (encoded((255, 0, 0), (24, 16), "png", "P"), ((255, 0, 0),) * 2),
    "16 bits": (sixteen_bits(), ((128, 128, 128),) * 2),
    "grey": (encoded((99, 99, 99), (24, 16), "png", "L"), ((99, 99, 99),) * 2),
    "transparent": (transparent(), ((255, 255, 255),) * 2),
    "animated": (animated(), ((250, 0, 0),) * 2),
    "truncated": (encoded((1, 2, 3), (200, 200), "jpg")[:500], "not readable as an image"),
    "no image": (b"text", "of no known format"),
    "empty": (b"", "of no known format"),
    "bomb": (bomb(), "decompression bomb"),
    "float": (encoded(1, (24, 16), "tiff", "F"), "range is unknown"),
}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_decoded_alike_in_any_source(tmp_path, kind, image):
    content, expected = IMAGES[image]
    files = {**files_of(), "train/cat/odd.png": content}
    source = opened(kind, files, tmp_path)
    odd = 3  # after the other three of its class
    if isinstance(expected, str):
        for read in (lambda: source.open("train", odd), lambda: source.images("train", np.array([odd]), 10)):
            with pytest.raises(DataError, match=expected) as caught:
                read()
            assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
        told = []
        kept = without_bad(source, told.append, workers=0)
        assert len(kept.labels("train")) == 6 and len(told) == 1
    else:
        whole = source.open("train", odd)
        pixels, square = np.asarray(whole).astype(int), source.images("train", np.array([odd]), 16)[0].astype(int)
        assert whole.mode == "RGB" and whole.size == (24, 16)
        for column, colour in zip((2, -3), expected, strict=True):
            assert np.abs(pixels[8, column] - colour).max() <= 6
            assert np.abs(square[:, 8, column] - colour).max() <= 6


@pytest.mark.parametrize(
    ("splits", "has_val"),
    [(("train", "test"), False), (("train", "validation", "test"), True), (("train", "val"), False)],
)
def test_splits_are_the_same_in_any_source(tmp_path, kind, splits, has_val):
    files = files_of(splits, count=4)
    source, expected = opened(kind, files, tmp_path), opened("folder", files, tmp_path / "folder")
    assert source.classes == ("cat", "dog") and source.has_val == has_val and source.has_test and source.notes == ()
    for split in ("train", "test", "val") if has_val else ("train", "test"):
        assert source.labels(split).tolist() == expected.labels(split).tolist()
        images = load_split(source, split, 10).images
        assert np.array_equal(images, load_split(expected, split, 10).images)
    assert source.size == expected.size == 10 and source.mirror and source.mean == expected.mean


@pytest.mark.parametrize("split", ["", "train"])
def test_data_without_a_test_split_is_divided_always_alike(tmp_path, kind, split):
    files = files_of((split,), count=25)
    source, again = (opened(kind, files, tmp_path / name) for name in ("one", "two"))
    assert not source.has_val and not source.has_test
    assert source.labels("test").tolist() == [0] * 5 + [1] * 5 and len(source.labels("train")) == 40
    kept, name, held = divided(source)
    assert name == "train" and len(kept) == 32 and len(held) == 8
    parts = {part: {image.tobytes() for image in load_split(source, part, 10).images} for part in ("train", "test")}
    assert len(parts["train"]) == 40 and len(parts["test"]) == 10 and not parts["train"] & parts["test"]
    assert parts == {part: {image.tobytes() for image in load_split(again, part, 10).images} for part in parts}
    assert source.identity() == again.identity()
    (note,) = source.notes
    assert "no test split, so 10 of its 50 images are held out as one" in note and "the same in every run" in note


def test_all_that_name_files_divide_the_same_files_alike(tmp_path):
    files = dict(sorted(files_of(("",), count=25).items()))
    found = [opened(kind, files, tmp_path / kind).identity() for kind in ("folder", "zip", "tar", "csv", "parquet")]
    assert len(set(found)) == 1


@pytest.mark.parametrize("split", ["", "train"])
def test_a_class_of_few_images_is_not_lost_to_the_test_split(tmp_path, split):
    files = files_of((split,), ("cat", "dog", "elk"), 10)
    few = {name: files[name] for name in files if "elk" not in name or name.endswith(("/0.png", "/1.png"))}
    source = opened("folder", few, tmp_path)
    assert np.bincount(source.labels("train")).tolist() == [8, 8, 2] and np.bincount(
        source.labels("test")
    ).tolist() == [2, 2]
    tiny = {name: content for name, content in files.items() if name.endswith(("/0.png", "/1.png"))}
    with pytest.raises(DataError, match=r"no class has three images, so that none can be held out for a test"):
        opened("folder", tiny, tmp_path / "tiny")


def test_other_processes_read_any_source(tmp_path, kind):
    """Streamed, cached, and sent by pickle."""
    source = opened(kind, files_of(count=4), tmp_path)
    sent = pickle.loads(pickle.dumps(source))
    assert sent.identity() == source.identity() and sent.labels("test").tolist() == source.labels("test").tolist()
    assert np.array_equal(np.asarray(sent.open("train", 5)), np.asarray(source.open("train", 5)))
    read = Reader(source, "train", Preprocess(size=10, mean=(0.5,) * 3, std=(0.5,) * 3))
    tasks = [Task(np.array([row])) for row in range(8)]
    here = np.stack([read(task)[0].numpy() for task in tasks])
    assert np.array_equal(np.stack([images[0].numpy() for images in Workers(read, 1).map(tasks)]), here)
    cached = decoded(source, "train", 10, tmp_path / "decoded", workers=0)
    for row in range(8):
        assert np.array_equal(np.asarray(cached.open("train", row)), np.asarray(source.open("train", row)))


def test_the_identity_follows_the_data(tmp_path, kind):
    files = files_of()
    first = opened(kind, files, tmp_path / "a").identity()
    assert opened(kind, files, tmp_path / "b").identity() == first
    more = {**files, "train/dog/9.png": encoded((9, 9, 9))}
    moved = {name.replace("train/dog/2", "train/cat/9"): content for name, content in files.items()}
    larger = {**files, "train/dog/2.png": encoded((9, 9, 9), (50, 60))}
    found = {first, *(opened(kind, data, tmp_path / f"{n}").identity() for n, data in enumerate((more, moved, larger)))}
    assert len(found) == 4


def test_images_in_two_splits_are_told_once(tmp_path, kind):
    files = files_of()
    files["test/cat/copy.png"] = files["train/cat/1.png"]
    files["test/dog/copy.png"] = files["train/cat/2.png"]
    (note,) = opened(kind, files, tmp_path).notes
    assert note.startswith("2 images are in two splits, which flatters what is measured: ") and " in test" in note


def test_images_of_one_size_are_compared_only_while_that_is_cheap(tmp_path, monkeypatch):
    files = files_of()
    files["test/cat/copy.png"] = files["train/cat/1.png"]
    for limit in ("_COMPARED", "_COMPARED_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(image_files, limit, 9)
            assert opened("folder", files, tmp_path).notes == ()


def test_images_are_named_by_where_they_are(tmp_path, kind):
    source = opened(kind, {**files_of(), "train/dog/x.png": b""}, tmp_path)
    expected = {"hf": "0", "cs": "train/cat/0.png", "pa": "train/cat/0.png"}.get(kind[:2], "cat/0.png")
    assert source.called("train", 0).removeprefix("train/" if "hf" in kind else "") == expected
    data = DataRef.of(packed(kind, files_of(), tmp_path / "again"))
    assert data.name == {"csv": "list", "parquet": "list"}.get(kind, "mine")


def test_one_class_is_no_data(tmp_path, kind):
    with pytest.raises(DataError, match=r"1 class\(es\) with images; classification needs at least two"):
        opened(kind, files_of(classes=("cat",)), tmp_path)
