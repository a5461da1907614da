"""`nxt predict` and `nxt.predict`, on a network whose answers are known: it tells plain colours apart."""

import csv
import dataclasses
import io
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from test_evaluate_command import COLOURS, NAMES, checkpoint, knowing, paint

import nxt as library
from nxt.errors import CheckpointError, ConfigError, DataError
from nxt.inference.export import export_file
from nxt.train.checkpoint import read, save


@pytest.fixture
def made(tmp_path):
    """A checkpoint of a network that knows the colours."""
    save(tmp_path / "a.pt", checkpoint(paint(tmp_path / "colours")))
    return tmp_path / "a.pt"


@pytest.fixture
def photos(tmp_path):
    """A folder of images without labels, with what else lies in such folders."""
    folder = tmp_path / "photos"
    (folder / "sub" / ".git").mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("sub/b.JPG", "blue"), ("sub/.hidden.png", "green")):
        Image.new("RGB", (24, 20), COLOURS[colour]).save(folder / name)
    (folder / "notes.txt").touch()
    (folder / "sub" / "loop").symlink_to(folder)
    return folder


def half(left, right):
    """Return an image whose halves differ, taller than wide when it is shown."""
    image = Image.new("RGB", (20, 40), COLOURS[left])
    image.paste(COLOURS[right], (0, 20, 20, 40))
    return image


def test_a_folder_is_walked_and_what_is_left_out_is_told(nxt, made, photos):
    result = nxt("predict", made, "photos", "--top", 2)
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0] == ["image", "top", "1", "top", "2"]
    assert [line[:3] for line in lines[2:]] == [
        ["photos/a.png", "red", "100.0%"],
        ["photos/sub/b.JPG", "blue", "100.0%"],
    ]
    assert result.err.splitlines() == [
        "left out: hidden folders: 1, such as photos/sub/.git",
        "left out: files of other kinds: 1, such as photos/notes.txt",
        "left out: hidden files: 1, such as photos/sub/.hidden.png",
    ]


def test_an_unreadable_image_is_named_and_the_rest_goes_on_with_exit_code_1(nxt, made, photos):
    (photos / "broken.png").write_bytes(b"no image")
    result = nxt("predict", made, "photos/broken.png", "nowhere.png", "photos/a.png", "--json")
    assert result.code == 1
    said = json.loads(result.out)
    missing, broken = "nowhere.png: no such file or folder", "photos/broken.png: not readable as an image"
    why = [missing, f"{broken} (of no known format)"]
    assert [row["image"] for row in said["images"]] == ["photos/a.png"] and said["unreadable"] == why
    assert result.err.splitlines() == [f"left out: {one}" for one in why]


@pytest.mark.parametrize(("epochs", "told"), [(3, False), (5, True)])
def test_a_training_that_has_not_ended_is_told(nxt, tmp_path, photos, epochs, told):
    trained = checkpoint(paint(tmp_path / "colours"))
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    recipe = dataclasses.replace(trained.recipe, epochs=epochs)
    save(tmp_path / "run" / "checkpoints" / "last.pt", dataclasses.replace(trained, recipe=recipe))
    said = nxt("predict", "run", "photos/a.png").err
    assert ("run: not trained to the end, only for 3 of 5 epochs" in said) == told


def test_json_and_csv_have_the_most_probable_classes(nxt, made, photos):
    said = json.loads(nxt("predict", made, "photos/a.png", "--json").out)
    row = said.pop("images")[0]
    assert said == {
        "checkpoint": str(made), "name": read(made).spec.name, "epoch": 3, "weights": "raw", "size": 16,
        "unreadable": [],
    }  # fmt: skip
    assert row["classes"][0] == "red" and sorted(row["classes"]) == sorted(NAMES)  # of four classes, not five
    assert row["probabilities"] == sorted(row["probabilities"], reverse=True)
    assert sum(row["probabilities"]) == pytest.approx(1)
    table = list(csv.DictReader(io.StringIO(nxt("predict", made, "photos", "--csv", "--top", 2).out)))
    assert [one["image"] for one in table] == ["photos/a.png", "photos/sub/b.JPG"]
    assert (table[0]["predicted"], table[0]["predicted_2"]) == tuple(row["classes"][:2])
    assert float(table[0]["probability"]) == pytest.approx(row["probabilities"][0], abs=1e-6)


@pytest.mark.parametrize("kind", ["exif", "alpha", "16 bit"])
def test_an_image_becomes_what_it_becomes_in_evaluation(made, tmp_path, kind):
    path = tmp_path / "one.png"
    if kind == "exif":
        path = tmp_path / "one.jpg"
        image = half("red", "blue")
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn
        image.save(path, exif=exif, quality=95)
    elif kind == "alpha":
        Image.new("RGBA", (20, 20), (*COLOURS["red"], 0)).save(path)
    else:
        Image.fromarray(np.full((20, 20), 240 * 257, np.uint16)).save(path)
    found = library.predict(made, path)
    network = library.load(made)
    with torch.inference_mode(), Image.open(path) as image:
        expected = network(network.transform(image)[None]).numpy()
    np.testing.assert_allclose(found.logits, expected, rtol=1e-4, atol=1e-4)
    if kind != "exif":
        assert found.rows[0]["classes"][0] == "white"


def test_batches_give_what_single_images_give(made, photos, monkeypatch):
    for number, colour in enumerate(["white", "green", "red"] * 3):
        Image.new("RGB", (24, 20), COLOURS[colour]).save(photos / f"{number}.png")
    monkeypatch.setattr("nxt.inference.prediction.batch_size", lambda *given: 4)
    counted = []
    found = library.predict(made, photos, progress=lambda *given: counted.append(given))
    assert counted == [(4, 11), (8, 11), (11, 11)] and len(found.rows) == 11
    for row, logits in zip(found.rows, found.logits, strict=True):
        alone = library.predict(made, row["image"])
        np.testing.assert_allclose(alone.logits[0], logits, rtol=1e-4, atol=1e-4)


def test_an_exported_onnx_file_predicts_as_the_checkpoint_does(nxt, made, photos):
    export_file(made, "onnx", photos.parent / "a.onnx")
    first, again = (library.predict(path, "photos") for path in (made, "a.onnx"))
    np.testing.assert_allclose(first.logits, again.logits, rtol=1e-4, atol=1e-4)
    assert {**first.network, "checkpoint": "a.onnx"} == again.network and first.classes == again.classes
    (photos / "b.onnx").write_bytes(b"not one")
    with pytest.raises(CheckpointError, match=r"b\.onnx: no ONNX file, or damaged"):
        library.predict(photos / "b.onnx", "photos")


def test_better_or_chosen_weights_are_taken(tmp_path, made, photos):
    both = checkpoint(f"folder:{tmp_path / 'colours'}", raw=knowing(), ema=knowing(tuple(reversed(NAMES))))
    save(tmp_path / "b.pt", dataclasses.replace(both, accuracies={"raw": 0.9, "ema": 0.1}))
    red = photos / "a.png"
    assert library.predict(tmp_path / "b.pt", red).rows[0]["classes"][0] == "red"
    assert library.predict(tmp_path / "b.pt", red, weights="ema").rows[0]["classes"][0] != "red"


def test_a_closed_folder_is_told_and_the_rest_goes_on(made, photos, monkeypatch):
    scan = os.scandir

    def closed(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = library.predict(made, photos)
    assert len(found.rows) == 1 and found.unreadable == (f"{photos}/sub: cannot be read (Permission denied)",)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images": "photos/sub/.git"}, DataError, r"photos/sub/\.git: no images$"),
        ({"images": []}, DataError, "`images`: no images"),
        ({"images": ["no.png"]}, DataError, r"^no\.png: no such file or folder$"),
        ({"top": 0}, ConfigError, "`top`: 0 is not at least 1"),
        ({"weights": "best"}, ConfigError, "'best' is not one of raw, ema"),
        ({"weights": "ema"}, CheckpointError, r"a\.pt: it has no ema weights"),
        ({"checkpoint": "no.pt"}, CheckpointError, "no such checkpoint"),
        ({"checkpoint": "no.onnx"}, CheckpointError, r"no\.onnx: cannot be read"),
    ],
)
def test_what_cannot_be_predicted_is_refused(nxt, made, photos, options, error, message):
    with pytest.raises(error, match=message):
        library.predict(**{"checkpoint": made, "images": "photos", **options})


def test_a_network_that_gives_no_numbers_is_refused(tmp_path, made, photos):
    broken = knowing()
    broken["fc.bias"][0] = float("nan")
    save(tmp_path / "nan.pt", checkpoint(f"folder:{tmp_path / 'colours'}", raw=broken))
    with pytest.raises(CheckpointError, match="not finite"):
        library.predict(tmp_path / "nan.pt", photos)
