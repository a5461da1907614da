"""COCO's instances files: boxes and outlines as they are, what is left out and told, and what is refused."""

import json
import pickle
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scenes import COLOURS, annotation, coco_scenes, write

from nxt.data.dataset import divided
from nxt.data.readable import without_bad
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import DataError


def opened(root, **options):
    return open_source(DataRef("coco", str(root)), **options)


def refused(root, message, **options):
    with pytest.raises(DataError, match=re.escape(message)) as error:
        opened(root, **options)
    assert "\n" not in str(error.value)


def changed(root, split, change):
    """Change the content of a split's annotation file."""
    file = root / "annotations" / f"instances_{split}.json"
    content = json.loads(file.read_text())
    change(content)
    write(root, split, content)


@pytest.fixture
def root(tmp_path):
    coco_scenes(tmp_path)
    return tmp_path


def test_boxes_lie_where_their_colours_are(root):
    source = opened(root)
    assert source.task == "detection" and source.classes == ("cat", "lamp", "tree")  # ids 3, 7, 90 become 1, 2, 3
    assert not source.has_val and source.has_test and source.notes == ()
    colours = [COLOURS[category] for category in sorted(COLOURS)]
    for row in range(4):
        target = source.target("train", row)
        (left, top, right, bottom), (label,) = target["boxes"][0].astype(int), target["labels"]
        pixels = np.asarray(source.open("train", row))
        painted = (pixels == colours[label - 1]).all(axis=2)
        assert painted[top:bottom, left:right].all() and painted.sum() == (right - left) * (bottom - top)
        assert (target["masks"][0].astype(bool) == painted).all() and target["area"].tolist() == [painted.sum()]
    assert {name: array.dtype for name, array in target.items()} == {
        "boxes": np.float32, "labels": np.int64, "iscrowd": np.int64, "area": np.float64, "masks": np.uint8
    }  # fmt: skip


def test_crowds_and_empty_images_are_there_and_marked_as_nothing_to_train_on(root):
    source = opened(root)
    assert source.labels("train").tolist() == [0, 0, 0, 0, 1, 1]
    crowd, empty = source.target("train", 4), source.target("train", 5)
    assert crowd["iscrowd"].tolist() == [1]
    assert [empty[name].shape for name in ("boxes", "labels", "masks")] == [(0, 4), (0,), (0, 30, 40)]


def test_images_are_held_out_where_there_is_no_other_split(tmp_path):
    coco_scenes(tmp_path, ("train",), count=20)
    source = opened(tmp_path)
    assert "no test split, so 4 of its 22 images are held out as one" in source.notes[0] and not source.has_test
    train, split, held = divided(source)
    labels = source.labels("train")
    assert split == "train" and len(labels) == 18 and len(held) == 4
    assert train.tolist() == [row for row in range(18) if row not in held and not labels[row]]
    everything = opened(tmp_path, hold_out=False)
    assert len(everything.labels("test")) == 22


def test_a_validation_split_alone_will_do_for_what_does_not_train(root):
    (root / "annotations" / "instances_train.json").unlink()
    refused(root, "annotations: no file instances_*train*.json; there is instances_val.json")
    assert len(opened(root, to_train=False).labels("test")) == 6


@pytest.mark.parametrize("folder", ["train2017", "train", "images/train2017", "images/train", "images", ""])
def test_images_are_found_where_people_have_them(root, folder):
    shutil.rmtree(root / "val")
    (root / "annotations" / "instances_val.json").unlink()
    (root / "annotations" / "instances_train.json").rename(root / "annotations" / "instances_train2017.json")
    moved = root / folder
    files = sorted((root / "train").iterdir())
    moved.mkdir(parents=True, exist_ok=True)
    for file in files:
        file.rename(moved / file.name)
    assert opened(root, hold_out=False).open("test", 3).size == (40, 30)


def test_names_may_have_folders_of_their_own(root):
    def deeper(content):
        for image in content["images"]:
            image["file_name"] = f"train/{image['file_name']}"

    changed(root, "train", deeper)
    assert opened(root).called("train", 1) == "train/1.png"


def test_missing_images_are_told_and_most_of_them_refused(root):
    for name in "02":
        (root / "train" / f"{name}.png").unlink()
    source = opened(root)
    assert source.notes == (f"left out of {root}: 2 images that are not there (such as 0.png)",)
    assert len(source.labels("train")) == 4 and source.called("train", 1) == "train/3.png"
    found = np.asarray(source.open("train", 1))[tuple(source.target("train", 1)["boxes"][0].astype(int)[[1, 0]])]
    assert tuple(found) == COLOURS[7]  # number 3
    for name in "13":
        (root / "train" / f"{name}.png").unlink()
    refused(root, "4 of its 6 images are not there, such as 0.png; looked for in train/ of ")


def test_degenerate_boxes_are_left_out_and_those_beyond_the_image_cut(root):
    def spoil(content):
        boxes = [(5, 5, 0, 8), (5, 5, 8, -2), (50, 5, 9, 9), (30, 20, 30, 30), (30, 20, 10.4, 10.2)]
        content["annotations"] += [annotation(1, 7, box, 10 + number) for number, box in enumerate(boxes)]

    changed(root, "train", spoil)
    source = opened(root)
    assert source.notes[0] == f"left out of {root}: 3 boxes of no width or height (such as annotation 110)"
    assert source.notes[1].endswith("2 of its 10 boxes reach beyond their images, and are cut")
    assert source.target("train", 0)["boxes"][1:].tolist() == [[30, 20, 40, 30]] * 2


@pytest.mark.parametrize("form", ["polygons", "counts", "compressed", "tiny"])
def test_outlines_of_all_kinds_are_read(root, form):
    from pycocotools import mask as codes

    wanted = np.zeros((30, 40), dtype=np.uint8)
    wanted[4:9, 6:16] = 1
    code = codes.encode(np.asfortranarray(wanted))
    flat = wanted.T.ravel()
    counts = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()
    outline = {
        "polygons": [[6, 4, 11, 4, 11, 9, 6, 9], [11, 4, 16, 4, 16, 9, 11, 9]],
        "counts": {"size": [30, 40], "counts": counts},
        "compressed": {"size": [30, 40], "counts": code["counts"].decode()},
        "tiny": [[6, 4, 16, 9]],  # two corners have no area
    }[form]
    changed(root, "train", lambda content: content["annotations"][0].update(segmentation=outline))
    assert (opened(root).target("train", 0)["masks"][0] == (wanted if form != "tiny" else 0)).all()


@pytest.mark.parametrize(
    "outline",
    [{"size": [3, 4], "counts": [12]}, {"counts": [1200]}, [["a"] * 6], {"size": [30, 40], "counts": None}],
)
def test_damaged_outlines_are_told_when_they_are_read(root, outline):
    changed(root, "train", lambda content: content["annotations"][0].update(segmentation=outline))
    with pytest.raises(DataError, match=r"train/0.png: the outline of a box is damaged \(.*skip_bad"):
        opened(root).target("train", 0)


def test_without_outlines_there_are_boxes_alone(root):
    changed(root, "train", lambda content: content["annotations"][0].pop("segmentation"))
    source = opened(root)
    assert "1 of its 5 boxes have no outline, so that none is read" in source.notes[0]
    assert "masks" not in source.target("train", 1)


def test_a_category_without_boxes_is_told(root):
    changed(root, "train", lambda content: content["annotations"].__delitem__(slice(2, None, 3)))
    note = f"{root}/annotations/instances_train.json: 1 of its 3 categories have no box, such as 'tree'"
    assert opened(root).notes == (note,)


def test_a_split_without_any_box_is_read_but_not_trained_on(root):
    changed(root, "val", lambda content: content["annotations"].clear())
    assert opened(root).target("test", 0)["boxes"].shape == (0, 4)
    changed(root, "train", lambda content: content["annotations"].clear())
    with pytest.raises(DataError, match="0 of its training images have objects, and two are the least"):
        divided(opened(root))


BAD = {
    "not readable as JSON (Expecting": lambda content: '{"images": [',
    "no list of 'images' in it, so that it is no instances file of COCO": lambda content: {"shapes": [], "version": 5},
    "no list of 'annotations' in it": lambda content: {"images": []},
    "no list of 'categories' in it": lambda content: content | {"categories": None},
    "no 'category_id' in entry 1 of a list that has it in instances files of COCO; captions, keypoints and panoptic": (
        lambda content: content | {"annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}
    ),
    "no 'bbox' in entry 1": lambda content: (
        content | {"annotations": [{"id": 1, "image_id": 1, "category_id": 7, "segments_info": []}]}
    ),
    "annotation 105 is of image 99, which is not in the file": (
        lambda content: content | {"annotations": [annotation(99, 7, (1, 1, 5, 5), 5)]}
    ),
    "annotation 105 is of category 8, which is not in the file": (
        lambda content: content | {"annotations": [annotation(1, 8, (1, 1, 5, 5), 5)]}
    ),
    "a box has not as many numbers as it should": (
        lambda content: content | {"annotations": [annotation(1, 7, (1, 1, 5, 5), 5) | {"bbox": [1, 1, 5, "b"]}]}
    ),
    "a box of 3 numbers": lambda content: (
        content | {"annotations": [annotation(1, 7, (1, 1, 5, 5), 5) | {"bbox": [1, 1, 5]}]}
    ),
    "no 'height' in entry 1": lambda content: content | {"images": [{"id": 1, "file_name": "a", "width": 3}]},
    "two of its ids are the same, of image": lambda content: content | {"images": content["images"] * 2},
    "there is none, of category": lambda content: content | {"categories": []},
}


@pytest.mark.parametrize("message", BAD)
def test_files_of_another_kind_and_contradictions_are_refused(root, message):
    content = json.loads((root / "annotations" / "instances_train.json").read_text())
    file = write(root, "train", BAD[message](content))
    refused(root, f"{file}: {message}")


def test_missing_files_and_folders_are_refused(root, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    refused(empty, f"{empty}: no folder 'annotations' in it; expected annotations/instances_train.json")
    (empty / "annotations").mkdir()
    refused(empty, f"{empty}/annotations: no file instances_*train*.json")
    (empty / "annotations" / "captions_train2017.json").touch()
    refused(empty, "no file instances_*train*.json; there is captions_train2017.json")
    refused(root / "train" / "0.png", "a file, where the folder of the data set was expected")
    refused(root / "nowhere", "nowhere: no such folder")
    shutil.copy(root / "annotations" / "instances_train.json", root / "annotations" / "instances_train2014.json")
    refused(root, "instances_train.json and instances_train2014.json are both of train; keep one of them")


def test_splits_of_other_categories_are_refused(root):
    changed(root, "val", lambda content: content["categories"][0].update(name="torch"))
    refused(root, "instances_val.json: its categories are not those of instances_train.json")


def test_an_image_of_another_size_than_its_record_is_told_when_read(root):
    Image.new("RGB", (41, 30)).save(root / "train" / "1.png")
    with pytest.raises(DataError, match=r"train/1.png: 41 x 30 pixels, and its annotations are of 40 x 30; .*skip_bad"):
        opened(root).target("train", 1)


def test_a_turned_image_has_the_size_that_it_is_shown_with(root):
    image = Image.open(root / "train" / "1.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(root / "train" / "1.png", exif=exif)
    source = opened(root)
    assert source.open("train", 1).size == (40, 30) and source.target("train", 1)["masks"].shape == (1, 30, 40)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_what_cannot_be_read_is_left_out_if_asked(root):
    (root / "train" / "0.png").write_bytes(b"nothing")
    Image.new("RGB", (41, 30)).save(root / "train" / "1.png")
    source, told = opened(root), []
    kept = without_bad(source, told.append, workers=0)
    assert len(told) == 2 and "not readable as an image" in told[0] and "41 x 30" in told[1]
    assert len(kept.labels("train")) == 4 and kept.called("train", 0) == "train/2.png"
    assert kept.target("train", 0)["labels"].tolist() == source.target("train", 2)["labels"].tolist()
    assert kept.identity() != source.identity()


def test_the_identity_is_of_annotations_and_images(root):
    first = opened(root).identity()
    assert opened(root).identity() == first == pickle.loads(pickle.dumps(opened(root))).identity()
    changed(root, "train", lambda content: content["annotations"][0].update(area=3))
    second = opened(root).identity()
    (root / "val" / "5.png").unlink()
    assert len({first, second, opened(root).identity()}) == 3
