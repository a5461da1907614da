"""Evaluation: figures against hand-made cases and other formulas, views against plain loops over torchvision's."""

import dataclasses
import math
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import stand_in
import torch
import torch.nn.functional as F
from near import assert_near
from PIL import Image
from scipy import stats
from torchvision.transforms import InterpolationMode, v2

from nxt.arch.spec import ArchSpec
from nxt.compute.devices import choose
from nxt.data.dataset import divided
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import CheckpointError, ConfigError, DataError
from nxt.inference.evaluation import Predictions, ensemble, examples, predict, read_classes, wilson
from nxt.inference.views import Dense, Views
from nxt.models.network import build

CPU = torch.device("cpu")
SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 8, "depths": [1, 1], "widths": [16, 32], "cardinality": 2, "base_width": 4}
)
PREPROCESS = Preprocess(size=16, crop=0.8, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
# Width, height. Resized to 20 they have even margins around 16 pixels: with odd ones torchvision's TenCrop, which
# mirrors before it crops, takes another centre from the mirrored image.
SHAPES = [(20, 20), (32, 24), (24, 36), (20, 20), (18, 51)]


def said(probabilities, labels, classes="abcdefgh"):
    """Predictions of given probabilities."""
    rows = np.log(np.asarray(probabilities, dtype=np.float32))
    return Predictions(rows, np.asarray(labels), tuple(classes[: rows.shape[1]]))


def drawn(images=200, classes=7, seed=0, scale=2.0):
    """Predictions drawn at random, and their logits."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy((scale * rng.standard_normal((images, classes))).astype(np.float32))
    return Predictions(logits.log_softmax(1).numpy(), rng.integers(0, classes, images), tuple("abcdefg")), logits


HAND_MADE = said(
    [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.6, 0.3, 0.1]],
    [0, 0, 0, 1, 2, 0],
    "xyz",
)


# Figures


def test_the_figures_of_a_hand_made_case():
    assert HAND_MADE.top(1) == 3 / 6
    assert HAND_MADE.top(2) == 4 / 6  # x is the last of three in rows 1 and 2
    assert HAND_MADE.top(3) == 1.0
    assert HAND_MADE.confusion().tolist() == [[2, 2, 0], [1, 0, 0], [0, 0, 1]]
    assert HAND_MADE.per_class() == {"x": 0.5, "y": 0.0, "z": 1.0}
    assert [(c.name, c.images, c.accuracy, c.mistaken, c.times) for c in HAND_MADE.worst()] == [
        ("y", 1, 0.0, "x", 1),
        ("x", 4, 0.5, "y", 2),
        ("z", 1, 1.0, None, 0),
    ]
    assert HAND_MADE.loss() == pytest.approx(-math.log(0.7 * 0.1 * 0.2 * 0.3 * 0.8 * 0.6) / 6, rel=1e-6)
    assert HAND_MADE.figures()["top5"] == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_the_figures_agree_with_torch(seed):
    found, logits = drawn(seed=seed)
    labels = torch.from_numpy(found.labels)
    for k in range(1, 8):
        hits = (logits.topk(k).indices == labels[:, None]).any(1)
        assert found.top(k) == pytest.approx(hits.float().mean().item())
    assert found.loss() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-5)
    assert found.confusion().sum() == len(found) and np.trace(found.confusion()) == round(found.top(1) * len(found))


def test_among_equals_the_first_class_counts():
    equal = said(np.full((4, 4), 0.25), [0, 1, 2, 3])
    assert [equal.top(k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert equal.predicted.tolist() == [0, 0, 0, 0]


def test_a_class_without_images_has_no_accuracy():
    few = said([[0.6, 0.3, 0.1], [0.3, 0.5, 0.2]], [0, 0])
    assert few.per_class() == {"a": 0.5}
    assert [row.name for row in few.worst()] == ["a"]


@pytest.mark.parametrize(("confidence", "accuracy"), [(0.9, 0.5), (0.6, 1.0), (0.75, 0.75), (1.0, 0.0)])
def test_constant_confidence_is_off_by_its_distance_from_the_accuracy(confidence, accuracy):
    right = np.arange(100) < 100 * accuracy
    rows = np.where(right[:, None], [[confidence, 1 - confidence]], [[1 - confidence, confidence]])
    with np.errstate(divide="ignore"):  # of the logarithm of 0
        found = said(rows, np.zeros(100, dtype=int))
    assert found.ece() == pytest.approx(abs(confidence - accuracy), abs=1e-6)


def test_predictions_that_come_true_as_often_as_they_say_are_calibrated():
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.5, 1, 100_000)
    labels = (rng.uniform(size=100_000) > confidence).astype(int)
    found = said(np.stack([confidence, 1 - confidence], 1), labels)
    assert found.ece() < 0.01
    sharper = said(np.stack([confidence**0.2, 1 - confidence**0.2], 1), labels)
    assert sharper.ece() > 0.1


def test_the_calibration_error_agrees_with_a_loop_over_images():
    found, logits = drawn(400, scale=3.0)
    bins = [[] for _ in range(15)]
    for row, label in zip(logits.double().softmax(1).tolist(), found.labels.tolist(), strict=True):
        number = next(m for m in range(15) if m / 15 < max(row) <= (m + 1) / 15)
        bins[number].append((max(row), row.index(max(row)) == label))
    error = sum(abs(sum(c for c, _ in b) - sum(r for _, r in b)) for b in bins) / 400
    assert found.ece() == pytest.approx(error, abs=1e-6)
    table = found.reliability()
    assert [row["images"] for row in table] == [len(b) for b in bins]
    assert all((row["accuracy"] is None) == (row["images"] == 0) for row in table)
    assert all(row["low"] < row["confidence"] <= row["high"] for row in table if row["images"])


@pytest.mark.parametrize(("right", "total"), [(0, 10), (8, 10), (10, 10), (937, 1000), (1, 1), (5, 10_000)])
def test_the_interval_is_wilsons(right, total):
    other = stats.binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson(right, total) == pytest.approx((other.low, other.high), abs=1e-7)


def test_listed_classes_have_the_softmax_of_their_own_logits():
    found, logits = drawn()
    columns = np.array([1, 2, 5])
    kept = np.isin(found.labels, columns)
    few = Predictions(found.log_probabilities[kept], found.labels[kept], found.classes).among(columns)
    assert few.classes == ("b", "c", "f")
    assert np.array_equal(columns[few.labels], found.labels[kept])
    expected = logits[torch.from_numpy(kept)][:, columns].softmax(1)
    assert np.allclose(np.exp(few.log_probabilities), expected, atol=1e-6)
    assert np.allclose(found.among(np.arange(7)).log_probabilities, found.log_probabilities, atol=1e-6)


def test_listed_classes_are_told_apart_however_improbable_they_are():
    logits = torch.tensor([[900.0, 0.0, 3.0], [900.0, 3.0, 0.0]])
    few = Predictions(logits.log_softmax(1).numpy(), np.array([2, 1]), tuple("abc")).among(np.array([1, 2]))
    assert few.top(1) == 1.0
    assert few.confidence == pytest.approx(2 * [1 / (1 + math.exp(-3))])


def test_an_ensemble_averages_probabilities():
    first, second = drawn(seed=1)[0], drawn(seed=2)[0]
    second = dataclasses.replace(second, labels=first.labels)
    mean = (np.exp(first.log_probabilities) + np.exp(second.log_probabilities)) / 2
    assert np.allclose(np.exp(ensemble([first, second]).log_probabilities), mean, atol=1e-6)
    assert np.allclose(ensemble([first] * 3).log_probabilities, first.log_probabilities, atol=1e-5)
    assert ensemble([first] * 3).top(1) == first.top(1)


# Views, against plain loops


def network(classes=2, spec=SPEC, seed=4):
    """A network that tells images apart: random, with BN statistics that are not 0 and 1, and large outputs."""
    torch.manual_seed(seed)
    made = build(spec, classes)
    made.train()
    for _ in range(20):
        made(torch.randn(8, 3, 16, 16))
    torch.nn.init.normal_(made.fc.weight, std=0.5)
    return made.eval()


@pytest.fixture
def pictures(tmp_path):
    """A folder of noisy images of several shapes, as a source."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for index, (width, height) in enumerate(SHAPES):
                coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
                coarse.resize((width, height), Image.Resampling.BICUBIC).save(tmp_path / split / name / f"{index}.png")
    return open_source(DataRef("folder", str(tmp_path)))


def of(source, classes=None):
    return examples(source, "test", classes or source.classes)


def shown(source, made, views, workers=0):
    """The probabilities that `predict` finds."""
    found = np.exp(predict(made, of(source), views, CPU, workers))
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    return found


def resize(side):
    return v2.Resize(side, InterpolationMode.BICUBIC, antialias=True)


def normal(pixels):
    return v2.Normalize(PREPROCESS.mean, PREPROCESS.std)(v2.ToDtype(torch.float32, scale=True)(pixels))


def softmax(made, views):
    return made(views).softmax(1)


@torch.no_grad()
def looped(source, made, cut, score=softmax):
    """The mean score of each test image's views (V, 3, H, W), image by image."""
    opened = (v2.functional.pil_to_tensor(source.open("test", row)) for row in range(len(source.labels("test"))))
    return torch.stack([score(made, normal(cut(pixels))).mean(0) for pixels in opened]).numpy()


def test_a_centre_view_is_a_plain_loop_over_torchvision(pictures):
    made = network()
    found = shown(pictures, made, Views(preprocess=PREPROCESS))
    plain = looped(pictures, made, lambda pixels: v2.CenterCrop(16)(resize(20)(pixels))[None])
    assert np.allclose(found, plain, atol=1e-5)
    assert found.std(axis=0).min() > 0.01  # images do differ
    other = dataclasses.replace(PREPROCESS, crop=1.0)
    assert not np.allclose(found, shown(pictures, made, Views(preprocess=other)), atol=1e-3)


@pytest.mark.parametrize("mirror", [True, False])
def test_ten_views_are_torchvisions_ten_crops_averaged_and_five_where_nothing_is_mirrored(pictures, mirror):
    made = network()
    crops = v2.TenCrop(16) if mirror else v2.FiveCrop(16)
    found = shown(pictures, made, Views(preprocess=PREPROCESS, kind="ten", mirror=mirror))
    plain = looped(pictures, made, lambda pixels: torch.stack(list(crops(resize(20)(pixels)))))
    assert np.allclose(found, plain, atol=1e-5)


def windowed(made, view, window=8):
    """The mean softmax over all windows of the last feature map, one window at a time."""
    features = {}
    hook = made.avgpool.register_forward_pre_hook(lambda _, given: features.update(map=given[0]))
    made(view)
    hook.remove()
    _, _, height, width = features["map"].shape
    scores = [
        made.fc(features["map"][:, :, y : y + window, x : x + window].mean((2, 3))).softmax(1)
        for y in range(max(1, height - window + 1))
        for x in range(max(1, width - window + 1))
    ]
    return torch.cat(scores)


def test_dense_views_average_scores_over_windows_scales_and_mirror_images(pictures):
    made, scales = network(), (12, 16, 23)
    views = Views(preprocess=PREPROCESS, kind="dense", scales=scales)
    by_hand = [
        looped(pictures, made, lambda pixels, side=side, flip=flip: flip(resize(side)(pixels))[None], windowed)
        for flip in (v2.Identity(), v2.functional.hflip)
        for side in scales
    ]
    assert np.allclose(shown(pictures, made, views), np.mean(by_hand, axis=0), atol=1e-5)
    unmirrored = dataclasses.replace(views, mirror=False)
    assert np.allclose(shown(pictures, made, unmirrored), np.mean(by_hand[:3], axis=0), atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("stem", ["cifar", "imagenet", "deep"])
def test_at_its_own_size_a_dense_network_is_the_network(stem):
    made = network(3, SPEC.replace(stem=stem)).double()
    for size in (16, 33, 64):
        images = torch.randn(2, 3, size, size, dtype=torch.float64)
        assert_near(Dense(made, size)(images).exp(), made(images).softmax(1).float())
        few = torch.randn(2, 3, size // 2, size // 2, dtype=torch.float64)  # smaller than the window: one position
        assert_near(Dense(made, size)(few).exp(), made(few).softmax(1).float())


@torch.no_grad()
def test_with_single_positions_the_networks_own_forward_is_the_mean_logit_and_not_the_mean_score():
    made = network(3).double()
    dense = Dense(made, 2)
    assert dense.window == 1
    images = torch.randn(2, 3, 24, 40, dtype=torch.float64)
    at_positions = made.fc(dense.trunk(images).flatten(2).transpose(1, 2))
    assert_near(at_positions.mean(1), made(images))
    assert_near(dense(images).exp(), at_positions.softmax(2).mean(1).float())
    assert not torch.allclose(dense(images).exp(), made(images).softmax(1).float(), atol=1e-2)


def test_the_papers_scales_go_with_the_size():
    full = dataclasses.replace(PREPROCESS, size=224)
    assert Views(preprocess=full, kind="dense").sides == (224, 256, 384, 480, 640)
    assert Views(preprocess=dataclasses.replace(full, size=32), kind="dense").sides == (32, 37, 55, 69, 91)
    assert Views(preprocess=full, kind="ten").sides == (280,)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "centre"}, "did you mean 'center'"),
        ({"kind": "all"}, "known are center, ten, dense"),
        ({"scales": (16,)}, "belong to dense"),
        ({"kind": "dense", "scales": (16, 3)}, "a scale is 3"),
        ({"kind": "dense", "scales": (5000,)}, "a scale is 5000"),
    ],
)
def test_views_that_cannot_be_are_refused(changes, problem):
    with pytest.raises(ConfigError, match=problem):
        Views(preprocess=PREPROCESS, **changes)


@pytest.mark.parametrize("kind", ["center", "ten", "dense"])
def test_small_batches_and_processes_that_read_change_nothing(pictures, kind, monkeypatch):
    made, views = network(), Views(preprocess=PREPROCESS, kind=kind, scales=(16, 20) if kind == "dense" else ())
    whole, told = shown(pictures, made, views), []
    monkeypatch.setattr("nxt.inference.evaluation._MOST", 3)
    apart = np.exp(predict(made, of(pictures), views, CPU, 2 if kind == "dense" else 0, told.append))
    assert np.allclose(whole, apart, atol=1e-5)
    assert told == [3, 3, 3, 1]


def test_an_image_that_cannot_be_read_is_named_also_by_another_process(pictures):
    Path(pictures.name.removeprefix("folder:"), "test", "dog", "3.png").write_bytes(b"no image")
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"dog/3\.png: not readable") as caught:
            predict(network(), of(pictures), Views(preprocess=PREPROCESS), CPU, workers)
        assert "\n" not in str(caught.value)


def test_outputs_that_are_not_numbers_are_an_error(pictures):
    made = network()
    torch.nn.init.constant_(made.fc.bias, math.nan)
    with pytest.raises(CheckpointError, match="not finite"):
        predict(made, of(pictures), Views(preprocess=PREPROCESS), CPU)


def test_a_gpu_computes_all_of_it_in_fp32_and_not_in_tf32(pictures, monkeypatch):
    made, exact, seen = network(), [], []
    made.register_forward_pre_hook(lambda *_: seen.append(bool(exact)))

    @contextmanager
    def noted(gpu):
        exact.append(gpu)
        yield
        exact.pop()

    stand_in.plug_in(monkeypatch)
    monkeypatch.setattr(stand_in.StandIn, "exact", noted)
    try:
        found = predict(made, of(pictures), Views(preprocess=PREPROCESS, kind="ten"), choose("cuda"))
    finally:
        stand_in.unplug()
    assert seen and all(seen)
    assert np.allclose(np.exp(found).sum(1), 1, atol=1e-5)


# Which images


def test_classes_go_by_name(pictures):
    images = of(pictures, ("ant", "dog", "cow", "cat"))
    assert images.labels.tolist() == [3] * 5 + [1] * 5
    few = examples(pictures, "test", ("ant", "dog", "cow", "cat"), np.array([0, 1]))
    assert few.labels.tolist() == [1] * 5
    assert few.rows.tolist() == list(range(5, 10))


def test_validation_images_are_those_by_which_a_training_selects():
    source = open_source(DataRef("digits"))
    images = examples(source, "val", source.classes)
    _, split, rows = divided(source)
    assert (images.split, images.rows.tolist()) == (split, rows.tolist())
    assert np.array_equal(images.labels, source.labels("train")[rows])


def test_other_classes_are_an_error_with_counts_and_an_example(pictures):
    with pytest.raises(DataError, match="1 of its 2 classes are none of the checkpoint's 3, such as 'dog'"):
        of(pictures, ("cat", "cow", "hen"))
    with pytest.raises(DataError, match="did you mean 'dogs'"):
        of(pictures, ("cat", "dogs"))
    with pytest.raises(DataError, match="no test image is of a listed class"):
        examples(pictures, "test", ("cat", "cow", "dog"), np.array([1]))


def test_accents_that_a_system_took_apart_change_no_class(pictures):
    apart = dataclasses.replace(pictures, classes=("cafe\u0301", "dog"))
    assert of(apart, ("caf\u00e9", "dog")).labels.tolist() == of(pictures, pictures.classes).labels.tolist()


@pytest.mark.parametrize("accent", ["\u00e9", "e\u0301"])
def test_listed_classes_are_read_in_the_networks_order(tmp_path, accent):
    file = tmp_path / "classes.txt"
    file.write_bytes(f"\ufeffdog\r\n\r\n  caf{accent} \r\nant".encode())
    assert read_classes(file, ("ant", "cat", "caf\u00e9", "dog")).tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"cat\n\ndgo\n", "line 3: the checkpoint has no class 'dgo'; did you mean 'dog'"),
        (b"cat\ndog\ncat\n", "line 3: 'cat' is given twice"),
        (b"cat\n", "at least two are needed"),
        (b"", "at least two are needed"),
        (b"\xff\xfe\x00cat", "not a text file"),
        (None, "cannot be read"),
    ],
)
def test_a_list_of_classes_that_cannot_be_used_is_refused(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        read_classes(tmp_path / "classes.txt", ("cat", "dog"))
