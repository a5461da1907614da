"""The loss, and mixing: targets stay shares of the classes, and mean what was done to the images."""

import math

import pytest
import torch
import torch.nn.functional as F

from nxt.tasks.classification import Classification
from nxt.train.recipe import Recipe

CLASSES, BATCH = 7, 16


def make(**changes):
    return Classification(Recipe(epochs=1, batch=BATCH, lr=0.1, **changes), CLASSES)


def batch(seed=0):
    """Images of one value each, the number of their class: so that a mixture says what it is made of."""
    labels = torch.randint(CLASSES, (BATCH,), generator=torch.Generator().manual_seed(seed))
    return labels.float().view(-1, 1, 1, 1).expand(-1, 3, 12, 12).clone(), labels


MIXES = {"mixup": {"mixup": 0.4}, "cutmix": {"cutmix": 1.0}, "both": {"mixup": 0.4, "cutmix": 1.0}}


@pytest.mark.parametrize("kind", MIXES)
def test_mixed_targets_are_shares_of_the_classes_and_those_of_the_mixed_images(kind):
    objective, changed = make(**MIXES[kind]), 0
    for seed in range(20):
        torch.manual_seed(seed)
        images, labels = batch(seed)
        mixed, targets = objective.mix(images, labels)
        assert mixed.shape == images.shape and targets.shape == (BATCH, CLASSES)
        assert targets.min() >= 0 and torch.allclose(targets.sum(1), torch.ones(BATCH), atol=1e-6)
        assert ((targets > 0).sum(1) <= 2).all()
        assert torch.allclose(mixed.mean((1, 2, 3)), targets @ torch.arange(CLASSES).float(), atol=1e-5)
        changed += not torch.equal(mixed, images)
    assert changed >= 15


def test_mixup_blends_whole_images_and_cutmix_pastes_parts_of_them():
    torch.manual_seed(1)
    for _ in range(10):
        images, labels = batch()
        blended, _ = make(mixup=0.4).mix(images, labels)
        assert torch.equal(blended, blended[:, :, :1, :1].expand_as(blended))
        pasted, _ = make(cutmix=1.0).mix(images, labels)
        assert set(pasted.unique().tolist()) <= set(images.unique().tolist())


def test_with_both_each_batch_gets_one_of_them():
    objective, blended, pasted = make(**MIXES["both"]), 0, 0
    torch.manual_seed(0)
    for _ in range(60):
        images, labels = batch()
        mixed, _ = objective.mix(images, labels)
        constant = torch.equal(mixed, mixed[:, :, :1, :1].expand_as(mixed))
        original = set(mixed.unique().tolist()) <= set(images.unique().tolist())
        assert constant or original
        blended, pasted = blended + (not original), pasted + (not constant)
    assert blended > 15 and pasted > 15


@pytest.mark.parametrize("kind", MIXES)
def test_the_same_seed_mixes_in_the_same_way(kind):
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        found.append(make(**MIXES[kind]).mix(*batch()))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_without_mixing_images_and_labels_are_left_and_nothing_is_drawn():
    images, labels = batch()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    same, targets = make().mix(images, labels)
    assert same is images and targets is labels and torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_that_of_the_shares_in_both_forms_of_targets(smoothing):
    torch.manual_seed(2)
    logits, objective = torch.randn(BATCH, CLASSES, dtype=torch.float64), make(label_smoothing=smoothing)
    labels = torch.randint(CLASSES, (BATCH,))
    shares = F.one_hot(labels, CLASSES).double() * (1 - smoothing) + smoothing / CLASSES
    by_hand = -(shares * logits.log_softmax(1)).sum(1).mean()
    for targets in (labels, F.one_hot(labels, CLASSES).double()):
        assert objective.loss(logits, targets).item() == pytest.approx(by_hand.item(), abs=1e-12)
    soft = torch.rand(BATCH, CLASSES, dtype=torch.float64).softmax(1)
    by_hand = -((soft * (1 - smoothing) + smoothing / CLASSES) * logits.log_softmax(1)).sum(1).mean()
    assert objective.loss(logits, soft).item() == pytest.approx(by_hand.item(), abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_binary_form_judges_each_class_by_itself(smoothing):
    torch.manual_seed(3)
    logits, objective = torch.randn(BATCH, CLASSES, dtype=torch.float64), make(loss="bce", label_smoothing=smoothing)
    labels = torch.randint(CLASSES, (BATCH,))
    total = 0.0
    for row, label in enumerate(labels.tolist()):
        for column in range(CLASSES):
            p = 1 / (1 + math.exp(-logits[row, column]))
            target = (1 - smoothing) * (column == label) + smoothing / CLASSES
            total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    assert objective.loss(logits, labels).item() == pytest.approx(total / BATCH / CLASSES, abs=1e-9)
    shares = F.one_hot(labels, CLASSES).double()
    assert objective.loss(logits, shares).item() == pytest.approx(total / BATCH / CLASSES, abs=1e-9)
    logits.requires_grad_()
    objective.loss(logits, labels).backward()
    target = shares * (1 - smoothing) + smoothing / CLASSES
    assert torch.allclose(logits.grad, (logits.sigmoid() - target).detach() / (BATCH * CLASSES), atol=1e-12)


@pytest.mark.parametrize("loss", ["cross-entropy", "bce"])
def test_the_loss_of_a_mixture_is_the_mixture_of_the_losses(loss):
    torch.manual_seed(4)
    logits, objective = torch.randn(BATCH, CLASSES, dtype=torch.float64), make(loss=loss)
    first, second = (F.one_hot(torch.randint(CLASSES, (BATCH,)), CLASSES).double() for _ in range(2))
    mixed = objective.loss(logits, 0.3 * first + 0.7 * second)
    parts = 0.3 * objective.loss(logits, first) + 0.7 * objective.loss(logits, second)
    assert mixed.item() == pytest.approx(parts.item(), abs=1e-12)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_the_binary_form_takes_what_lower_precision_gives(kind):
    logits, labels = torch.zeros(BATCH, CLASSES, dtype=kind), torch.zeros(BATCH, dtype=torch.long)
    assert make(loss="bce").loss(logits, labels).item() == pytest.approx(math.log(2), abs=1e-2)
