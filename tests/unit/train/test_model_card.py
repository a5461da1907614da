"""The model card: what it says is what was asked and reached, for people and as data."""

import pytest

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.config import read_yaml, to_mapping
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.errors import RunError
from nxt.train.model_card import write_card
from nxt.train.recipe import load_recipe
from nxt.train.request import TrainRequest

CLASSES, IMAGES = ("cat", "dog", "owl"), {"train": 1200, "val": 300}


def request(out, name="resnext50_32x4d", **changes):
    recipe = load_recipe("torchvision-long", {"size": 64, "eval_size": 80})
    plain = {"spec": parse_name(name), "data": DataRef("folder", "/pets"), "recipe": recipe, "seed": 3, "out": out}
    return TrainRequest(**{**plain, "compute": Compute(), **changes})


def row(epoch, accuracy, ema=None):
    numbers = {"loss": 1.5, "lr": 0.1, "seconds": 61.0, "images_per_second": 100.0, "wait": 0.0, "time": 0.0}
    return {"epoch": epoch, "accuracy": accuracy, "ema_accuracy": ema, **numbers}


ROWS = [row(1, 0.5, 0.1), row(2, 0.6, 0.7125), row(3, 0.61, 0.65)]


def made(out, rows=ROWS, classes=CLASSES, **changes):
    """Return the card as data and as a page."""
    preprocess = Preprocess(size=80, crop=0.8, interpolation="bicubic", mean=(0.5, 0.25, 0.125), std=(0.2,) * 3)
    write_card(out, request(out, **changes), classes, IMAGES, rows, preprocess)
    return read_yaml(out / "card.yaml"), (out / "CARD.md").read_text(encoding="utf-8")


def test_the_data_is_complete_and_reads_back(tmp_path):
    card, _ = made(tmp_path)
    spec, asked = parse_name("resnext50_32x4d"), request(tmp_path)
    assert ArchSpec.from_dict(card["arch"], "card") == spec and card["name"] == spec.name
    assert card["fingerprint"] == spec.fingerprint and card["recipe"] == to_mapping(asked.recipe)
    assert card["epochs"] == {"trained": 3, "asked": asked.recipe.epochs}
    own = cost(spec, 80, 3)
    assert card["cost"] == {"params": own.params, "macs": own.macs, "acts": own.acts, "size": 80}
    assert card["data"] == {"source": "folder:/pets", "classes": list(CLASSES), "images": IMAGES}
    assert card["start"] == {"weights": "random", "frozen": "nothing"} and card["seconds"] == 183.0
    assert (card["seed"], card["workers"], card["compute"]) == (3, 1, to_mapping(Compute()))
    assert {"nxt", "torch"} <= set(card["versions"])


def test_the_best_is_by_either_kind_of_weights_and_the_last_is_the_last(tmp_path):
    results = made(tmp_path)[0]["results"]
    assert results["best"] == {"epoch": 2, "accuracy": 0.6, "ema_accuracy": 0.7125}
    assert results["last"] == {"epoch": 3, "accuracy": 0.61, "ema_accuracy": 0.65} and results["split"] == "val"


def test_the_page_names_the_network_what_it_reached_and_how_to_load_it(tmp_path):
    _, page = made(tmp_path)
    assert page.startswith("# resnext50_32x4d\n")
    assert "on 1,200 images of folder:/pets" in page and "validation split, 300 images" in page
    assert "| best, epoch 2 | 60.00% | 71.25% |" in page and "| last, epoch 3 | 61.00% | 65.00% |" in page
    assert 'network = nxt.load("checkpoints/last.pt")' in page and "nxt eval checkpoints/last.pt" in page
    assert "cat, dog, owl" in page and "64 px in training" in page and "random weights; seed 3" in page
    assert page.endswith("\n") and "None" not in page


@pytest.mark.parametrize(("accuracy", "told"), [(0.2, True), (0.387, True), (0.39, False), (0.61, False)])
def test_a_network_that_guesses_is_told(tmp_path, accuracy, told):
    card, page = made(tmp_path, [row(1, 0.9), row(2, accuracy)])  # of three classes on 300 images: 33.3 +- 2.7 %
    assert card["results"].get("guesses", False) == told and ("no better than guessing" in page) == told


def test_the_preprocessing_is_told_in_numbers(tmp_path):
    card, page = made(tmp_path)
    for part in (
        "shorter side resized to 100 px (bicubic, antialiased", "not squashed", "centre crop of 80 x 80 px",
        "divided by 255", "minus mean (0.5, 0.25, 0.125)", "over deviation (0.2, 0.2, 0.2)", "RGB", "NCHW",
    ):  # fmt: skip
        assert part in page
    assert card["preprocess"] == {
        "size": 80, "crop": 0.8, "interpolation": "bicubic", "mean": [0.5, 0.25, 0.125], "std": [0.2] * 3,
    }  # fmt: skip


def test_without_averaged_weights_there_is_no_figure_for_them(tmp_path):
    card, page = made(tmp_path, rows=[row(1, 0.5), row(2, 0.25)])
    assert card["results"]["best"] == {"epoch": 1, "accuracy": 0.5}
    assert "| best, epoch 1 | 50.00% | - |" in page


def test_the_start_and_what_was_kept_are_told(tmp_path):
    card, page = made(tmp_path, weights="torchvision", freeze="stage2")
    assert card["start"] == {"weights": "torchvision", "frozen": "stage2"}
    assert "torchvision, kept up to stage2" in page


def test_of_many_classes_the_page_names_some_and_the_data_all(tmp_path):
    classes = tuple(f"class {number:03}" for number in range(100))
    card, page = made(tmp_path, classes=classes)
    assert card["data"]["classes"] == list(classes)
    assert "(100)" in page and "class 019 and 80 more" in page and "class 020" not in page


def test_odd_names_of_classes_survive(tmp_path):
    classes = ("no", "1e3", "a: b", "é", "[x]", "#")
    assert made(tmp_path, classes=classes)[0]["data"]["classes"] == list(classes)


def test_writing_again_replaces(tmp_path):
    made(tmp_path, rows=ROWS[:1])
    card, page = made(tmp_path)
    assert card["epochs"]["trained"] == 3 and "Trained for 3 of" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CARD.md", "card.yaml"]


def test_a_card_that_cannot_be_written_is_a_run_error(tmp_path):
    (tmp_path / "CARD.md").mkdir()
    with pytest.raises(RunError, match=r"CARD\.md: cannot be written"):
        made(tmp_path)
