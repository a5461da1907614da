"""Recipes: the learning rate as a function of the step alone, and what a recipe file may say."""

import itertools
import math

import pytest

from nxt.config import to_mapping
from nxt.data.augment import Augment
from nxt.errors import ConfigError
from nxt.train.recipe import FOLDER, Recipe, Saving, load_recipe

PACKAGED = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def make(**changes):
    return Recipe(**{"epochs": 10, "batch": 32, "lr": 0.1, **changes})


@pytest.mark.parametrize(("step", "share"), [(0, 1), (25, 0.5 + math.sqrt(0.125)), (50, 0.5), (100, 0)])
def test_a_cosine_falls_from_the_highest_rate_to_zero(step, share):
    assert make().rate(step, 10) == pytest.approx(0.1 * share, abs=1e-12)


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 1), (49, 1), (50, 0.1), (74, 0.1), (75, 0.01), (99, 0.01), (100, 0.01)]
)
def test_steps_fall_to_a_tenth_at_each_milestone(step, factor):
    recipe = make(schedule="step", milestones=(0.5, 0.75))
    assert recipe.rate(step, 10) == pytest.approx(0.1 * factor)


def test_steps_without_milestones_never_fall():
    assert {make(schedule="step").rate(step, 7) for step in range(70)} == {0.1}


@pytest.mark.parametrize("schedule", ["cosine", "step"])
def test_a_warmup_rises_evenly_to_the_highest_rate(schedule):
    recipe = make(schedule=schedule, warmup=2, milestones=(0.5,))
    rates = [recipe.rate(step, 10) for step in range(21)]
    assert rates[0] == pytest.approx(0.1 / 21)
    assert [b - a for a, b in itertools.pairwise(rates)] == pytest.approx([0.1 / 21] * 20)
    assert rates[20] == pytest.approx(0.1)


def test_a_warmup_of_part_of_an_epoch_is_possible():
    rates = [make(warmup=0.25).rate(step, 10) for step in range(5)]
    assert rates[:3] == pytest.approx([0.1 / 3.5, 0.2 / 3.5, 0.3 / 3.5])
    assert rates[3] < 0.1 and rates[4] < rates[3]


@pytest.mark.parametrize("name", PACKAGED)
@pytest.mark.parametrize("steps", [2, 3, 40])
def test_the_rate_of_every_step_is_positive_and_at_most_the_highest(name, steps):
    recipe = load_recipe(name)
    recipe = recipe.with_images(recipe.batch * steps)
    rates = [recipe.rate(step, steps) for step in range(recipe.epochs * steps)]
    assert all(0 < rate <= recipe.peak for rate in rates)
    assert max(rates) > 0.9 * recipe.peak


def test_a_training_that_is_all_warmup_rises_to_its_end():
    recipe = make(epochs=1, warmup=1)
    rates = [recipe.rate(step, 5) for step in range(5)]
    assert rates == sorted(rates) and rates[-1] < 0.1
    assert recipe.rate(5, 5) == pytest.approx(0.1)  # past the end nothing is divided by zero


def test_the_rate_of_a_training_of_one_step_is_the_highest():
    assert make(epochs=1).rate(0, 1) == 0.1


def test_a_recipe_in_steps_learns_its_epochs_from_the_number_of_images():
    recipe = make(epochs=0, steps=25, batch=8, warmup=1, schedule="cosine").with_images(85)  # ten steps an epoch
    assert (recipe.epochs, recipe.total_steps(10)) == (3, 25)
    rates = [recipe.rate(step, 10) for step in range(26)]
    assert rates[10] == pytest.approx(0.1) and rates[25] == pytest.approx(0, abs=1e-9) and min(rates[:25]) > 0
    assert make(epochs=0, steps=25, batch=8, milestones=(0.4,), schedule="step").rate(10, 10) == pytest.approx(0.01)
    assert recipe.with_images(85) == recipe  # once more, as on a resumption
    with pytest.raises(ConfigError, match="25 steps are 2 epochs of 160 images, not 3; give one"):
        recipe.with_images(160)
    longer = recipe.with_epochs(6)
    assert (longer.steps, longer.epochs, longer.warmup) == (None, 6, 2)


def test_all_recipes_that_come_along_load_and_say_what_they_are_for():
    ours = ["detection-1x", "finetune", "proxy", "quick", "quick-detection", "quick-segmentation"]
    resnest = [f"resnest-{name}" for name in ("ade20k", "cityscapes", "detection", "imagenet")]
    resnext = [f"resnext-{name}" for name in ("cifar", "detection", "imagenet")]
    assert [*ours, *resnest, *resnext, "torchvision-long"] == PACKAGED
    for name in PACKAGED:
        recipe = load_recipe(name)
        assert recipe.about and isinstance(recipe.augment, Augment)


def test_the_recipes_of_the_paper_are_as_published():
    cifar, imagenet = load_recipe("resnext-cifar"), load_recipe("resnext-imagenet")
    assert (cifar.epochs, cifar.batch, cifar.lr, cifar.weight_decay) == (300, 128, 0.1, 5e-4)
    assert (imagenet.epochs, imagenet.batch, imagenet.lr, imagenet.weight_decay) == (100, 256, 0.1, 1e-4)
    epochs = [next(e for e in range(100) if imagenet.rate(e * 10, 10) < limit) for limit in (0.05, 0.005, 0.0005)]
    assert epochs == [30, 60, 90]
    assert [cifar.rate(e * 3, 3) for e in (149, 150, 225)] == pytest.approx([0.1, 0.01, 0.001])


def test_the_recipes_of_detection_and_segmentation_are_as_published():
    def rate(recipe, step):
        return recipe.rate(step, 7_393)  # 118,287 images of COCO

    for name, ends in {"detection-1x": (60_000, 80_000), "resnext-detection": (120_000,)}.items():
        recipe = load_recipe(name)
        assert (recipe.batch, recipe.peak, recipe.weight_decay, recipe.frozen_bn) == (16, 0.02, 1e-4, True)
        for number, end in enumerate(ends, 1):
            assert rate(recipe, end - 1) == pytest.approx(0.02 * 10 ** (1 - number))
            assert rate(recipe, end) == pytest.approx(0.02 * 10**-number)
    assert load_recipe("detection-1x").steps == 90_000 and load_recipe("resnext-detection").steps == 180_000
    ade = load_recipe("resnest-ade20k")
    assert (ade.epochs, load_recipe("resnest-ade20k", network="resnest101").epochs) == (120, 180)
    assert ade.rate(0, 10) == 0.01 and ade.rate(600, 10) == pytest.approx(0.01 * 0.5**0.9)


def test_a_warmup_in_steps_rises_as_one_in_epochs():
    by_steps, by_epochs = make(epochs=4, warmup_steps=10), make(epochs=4, warmup=1)
    assert [by_steps.rate(step, 10) for step in range(40)] == [by_epochs.rate(step, 10) for step in range(40)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "faster-rnn"}, "no head is called 'faster-rnn'; did you mean 'faster-rcnn'"),
        ({"head": "fcn", "mixup": 0.2}, "mixup is for classification, not for segmentation"),
        ({"head": "retinanet", "calibrate": 64}, "calibrate is for classification, not for detection"),
        ({"head": "fcn", "augment": Augment(shift=0.1)}, "augment.shift is for classification, not for segmentation"),
        ({"head": "retinanet", "augment": Augment(crop_area=0.5)}, "augment.crop_area is for classification, not for"),
        ({"warmup": 1, "warmup_steps": 5}, "warmup and warmup_steps are both given"),
        ({"batch": 1}, "batch is 1; batch norm needs at least 2"),
        ({"head": "fcn", "head_lr": 0}, "head_lr is 0; it is above 0"),
    ],
)
def test_values_that_no_head_can_be_trained_with_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)
    assert make(head="faster-rcnn", batch=1, frozen_bn=True).batch == 1


def test_the_recipe_of_resnest_differs_between_its_networks_as_published():
    """Crop, batch and dropout of the released Gluon code; 0.1 per 256 images."""
    names = ("resnest50", "resnest101", "resnest200", "resnest269")
    recipes = [load_recipe("resnest-imagenet", network=name) for name in names]
    assert [(r.size, r.batch, r.dropout) for r in recipes] == [
        (224, 8192, 0.0), (256, 4096, 0.0), (320, 2048, 0.2), (416, 2048, 0.2),
    ]  # fmt: skip
    assert [r.peak for r in recipes] == pytest.approx([3.2, 1.6, 0.8, 0.8])
    assert {r.drop_block for r in recipes} == {0.1} and {r.epochs for r in recipes} == {270}
    assert load_recipe("resnest-imagenet", {"size": 128}, "resnest200").size == 128


def test_torchvisions_recipe_tests_at_a_larger_size_than_it_trains():
    recipe = load_recipe("torchvision-long")
    assert (recipe.size, recipe.eval_size, recipe.epochs, recipe.batch, recipe.peak) == (176, 224, 600, 1024, 0.5)
    assert recipe.preprocess(224, (0.5,) * 3, (0.5,) * 3).resized == 232


def test_the_rate_is_scaled_to_the_batch_where_the_recipe_says_for_which_one_it_is():
    assert make(lr=0.1, lr_batch=256, batch=64).peak == pytest.approx(0.025)
    assert make(lr=0.1, batch=64).peak == 0.1
    for recipe in (make(batch=64), make(batch=64, lr_batch=256)):
        halved = recipe.with_batch(32)
        assert halved.batch == 32 and halved.peak == pytest.approx(recipe.peak / 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: 3\n", "mine.yaml: models: a mapping"),
        ("models: {resnest50: 3}\n", "mine.yaml: models: resnest50: a mapping"),
        ("models: {resnest50: {sise: 3}}\n", "models: resnest50: unknown key 'sise'; did you mean 'size'"),
    ],
)
def test_values_for_single_networks_are_checked_for_all_of_them(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\nbatch: 8\nlr: 0.1\n" + text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(path), network="resnet50")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0, or missing; give it, or steps"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"accumulate": 5}, "batch 32 is not 5 passes"),
        ({"accumulate": 32}, "batch 32 is not 32 passes of 2 or more"),
        ({"lr_batch": 0}, "lr_batch is 0"),
        ({"betas": (0.9,)}, "betas are two numbers, not 1"),
        ({"betas": (0.9, 1.0)}, r"betas is 1\.0"),
        ({"betas": (-0.1, 0.9)}, r"betas is -0\.1"),
        ({"ema": 1.0}, r"ema is 1\.0"),
        ({"ema_every": 0}, "ema_every is 0"),
        ({"clip": -1.0}, r"clip is -1\.0"),
        ({"clip": math.nan}, "clip is nan"),
        ({"mixup": -0.2}, r"mixup is -0\.2"),
        ({"cutmix": math.inf}, "cutmix is inf"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"drop_block": -0.1}, r"drop_block is -0\.1"),
        ({"stochastic_depth": 1.0}, r"stochastic_depth is 1\.0"),
        ({"milestones": (0.5, 30.0)}, r"milestones are shares of the training between 0 and 1, not 30\.0"),
        ({"size": 3}, "a size of 3"),
        ({"eval_size": 5000}, "a size of 5000"),
        ({"optimizer": "adam"}, "no optimizer is called 'adam'; did you mean 'adamw'"),
        ({"loss": "bse"}, "no loss is called 'bse'; did you mean 'bce'"),
        ({"interpolation": "nearest"}, "no interpolation is called 'nearest'"),
        ({"epochs": -3}, "epochs is -3"),
        ({"steps": 0}, "steps is 0"),
        ({"holdout": -0.1}, r"holdout is -0\.1"),
        ({"holdout": 0.6}, r"holdout is 0\.6"),
        ({"batch": 1}, "batch is 1"),
        ({"lr": 0.0}, r"lr is 0\.0"),
        ({"lr": -0.1}, r"lr is -0\.1"),
        ({"lr": math.inf}, "lr is inf"),
        ({"lr": math.nan}, "lr is nan"),
        ({"momentum": 1.0}, r"momentum is 1\.0"),
        ({"momentum": -0.1}, "momentum is"),
        ({"momentum": 0.0}, "nesterov needs a momentum"),
        ({"weight_decay": 1.0}, "weight_decay is"),
        ({"weight_decay": -1e-4}, "weight_decay is"),
        ({"weight_decay": math.nan}, "weight_decay is nan"),
        ({"warmup": -1.0}, "warmup is"),
        ({"warmup": 10.5}, r"warmup is 10\.5 epochs of 10"),
        ({"label_smoothing": 1.0}, "label_smoothing is"),
        ({"label_smoothing": -0.1}, "label_smoothing is"),
        ({"eval_crop": 0.0}, "eval_crop is"),
        ({"eval_crop": 1.1}, "eval_crop is"),
        ({"schedule": "cosin"}, "no schedule is called 'cosin'; did you mean 'cosine'"),
        ({"schedule": "xyz"}, "no schedule is called 'xyz'; known are cosine, step"),
    ],
)
def test_a_recipe_that_cannot_train_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 1, "warmup": 1.0},
        {"batch": 2},
        {"momentum": 0.0, "nesterov": False},
        {"weight_decay": 0.0},
        {"eval_crop": 1.0},
        {"milestones": ()},
    ],
)
def test_values_at_the_limits_are_taken(changes):
    assert make(**changes).rate(0, 1) > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crop_area", 0.0), ("crop_area", 1.1), ("crop_area", math.nan), ("shift", -0.1), ("shift", 1.1),
        ("rotate", 181), ("rotate", -1), ("zoom", 2.1), ("zoom", -0.1), ("jitter", 1.1), ("jitter", math.nan),
        ("lighting", 11), ("lighting", -1), ("erase", 1.1), ("erase", -0.1), ("policy_ops", 0),
        ("policy_magnitude", 31),
    ],
)  # fmt: skip
def test_an_augmentation_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"augment: {name} is {value}"):
        Augment(**{name: value})


def test_an_unknown_policy_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match="no policy is called 'randaug'; did you mean 'randaugment'"):
        Augment(policy="randaug")


@pytest.mark.parametrize(("name", "value"), [("minutes", 0.0), ("every", -1), ("most", 0)])
def test_a_way_of_saving_out_of_range_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"recipe: saving: {name} is {value}"):
        Saving(**{name: value})


def test_without_mirror_changes_nothing_else():
    changed = Augment(shift=0.1, mirror=True, zoom=0.2).without_mirror()
    assert changed == Augment(shift=0.1, zoom=0.2)


def test_overrides_replace_single_values_also_inside_the_augmentation():
    recipe = load_recipe("quick", {"lr": 0.2, "augment": {"rotate": 5}})
    original = load_recipe("quick")
    assert (recipe.lr, recipe.augment.rotate) == (0.2, 5)
    assert recipe.augment.shift == original.augment.shift and recipe.batch == original.batch


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lrr": 1}, "unknown key 'lrr'; did you mean 'lr'"),
        ({"augment": {"shfit": 1}}, "unknown key 'shfit'; did you mean 'shift'"),
        ({"augment": 3}, "a mapping was expected"),
        ({"epochs": 1.5}, "a whole number was expected"),
        ({"epochs": None}, "a whole number was expected"),
        ({"milestones": 0.5}, "a list was expected"),
        ({"warmup": 99}, "warmup is"),
    ],
)
def test_overrides_are_checked_like_the_file(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe("quick", overrides)


def test_a_recipe_is_read_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\nbatch: 8\nlr: 1e-2\n")
    assert load_recipe(str(path)) == Recipe(epochs=3, batch=8, lr=0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3\nbatch: 8\n", "mine.yaml: key 'lr' is missing"),
        ("epochs: 3\nbatch: 8\nlr: fast\n", "mine.yaml: lr: a number was expected"),
        ("- 1\n", "mine.yaml: a mapping"),
        ("", "mine.yaml: empty"),
    ],
)
def test_errors_in_a_file_name_the_file(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quik", "no recipe is called 'quik'; did you mean 'quick'"),
        ("zzzz", "no recipe is called 'zzzz'; known are detection-1x, finetune, .*or give a YAML file"),
        ("", "no recipe is called ''"),
        ("missing.yaml", r"missing\.yaml: no such file"),
    ],
)
def test_an_unknown_recipe_is_an_error_with_a_way_out(name, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(name)


@pytest.mark.parametrize("name", PACKAGED)
def test_a_recipe_survives_being_written_as_plain_data(tmp_path, name):
    from nxt.config import dump_yaml

    path = tmp_path / "copy.yaml"
    path.write_text(dump_yaml(to_mapping(load_recipe(name))))
    assert load_recipe(str(path)) == load_recipe(name)
