"""What a user says of a training: what it means, and what is refused."""

import dataclasses
from pathlib import Path

import pytest

from nxt.arch.load import parse_name
from nxt.config import dump_yaml
from nxt.data.ref import DataRef
from nxt.errors import ConfigError, DataError, RunError, UsageError
from nxt.train.options import TrainOptions, data_of
from nxt.train.recipe import load_recipe

TINY = "resnext_1-1-1_w8_1x8d_cifar"


def file(path, **provenance):
    path.write_text(parse_name(TINY).to_yaml() + (dump_yaml({"provenance": provenance}) if provenance else ""))
    return path


def test_where_nothing_is_said_the_defaults_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = TrainOptions(network=TINY).request()
    assert (request.spec, request.data, request.recipe) == (parse_name(TINY), DataRef("digits"), load_recipe("quick"))
    assert (request.seed, request.workers, request.weights, request.freeze) == (0, 1, "", "")
    assert request.tune and not request.skip_bad and not request.download
    assert request.out == Path("results", f"train_{TINY}_digits_1")
    (request.out / "run.yaml").touch()
    assert TrainOptions(network=TINY).request().out.name.endswith("_2")


def test_a_network_is_a_name_a_file_or_a_specification(tmp_path):
    spec = parse_name(TINY)
    for network in (TINY, file(tmp_path / "a.yaml"), str(tmp_path / "a.yaml"), spec):
        assert TrainOptions(network=network, out=tmp_path / "run").request().spec == spec


def test_a_recipe_is_a_name_a_file_or_values(tmp_path):
    values = {"epochs": 3, "batch": 16, "lr": 0.1}
    (tmp_path / "r.yaml").write_text(dump_yaml(values))
    for recipe in (values, tmp_path / "r.yaml", str(tmp_path / "r.yaml")):
        made = TrainOptions(recipe=recipe, epochs=6, size=16, settings={"lr": 0.2, "augment": {"shift": 0.1}})
        recipe = made.recipe_for(TINY)
        assert (recipe.epochs, recipe.batch, recipe.lr, recipe.augment.shift) == (6, 16, 0.2, 0.1)
        assert (recipe.size, recipe.eval_size) == (16, 16)
    assert TrainOptions(size=16, settings={"eval_size": 24}).recipe_for(TINY).sides == (16, 24)


@pytest.mark.parametrize(
    ("options", "sides"),
    [
        ({}, (24, 24)),
        ({"size": 16}, (16, 16)),
        ({"settings": {"size": 20}}, (20, 20)),
        ({"settings": {"eval_size": 28}}, (24, 28)),
        ({"recipe": "torchvision-long"}, (176, 224)),
    ],
)
def test_a_network_trains_at_the_size_at_which_its_file_was_counted(options, sides, tmp_path):
    network = file(tmp_path / "a.yaml", size=24, classes=10)
    assert TrainOptions(network=network, out=tmp_path / "run", **options).request().recipe.sides == sides


@pytest.mark.parametrize("size", ["24", -1, 2.5, True, [24]])
def test_a_file_that_was_counted_at_no_size_is_refused(size, tmp_path):
    network = file(tmp_path / "a.yaml", size=size)
    with pytest.raises(ConfigError, match=r"a\.yaml: provenance: size is .*, no positive whole number"):
        TrainOptions(network=network, out=tmp_path / "run").request()


def test_steps_take_the_place_of_the_recipes_epochs():
    recipe = TrainOptions(network=TINY, recipe="quick", settings={"steps": 70}).request().recipe
    assert (recipe.steps, recipe.epochs) == (70, 0)
    assert TrainOptions(network=TINY, recipe="quick", settings={"steps": 70}, epochs=3).request().recipe.steps is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 3}, "`size`: 3 is not between 4 and 4096 pixels"),
        (
            {"settings": {"proxy": {"epochs": 3}}},
            "`settings` proxy...: a training has no sections; write the key alone",
        ),
        ({"settings": {"lrr": 3}}, "unknown key 'lrr'"),
        ({"recipe": {"batch": 16}}, "`recipe`: key 'lr' is missing"),
        ({"recipe": {"batch": 16, "lr": 0.1}}, "recipe: epochs is 0, or missing; give it, or steps"),
    ],
)
def test_what_makes_no_recipe_is_refused(options, message):
    with pytest.raises(ConfigError) as error:
        TrainOptions(network=TINY, **options).request()
    assert message in str(error.value)


@pytest.mark.parametrize(
    "option", [{"epochs": 3}, {"seed": 0}, {"settings": {"lr": 1}}, {"tune": False}, {"skip_bad": True}]
)
def test_a_training_that_goes_on_is_not_told_what_its_record_says(option):
    name = next(iter(option))
    with pytest.raises(UsageError, match=f"^`{name}` cannot be given with `resume`: run.yaml has what was asked"):
        TrainOptions(resume=Path("run"), **option)


def test_a_training_that_goes_on_may_find_its_data_elsewhere(tmp_path):
    request = TrainOptions(network=TINY, out=tmp_path / "run", seed=7, data=DataRef("folder", "/a")).request()
    request.out.mkdir()
    # A request that was never run has no way to compute yet; a training's record has.
    record = {**request.record(), "compute": {"channels_last": True}}
    (request.out / "run.yaml").write_text(dump_yaml(record))
    again = TrainOptions(resume=request.out, data=DataRef("folder", "/b"), download=True).request()
    assert (again.seed, again.out, again.data, again.download) == (7, request.out, DataRef("folder", "/b"), True)
    assert TrainOptions(resume=request.out).request().data == DataRef("folder", "/a")
    with pytest.raises(UsageError, match="`workers` cannot be given with `resume`"):
        TrainOptions(resume=request.out, workers=2).request()


@pytest.mark.parametrize(("weights", "name"), [(None, "quick"), ("torchvision", "finetune")])
def test_weights_from_elsewhere_have_a_recipe_of_their_own(weights, name):
    said = TrainOptions(network="resnet50", weights=weights)
    assert said.recipe_for("resnet50") == load_recipe(name, network="resnet50")
    assert dataclasses.replace(said, recipe="proxy").recipe_for("resnet50") == load_recipe("proxy")


def test_without_a_network_there_is_nothing_to_train():
    with pytest.raises(UsageError, match="give the network to train, such as resnext50_32x4d"):
        TrainOptions().request()


def test_an_architecture_file_says_what_it_was_found_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert data_of(file(tmp_path / "a.yaml", data="folder:mine")) == DataRef("folder", str(tmp_path / "mine"))
    (tmp_path / "mine.zip").touch()
    assert data_of(file(tmp_path / "a.yaml", data="folder:mine.zip")) == DataRef("folder", str(tmp_path / "mine.zip"))
    for silent in (file(tmp_path / "b.yaml"), file(tmp_path / "c.yaml", data=None), TINY, parse_name(TINY)):
        assert data_of(silent) == DataRef("digits")
    with pytest.raises(DataError, match=r"d\.yaml: was found on folder:nowhere, which is not here; say with `data`"):
        data_of(file(tmp_path / "d.yaml", data="folder:nowhere"))


def begun(out, **options):
    """Make the record of a training that has begun, with sizes as the data has them."""
    request = TrainOptions(network=TINY, out=out, **options).request()
    out.mkdir()
    (out / "run.yaml").write_text(
        dump_yaml({**at_sizes(request).record(), "compute": {"channels_last": True}, "typed": "as it was"})
    )


def at_sizes(request):
    return dataclasses.replace(request, recipe=dataclasses.replace(request.recipe, size=8, eval_size=8))


def test_resume_or_new_begins_a_training_and_goes_on_with_the_same_one(tmp_path):
    out = tmp_path / "run"
    both = TrainOptions(network=TINY, epochs=3, out=out, resume_or_new=True)
    assert both.settled() is both
    begun(out, epochs=3)
    assert both.settled() == TrainOptions(resume=out)
    assert both.settled().request().recipe.sides == (8, 8)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 3}, "the run there has seed 0, not 3; ask for the same, or begin a new run with another `out`"),
        ({"epochs": 4}, "recipe.epochs 3, not 4"),
        ({"network": "resnet50"}, f"name {TINY}, not resnet50"),
        ({"size": 16}, "recipe.size 8, not 16"),
        ({"data": DataRef("folder", "/a")}, "data digits, not folder:/a"),
        ({"workers": 2}, "workers 1, not 2"),
    ],
)
def test_resume_or_new_refuses_a_training_of_something_else(other, message, tmp_path):
    begun(tmp_path / "run", epochs=3)
    given = {"network": TINY, "epochs": 3, "out": tmp_path / "run", "resume_or_new": True}
    with pytest.raises(RunError, match=f"run: .*{message}"):
        TrainOptions(**given | other).settled()


@pytest.mark.parametrize("given", [{}, {"out": Path("run"), "resume": Path("run")}])
def test_resume_or_new_needs_the_place_of_the_run(given):
    with pytest.raises(UsageError, match="`resume_or_new` goes on with the run in `out`"):
        TrainOptions(network=TINY, resume_or_new=True, **given)
