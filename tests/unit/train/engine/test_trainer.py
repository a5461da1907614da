"""One epoch of training, against loops written by hand; what is calibrated, clipped, frozen, and stopped."""

import copy
import dataclasses
import gc
import math
import weakref
from itertools import islice

import numpy as np
import pytest
import stand_in
import torch
from near import assert_near
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.data.augment import Augment
from nxt.data.dataset import Split
from nxt.data.draw import Draw, derived
from nxt.data.preprocess import Preprocess
from nxt.data.resident import Batches
from nxt.errors import ConfigError, DivergedError
from nxt.models.network import build
from nxt.tasks.classification import evaluate
from nxt.train.engine.trainer import _CHECK, EpochReport, Trainer
from nxt.train.recipe import Recipe

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 4, "depths": [2, 2], "widths": [16, 32], "cardinality": 2, "base_width": 2}
)
CPU = torch.device("cpu")
CLASSES = 3


pytestmark = pytest.mark.usefixtures("one_thread")


def images(count, seed=0):
    """Images whose brightness tells their class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    pixels = rng.integers(0, 60, (count, 3, 8, 8)) + 90 * labels[:, None, None, None]
    preprocess = Preprocess(size=8, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Batches(Split(pixels.astype(np.uint8), labels), preprocess, CPU)


def network(seed=0, **regularize):
    torch.manual_seed(seed)
    made = build(SPEC, CLASSES)
    made.regularize(**regularize)
    return made


def recipe(**changes):
    plain = {"epochs": 4, "batch": 32, "lr": 0.05, "weight_decay": 0.001, "momentum": 0.9, "nesterov": True}
    return Recipe(**{**plain, **changes})


def trainer(model=None, count=64, compute=None, **changes):
    model = network() if model is None else model
    return Trainer(model, images(count), images(48, seed=1), recipe(**changes), seed=5, compute=compute)


def still(model):
    """Keep the BN of a network in evaluation mode whatever happens: then images do not depend on each other."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
            module.train = lambda mode=True, module=module: module
    return model


def values(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def gradients(made):
    """Train an epoch, and return the gradients with which each step was taken, as vectors."""
    found = []
    made.optimizer.register_step_pre_hook(
        lambda *_: found.append(torch.cat([p.grad.flatten() for p in made.network.parameters()]).clone())
    )
    made.run_epoch()
    return found


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_an_epoch_is_what_a_loop_by_hand_does(accumulate):
    made = trainer(accumulate=accumulate, compute=Compute(channels_last=False))
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=9.0, momentum=0.9, nesterov=True, weight_decay=0.001, fused=True)
    for epoch in range(2):
        passes = images(64).train(Draw(batch=32 // accumulate, augment=Augment(), seed=5), epoch)
        losses = []
        for step in range(2):
            optimizer.param_groups[0]["lr"] = made.recipe.rate(2 * epoch + step, 2)
            optimizer.zero_grad()
            total = 0.0
            for inputs, labels in islice(passes, accumulate):
                loss = nn.functional.cross_entropy(model(inputs), labels) / accumulate
                loss.backward()
                total += loss.item()
            optimizer.step()
            losses.append(total)
        report = made.run_epoch()
        assert report.epoch == epoch + 1 and report.loss == pytest.approx(np.mean(losses), rel=1e-6)
        assert report.lr == made.recipe.rate(2 * epoch + 1, 2)
        by_hand = values(model)
        assert all(torch.equal(value, by_hand[key]) for key, value in values(made.network).items())
        model.eval()
        with torch.no_grad():
            [(inputs, labels)] = images(48, seed=1).plain(48)
            assert report.accuracy == float((model(inputs).argmax(1) == labels).sum()) / 48
        model.train()


@pytest.mark.parametrize("loss", ["cross-entropy", "bce"])
def test_two_passes_of_sixteen_give_the_gradients_of_one_of_thirty_two(loss):
    one, two = (gradients(trainer(still(network()), accumulate=n, loss=loss)) for n in (1, 2))
    assert len(one) == len(two) == 2
    for a, b in zip(one, two, strict=True):
        assert_near(b, a)


def test_a_batch_that_the_images_do_not_fill_cannot_be_made_of_passes():
    with pytest.raises(ConfigError, match="batch is 32, but there are only 20 training images"):
        trainer(count=20, accumulate=2)
    assert trainer(count=20).run_epoch().epoch == 1


def test_clipping_bounds_the_norm_and_keeps_the_direction():
    whole = gradients(trainer(still(network())))
    clipped = gradients(trainer(still(network()), clip=0.01))
    assert all(float(g.norm()) > 0.02 for g in whole)
    assert all(float(g.norm()) == pytest.approx(0.01, rel=1e-3) for g in clipped)
    assert_near(clipped[0] / clipped[0].norm(), whole[0] / whole[0].norm())
    loose = gradients(trainer(still(network()), clip=1e6))
    assert all(torch.equal(a, b) for a, b in zip(whole, loose, strict=True))


def test_what_is_frozen_stays_with_its_statistics_also_through_calibration():
    model = network()
    model.freeze("stage1")
    before = values(model)
    trainer(model, calibrate=64, ema=0.9).run_epoch()
    after, frozen = values(model), ("conv1.", "bn1.", "layer1.")
    kept = [key for key in before if key.startswith(frozen)]
    assert any("running_var" in key for key in kept)
    assert all(torch.equal(before[key], after[key]) for key in kept)
    moved = [key for key in before if not key.startswith(frozen) and "num_batches" not in key]
    assert not any(torch.equal(before[key], after[key]) for key in moved)


def test_calibrated_statistics_are_plain_averages_over_training_images_with_nothing_dropped():
    made = trainer(network(dropout=0.5, drop_block=0.4, stochastic_depth=0.9), count=200, calibrate=130, epochs=1)
    made.run_epoch()
    by_hand = copy.deepcopy(made.network).eval()
    for module in by_hand.modules():
        if isinstance(module, _BatchNorm):
            module.train()
            module.reset_running_stats()
            module.momentum = None
    draw = Draw(batch=64, augment=Augment(), seed=derived(5, 0))
    with torch.no_grad():
        for inputs, _ in islice(images(200).train(draw, 0), 2):
            by_hand(inputs)
    expected, found = values(by_hand), values(made.network)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    norms = [module for module in made.network.modules() if isinstance(module, _BatchNorm)]
    assert {norm.momentum for norm in norms} == {0.1} and {int(norm.num_batches_tracked) for norm in norms} == {2}


def test_calibration_that_is_cut_off_leaves_a_network_that_trains_on():
    made, whole = (trainer(count=200, calibrate=128) for _ in range(2))
    calls = 0

    def stop():
        nonlocal calls
        calls += 1
        if calls == made.steps_per_epoch + 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        made.run_epoch(stop)
    assert (made.epoch, made.step) == (0, made.steps_per_epoch)
    assert {m.momentum for m in made.network.modules() if isinstance(m, _BatchNorm)} == {0.1}
    again, expected = made.run_epoch(), whole.run_epoch()
    assert (again.accuracy, again.loss) == (expected.accuracy, expected.loss)


def test_a_state_taken_after_any_step_goes_on_to_the_same_end():
    changes = {"ema": 0.9, "ema_every": 2, "mixup": 0.3, "calibrate": 64, "clip": 1.0}
    whole, states = trainer(count=160, **changes), []
    whole.run_epoch(lambda: states.append(copy.deepcopy(whole.state())))
    assert [state["step"] for state in states[:5]] == [1, 2, 3, 4, 5]
    for state in states:
        again = trainer(network(seed=9), count=160, **changes)
        again.restore(copy.deepcopy(state))
        report = again.run_epoch()
        assert report.epoch == 1
        expected, found = whole.state(), again.state()
        for kind in ("raw", "ema"):
            for key, value in expected["weights"][kind].items():
                assert torch.equal(value, found["weights"][kind][key]), (state["step"], kind, key)


def test_the_average_is_taken_every_so_many_steps_and_judged_beside_the_weights():
    made = trainer(count=160, ema=0.9, ema_every=2)
    report = made.run_epoch()
    assert made.state()["averaged"] == 2  # of five steps
    assert report.ema_accuracy is not None and report.best == max(report.accuracy, report.ema_accuracy)
    assert made.run_epoch().ema_accuracy is not None
    assert made.state()["averaged"] == 5
    assert trainer().run_epoch().ema_accuracy is None


def test_a_report_adds_up():
    report = trainer(count=100).run_epoch()
    assert isinstance(report, EpochReport) and 0 <= report.accuracy <= 1
    assert 0 <= report.wait < 1 and report.images_per_second * report.seconds >= 96
    assert dataclasses.replace(report, accuracy=0.4, ema_accuracy=0.6).best == 0.6
    assert dataclasses.replace(report, accuracy=0.4, ema_accuracy=None).best == 0.4


def test_a_network_learns_what_there_is_to_learn():
    made = trainer(count=200, epochs=6, calibrate=64)
    reports = [made.run_epoch() for _ in range(6)]
    assert reports[-1].accuracy == 1.0 and reports[-1].loss < reports[0].loss / 2


def test_images_are_mirrored_only_where_that_keeps_their_class():
    mirroring = {"augment": Augment(mirror=True)}
    made = [
        Trainer(network(), images(64), images(48), recipe(**changes), seed=5, mirror=mirror)
        for changes, mirror in ((mirroring, False), ({}, True), (mirroring, True))
    ]
    losses = [each.run_epoch().loss for each in made]
    assert losses[0] == losses[1] != losses[2]


def test_a_loss_that_is_no_number_is_noticed_within_so_many_steps_and_its_step_is_named():
    made, steps = trainer(count=2 * (_CHECK + 30), batch=2, lr=0.01), []
    original = made.task.loss
    made.task.loss = lambda *given: original(*given) * (float("nan") if made.step == 20 else 1.0)
    with pytest.raises(DivergedError, match=r"the loss became nan in epoch 1, step 21, at a rate of 0.00\d+; lower"):
        made.run_epoch(lambda: steps.append(made.step))
    assert len(steps) == _CHECK - 1


def test_a_loss_that_is_no_number_in_the_last_step_is_noticed_before_anything_is_judged():
    made = trainer(lr=1e30, momentum=0.0, nesterov=False, clip=0.0)
    with pytest.raises(DivergedError, match="in epoch 1, step 2, at a rate of"):
        made.run_epoch()


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_weights_that_overflow_in_the_only_step_of_an_epoch_give_no_accuracy(ema):
    """Its loss was finite, and the largest output of NaNs is that of class 0."""
    made = trainer(count=32, lr=1e30, momentum=0.0, nesterov=False, clip=0.0, ema=ema)
    with pytest.raises(DivergedError, match=r"^the outputs for 48 of 48 images became .* step 1, at a rate"):
        made.run_epoch()
    assert math.isfinite(made._losses[0]) and made.epoch == 0


def test_one_output_that_is_not_finite_is_enough():
    made = trainer(count=32)
    made.network.register_forward_hook(lambda _net, _given, out: out.index_fill(0, torch.tensor([3]), float("inf")))
    with pytest.raises(DivergedError, match="the outputs for 1 of 48 images"):
        evaluate(made.network, made.val_images, 48, Compute(), Ranks())


def test_weights_and_statistics_that_are_not_finite_are_told_before_the_loss_shows_it():
    made = trainer()
    made.check_weights()
    for name in ("running_var", "weight"):
        broken = trainer()
        next(value for key, value in broken.network.state_dict().items() if key.endswith(name))[0] = float("nan")
        with pytest.raises(DivergedError, match="the weights became infinite or NaN in epoch 1, step 0"):
            broken.check_weights()


def test_letting_go_of_a_trainer_frees_its_networks_at_once():
    """A cycle would hold a GPU's memory until Python happens to collect it."""
    gc.disable()
    try:
        made = trainer(ema=0.9, calibrate=64, clip=1.0, mixup=0.2)
        made.run_epoch()
        gone = [weakref.ref(each) for each in (made, made.network, made.averaged.module, made.network.fc.weight)]
        del made
        assert [reference() for reference in gone] == [None] * 4
    finally:
        gc.enable()


def test_a_state_goes_from_one_precision_to_another_and_back():
    """Only in fp16 gradients are scaled: on a cluster of several kinds of GPU a training moves between them."""
    one, half = trainer(compute=Compute()), trainer(compute=Compute(precision="fp16"))
    one.run_epoch()
    state = one.state()
    assert state["scaler"] == {}
    half.restore(copy.deepcopy(state))
    half.run_epoch()
    scaled = half.state()
    assert scaled["scaler"]["scale"] > 0
    back = trainer(compute=Compute(precision="fp16"))
    back.restore(copy.deepcopy(scaled))
    assert back.state()["scaler"] == scaled["scaler"]
    one.restore(copy.deepcopy(scaled))
    assert one.run_epoch().epoch == 3


def judged(count, batch, device=CPU):
    """Returns an accuracy, and how many images the network was shown at a time."""
    model, shown = network(), []
    model.register_forward_pre_hook(lambda _, given: shown.append(len(given[0])))
    pixels = images(count)
    pixels.device = device
    return evaluate(model, pixels, batch, Compute(channels_last=False), Ranks()), shown


@pytest.mark.parametrize(
    ("count", "batch", "on_cpu", "on_gpu"),
    [
        (1300, 64, [64] * 20 + [20], [512] * 3),
        (1300, 32, [64] * 20 + [20], [256] * 6),
        (1300, 600, [600, 600, 100], [600] * 3),
        (300, 64, [64] * 4 + [44], [300]),
    ],
)
def test_a_gpu_judges_many_images_at_a_time_and_always_as_many(monkeypatch, count, batch, on_cpu, on_gpu):
    accuracy, shown = judged(count, batch)
    assert shown == on_cpu
    stand_in.plug_in(monkeypatch)
    try:
        assert judged(count, batch, torch.device("cpu", 0)) == (accuracy, on_gpu)
    finally:
        stand_in.unplug()


def test_in_16_bits_logits_are_whole_floats():
    model, pixels = network().eval(), torch.randn(4, 3, 8, 8)
    plain = model(pixels)
    with Compute(precision="bf16").autocast(CPU):
        found = model(pixels)
    assert found.dtype == torch.float32 and not torch.equal(found, found.bfloat16().float())
    assert_near(found.bfloat16(), plain.bfloat16())
