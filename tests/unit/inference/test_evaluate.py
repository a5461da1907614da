"""Evaluating from Python: figures, predictions, and what cannot be measured."""

import math
import re
import shutil

import numpy as np
import pytest
import torch
from own_images import encoded, files_of, packed

from nxt.arch.spec import ArchSpec
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import CheckpointError, ConfigError
from nxt.inference.classifier_evaluation import Paired
from nxt.inference.evaluate import evaluate
from nxt.models.network import build
from nxt.train.checkpoint import Checkpoint, save
from nxt.train.recipe import Recipe

SPEC = ArchSpec(stem="cifar", stem_width=4, depths=(1,), widths=(16,), base_width=(4,))
CLASSES = tuple("0123456789")
TEST_IMAGES = len(open_source(DataRef("digits")).labels("test"))


def saved(path, seed=0, **changes):
    torch.manual_seed(seed)
    values = {
        "spec": SPEC, "classes": CLASSES, "data": DataRef("digits"), "identity": "x", "seed": 0,
        "preprocess": Preprocess(size=8, mean=(0.3,) * 3, std=(0.4,) * 3), "recipe": Recipe(epochs=1, batch=8, lr=0.1),
        "accuracies": {"raw": 0.5}, "state": {"epoch": 1, "weights": {"raw": build(SPEC, 10).state_dict()}},
    }  # fmt: skip
    save(path, Checkpoint(**{**values, **changes}))
    return path


def test_one_checkpoint_is_measured_on_what_it_was_trained_on(tmp_path):
    counted = []
    measured = evaluate(str(saved(tmp_path / "a.pt")), device="cpu", progress=lambda *news: counted.append(news))
    [row], [model] = measured.rows, measured.models
    assert (row["name"], row["data"], row["split"], row["images"]) == (SPEC.name, "digits", "test", TEST_IMAGES)
    assert row["accuracy"] == model.predictions.top(1) == measured.predictions.top(1)
    assert (model.weights, model.views.kind, row["size"], row["crop"]) == ("raw", "center", 8, 1.0)
    assert counted[-1] == (tmp_path / "a.pt", TEST_IMAGES, TEST_IMAGES)
    assert [done for _, done, _ in counted] == sorted({done for _, done, _ in counted})


def test_several_are_measured_one_by_one_and_together(tmp_path):
    paths = [saved(tmp_path / f"{seed}.pt", seed) for seed in (1, 2)]
    measured = evaluate(paths, DataRef("digits"), "val", device="cpu")
    assert [row["checkpoint"] for row in measured.rows] == list(map(str, paths))
    mean = np.mean([np.exp(model.predictions.log_probabilities) for model in measured.models], axis=0)
    np.testing.assert_allclose(np.exp(measured.ensemble.log_probabilities), mean, rtol=1e-4)
    assert measured.ensemble_row["accuracy"] == measured.predictions.top(1)
    assert measured.ensemble_row["split"] == "val" and "checkpoint" not in measured.ensemble_row


def test_networks_are_compared_with_the_first_one_image_by_image(tmp_path):
    paths = [saved(tmp_path / f"{seed}.pt", seed) for seed in (1, 2)]
    measured = evaluate([*paths, paths[0]], device="cpu")
    other, same = measured.against_first
    right = [model.predictions.predicted == model.predictions.labels for model in measured.models]
    gained, lost = int(sum(right[1] & ~right[0])), int(sum(right[0] & ~right[1]))
    assert (other.checkpoint, other.images, other.gained, other.lost) == (str(paths[1]), TEST_IMAGES, gained, lost)
    assert other.gain == pytest.approx(measured.rows[1]["accuracy"] - measured.rows[0]["accuracy"])
    assert (same.gained, same.lost, same.gain, same.p) == (0, 0, 0.0, 1.0)
    assert not evaluate(paths[:1], device="cpu").against_first


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (0, 5), (6, 4), (3, 12)])
def test_the_probability_is_that_of_fair_coins_at_least_as_uneven(gained, lost):
    tosses, most = gained + lost, max(gained, lost)
    one_side = sum(math.comb(tosses, count) for count in range(most, tosses + 1)) / 2**tosses
    assert Paired("b.pt", 20, gained, lost).p == pytest.approx(2 * one_side)


def test_every_image_has_a_row(tmp_path):
    measured = evaluate(saved(tmp_path / "a.pt"), device="cpu")
    rows = list(measured.image_rows())
    assert len(rows) == TEST_IMAGES
    assert np.mean([row["true"] == row["predicted"] for row in rows]) == pytest.approx(measured.rows[0]["accuracy"])
    assert all(0.1 <= row["probability"] <= 1 for row in rows)  # the most probable of ten classes


def test_among_listed_classes_only_their_images_count(tmp_path):
    (tmp_path / "classes.txt").write_text("3\n7\n")
    measured = evaluate(saved(tmp_path / "a.pt"), device="cpu", classes=tmp_path / "classes.txt")
    [row] = measured.rows
    assert row["classes"] == 2 and row["images"] == len(measured.images) < TEST_IMAGES
    assert row["accuracy_kway"] == measured.ensemble.top(1) <= row["accuracy"] == measured.predictions.top(1)
    assert {image["predicted"] for image in measured.image_rows()} <= {"3", "7"}


def test_a_test_split_that_was_held_out_is_the_same_or_one_is_warned(tmp_path):
    """Once an image is added, another part of them may be held out."""
    data = packed("folder", files_of(("",), count=10), tmp_path)
    identity = open_source(DataRef.parse(data)).identity()
    weights = {"raw": build(SPEC, 2).state_dict()}
    path = saved(
        tmp_path / "a.pt", classes=("cat", "dog"), data=DataRef.parse(data), identity=identity,
        state={"epoch": 1, "weights": weights},
    )  # fmt: skip
    told = []
    assert len(evaluate(path, device="cpu", note=told.append).images) == 4
    assert not any("trained on these" in text for text in told)
    packed("folder", {"cat/more.png": encoded((1, 2, 3))}, tmp_path)
    evaluate(path, device="cpu", note=told.append)
    said = "is not as it was when .*a.pt was trained, and its test split is held out from all images; it may have been"
    assert re.search(said, told[-1])


def test_other_data_whose_test_split_is_held_out_is_warned_of_too(tmp_path):
    """It may be a copy of the images with some more or fewer, of which others are held out."""
    data = packed("folder", files_of(("",), count=10), tmp_path)
    path = saved(
        tmp_path / "a.pt", classes=("cat", "dog"), data=DataRef.parse(data),
        identity=open_source(DataRef.parse(data)).identity(),
        state={"epoch": 1, "weights": {"raw": build(SPEC, 2).state_dict()}},
    )  # fmt: skip
    shutil.copytree(DataRef.parse(data).path, tmp_path / "copy")
    told = []
    evaluate(path, f"folder:{tmp_path / 'copy'}", device="cpu", note=told.append)
    assert not any("trained on these" in text for text in told)  # the same images, the same split
    next((tmp_path / "copy" / "cat").iterdir()).unlink()
    evaluate(path, f"folder:{tmp_path / 'copy'}", device="cpu", note=told.append)
    said = "copy is not the same as .*, on which .*a.pt was trained, and its test split is held out"
    assert re.search(said, told[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "`split`: 'valid' is not one of test, val"),
        ({"size": 3}, "`size`: 3 is not between 4 and 4096 pixels"),
        ({"crop": 0}, "`crop`: 0 is not above 0 and at most 1"),
        ({"crop": 0.5, "views": "dense"}, "`crop`: dense views show the whole image; leave it out"),
        ({"weights": "best"}, "`weights`: 'best' is not one of raw, ema"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(ConfigError) as error:
        evaluate(tmp_path / "nothing.pt", **options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": tuple("abcdefghij")}, r"b\.pt: has 10 classes that are not the 10 of .*a\.pt; an ensemble needs"),
        ({"data": DataRef("folder", "/pets")}, r"b\.pt: was trained on folder:/pets, and .*a\.pt on digits; say with"),
    ],
)
def test_checkpoints_that_do_not_go_together_are_refused(tmp_path, changes, message):
    paths = [saved(tmp_path / "a.pt"), saved(tmp_path / "b.pt", **changes)]
    with pytest.raises(CheckpointError, match=message):
        evaluate(paths)


def test_an_error_in_a_checkpoint_names_it(tmp_path):
    with pytest.raises(CheckpointError, match=r"a\.pt: it has no ema weights, only raw"):
        evaluate(saved(tmp_path / "a.pt"), device="cpu", weights="ema")
