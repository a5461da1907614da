"""Figures of segmentations follow from one matrix, and are those of torchmetrics."""

import pytest
import torch
from near import assert_near

from nxt.tasks.confusion import IGNORED, confusion, overlap


def assert_same_figure(found, expected, precision):
    """Assert that two figures in 0..1 agree, one of which was computed in some precision."""
    assert_near(torch.tensor(found, dtype=precision), torch.tensor(expected, dtype=precision), scale=1.0)


def pixels(seed, classes=5, shape=(3, 20, 30)):
    """Return predictions that are right for about half of the pixels, and the truth with ignored ones."""
    random = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, shape, generator=random)
    others = torch.randint(classes, shape, generator=random)
    predicted = torch.where(torch.rand(shape, generator=random) < 0.5, truth, others)
    truth[torch.rand(shape, generator=random) < 0.1] = IGNORED
    return predicted, truth


def test_a_matrix_counts_pixels_by_what_they_are_and_were_taken_for():
    truth = torch.tensor([[0, 0, 1, IGNORED], [2, 2, 2, IGNORED]], dtype=torch.uint8)
    predicted = torch.tensor([[0, 1, 1, 2], [2, 2, 0, 0]])
    matrix = confusion(predicted, truth, 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]] and matrix.dtype == torch.int64
    assert overlap(matrix).per_class == (1 / 3, 1 / 2, 2 / 3)


def test_matrices_of_parts_add_up():
    predicted, truth = pixels(0)
    parts = sum(confusion(*part, 5) for part in zip(predicted, truth, strict=True))
    assert torch.equal(parts, confusion(predicted, truth, 5)) and parts.sum() == (truth != IGNORED).sum()


@pytest.mark.parametrize("absent", [False, True])
def test_figures_are_those_of_torchmetrics(absent):
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    classes = 7 if absent else 5
    predicted, truth = pixels(1)
    if absent:
        predicted[0, 0, 0], truth[0, 0, 0] = 5, 0  # predicted though it is nowhere; 6 is neither
    table = overlap(confusion(predicted, truth, classes))
    found, own = table.figures, table.per_class
    how = {"num_classes": classes, "ignore_index": IGNORED}
    assert_same_figure(found["mIoU"], float(MulticlassJaccardIndex(**how)(predicted, truth)), torch.float32)
    accuracy = MulticlassAccuracy(average="micro", **how)(predicted, truth)
    assert_same_figure(found["pixel accuracy"], float(accuracy), torch.float32)
    if not absent:
        assert_same_figure(found["mean accuracy"], float(MulticlassAccuracy(**how)(predicted, truth)), torch.float32)
    by_class = MulticlassJaccardIndex(average=None, **how)(predicted, truth).tolist()
    assert own[5:] == ((0.0, None) if absent else ())
    for one, other in zip(own[:5], by_class, strict=False):
        assert_same_figure(one, other, torch.float32)


def test_without_a_pixel_to_judge_by_all_is_zero_and_no_class_has_a_share():
    table = overlap(confusion(torch.zeros(4, 4), torch.full((4, 4), IGNORED), 3))
    assert set(table.figures.values()) == {0.0} and table.per_class == (None, None, None)
