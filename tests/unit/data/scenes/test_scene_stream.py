"""Scenes in batches: the same however they are read, and wherever an epoch is entered."""

import itertools

import numpy as np
import pytest
import torch
from scenes import coco_scenes, mask_scenes, write

from nxt.data.augment import Augment
from nxt.data.dataset import divided
from nxt.data.draw import Draw
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.scenes import Scene, SceneStream
from nxt.data.sources import open_source
from nxt.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on one core

CPU = torch.device("cpu")
PREPROCESS = Preprocess(size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
SCENE = Scene(sides=(24, 32, 40), longest=64, scale=(0.5, 2.0))
AUGMENT = Augment(mirror=True, jitter=0.4, lighting=0.1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    coco_scenes(root / "coco", count=8)
    mask_scenes(root / "masks", count=9)
    return {kind: open_source(DataRef(kind, str(root / kind))) for kind in ("coco", "masks")}


def stream(source, split="train", workers=0, rows=None, **options):
    rows = np.arange(len(source.labels(split))) if rows is None else rows
    return SceneStream(
        source, split, rows, PREPROCESS, SCENE, CPU, workers, **{"masks": source.task == "detection"} | options
    )


def flat(batches):
    """Return the tensors of batches, in order."""
    leaves = torch.utils._pytree.tree_leaves(list(batches))
    return [torch.as_tensor(leaf) for leaf in leaves]


def assert_same(first, second):
    first, second = flat(first), flat(second)
    assert len(first) == len(second) > 0
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def draw(**changes):
    return Draw(**{"batch": 4, "augment": AUGMENT, "seed": 3, **changes})


@pytest.mark.parametrize("kind", ["coco", "masks"])
def test_worker_processes_change_nothing_nor_does_the_global_generator(sources, kind):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    here, there = stream(sources[kind]), stream(sources[kind], workers=2)
    assert_same(here.train(draw(), 1), there.train(draw(), 1))
    assert_same(here.plain(3), there.plain(3))
    assert torch.equal(state, torch.random.get_rng_state()) and there.waited > 0


@pytest.mark.parametrize("kind", ["coco", "masks"])
def test_an_epoch_is_entered_at_any_batch_and_another_one_differs(sources, kind):
    images = stream(sources[kind])
    assert_same(itertools.islice(images.train(draw(), 1), 1, None), images.train(draw(), 1, start=1))
    first, second = (next(images.train(draw(seed=seed), epoch)) for seed, epoch in ((3, 0), (3, 1)))
    assert [one.shape for one in flat([first])] != [one.shape for one in flat([second])] or not all(
        torch.equal(one, other) for one, other in zip(flat([first]), flat([second]), strict=True)
    )


@pytest.mark.parametrize("kind", ["coco", "masks"])
def test_workers_share_each_batch(sources, kind):
    images = stream(sources[kind])
    whole = [list(images.train(draw(), 2)), *([list(images.train(draw(rank=r, world=2), 2)) for r in range(2)])]
    for one, first, second in zip(*whole, strict=True):
        together = [
            torch.cat([a, b]) if isinstance(a, torch.Tensor) else [*a, *b] for a, b in zip(first, second, strict=True)
        ]
        assert_same([one], [tuple(together)])


def test_what_is_trained_on_and_what_is_judged(sources):
    source = sources["coco"]
    train, split, _ = divided(source)
    assert split == "train" and len(train) and not {8, 9} & set(train)  # a crowd, and nothing
    inputs, targets = next(stream(source, rows=train).train(draw(), 0))
    assert all(len(target["labels"]) == 1 and set(target) == {"boxes", "labels", "masks"} for target in targets)
    assert all(target["masks"].shape[1:] == image.shape[1:] for image, target in zip(inputs, targets, strict=True))
    judged = [pair for images, given in stream(source, "test").plain(4) for pair in zip(images, given, strict=True)]
    assert [target["row"] for _, target in judged] == list(range(10))
    assert [len(target["labels"]) for _, target in judged] == [1] * 9 + [0]
    for image, target in judged:
        assert image.shape == (3, 32, 43) and target["size"] == (30, 40)
        assert target["masks"].shape[1:] == (30, 40)
        assert torch.equal(target["boxes"], torch.from_numpy(source.target("test", target["row"])["boxes"]))
    assert "masks" not in next(stream(source, "test", masks=False).plain(4))[1][0]


def test_images_are_normalised_and_masks_are_classes(sources):
    images = stream(sources["masks"])
    pixels, masks = next(images.train(draw(augment=Augment()), 0))
    assert pixels.shape == (4, 3, 32, 32) and pixels.dtype == torch.float32
    assert masks.shape == (4, 32, 32) and masks.dtype == torch.int64 and set(masks.unique().tolist()) <= {0, 1, 2, 255}
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (PREPROCESS.mean, PREPROCESS.std))
    shown, targets = next(images.plain(2, rank=1, world=2))
    colours = ((shown[0] * std + mean) * 255).round().permute(1, 2, 0).reshape(-1, 3)
    assert targets[0]["row"] == 1 and targets[0]["mask"].shape == targets[0]["size"] == (18, 24)
    assert {(20, 20, 200), (20, 200, 20)} <= set(map(tuple, colours.int().tolist()))


def test_a_scene_that_cannot_be_read_is_told_when_its_turn_comes(tmp_path):
    mask_scenes(tmp_path)
    (tmp_path / "train" / "masks" / "1.png").write_bytes(b"nothing")
    (tmp_path / "classes.txt").write_text("sea\nland\nhouse")
    source = open_source(DataRef("masks", str(tmp_path)))
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"1.png: not readable as a mask"):
            list(stream(source, workers=workers).plain(4))


def test_masks_that_are_wanted_have_to_be_there(tmp_path):
    content = coco_scenes(tmp_path)["train"]
    for one in content["annotations"]:
        del one["segmentation"]
    write(tmp_path, "train", content)
    source = open_source(DataRef("coco", str(tmp_path)))
    with pytest.raises(DataError, match="its boxes have no outlines, from which masks are learnt; choose a head for"):
        stream(source)
    assert set(next(stream(source, masks=False).train(draw(), 0))[1][0]) == {"boxes", "labels"}
