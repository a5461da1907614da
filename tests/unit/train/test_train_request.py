"""What a training is asked: it survives run.yaml, and what cannot be trained is refused before anything begins."""

import dataclasses

import pytest

from nxt.arch.heads import task_of
from nxt.arch.load import parse_name
from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.config import dump_yaml, read_yaml
from nxt.data.augment import Augment
from nxt.data.dataset import ImagePlacement
from nxt.data.ref import DataRef
from nxt.errors import ConfigError, NxtError, RunError
from nxt.train.recipe import FOLDER, Recipe, Saving, load_recipe
from nxt.train.request import TrainRequest, at_size, load_request, read_record

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 4, "depths": [1, 2], "widths": [16, 32], "cardinality": 2, "base_width": 2}
)


def make(out, **changes):
    plain = {"spec": SPEC, "data": DataRef("digits"), "recipe": load_recipe("quick"), "seed": 3, "out": out}
    return TrainRequest(**{**plain, "compute": Compute(), **changes})


def written(request):
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / "run.yaml").write_text(dump_yaml(request.record()))
    return request.out


RICH = {
    "recipe": Recipe(
        about="odd: 'words' # and [more]", epochs=7, batch=48, accumulate=2, lr=1e-5, lr_batch=256, optimizer="adamw",
        betas=(0.8, 0.99), schedule="step", milestones=(0.5, 0.75), warmup=0.5, ema=0.9999, ema_every=3, size=160,
        eval_size=224, eval_crop=0.875, augment=Augment(policy="trivialaugment", erase=0.1),
        saving=Saving(minutes=0.5, every=2, most=3), loss="bce", mixup=0.2, sync_bn=True,
    ),
    "weights": "torchvision:IMAGENET1K_V1", "freeze": "stage1", "workers": 3, "tune": False, "skip_bad": True,
    "compute": Compute(channels_last=False, precision="bf16", compile=True), "data": DataRef("folder", "/a b/é: c"),
    "inputs": {
        "train": ImagePlacement("cached", 256, "train: 9 images"),
        "val": ImagePlacement("streamed", 224, "val: why not"),
    },
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, RICH, {"seed": 2**31 - 1, "spec": parse_name("resnest50d")}])
def test_a_request_comes_back_from_its_record(tmp_path, changes):
    request = make(tmp_path / "run", **changes)
    assert load_request(written(request)) == request


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_every_recipe_comes_back_from_the_record(tmp_path, name):
    recipe = load_recipe(name)
    data = {"classification": "digits", "detection": "coco:mine", "segmentation": "masks:mine"}[task_of(recipe.head)]
    request = make(tmp_path / "run", recipe=recipe, data=DataRef.parse(data), weights="torchvision")
    assert load_request(written(request)).recipe == request.recipe


@pytest.mark.parametrize(
    ("data", "recipe", "message"),
    [
        ("coco:mine", "quick", "coco:mine is for detection, the recipe for classification; give a `head` .faster-rcnn"),
        ("masks:mine", "quick-detection", "is for segmentation, the recipe for detection; give a `head` .deeplabv3"),
        ("digits", "quick-segmentation", "is for classification, the recipe for segmentation; leave out the `head`"),
        ("coco:mine", "detection-1x", "frozen_bn keeps the BN statistics that `weights` bring; give those"),
    ],
)
def test_data_of_another_task_and_frozen_noise_are_refused(tmp_path, data, recipe, message):
    with pytest.raises(ConfigError, match=message):
        make(tmp_path / "run", recipe=load_recipe(recipe), data=DataRef.parse(data))


def test_the_record_is_plain_data_that_says_what_made_it(tmp_path):
    record = read_yaml(written(make(tmp_path / "run")) / "run.yaml")
    assert (record["command"], record["name"], record["fingerprint"]) == ("train", SPEC.name, SPEC.fingerprint)
    assert {"nxt", "torch", "python"} <= set(record["versions"])


def test_leave_to_download_is_given_for_one_call_alone(tmp_path):
    assert not load_request(written(make(tmp_path / "run", download=True))).download


def test_a_record_with_an_unknown_key_in_a_part_names_file_and_key(tmp_path):
    run = written(make(tmp_path / "run"))
    for part in ("recipe", "compute"):
        record = make(run).record()
        record[part] = {**record[part], "spede": 1}
        (run / "run.yaml").write_text(dump_yaml(record))
        with pytest.raises(NxtError, match=r"run\.yaml.*unknown key 'spede'"):
            load_request(run)


@pytest.mark.parametrize("inputs", [{"train": 3}, {"train": {"kind": "resident"}}, {"train": {"kind": 4, "side": "x"}}])
def test_a_record_of_damaged_inputs_is_refused_in_words(tmp_path, inputs):
    run = written(make(tmp_path / "run"))
    (run / "run.yaml").write_text(dump_yaml({**make(run).record(), "inputs": inputs}))
    with pytest.raises(NxtError, match=r"run\.yaml"):
        load_request(run)


def test_what_is_no_training_is_told_as_such(tmp_path):
    with pytest.raises(RunError, match=r"not a run directory \(no run\.yaml in it\)"):
        read_record(tmp_path)
    (tmp_path / "run.yaml").write_text("command: search\n")
    with pytest.raises(RunError, match="a run of 'search', where a training was expected"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "`seed`: -1 is not between 0 and 2147483647"),
        ({"seed": 2**31}, "`seed`: 2147483648 is not between"),
        ({"workers": 0}, "`workers`: 0 is not between 1 and 4096"),
        ({"workers": 5}, "5 workers do not divide the 32 images of a pass; change `settings` batch or accumulate"),
        ({"workers": 32}, "`workers`: 32 workers do not divide the 32 images of a pass"),
        ({"freeze": "stage1"}, "`freeze`: it keeps the weights of `weights`; give those, too"),
    ],
)
def test_what_cannot_be_trained_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, **changes)


def test_workers_divide_the_images_of_a_pass_not_of_a_step(tmp_path):
    recipe = load_recipe("quick", {"batch": 48, "accumulate": 4})
    for workers in (1, 2, 3, 4, 6):
        assert make(tmp_path, recipe=recipe, workers=workers).workers == workers
    for workers in (5, 8, 12):  # twelve images a pass, and batch norm needs two each
        with pytest.raises(ConfigError, match=f"`workers`: {workers} workers do not divide the 12 images"):
            make(tmp_path, recipe=recipe, workers=workers)
    together = load_recipe("quick", {"batch": 48, "accumulate": 4, "sync_bn": True})
    assert make(tmp_path, recipe=together, workers=12).workers == 12  # its values are those of all workers


@pytest.mark.parametrize(
    ("size", "eval_size", "expected"),
    [(None, None, (28, 28)), (16, None, (16, 16)), (16, 24, (16, 24)), (None, 24, (28, 24))],
)
def test_sizes_are_the_recipes_if_it_says_them(size, eval_size, expected):
    recipe = dataclasses.replace(load_recipe("quick"), size=size, eval_size=eval_size)
    assert at_size(recipe, 28).sides == expected
