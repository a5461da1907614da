"""Recipes: the learning rate as a function of the step alone, and what a recipe file may say."""

import itertools
import math

import pytest

from nxt.config import to_mapping
from nxt.data.augment import Augment
from nxt.errors import ConfigError
from nxt.train.recipe import FOLDER, Recipe, load_recipe

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
@pytest.mark.parametrize("steps", [1, 3, 40])
def test_the_rate_of_every_step_is_positive_and_at_most_the_highest(name, steps):
    recipe = load_recipe(name)
    rates = [recipe.rate(step, steps) for step in range(recipe.epochs * steps)]
    assert all(0 < rate <= recipe.lr for rate in rates)
    assert max(rates) > 0.9 * recipe.lr


def test_a_training_that_is_all_warmup_rises_to_its_end():
    recipe = make(epochs=1, warmup=1)
    rates = [recipe.rate(step, 5) for step in range(5)]
    assert rates == sorted(rates) and rates[-1] < 0.1
    assert recipe.rate(5, 5) == pytest.approx(0.1)  # past the end nothing is divided by zero


def test_the_rate_of_a_training_of_one_step_is_the_highest():
    assert make(epochs=1).rate(0, 1) == 0.1


def test_all_recipes_that_come_along_load_and_say_what_they_are_for():
    assert PACKAGED == ["proxy", "quick", "resnext-cifar", "resnext-imagenet"]
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": -3}, "epochs is -3"),
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
        ("lighting", 11), ("lighting", -1),
    ],
)  # fmt: skip
def test_an_augmentation_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(ConfigError, match=f"augment: {name} is {value}"):
        Augment(**{name: value})


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
        ("zzzz", "no recipe is called 'zzzz'; known are proxy, quick, .*or give a YAML file"),
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
