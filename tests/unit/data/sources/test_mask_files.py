"""Masks of class numbers: the layouts and schemes, what is ignored, and what is refused."""

import pickle
import re

import numpy as np
import pytest
from PIL import Image
from scenes import mask_scenes

from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import DataError


def opened(root, kind="masks", **options):
    return open_source(DataRef(kind, str(root)), **options)


def refused(root, message, kind="masks", **options):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        opened(root, kind, **options)
    assert "\n" not in str(error.value)


@pytest.fixture
def root(tmp_path):
    mask_scenes(tmp_path)
    (tmp_path / "classes.txt").write_text("sea\nland\nhouse\n")
    return tmp_path


@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}"])
def test_masks_come_with_their_images(tmp_path, layout):
    mask_scenes(tmp_path, layout=layout)
    source = opened(tmp_path)
    assert source.task == "segmentation" and source.classes == ("0", "1", "2")
    assert source.notes[0].startswith(f"{tmp_path}: the highest value of its masks is 2, so there are 3 classes")
    for row in range(4):
        pixels, mask = np.asarray(source.open("train", row)), source.target("train", row)
        assert mask.dtype == np.uint8 and (mask[-1] == 255).all()
        assert (pixels[:-1].argmax(axis=2) == 2 - mask[:-1]).all()
    assert source.labels("train").tolist() == [0] * 4 == source.labels("test").tolist()


def test_folders_without_splits_are_all_for_training(tmp_path):
    mask_scenes(tmp_path, ("",), count=10, layout="{kind}")
    assert len(opened(tmp_path, hold_out=False).labels("test")) == 10


@pytest.mark.parametrize("ignored", ["void", "Ignore"])
def test_a_class_called_void_is_ignored(root, ignored):
    (root / "classes.txt").write_text(f"sea\n{ignored}\nhouse\n")
    source = opened(root)
    assert source.classes == ("sea", "house") and source.notes == ()
    assert np.unique(source.target("train", 0)).tolist() == [0, 1, 255]


def test_palette_images_are_read_by_index_and_others_by_value(root):
    file = root / "train" / "masks" / "0.png"
    expected = opened(root).target("train", 0)
    palette = Image.open(file).copy()
    palette.putpalette([200, 10, 10] * 256)
    palette.save(file)
    assert Image.open(file).mode == "P" and (opened(root).target("train", 0) == expected).all()
    Image.fromarray(expected.astype(np.uint16)).save(file)
    assert Image.open(file).mode.startswith("I") and (opened(root).target("train", 0) == expected).all()


def test_ade20k_begins_at_one(tmp_path):
    for name in ("training", "validation"):
        for folder, pixels in {"images": (8, 8, 3), "annotations": (8, 8)}.items():
            (tmp_path / folder / name).mkdir(parents=True)
            suffix = "jpg" if folder == "images" else "png"
            values = np.arange(64).reshape(8, 8, 1) if folder == "images" else np.arange(87, 151).reshape(8, 8)
            values = np.broadcast_to(values, pixels).astype(np.uint8).copy()
            values[0] = 0
            Image.fromarray(values).save(tmp_path / folder / name / f"a.{suffix}")
    source = opened(tmp_path, "ade20k")
    mask = source.target("test", 0)
    assert len(source.classes) == 150 and (mask[0] == 255).all() and mask[1:].ravel().tolist() == list(range(94, 150))
    rows = [f"{n}\t0.1\t1\t1\tname {n}, other" for n in range(1, 151)]
    (tmp_path / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    assert opened(tmp_path, "ade20k").classes[149] == "name 150"
    Image.new("L", (8, 8), 151).save(tmp_path / "annotations" / "training" / "a.png")
    with pytest.raises(DataError, match=r"a.png: the value 151 in a mask of 150 classes; .*skip_bad"):
        opened(tmp_path, "ade20k").target("train", 0)


def test_cityscapes_has_nineteen_of_its_labels(tmp_path):
    for split in ("train", "val"):
        for city in ("aachen", "bonn"):
            for folder in ("leftImg8bit", "gtFine"):
                (tmp_path / folder / split / city).mkdir(parents=True)
            Image.new("RGB", (6, 6)).save(tmp_path / "leftImg8bit" / split / city / f"{city}_0_leftImg8bit.png")
            ids = np.arange(36, dtype=np.uint8).reshape(6, 6)
            ids[-1, -2:] = 255  # -1 there
            for name in ("labelIds", "instanceIds"):
                Image.fromarray(ids).save(tmp_path / "gtFine" / split / city / f"{city}_0_gtFine_{name}.png")
    source = opened(tmp_path, "cityscapes")
    mask = source.target("train", 1).ravel()
    assert source.classes[:2] == ("road", "sidewalk") and source.classes[18] == "bicycle" and len(source.classes) == 19
    assert source.called("train", 1).endswith("bonn/bonn_0_leftImg8bit.png")
    assert mask[[7, 8, 11, 26, 33]].tolist() == [0, 1, 2, 13, 18] and mask[mask != 255].tolist() == list(range(19))


def test_what_does_not_fit_is_told_when_it_is_read(root):
    folder = root / "train" / "masks"
    Image.new("L", (24, 17)).save(folder / "0.png")
    Image.new("L", (24, 18), 3).save(folder / "1.png")
    Image.new("RGB", (24, 18)).save(folder / "2.png")
    (folder / "3.png").write_bytes(b"nothing")
    source, messages = opened(root), []
    for row in range(4):
        with pytest.raises(DataError) as error:
            source.target("train", row)
        messages.append(str(error.value).removeprefix(str(folder)).partition(";")[0])
    assert messages == [
        "/0.png: a mask of 24 x 17 pixels, and its image has 24 x 18",
        "/1.png: the value 3 in a mask of 3 classes",
        "/2.png: a mask in colours (RGB), where each pixel has the number of a class",
        "/3.png: not readable as a mask (of no known format)",
    ]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_images_with_unreadable_masks_are_left_out_if_asked(root):
    (root / "train" / "masks" / "0.png").write_bytes(b"nothing")
    told = []
    kept = without_bad(opened(root), told.append, workers=0)
    assert len(told) == 1 and "0.png: not readable as a mask" in told[0]
    assert kept.called("train", 0) == "train/images/1.png" and (kept.target("train", 0)[:-1] < 3).all()


def test_missing_masks_images_and_folders_are_refused(root):
    refused(root / "nowhere", "no such folder")
    refused(
        root / "val" / "masks", "no training images in it; expected images/train, or train/images, and masks likewise"
    )
    refused(root, "no training images in it; expected images/training and annotations likewise", "ade20k")
    refused(root, "no training images in it; expected leftImg8bit/train and gtFine likewise", "cityscapes")
    (root / "train" / "images" / "1.png").rename(root / "train" / "images" / "9.png")
    refused(root, f"{root}/train/images/9.png: no mask of it; expected {root}/train/masks/9.png")
    (root / "train" / "images" / "9.png").unlink()
    assert opened(root).notes == (f"left out of {root}: 1 masks without an image (such as train/masks/1.png)",)
    (root / "train" / "images" / "2.jpg").write_bytes(b"")
    refused(root, "differ in the ending alone; keep one of them")
    for file in (root / "train" / "images").iterdir():
        file.unlink()
    refused(root, f"{root}/train/images: no images")
    (root / "val" / "masks").rename(root / "val" / "other")
    refused(root, f"{root}/val/masks: no such folder, which has the masks of val/images", to_train=False)


def test_masks_of_one_class_are_refused(root):
    (root / "classes.txt").write_text("sea\nvoid\n")
    refused(root, "1 class(es); segmentation needs 2 to 255, as values from 0 on (255 is ignored)")
    (root / "classes.txt").unlink()
    for file in root.glob("*/masks/*.png"):
        Image.new("L", (24, 18), 255).save(file)  # foreground as people have it
    refused(root, "1 class(es)")


def test_the_identity_is_of_names_and_masks(root):
    first = opened(root).identity()
    assert first == pickle.loads(pickle.dumps(opened(root))).identity()
    (root / "classes.txt").write_text("sea\nland\ntower\n")
    second = opened(root).identity()
    Image.new("L", (24, 18)).save(root / "train" / "masks" / "0.png")
    assert len({first, second, opened(root).identity()}) == 3
