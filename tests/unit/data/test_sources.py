"""Data sources and their splits: complete, disjoint, the same in every process; what is wrong with a folder is said."""

import hashlib
import os
import pickle
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from limits import LIMIT
from PIL import Image
from splits import load_split

from nxt.data.dataset import Source, Split, divided, load_train, stratified
from nxt.data.readable import without_bad
from nxt.data.ref import KINDS, DataRef
from nxt.data.sources import image_files, open_source
from nxt.errors import DataError
from nxt.search.proxy import load_proxy

SHARES = [1.0, 0.8, 0.5, 0.3, 0.1, 0.02]


def keys(split):
    """One key per image, without its position."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in split.images]


def indexed(labels, has_val=False, val_labels=()):
    """A source whose images carry their own index in their pixels, so that splits can be compared exactly."""
    by_split = {"train": np.asarray(labels), "val": np.asarray(val_labels), "test": np.asarray(labels[:4])}

    def images(_split, chosen, _side):
        pixels = np.zeros((len(chosen), 3, 4, 4), dtype=np.uint8)
        pixels[:, 0, 0, 0], pixels[:, 0, 0, 1], pixels[:, 0, 0, 2] = chosen % 256, chosen // 256 % 256, chosen // 65536
        return pixels

    return Source(
        name="indexed", classes=tuple(str(c) for c in sorted(set(labels))), mean=(0.5,) * 3, std=(0.5,) * 3,
        mirror=True, size=4, has_val=has_val, labels=by_split.__getitem__, images=images,
        open=lambda split, row: Image.fromarray(images(split, np.array([row]), 4)[0].transpose(1, 2, 0)),
        identity=lambda: "indexed",
    )  # fmt: skip


def rows(split):
    pixels = split.images[:, 0, 0, :3].astype(int)
    return set((pixels @ [1, 256, 65536]).tolist())


def paint(path, colour=(200, 30, 30), size=(12, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


def tree(root, splits, classes=("cat", "dog"), count=3):
    for split in splits:
        for c, name in enumerate(classes):
            for index in range(count):
                paint(root / split / name / f"{index}.png", (40 * c, 10 * index, len(split)))
    return root


# The bundled digits


def test_digits_have_all_images_in_train_and_test():
    source = open_source(DataRef("digits"))
    assert len(source.labels("train")) + len(source.labels("test")) == 1797
    assert source.classes == tuple("0123456789") and source.size == 32 and not source.has_val
    train = load_split(source, "train", 32)
    assert train.images.shape == (len(source.labels("train")), 3, 8, 8) and train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64 and len(train) == len(train.images)
    assert (train.images[:, 0] == train.images[:, 1]).all() and (train.images[:, 0] == train.images[:, 2]).all()


def test_digits_are_those_of_scikit_learn_in_the_same_grey_levels():
    original = pytest.importorskip("sklearn.datasets").load_digits()
    source = open_source(DataRef("digits"))
    ours = [image for name in ("train", "test") for image in keys(load_split(source, name, 8))]
    expected = np.repeat((original.images.astype(np.uint16) * 255 // 16).astype(np.uint8)[:, None], 3, axis=1)
    assert sorted(ours) == sorted(keys(Split(expected, original.target)))
    found = np.concatenate([source.labels("train"), source.labels("test")])
    assert np.bincount(found).tolist() == np.bincount(original.target).tolist()


def test_the_declared_mean_and_deviation_of_digits_are_those_of_the_training_images():
    source = open_source(DataRef("digits"))
    values = load_split(source, "train", 8).images / 255
    assert values.mean() == pytest.approx(source.mean[0], abs=2e-3)
    assert values.std() == pytest.approx(source.std[0], abs=2e-3)


def test_no_test_image_of_digits_is_trained_or_selected_on():
    data, test = load_train(open_source(DataRef("digits")), 8), load_split(open_source(DataRef("digits")), "test", 8)
    seen = set(keys(data.train)) | set(keys(data.val))
    assert not seen & set(keys(test))


def test_each_class_of_digits_gives_a_fifth_to_test_and_a_fifth_of_the_rest_to_validation():
    data, test = load_train(open_source(DataRef("digits")), 8), load_split(open_source(DataRef("digits")), "test", 8)
    total = sum(np.bincount(split.labels, minlength=10) for split in (data.train, data.val, test))
    assert np.abs(np.bincount(test.labels) - 0.2 * total).max() <= 1
    assert np.abs(np.bincount(data.val.labels) - 0.2 * 0.8 * total).max() <= 1
    assert total.sum() == 1797


def test_digits_are_split_the_same_way_in_another_process():
    code = (
        "import hashlib\nfrom nxt.data.dataset import load_train\n"
        "from nxt.data.ref import DataRef\nfrom nxt.data.sources import open_source\n"
        "data = load_train(open_source(DataRef('digits')), 8, 0.3)\n"
        "parts = (data.train.images, data.train.labels, data.val.images, data.val.labels)\n"
        "print(hashlib.sha256(b''.join(part.tobytes() for part in parts)).hexdigest())\n"
    )
    data = load_train(open_source(DataRef("digits")), 8, 0.3)
    parts = (data.train.images, data.train.labels, data.val.images, data.val.labels)
    here = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert there.stdout.strip() == here


# Shares


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("counts", [(120, 130, 90), (500, 60, 7), (40, 40, 40)])
def test_a_share_is_taken_of_every_class_and_never_overlaps_validation(share, counts):
    labels = np.repeat(np.arange(3), counts)
    whole, part = load_train(indexed(labels), 4), load_train(indexed(labels), 4, share)
    expected = [max(1, round(n * share)) for n in np.bincount(whole.train.labels)]
    assert np.bincount(part.train.labels).tolist() == expected
    assert rows(part.train) <= rows(whole.train)
    assert not rows(part.train) & rows(part.val)
    assert (labels[sorted(rows(part.train))] == part.train.labels).all()
    assert (labels[sorted(rows(part.val))] == part.val.labels).all()


@pytest.mark.parametrize("share", SHARES[1:])
def test_images_left_out_of_training_join_validation_until_it_is_as_large(share):
    labels = np.repeat(np.arange(4), 1000)
    whole, part = load_train(indexed(labels), 4), load_train(indexed(labels), 4, share)
    kept, held = len(part.train), len(whole.val)
    unused = len(whole.train) - kept
    if kept > held:
        assert len(part.val) == pytest.approx(min(kept, held + unused), abs=4)
        assert rows(whole.val) <= rows(part.val)
    else:
        assert len(part.val) == pytest.approx(min(held, max(kept, 500)), abs=4)
        assert rows(part.val) <= rows(whole.val)


def test_validation_is_ten_thousand_at_most():
    labels = np.repeat(np.arange(2), 40_000)
    assert len(load_train(indexed(labels), 4).val) == 10_000
    half = load_train(indexed(labels), 4, 0.5)
    assert len(half.val) == 10_000 and len(half.train) == 35_000


def test_a_validation_split_of_its_own_is_used_as_it_is():
    labels = np.repeat(np.arange(2), 100)
    source = indexed(labels, has_val=True, val_labels=[0, 1, 1])
    assert len(load_train(source, 4).train) == 200
    part = load_train(source, 4, 0.25)
    assert len(part.train) == 50
    assert part.val.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("has_val", [True, False])
def test_rows_are_divided_as_images_are(share, has_val):
    source = indexed(np.repeat(np.arange(2), 100), has_val=has_val, val_labels=[0, 1, 1])
    data, (kept, name, held) = load_train(source, 4, share), divided(source, share)
    assert rows(data.train) == set(kept.tolist()) and name == ("val" if has_val else "train")
    assert rows(data.val) == set(held.tolist())
    assert data.val.labels.tolist() == source.labels(name)[held].tolist()


def test_a_class_with_one_image_is_no_obstacle():
    data = load_train(indexed(np.array([0] * 50 + [1] * 50 + [2])), 4)
    assert len(data.train) + len(data.val) == 101
    assert not rows(data.train) & rows(data.val)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99, 1.0])
def test_stratified_divides_every_class_by_the_share(share):
    labels = np.random.default_rng(3).integers(0, 7, 500)
    inside, outside = stratified(labels, share, 5)
    assert np.union1d(inside, outside).tolist() == list(range(500))
    assert not set(inside) & set(outside)
    assert inside.tolist() == sorted(inside) and outside.tolist() == sorted(outside)
    for label in range(7):
        members = (labels == label).sum()
        assert (labels[inside] == label).sum() == max(1, round(members * share))


def test_stratified_depends_on_the_seed_alone():
    labels = np.arange(100) % 5
    assert stratified(labels, 0.3, 1)[0].tolist() == stratified(labels, 0.3, 1)[0].tolist()
    assert stratified(labels, 0.3, 1)[0].tolist() != stratified(labels, 0.3, 2)[0].tolist()


# Folders of images


@pytest.mark.parametrize(
    ("splits", "test", "has_val"),
    [
        (("train", "test"), "test", False),
        (("train", "val"), "val", False),
        (("train", "validation"), "validation", False),
        (("train", "valid"), "valid", False),
        (("train", "val", "test"), "test", True),
        (("train", "validation", "test"), "test", True),
    ],
)
def test_a_folder_gives_the_splits_that_it_has(tmp_path, splits, test, has_val):
    source = open_source(DataRef("folder", str(tree(tmp_path, splits))))
    assert source.has_val == has_val and source.classes == ("cat", "dog")
    found = load_split(source, "test", 10)
    assert (found.images[:, 2] == len(test)).all()  # the blue channel says where an image is from
    data = load_train(source, 10)
    if has_val:
        assert len(data.train) == 6 and len(data.val) == 6
        assert (data.val.images[:, 2] == len(splits[1])).all()
    else:
        assert len(data.train) == 4 and len(data.val) == 2
        assert (data.val.images[:, 2] == len("train")).all()
    assert not set(keys(data.train)) & set(keys(data.val))


def test_labels_are_the_alphabetic_positions_of_the_class_folders(tmp_path):
    for split in ("train", "test"):
        for name, colour in (("b", (1, 0, 0)), ("a", (0, 0, 0)), ("c", (2, 0, 0))):
            paint(tmp_path / split / name / "x.png", colour)
    found = load_split(open_source(DataRef("folder", str(tmp_path))), "train", 10)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.images[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_images_are_resized_by_the_short_side_and_cropped_at_the_centre(tmp_path):
    tree(tmp_path, ("train", "test"))
    wide = Image.new("RGB", (60, 20), (255, 0, 0))
    wide.paste((0, 255, 0), (20, 0, 40, 20))
    wide.save(tmp_path / "train" / "cat" / "0.png")
    wide.rotate(90, expand=True).save(tmp_path / "train" / "cat" / "1.png")
    found = load_split(open_source(DataRef("folder", str(tmp_path))), "train", 20)
    for image in found.images[:2]:
        assert (image[1] == 255).all() and (image[0] == 0).all()
    small = load_split(open_source(DataRef("folder", str(tmp_path))), "train", 5)
    assert small.images.shape == (6, 3, 5, 5)
    assert (small.images[:2, 1, 1:-1, 1:-1] == 255).all()


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("1", "png"), ("P", "gif")]
)
def test_images_of_other_kinds_become_colour(tmp_path, mode, suffix):
    tree(tmp_path, ("train", "test"))
    paint(tmp_path / "train" / "cat" / f"0.{suffix}", (250, 250, 250), mode=mode)
    found = load_split(open_source(DataRef("folder", str(tmp_path))), "train", 10)
    assert found.images.shape[1:] == (3, 10, 10)
    assert found.images[0].min() > 200 or suffix != "png"


@pytest.mark.parametrize(("side", "size"), [(32, 32), (64, 64), (65, None), (200, None)])
def test_the_natural_size_of_small_images_is_their_own(tmp_path, side, size):
    tree(tmp_path, ("train", "test"))
    for file in (tmp_path / "train").glob("*/*"):
        paint(file, size=(side + 5, side))
    source = open_source(DataRef("folder", str(tmp_path)))
    assert (source.size, source.notes) == (size, ())


@pytest.mark.parametrize(
    ("odd", "others", "size", "remark"),
    [
        (20, 200, None, r"the images are taken for large ones: .* from 20 px \(train/cat/0\.png\) to 200 px \(train/"),
        (200, 20, 20, r"the images are trained at 20 px: .* from 20 px .* to 200 px \(train/cat/0\.png\), by 6 looked"),
        (1, 200, None, r"the images are taken for large ones: .* from 1 px \(train/cat/0\.png\)"),
        (1, 20, 20, r"the images are trained at 20 px: .* from 1 px \(train/cat/0\.png\) to 20 px"),
    ],
)
def test_one_odd_image_does_not_decide_for_all_and_is_named(tmp_path, odd, others, size, remark):
    tree(tmp_path, ("train", "test"))
    for file in (tmp_path / "train").glob("*/*"):
        paint(file, size=(others, others))
    paint(tmp_path / "train" / "cat" / "0.png", size=(2000, odd))
    source = open_source(DataRef("folder", str(tmp_path)))
    assert source.size == size and re.match(remark, *source.notes)


def test_an_odd_image_in_class_folders_alone_is_named_by_where_it_is(tmp_path):
    tree(tmp_path, ("train",), count=8)
    for file in (tmp_path / "train").glob("*/*"):
        paint(file, size=(200, 200))
    paint(tmp_path / "train" / "cat" / "0.png", size=(20, 20))
    (tmp_path / "train").rename(tmp_path / "mine")
    notes = open_source(DataRef("folder", str(tmp_path / "mine"))).notes
    assert "from 20 px (cat/0.png) to 200 px (" in " ".join(notes)


def test_sizes_are_looked_at_all_over_the_split(tmp_path):
    """The first class alone may be of small images."""
    tree(tmp_path, ("train", "test"), count=100)
    for file in (tmp_path / "train" / "dog").iterdir():
        paint(file, size=(99, 90))
    assert "by 64 looked at" in open_source(DataRef("folder", str(tmp_path))).notes[0]


def test_hidden_folders_and_other_files_are_passed_over(tmp_path):
    tree(tmp_path, ("train", "test"))
    (tmp_path / "train" / "cat" / "._0.png").write_bytes(b"what a Mac leaves on other disks")
    (tmp_path / "train" / "cat" / "folder.jpg").mkdir()
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "test" / ".cache").mkdir()
    (tmp_path / "train" / "README").write_text("x")
    (tmp_path / "train" / "cat" / "notes.txt").write_text("x")
    assert len(open_source(DataRef("folder", str(tmp_path))).labels("train")) == 6


def test_a_test_split_with_an_empty_folder_for_one_of_the_classes_is_fine(tmp_path):
    tree(tmp_path, ("train",))
    tree(tmp_path, ("test",), classes=("dog",))
    (tmp_path / "test" / "cat").mkdir()
    assert open_source(DataRef("folder", str(tmp_path))).labels("test").tolist() == [1, 1, 1]


@pytest.mark.parametrize("split", ["test", "val", "validation"])
def test_a_split_whose_classes_are_not_those_of_train_is_named_with_the_class(tmp_path, split):
    tree(tmp_path, {"train", "test", split}, classes=("ape", "bee", "cat"))
    (tmp_path / split / "bee").rename(tmp_path / "bee")
    with pytest.raises(
        DataError, match=rf"/{split}: no folder for the class 'bee' of the training images; add it, emp"
    ):
        open_source(DataRef("folder", str(tmp_path)))
    (tmp_path / split / "ape").rename(tmp_path / "ape")
    with pytest.raises(DataError, match=rf"/{split}: no folder for the class 'ape' of .* \(nor for 1 more\); add it"):
        open_source(DataRef("folder", str(tmp_path)))
    for name in ("ape", "bee"):
        (tmp_path / name).rename(tmp_path / split / name)
    (tmp_path / split / "dog").mkdir()  # although it is empty: who made it expects something of it
    with pytest.raises(DataError, match=rf"/{split}/dog: the training images have no class 'dog'; add them to train, "):
        open_source(DataRef("folder", str(tmp_path)))


def prepare(root, problem):
    tree(root, ("train", "test"))
    if problem == "one class":
        for file in (root / "train" / "dog").iterdir():
            file.unlink()
        (root / "train" / "dog").rmdir()
    elif problem == "missing train":
        (root / "train").rename(root / "training")
    elif problem == "no images":
        for file in (root / "train").glob("*/*"):
            file.unlink()
    elif problem == "no folders":
        (root / "train").rename(root / "other")
        (root / "train").mkdir()
    elif problem == "empty class":
        (root / "train" / "zebra").mkdir()
    elif problem == "unknown class in test":
        paint(root / "test" / "horse" / "0.png")
    elif problem == "no test images":
        for file in (root / "test").glob("*/*"):
            file.unlink()


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("one class", r"train.*1 class.*at least two"),
        ("missing train", r"no folder 'train' in it; expected train/CLASS"),
        ("no images", r"train: no images in any of its 2 folders"),
        ("no folders", r"train.*0 class.*at least two"),
        ("empty class", r"zebra: no images in this class"),
        ("unknown class in test", r"test/horse: the training images have no class 'horse'"),
        ("no test images", r"test: no images; expected test/CLASS"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(tmp_path, problem, message):
    prepare(tmp_path, problem)
    with pytest.raises(DataError, match=message):
        open_source(DataRef("folder", str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 and no more"])
@pytest.mark.parametrize("index", [0, 2])
def test_an_unreadable_image_is_named(tmp_path, content, index):
    tree(tmp_path, ("train", "test"))
    (tmp_path / "train" / "cat" / f"{index}.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"cat/{index}\.png: not readable as an image.*repair or remove it"):
        load_split(open_source(DataRef("folder", str(tmp_path))), "train", 10)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tif", "ppm"])
def test_an_image_cut_off_anywhere_is_named_or_read(tmp_path, suffix):
    tree(tmp_path, ("train", "test"))
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    Image.fromarray(noise).save(whole)
    content = whole.read_bytes()
    broken = tmp_path / "train" / "dog" / f"1.{suffix}"
    lengths = sorted({*range(0, min(len(content), 140), 3), *range(140, len(content), max(1, len(content) // 20))})
    refused = read = 0
    for length in lengths:
        broken.write_bytes(content[:length])
        try:
            image_files._decode(image_files.OnDisk(broken.parent, [broken.name]), [0], 10)
        except DataError as error:
            refused += f"1.{suffix}: not readable as an image" in str(error)
        else:
            read += 1
    assert refused + read == len(lengths) and refused > read


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "of no known format"),
        (b"text that is called an image", "of no known format"),
        ("directory", "Is a directory"),
        ("nothing there", "No such file or directory"),
        (
            "bomb",
            r"Image size \(400000000 pixels\) exceeds limit of .* pixels, could be decompression bomb DOS attack.",
        ),
        pytest.param("secret", "Permission denied", marks=pytest.mark.skipif(not os.getuid(), reason="root reads all")),
    ],
)
def test_why_an_image_is_unreadable_is_said(tmp_path, content, why):
    source = open_source(DataRef("folder", str(tree(tmp_path, ("train", "test")))))
    file = tmp_path / "train" / "cat" / "1.png"
    file.unlink()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "directory":
        file.mkdir()
    elif content == "bomb":
        paint(file)
        whole = file.read_bytes()
        header = b"IHDR" + (20_000).to_bytes(4) * 2 + whole[24:29]
        file.write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4) + whole[33:])
    elif content == "secret":
        paint(file)
        file.chmod(0)
    for read in (lambda: source.open("train", 1), lambda: source.images("train", np.arange(3), 10)):
        with pytest.raises(DataError) as caught:
            read()
        ending = r"; repair or remove it, or leave such files out with `skip_bad`"
        assert re.fullmatch(rf"{file}: not readable as an image \({why}\){ending}", str(caught.value))


@pytest.mark.parametrize(
    ("target", "problem"), [("gone.png", "No such file or directory"), ("3.png", "Too many levels of symbolic links")]
)
def test_a_broken_link_to_an_image_is_an_unreadable_image(tmp_path, target, problem):
    tree(tmp_path, ("train", "test"))
    (tmp_path / "train" / "cat" / "3.png").symlink_to(target)
    source = open_source(DataRef("folder", str(tmp_path)))
    assert len(source.labels("train")) == 7 and source.identity()
    with pytest.raises(DataError, match=rf"cat/3\.png: not readable as an image \({problem}\)"):
        source.open("train", 3)
    told = []
    assert len(without_bad(source, told.append, workers=0).labels("train")) == 6 and "cat/3.png" in told[0]


@pytest.mark.parametrize("where", ["train/elk", "test/cat", "train", "val"])
@pytest.mark.parametrize("target", ["gone", None])
def test_a_folder_that_is_a_dead_link_is_not_left_out(tmp_path, where, target):
    tree(tmp_path, ("train", "test"))
    path = tmp_path / where
    if path.exists():
        path.rename(tmp_path / "moved")
    path.symlink_to(target or path)
    with pytest.raises(DataError, match=f"{where}: a link that leads nowhere; repair or remove it"):
        open_source(DataRef("folder", str(tmp_path)))


def test_a_data_set_in_a_circle_of_links_is_no_folder(tmp_path):
    (tmp_path / "data").symlink_to(tmp_path / "data")
    with pytest.raises(DataError, match="data: no such folder"):
        open_source(DataRef("folder", str(tmp_path / "data")))


def test_what_is_left_out_is_counted_on_one_line(tmp_path):
    tree(tmp_path, ("train", "test"))
    assert open_source(DataRef("folder", str(tmp_path))).notes == ()
    for name in ("train/cat/sub/a.png", "train/dog/sub/deeper/a.png", "test/cat/sub/b.jpg", "test/loose.png"):
        paint(tmp_path / name)
    (tmp_path / "train" / "cat" / "sub" / "notes.txt").write_text("in a folder that is left out anyway")
    for name in ("train/cat/drawing.eps", "train/dog/notes.txt", "train/cat/.hidden", ".DS_Store"):
        (tmp_path / name).write_text("x")
    (tmp_path / "holdout").mkdir()
    source = open_source(DataRef("folder", str(tmp_path)))
    assert len(source.labels("train")) == len(source.labels("test")) == 6
    (note,) = source.notes
    assert note == (
        f"left out of {tmp_path}: 2 hidden files or folders (such as .DS_Store), 1 folders that are no split (such as "
        "holdout), 2 files of other kinds (such as train/cat/drawing.eps), 3 images in folders inside class folders "
        "(such as test/cat/sub/b.jpg), 1 images outside the class folders (such as test/loose.png)"
    )


@pytest.mark.parametrize(
    "suffix", ["pgm", "pbm", "pnm", "jpe", "jfif", "tga", "avif", "jp2", "j2k", "pcx", "sgi", "qoi"]
)
def test_pictures_that_pillow_reads_are_read(tmp_path, suffix):
    suffix = f".{suffix}"
    Image.init()
    if Image.registered_extensions().get(suffix) not in Image.OPEN:
        pytest.skip("this Pillow has no reader for it")
    tree(tmp_path, ("train", "test"))
    image = Image.new("RGB", (12, 10), (250, 250, 250))
    image = image.convert("1") if suffix == ".pbm" else image.convert("L") if suffix == ".pgm" else image
    image.save(tmp_path / "train" / "cat" / f"0{suffix.upper()}")
    source = open_source(DataRef("folder", str(tmp_path)))
    rows = [row for row in range(7) if source.called("train", row).endswith(suffix.upper())]
    assert np.asarray(source.open("train", rows[0])).min() > 240


def test_two_names_of_the_validation_split_are_an_error(tmp_path):
    with pytest.raises(DataError, match="'val' and 'valid' both name the validation split; keep one"):
        open_source(DataRef("folder", str(tree(tmp_path, ("train", "val", "valid")))))


def test_the_natural_size_is_that_of_images_that_are_readable(tmp_path):
    tree(tmp_path, ("train", "test"))
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"")
    assert open_source(DataRef("folder", str(tmp_path))).size == 10


# Images one by one, and what the data is


@pytest.fixture(params=["digits", "folder"])
def source(request, tmp_path):
    return open_source(
        DataRef("digits")
        if request.param == "digits"
        else DataRef("folder", str(tree(tmp_path, ("train", "val", "test"))))
    )


def test_an_image_opened_alone_is_the_one_that_is_loaded_with_others(source):
    for split in ("train", "test", "val") if source.has_val else ("train", "test"):
        chosen = np.arange(len(source.labels(split)))[::-1][:5]
        for image, row in zip(source.images(split, chosen, 10), chosen, strict=True):
            alone = source.open(split, int(row))
            assert alone.mode == "RGB"
            middle = np.asarray(alone).transpose(2, 0, 1)[:, :, (alone.width - image.shape[2]) // 2 :]
            assert np.array_equal(middle[:, :, : image.shape[2]], image)


def test_a_source_can_be_sent_to_another_process(source):
    sent = pickle.loads(pickle.dumps(source))
    assert sent.identity() == source.identity() and sent.classes == source.classes
    assert sent.labels("test").tolist() == source.labels("test").tolist()
    assert np.array_equal(np.asarray(sent.open("train", 2)), np.asarray(source.open("train", 2)))


def test_the_identity_of_a_folder_is_that_of_its_files_wherever_it_is(tmp_path):
    def identity(root):
        return open_source(DataRef("folder", str(root))).identity()

    first, second = (tree(tmp_path / name, ("train", "test")) for name in ("first", "second"))
    known = {identity(first)}
    assert identity(second) in known and len(identity(first)) == 16
    paint(second / "train" / "cat" / "more.png")
    for change in (
        lambda: None,
        lambda: (second / "train" / "cat" / "more.png").rename(second / "train" / "dog" / "more.png"),
        lambda: paint(second / "train" / "dog" / "more.png", size=(300, 200)),
        lambda: (second / "train" / "dog" / "more.png").rename(second / "test" / "dog" / "more.png"),
    ):
        change()
        assert identity(second) not in known
        known.add(identity(second))


def test_the_identity_is_looked_for_once_and_only_when_asked(tmp_path, monkeypatch):
    source = open_source(DataRef("folder", str(tree(tmp_path, ("train", "test")))))
    found = source.identity()
    (tmp_path / "train" / "cat" / "0.png").unlink()
    assert source.identity() == found != open_source(DataRef("folder", str(tmp_path))).identity()


@pytest.mark.parametrize("name", ["\udcff\udcfe", "Žluťoučký kůň", "x" * 200, " ", "a\nb"])
def test_any_name_of_a_file_is_one(tmp_path, name):
    tree(tmp_path, ("train", "test"), count=1)
    paint(tmp_path / "train" / "cat" / f"{name}.png", (1, 2, 3))
    source = open_source(DataRef("folder", str(tmp_path)))
    colours = {np.asarray(source.open("train", row))[0, 0].tolist()[0] for row in range(3)}
    assert 1 in colours and len(source.identity()) == 16


def test_too_many_images_for_the_memory_are_refused_before_any_is_read(tmp_path):
    tree(tmp_path, ("train", "test"))
    with pytest.raises(DataError, match=r"6 images at 50000 px take 42 GiB.*use a smaller size or share"):
        load_split(open_source(DataRef("folder", str(tmp_path))), "train", 50_000)


# Which data set


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digit", "no data set is called 'digit'; did you mean 'digits'"),
        ("cifar", "no data set is called 'cifar'; did you mean 'cifar10'"),
        ("foldr:/x", "no data set is called 'foldr:/x'; did you mean 'folder'"),
        ("mnist", r"no data set is called 'mnist'; (did you mean|known are)"),
        ("cifar-100", "no data set is called 'cifar-100'; did you mean 'cifar100'"),
        ("", r"no data set is called ''; known are digits, cifar10\[:PATH\], cifar100\[:PATH\], folder:PATH \("),
        ("digits:/x", "no data set is called 'digits:/x'"),
        ("folder", "write folder:PATH"),
        ("folder:", "write folder:PATH"),
        ("folder:/no/such/place", "folder:/no/such/place: no such folder; write folder:PATH"),
    ],
)
def test_an_unknown_data_set_is_an_error_with_a_way_out(text, message):
    with pytest.raises(DataError, match=message):
        open_source(DataRef.parse(text))


# CIFAR


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.parametrize("by", ["path", "environment"])
def test_cifar_that_is_not_there_is_said_with_where_it_was_sought(tmp_path, monkeypatch, by, kind):
    monkeypatch.setenv("NXT_DATA", str(tmp_path if by == "environment" else tmp_path / "other"))
    with pytest.raises(DataError, match=rf"{kind}: not in {tmp_path}; add `download`, or .* with {kind}:PATH"):
        open_source(DataRef(kind, str(tmp_path) if by == "path" else ""))


def archive(root, kind, monkeypatch):
    """Write files as CIFAR's, of few images each; return images (N, 3, 32, 32) and labels of "train" and "test".

    Only torchvision's checksums are changed, since they are those of the true files.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    dataset, classes = (CIFAR10, 10) if kind == "cifar10" else (CIFAR100, 100)
    folder = root / dataset.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = {}
    for split, attribute in (("train", "train_list"), ("test", "test_list")):
        names = [name for name, _ in getattr(dataset, attribute)]
        monkeypatch.setattr(dataset, attribute, [(name, None) for name in names])
        parts = [(rng.integers(0, 256, (200, 3, 32, 32), dtype=np.uint8), np.arange(200) % classes) for _ in names]
        for name, (images, labels) in zip(names, parts, strict=True):
            content = {"data": images.reshape(200, -1), "labels": labels.tolist()}
            if kind == "cifar100":
                content = {"data": content["data"], "coarse_labels": [0] * 200, "fine_labels": labels.tolist()}
            (folder / name).write_bytes(pickle.dumps(content))
        written[split] = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": None})
    names = {dataset.meta["key"]: [f"class {c}" for c in range(classes)], "coarse_label_names": ["coarse"]}
    (folder / dataset.meta["filename"]).write_bytes(pickle.dumps(names))
    return written


@pytest.mark.parametrize(("kind", "classes", "batches"), [("cifar10", 10, 5), ("cifar100", 100, 1)])
def test_cifar_is_read_from_torchvisions_files_with_its_fine_classes(tmp_path, monkeypatch, kind, classes, batches):
    written = archive(tmp_path, kind, monkeypatch)
    source = open_source(DataRef(kind, str(tmp_path)))
    assert source.classes == tuple(f"class {c}" for c in range(classes))
    assert source.name == f"{kind}:{tmp_path}" and source.size == 32 and source.mirror and not source.has_val
    for split, count in (("train", 200 * batches), ("test", 200)):
        found = load_split(source, split, 32)
        assert found.images.shape == (count, 3, 32, 32)
        assert (found.images == written[split][0]).all() and (found.labels == written[split][1]).all()
        assert (np.asarray(source.open(split, 7)) == found.images[7].transpose(1, 2, 0)).all()
    data = load_train(source, 32)
    assert len(data.train) + len(data.val) == 200 * batches
    assert set(data.train.labels) == set(data.val.labels) == set(range(classes))


def test_cifar10_and_cifar100_in_one_folder_are_two_data_sets(tmp_path, monkeypatch):
    sources = []
    for kind in ("cifar10", "cifar100"):
        archive(tmp_path, kind, monkeypatch)
        sources.append(open_source(DataRef(kind, str(tmp_path))))
    assert sources[0].identity() != sources[1].identity()
    assert sources[0].mean != sources[1].mean and sources[0].std != sources[1].std


@pytest.mark.parametrize("kind", ["folder", "table", "hf", "cifar10"])
@pytest.mark.parametrize("path", ["~nosuch/x", "a\0b", "~\0", "x" * 5000])
def test_a_path_that_no_file_can_have_is_one_that_is_not_there(kind, path):
    with pytest.raises(DataError, match=r"no such|: not in "):
        open_source(DataRef.of(f"{kind}:{path}"))


def test_data_below_a_closed_folder_is_not_called_missing(tmp_path, monkeypatch):
    stat = Path.stat

    def closed(path, **options):
        if path.name == "mine":
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", closed)
    with pytest.raises(DataError, match=r"mine: cannot be seen from here \(Permission denied\)$"):
        open_source(DataRef("folder", str(tmp_path / "mine")))


def test_every_kind_of_data_has_a_proxy():
    found = {kind: load_proxy(DataRef(kind), {}) for kind in KINDS}
    assert found["cifar100"] == found["cifar10"] != found["digits"]
