"""What users do wrong: each mistake is answered by one line that says what is wrong, and leaves nothing behind.

In the tables, {name} stands for something that the fixture `places` made.
"""

import contextlib
import dataclasses
import itertools
import os
import pickle
import re
import resource
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from nxt.compute import ray_cluster
from nxt.config import dump_yaml, to_mapping
from nxt.files import locked
from nxt.models.network import build
from nxt.train.checkpoint import read, save
from nxt.train.engine.trainer import Trainer

TINY = "resnext_1-1-1_w8_1x8d_cifar"
SEARCH = ["search", "smoke", "--flops", ":1G", "--trials", "8"]
TRAIN = ["train", TINY, "--epochs", "1", "--set", "warmup=0", "--size", "8"]


def given(base, *own):
    """Return a command with options of its own, in the place of the base's."""
    kept = [at for at, word in enumerate(base) if word.startswith("--") and word not in own]
    return [
        *itertools.takewhile(lambda word: not word.startswith("--"), base),
        *(part for at in kept for part in base[at : at + 2]),
        *own,
    ]


ARCH = "stem: cifar\nstem_width: 8\ndepths: [1, 1]\nwidths: [32, 64]\nbase_width: 8\n"
SPACE = """\
about: a test
network: {stem: cifar, stem_width: width, radix: 0}
axes:
  depths: [[1, 2], [1, 2]]
  width: [4, 8]
  cardinality: [1, 2]
  base_width: [4, 8]
"""
# What a checkpoint, and the record of a training, cannot do without; of a wrong kind they are as good as missing.
WHOLE = ("format", "arch", "classes", "data", "identity", "preprocess", "recipe", "seed", "accuracies", "state")
RECORD = {
    **dict.fromkeys(("arch", "data", "recipe", "compute", "inputs", "weights", "freeze"), 7),
    **dict.fromkeys(("seed", "workers", "tune", "skip_bad"), "x"),
}
BOMB = "\n".join(["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)])
FILES = {
    "empty.yaml": b"",
    "binary.yaml": bytes(range(256)) * 4,
    "nul.yaml": b"\0\0",
    "cut.yaml": ARCH[: ARCH.index(", 1]")].encode(),
    "latin.yaml": "about: caf\xe9\n".encode("latin1"),
    "tag.yaml": b"stem: !!python/object/apply:os.system ['true']\n",
    "bomb.yaml": BOMB.encode(),
    "nested.yaml": b"a: " + b"[" * 50_000,
    "large.yaml": b"a: " + b"x" * (2 << 20),
    "list.yaml": b"- 1\n",
    "typo.yaml": ARCH.replace("depths", "dephts").encode(),
    "deep.yaml": ARCH.replace("[1, 1]", "[1000000000, 1]").encode(),
    "digits.yaml": ARCH.replace("stem_width: 8", "stem_width: " + "9" * 5000).encode(),
    "hexadecimal.yaml": ARCH.replace("stem_width: 8", "stem_width: 0x" + "f" * 5000).encode(),
    "sexagesimal.yaml": ARCH.replace("stem_width: 8", "stem_width: " + ":".join(["59"] * 4000)).encode(),
    "space-typo.yaml": SPACE.replace("cardinality", "cardinalty").encode(),
    "space-deep.yaml": SPACE.replace("[1, 2]", "[1000000000]").encode(),
    "space-none.yaml": SPACE.replace("cardinality: [1, 2]", "cardinality: [65537]").encode(),
    "space-many.yaml": SPACE.replace("width: [4, 8]", f"width: {list(range(1, 9999))}").encode(),
    "space-markup.yaml": SPACE.replace("a test", '"[/red]"').encode(),
    "recipe-typo.yaml": b"epochs: 2\nbatch: 8\nlr: 0.1\nlable_smoothing: 0.1\n",
    "recipe-inside.yaml": b"epochs: 2\nbatch: 8\nlr: 0.1\naugment: {mirorr: true}\n",
    "recipe-model.yaml": b"epochs: 2\nbatch: 8\nlr: 0.1\nmodels: {resnet50: {droput: 0.1}}\n",
    "recipe-few.yaml": b"epochs: 2\nbatch: 8\n",
}


def images(folder, splits=("train", "test"), classes=2, number=4):
    rng = np.random.default_rng(0)
    for split in splits:
        for label in range(classes):
            (folder / split / f"class{label}").mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / f"class{label}" / f"{index}.png")


class Foreign:
    def __reduce__(self):
        return (print, ("executed",))


def checkpoints(folder, good):
    data = good.read_bytes()
    (folder / "none.pt").write_bytes(b"")
    (folder / "text.pt").write_bytes(b"hello")
    (folder / "cut.pt").write_bytes(data[: len(data) // 2])
    (folder / "pickle.pt").write_bytes(pickle.dumps(Foreign(), protocol=4))
    torch.save({"x": Foreign()}, folder / "hostile.pt")
    torch.save({"state_dict": {}}, folder / "foreign.pt")
    torch.save(torch.zeros(3), folder / "tensor.pt")
    content = torch.load(good, weights_only=True)
    for key in WHOLE:
        torch.save({**content, key: None}, folder / f"null-{key}.pt")
        torch.save({k: v for k, v in content.items() if k != key}, folder / f"no-{key}.pt")


def damaged(folder, good, name, **changes):
    """Copy a run and change its record; None takes a key away."""
    shutil.copytree(good, folder / name)
    record = yaml.safe_load((good / "run.yaml").read_text(encoding="utf-8"))
    record = {key: value for key, value in {**record, **changes}.items() if value is not None}
    (folder / name / "run.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
    return folder / name


@pytest.fixture(scope="session")
def places(tmp_path_factory, trained, searched):
    root = tmp_path_factory.mktemp("places")
    for name, content in FILES.items():
        (root / name).write_bytes(content)
    (root / "file").write_text("x", encoding="utf-8")
    (root / "folder").mkdir()
    images(root / "one-class", classes=1)
    images(root / "no-images", number=0)
    images(root / "no-test", splits=("train",))
    images(root / "no-train", splits=("test",))
    images(root / "unreadable", number=8)
    (root / "unreadable" / "train" / "class0" / "5.png").write_bytes(b"x")
    images(root / "too-few", number=1)
    images(root / "other-test", number=8)
    images(root / "other-test-more", classes=3)
    shutil.move(root / "other-test-more" / "test" / "class2", root / "other-test" / "test" / "class2")
    images(root / "all-bad", number=8)
    for path in (root / "all-bad" / "train" / "class1").iterdir():
        path.write_bytes(b"x")
    torch.save(build("resnext_1-1-1_w8_2x8d_cifar").state_dict(), root / "wider.pt")
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in build("resnet50").state_dict().items()}
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, root / "zoo.pt")
    (root / "checkpoints").mkdir()
    checkpoints(root / "checkpoints", trained / "checkpoints" / "last.pt")
    for key, value in RECORD.items():
        damaged(root, trained, f"train-no-{key}", **{key: None})
        damaged(root, trained, f"train-bad-{key}", **{key: value})
    words = ("objective", "storage")
    for key in (*words, "trials", "repeats", "val_images", "space", "proxy"):
        damaged(root, searched, f"search-no-{key}", **{key: None})
    bad = {"data": 7, "objective": "x", "trials": "x", "space": 7, "budget": 7, "repeats": "x", "storage": 7}
    for key, value in {**bad, "search": {"control": 2}, "proxy": {"widht": 1}}.items():
        damaged(root, searched, f"search-bad-{key}", **{key: value})
    for name, content in {"empty": b"", "text": b"x" * 5000}.items():
        damaged(root, searched, f"study-{name}")
        (root / f"study-{name}" / "study.db").write_bytes(content)
    folder = damaged(root, trained, "no-checkpoint")
    (folder / "checkpoints" / "last.pt").unlink()
    recipe = yaml.safe_load((trained / "run.yaml").read_text(encoding="utf-8"))["recipe"]
    damaged(root, trained, "other-recipe", recipe={**recipe, "lr": 0.125})
    damaged(root, trained, "other-data", data=f"folder:{root / 'other-classes'}")
    images(root / "other-classes", classes=10)
    return {"root": root, "trained": trained, "searched": searched, "last": trained / "checkpoints" / "last.pt"}


def everything(folder):
    """Return all paths below a folder, with size and time of the files; a lock's time says only who looked last."""
    paths = {p: p.is_file() and p.name != ".lock" for p in folder.rglob("*")}
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) if counts else None for p, counts in paths.items()}


BUDGETS = {
    "4.1X": ["--flops", "'4.1X' is not a count", "such as 4.1G"],
    "-1G": ["'-1G' is not a count"],
    "nan": ["'nan' is not a count"],
    "": ["'' is not a count"],
    "1e9": ["'1e9' is not a count"],
    "0": ["out of range"],
    "9" * 400: ["out of range"],
    "2000T": ["out of range", "1000T"],
    "5G:4G": ["'5G:4G' is empty", "5G is more than 4G"],
    ":": ["sets no limit", "LOW:HIGH"],
    "1G:2G:3G": ["is not a count"],
    "4.1G+-200%": ["narrower than +-100%"],
    "1K": ["nothing in the space 'smoke'", "the nearest is resnext_1-1-1_w4_1x4d_cifar with 1.356M"],
    "1G": ["the nearest is resnext_2-2-2_w8_4x8d_cifar with 29.58M"],
}
NAMES = [
    (["profile", "resnext50_32x4"], ["did you mean 'resnext50_32x4d'?"]),
    (["profile", "resnet50", "foo"], ["no network is called 'foo'", "nxt zoo"]),
    (["profile", "[/red]"], ["'[/red]'"]),
    (["profile", "a\nb"], ["'a\\nb'"]),
    (["profile", "-"], ["'-'"]),
    (["profile", "/"], ["'/'"]),
    (["profile", ""], ["''"]),
    (["profile", "é漢字"], ["'é漢字'"]),
    (["profile", "x" * 5000], ["no network is called"]),
    (["profile", "{root}/folder"], ["folder"]),
    (["profile", "resnet51"], ["no network of depth 51"]),
    (["profile", "resnet50", "--size", "0"], ["size 0"]),
    (["profile", "resnet50", "--size", "100000"], ["size 100000"]),
    (["profile", "resnet50", "--classes", "0"], ["0 classes"]),
    (["zoo", "resnxt"], ["did you mean"]),
    (["zoo", "["], ["'['"]),
    (["space", "show", "imagnet"], ["did you mean 'imagenet'?"]),
    (["space", "show", "smoke", "--like", "resnext50_32x4e"], ["did you mean 'resnext50_32x4d'?"]),
    (["space", "show", ""], ["known are"]),
    (["search", "smok", "--flops", ":1G"], ["did you mean 'smoke'?"]),
    (["train", "resnet51"], ["no network of depth 51"]),
    (["train", TINY, "--recipe", "quik"], ["did you mean 'quick'?"]),
    (["train", TINY, "--recipe", "{root}/empty.yaml"], ["empty.yaml: empty"]),
    ([*SEARCH, "--set", "proxy.recipe=quik"], ["did you mean 'quick'?"]),
    ([*SEARCH, "--data", "digit"], ["no data set is called 'digit'", "did you mean 'digits'?"]),
    ([*SEARCH, "--data", "imagenet"], ["no data set is called 'imagenet'"]),
    ([*SEARCH, "--data", ""], ["no data set is called ''"]),
    ([*SEARCH, "--set", "search.sampler=tpee"], ["sampler is 'tpee', not one of ehvi, gp, tpe"]),
    (["show", "{root}/nowhere"], ["not a run directory"]),
    (["pick", "{root}/nowhere"], ["not a run directory"]),
    (["eval", "{root}/nowhere.pt"], ["nowhere.pt: no such checkpoint"]),
]
ARCH_FILES = {
    "nowhere.yaml": ["no such file"],
    "empty.yaml": ["empty; a YAML mapping was expected"],
    "binary.yaml": ["not a text file"],
    "nul.yaml": ["not readable as plain YAML"],
    "cut.yaml": ["line "],
    "latin.yaml": ["not a text file"],
    "tag.yaml": ["line 1", "is not allowed"],
    "bomb.yaml": ["aliases are not allowed"],
    "nested.yaml": ["nested too deeply"],
    "large.yaml": ["larger than 1 MiB"],
    "list.yaml": ["a mapping of names to values"],
    "typo.yaml": ["'dephts'; did you mean 'depths'?"],
    "deep.yaml": ["1000000000 is not a whole number between 1 and 1000"],
    "digits.yaml": ["digits.yaml: "],
    "hexadecimal.yaml": ["hexadecimal.yaml: "],
    "sexagesimal.yaml": ["sexagesimal.yaml: "],
}
SPACE_FILES = {
    **{name: ARCH_FILES[name] for name in ("empty.yaml", "binary.yaml", "tag.yaml", "bomb.yaml", "nested.yaml")},
    "space-typo.yaml": ["'cardinalty'; did you mean 'cardinality'?"],
    "space-deep.yaml": ["1000000000 is not a whole number"],
    "space-none.yaml": ["no combination of the axes makes a network"],
    "space-many.yaml": ["space-many.yaml: "],
}
SETTINGS = {
    "proxy.epoch=2": ["unknown key 'epoch'; did you mean 'epochs'?"],
    "proxy.epochs": ["write key=value"],
    "proxy.epochs=x": ["a whole number was expected, not 'x'"],
    "proxy.epochs=-1": ["epochs is -1"],
    "proxy.epochs=[1": ["not readable"],
    "proxy.size=3": ["size is 3"],
    "proxy.stem=cifr": ["not one of auto, own, imagenet, cifar, deep"],
    "proxy=1": ["write section.key=value"],
    "recipe.lr=nan": ["lr is nan"],
    "recipe.batch=1": ["batch is 1"],
    "recipe.epochs=3": ["proxy.epochs"],
    "recipe.augment.policy=randaugment": ["recipe: augment.policy", "it is for full trainings"],
    "recipe.size=16": ["recipe: size", "it is for full trainings", "proxy.size"],
    "search.eta=1": ["eta is 1"],
    "search.control=2": ["control is 2.0; it lies in [0, 1]"],
    "search.control=nan": ["control is nan"],
    "search.confirm=-1": ["--confirm", "-1 is not between"],
    "search.confirm_seeds=0": ["confirm_seeds is 0"],
    "search.retries=-1": ["retries is -1"],
    "search.keep=every": ["keep is 'every', not one of running, front, all"],
    "foo=1": ["the sections are proxy, recipe and search"],
    "=": ["write key=value"],
    "": ["write key=value"],
    "a..b=1": ["write key=value"],
    "search.sampler=!!python/object:os.system": ["is not allowed"],
}
SEARCHES = [
    (["--trials", "0"], ["--trials", "0 is not between 1 and"]),
    (["--trials", "-1"], ["--trials", "-1 is not between"]),
    (["--seed", "-1"], ["--seed", "-1 is not between"]),
    (["--confirm", "1001"], ["--confirm", "1001 is not between 0 and 1000"]),
    (["--memory", "much"], ["--memory", "'much' is not a count"]),
    (["--memory", "0"], ["--memory", "out of range"]),
    (["--memory", ":1K"], ["nothing in the space 'smoke'", "memory"]),
    (["--data", "cifar10:{root}"], ["--download"]),
    (["--data", "folder:{root}/nowhere"], ["no such folder"]),
    (["--data", "folder:{root}/one-class"], ["one-class", "at least two"]),
    (["--data", "folder:{root}/no-images"], ["no-images", "no images"]),
    (["--data", "folder:{root}/no-train"], ["no folder 'train' in it; expected train/CLASS/image files, or CLASS/"]),
    (["--data", "folder:{root}/unreadable"], ["5.png: not readable as an image"]),
    (["--out", "{searched}"], ["exists already", "--resume"]),
    (["--out", "{root}/folder"], ["exists already"]),
    (["--out", "{root}/file/run"], ["cannot be created"]),
    (["--out", "/proc/run"], ["cannot be created"]),
    (["--out", ""], ["--out"]),
]
LISTS = [
    (["--arch", "foo"], ["no network is called 'foo'"]),
    (["--arch", TINY, "--arch", "resnet51"], ["no network of depth 51"]),
    (["--arch", "{root}/empty.yaml"], ["empty.yaml: empty"]),
    (["--arch", "{root}/folder"], ["no architectures there"]),
    (["--arch", "{trained}"], ["the run of a training, where the run of a search was expected"]),
    (["--arch", TINY, "--repeats", "1001"], ["--repeats", "1001 is not between 1 and 1000"]),
    (["--arch", TINY, "--seed", "-1"], ["--seed", "-1 is not between"]),
]
TRAININGS = [
    (["--epochs", "-3"], ["epochs is -3"]),
    (["--epochs", "0"], ["epochs is 0"]),
    (["--epochs", "1" + "0" * 30], ["epochs"]),
    (["--size", "0"], ["--size", "0 is not between"]),
    (["--size", "3"], ["3 is not between"]),
    (["--size", "100000"], ["100000 is not between"]),
    (["--seed", "-1"], ["--seed", "-1 is not between"]),
    (["--device", "cuda:99"], ["--device cuda:99", "use --device cpu"]),
    (["--device", "foo"], ["--device foo", "auto, cpu, cuda or cuda:N"]),
    (["--device", "mps"], ["not a device", "cuda:N"]),
    (["--set", "lrr=1"], ["unknown key 'lrr'; did you mean 'lr'?"]),
    (["--set", "schedule=cosin"], ["did you mean 'cosine'?"]),
    (["--set", "augment=3"], ["a mapping was expected"]),
    (["--set", "augment.mirorr=true"], ["unknown key 'mirorr'; did you mean 'mirror'?"]),
    (["--set", "saving.evry=2"], ["unknown key 'evry'; did you mean 'every'?"]),
    (["--set", "optimizer=adam"], ["no optimizer is called 'adam'; did you mean 'adamw'?"]),
    (["--set", "augment.policy=randaug"], ["no policy is called 'randaug'; did you mean 'randaugment'?"]),
    (
        ["--recipe", "{root}/recipe-typo.yaml"],
        ["recipe-typo.yaml", "'lable_smoothing'; did you mean 'label_smoothing'?"],
    ),
    (["--recipe", "{root}/recipe-inside.yaml"], ["recipe-inside.yaml: augment", "'mirorr'; did you mean 'mirror'?"]),
    (["--recipe", "{root}/recipe-model.yaml"], ["models: resnet50", "'droput'; did you mean 'dropout'?"]),
    (["--recipe", "{root}/recipe-few.yaml"], ["recipe-few.yaml", "'lr'"]),
    (["--recipe", "{root}/nowhere.yaml"], ["nowhere.yaml: no such file"]),
    (["--recipe", "imagenet"], ["no recipe is called 'imagenet'"]),
    (["--tune", "on"], ["--tune", "'on' is not auto or off"]),
    (["--workers", "3"], ["--workers", "3 workers do not divide the 32 images of a pass", "--set batch or accumulate"]),
    (["--set", "accumulate=3"], ["batch 32 is not 3 passes"]),
    (["--weights", "{root}/nowhere.pt"], ["nowhere.pt: no such"]),
    (["--weights", "{root}/folder"], ["last.pt: no such"]),
    (["--weights", "{root}/checkpoints/text.pt"], ["text.pt: truncated or damaged"]),
    (["--weights", "{root}/checkpoints/hostile.pt"], ["hostile.pt: ", "not loaded"]),
    (["--weights", "{root}/checkpoints/tensor.pt"], ["tensor.pt: ", "no"]),
    (["--weights", "{root}/checkpoints/foreign.pt"], ["foreign.pt: holds no weights"]),
    (["--weights", "{root}/wider.pt"], ["wider.pt: not the weights of " + TINY, "in the file and", "more such"]),
    (["--weights", "{root}/zoo.pt"], ["zoo.pt: not the weights of " + TINY, "; they are those of resnet50"]),
    (["--weights", "torchvision"], [f"torchvision publishes no weights of {TINY}; it does of", "resnext50_32x4d"]),
    (["--freeze", "stage1"], ["--freeze", "give those, too"]),
    (["--weights", "{last}", "--freeze", "stage4"], [f"{TINY} has no part 'stage4' to freeze", "stem, stage1, stage2"]),
    (["--data", "digit"], ["did you mean 'digits'?"]),
    (["--data", "cifar10:{root}"], ["--download"]),
    (["--data", "folder:{root}/nowhere"], ["no such folder"]),
    (["--data", "folder:{root}/one-class"], ["at least two"]),
    (["--data", "folder:{root}/no-images"], ["no images"]),
    (["--data", "folder:{root}/no-train"], ["no folder 'train' in it; expected train/CLASS/image files, or CLASS/"]),
    (["--data", "folder:{root}/unreadable"], ["class0/5.png: not readable as an image", "--skip-bad"]),
    (["--data", "folder:{root}/other-test"], ["other-test/test/class2: the training images have no class 'class2'"]),
    (["--data", "folder:{root}/too-few"], ["too-few"]),
    (["--out", "{trained}"], ["exists already", "--resume"]),
    (["--out", "{root}/file/run"], ["cannot be created"]),
    (["--out", "/proc/run"], ["cannot be created"]),
    (["--out", ""], ["--out"]),
]
RUNS = [
    (["search", "--resume", "{root}/nowhere"], ["not a run directory"]),
    (["search", "--resume", "{root}/folder"], ["not a run directory"]),
    (["search", "--resume", "{trained}"], ["a run of 'train', where a search was expected"]),
    (["search", "--resume", "{searched}", "--trials", "0"], ["--trials", "0 is not between"]),
    (["search", "--resume", "{searched}", "--trials", "-1"], ["--trials", "-1 is not between"]),
    (["search", "--resume", "{root}/search-no-space"], ["run.yaml", "damaged"]),
    (["search", "--resume", "{root}/search-bad-space"], ["run.yaml"]),
    (["search", "--resume", "{root}/search-bad-data"], ["run.yaml"]),
    (["search", "--resume", "{root}/search-bad-budget"], ["run.yaml"]),
    (["search", "--resume", "{root}/search-bad-trials"], ["run.yaml"]),
    (["search", "--resume", "{root}/search-bad-repeats"], ["run.yaml", "'repeats' is of a wrong kind"]),
    (["search", "--resume", "{root}/search-bad-storage"], ["run.yaml", "'storage' is of a wrong kind"]),
    (["search", "--resume", "{root}/search-bad-search"], ["control is 2"]),
    ([*SEARCH, "--replay", "{root}/nowhere"], ["not a run directory"]),
    ([*SEARCH, "--replay", "{trained}"], ["a run of 'train', where a search was expected"]),
    ([*SEARCH, "--replay", "{root}/study-text"], ["study.db", "is damaged"]),
    (["pick", "{trained}"], ["a run of 'train', where a search was expected"]),
    (["show", "{root}/search-no-space"], ["run.yaml", "damaged"]),
    (["show", "{root}/search-no-objective"], ["run.yaml", "damaged"]),
    (["show", "{root}/search-no-trials"], ["run.yaml", "damaged"]),
    (["show", "{root}/search-no-proxy"], ["run.yaml", "damaged"]),
    (["show", "{root}/search-bad-proxy"], ["run.yaml", "unknown key 'widht'; did you mean 'width'?"]),
    (["show", "{root}/search-no-repeats"], ["run.yaml", "damaged"]),
    (["show", "{root}/search-no-storage"], ["run.yaml", "damaged"]),
    (["show", "{root}/search-no-val_images"], ["run.yaml", "damaged"]),
    (["show", "{root}/search-bad-objective"], ["run.yaml"]),
    (["show", "{root}/study-empty"], ["study.db"]),
    (["show", "{root}/study-text"], ["study.db", "is damaged"]),
    (["pick", "{root}/study-text"], ["study.db", "is damaged"]),
    (["pick", "{searched}", "--flops", "1K"], ["none of the 5 architectures trained to the end has macs"]),
    (["pick", "{searched}", "--flops", "1X"], ["'1X' is not a count"]),
    (["pick", "{searched}", "--out", "{root}/file/x"], ["cannot be written"]),
    (["pick", "{searched}", "--out", "{root}/folder"], ["exists already"]),
    (["pick", "{searched}", "--out", ""], ["--out"]),
    (["train", "--resume", "{root}/nowhere"], ["not a run directory"]),
    (
        ["train", "--resume", "{searched}"],
        ["a run of 'search', where a training was expected; nxt show, nxt report and nxt search --resume take it"],
    ),
    (["train", "resnext_1-1-1_w8_2x8d_cifar", "--resume", "{trained}"], ["holds resnext_1-1-1_w8_1x8d_cifar"]),
    (["train", "--resume", "{root}/no-checkpoint"], ["no such checkpoint"]),
    (["train", "--resume", "{trained}", "--data", "folder:{root}/other-classes"], ["no longer the data of this run"]),
    (["search", "--resume", "{searched}", "--data", "folder:{root}/other-classes"], ["no longer the data of this run"]),
    (["train", "--resume", "{root}/other-data"], ["other-data: ", "is no longer the data of this run"]),
    (["train", "--resume", "{root}/other-recipe"], ["other-recipe: run.yaml has another lr than the checkpoint"]),
    (["train", TINY, "{root}/nowhere"], ["no network is called"]),
    (["train", TINY, "{trained}"], ["the run of a training, where the run of a search was expected"]),
    (["train", TINY, "resnet51"], ["no network of depth 51"]),
    (["train", TINY, "--repeats", "1001"], ["--repeats", "1001 is not between 1 and 1000"]),
    (["train", "{searched}", "--epochs", "0"], ["epochs is 0"]),
    (["train", TINY, "resnet50", "--device", "cuda:0"], ["--device cuda:0", "auto, cpu or cuda"]),
    (["train", "resnest50", "resnest200", "--recipe", "resnest-imagenet"], ["values of their own", "one by one"]),
    (["train", "{searched}", "--recipe", "quik"], ["did you mean 'quick'?"]),
    *((["train", "--resume", f"{{root}}/train-no-{key}"], ["run.yaml", f"'{key}' is missing"]) for key in RECORD),
    *((["train", "--resume", f"{{root}}/train-bad-{key}"], ["run.yaml", f"'{key}' is of a wrong"]) for key in RECORD),
]
EVALS = {
    **{key: ["truncated or damaged"] for key in ("none", "text", "cut")},
    **{key: ["not loaded"] for key in ("pickle", "hostile")},
    **{key: ["not a checkpoint of nxt"] for key in ("foreign", "tensor")},
    **{f"no-{key}": [f"'{key}'"] for key in WHOLE},
    **{f"null-{key}": [f"null-{key}.pt: not a"] for key in WHOLE},
}
ONE_LINE = [
    *((["space", "show", "smoke", f"--flops={text}"], parts) for text, parts in BUDGETS.items()),
    *NAMES,
    *((["profile", f"{{root}}/{name}"], [name, *parts]) for name, parts in ARCH_FILES.items()),
    *((["space", "show", f"{{root}}/{name}"], [name, *parts]) for name, parts in SPACE_FILES.items()),
    *(([*SEARCH, "--set", text], parts) for text, parts in SETTINGS.items()),
    *((given(SEARCH, *more), parts) for more, parts in SEARCHES),
    *((["search", *more], parts) for more, parts in LISTS),
    *((given(TRAIN, *more), parts) for more, parts in TRAININGS),
    *RUNS,
    *((["eval", f"{{root}}/checkpoints/{name}.pt"], parts) for name, parts in EVALS.items()),
    (["eval", "{last}", "--size", "3"], ["--size", "3 is not between"]),
    (["eval", "{last}", "--device", "cuda:99"], ["use --device cpu"]),
    (["eval", "{last}", "--data", "digit"], ["did you mean 'digits'?"]),
    (["eval", "{last}", "--data", "folder:{root}/unreadable"], ["classes", "class0"]),
]
USAGE = [
    ([], ["Usage: nxt"]),
    (["trian"], ["No such command 'trian'"]),
    (["search"], ["give a budget, such as --flops 4.1G"]),
    (["search", "smoke"], ["give a budget"]),
    ([*SEARCH, "--workers", "0"], ["--workers 0"]),
    ([*SEARCH, "--gpus-per-trial", "-1"], ["--gpus-per-trial -1"]),
    ([*SEARCH, "--gpus-per-trial", "nan"], ["--gpus-per-trial nan"]),
    (given(SEARCH, "--trials", "x"), ["--trials", "one whole number was expected"]),
    ([*SEARCH, "--confirm", "x"], ["--confirm", "one whole number was expected"]),
    ([*SEARCH, "--confirm", "-1"], ["--confirm", "greater than or equal to 0"]),
    (["search", "--arch", TINY, "--repeats", "0"], ["--repeats", "greater than or equal to 1"]),
    ([*SEARCH, "--plan", "--replay", "{searched}"], ["--plan", "--replay"]),
    (["search", "--resume", "{searched}", "--repeats", "2"], ["--repeats", "cannot be given with --resume"]),
    ([*SEARCH, "--hours", "0"], ["--hours 0: give a time from seconds (0.01) to a year"]),
    ([*SEARCH, "--hours", "-1"], ["--hours", "greater than or equal to 0"]),
    ([*SEARCH, "--hours", "nan"], ["--hours", "greater than or equal to 0"]),
    ([*SEARCH, "--hours", "inf"], ["--hours inf: give a time"]),
    ([*SEARCH, "--hours", "x"], ["--hours", "a number was expected"]),
    ([*SEARCH, "--repeats", "2"], ["--repeats needs --arch"]),
    (["search", "smoke", "--arch", TINY], ["SPACE cannot be given with --arch"]),
    *(
        (["search", "--arch", TINY, option, value], [f"{option} cannot be given with --arch"])
        for option, value in (
            ("--flops", ":1G"),
            ("--params", "1M"),
            ("--acts", "1M"),
            ("--memory", "1G"),
            ("--like", "resnet50"),
            ("--trials", "3"),
            ("--confirm", "1"),
        )
    ),
    *(
        (["search", "--resume", "{searched}", *option], [f"{option[0]} cannot be given with --resume"])
        for option in (
            ("--memory", "1G"),
            ("--arch", TINY),
            ("--repeats", "2"),
            ("--storage", "x"),
            ("--like", "resnet50"),
            ("--out", "x"),
            ("--set", "proxy.epochs=2"),
        )
    ),
    (["search", "--resume", "{searched}", "--plan"], ["--plan is for a new search", "nxt show RUN"]),
    (["search", "smoke", "--resume", "{searched}"], ["SPACE cannot be given with --resume"]),
    (["search", "--resume", "{searched}", "--flops", "1G"], ["--flops cannot be given with --resume"]),
    (["search", "--resume", "{searched}", "--seed", "5"], ["--seed cannot be given with --resume"]),
    (["train"], ["give the network to train"]),
    (["train", "--repeats", "2"], ["give the networks to train"]),
    (["train", "--repeats", "0", TINY], ["--repeats", "1"]),
    (["train", "--top", "2", TINY], ["--top chooses from a search's run; give one"]),
    (["train", "--top", "0", "{searched}"], ["--top", "1"]),
    ([*TRAIN, "--workers", "0"], ["--workers", "greater than or equal to 1"]),
    (["train", TINY, "resnet50", "--workers", "-1"], ["--workers", "greater than or equal to 1"]),
    (["train", TINY, "--address", "127.0.0.1:1"], ["--address is for several --workers, or several networks"]),
    *(
        (["train", *networks, *option], [f"{option[0]} is for the training of one network"])
        for networks in ([TINY, "resnet50"], ["{searched}"])
        for option in (("--weights", "torchvision"), ("--freeze", "stem"), ("--tune", "off"), ("--skip-bad",))
    ),
    *(
        (["train", "--resume", "{trained}", *option], [f"{option[0]} cannot be given with --resume"])
        for option in (
            ("--recipe", "quick"),
            ("--size", "8"),
            ("--weights", "x"),
            ("--freeze", "stem"),
            ("--seed", "1"),
            ("--workers", "2"),
            ("--tune", "off"),
            ("--top", "2"),
            ("--repeats", "2"),
            ("--skip-bad",),
        )
    ),
    (["train", "--resume", "{trained}", "--epochs", "3"], ["--epochs cannot be given with --resume"]),
    (["train", "--resume", "{trained}", "--out", "x"], ["--out cannot be given with --resume"]),
    (["train", "--resume", "{trained}", "--set", "lr=1"], ["--set cannot be given with --resume"]),
    (["profile"], ["Missing argument"]),
    (["profile", "resnet50", "--by", "stag"], ["'stag' is not"]),
    (["eval"], ["Missing argument"]),
    (["show"], ["Missing argument"]),
    (["pick"], ["Missing argument"]),
    (["space", "sho"], ["No such command 'sho'"]),
]


def plain(text):
    """Return a text of typer's without its box and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


def label(value):
    return " ".join(value).replace("\n", " ")[:80].replace("{root}/", "") if value and isinstance(value, list) else ""


def refused(arguments, places, nxt, monkeypatch):
    """Run a command that must be refused, before any work begins and without a trace on disk."""

    def started(*_):
        raise AssertionError("work began on a request that is to be refused")

    monkeypatch.setattr(ray_cluster, "cluster", started)
    monkeypatch.setattr(Trainer, "run_epoch", started)
    before = everything(places["root"]), everything(places["trained"]), everything(places["searched"])
    result = nxt(*(text.format(**places) if "{root}" in text or text[1:-1] in places else text for text in arguments))
    assert (everything(places["root"]), everything(places["trained"]), everything(places["searched"])) == before
    assert result.out == ""
    return result


@pytest.mark.parametrize(("arguments", "parts"), ONE_LINE, ids=label)
def test_a_mistake_is_answered_by_one_line(arguments, parts, places, nxt, tmp_path, monkeypatch):
    result = refused(arguments, places, nxt, monkeypatch)
    lines = [line for line in result.err.splitlines() if not line.startswith("note: ")]
    assert result.code == 1
    assert len(lines) == 1
    assert lines[0].startswith("nxt: ")
    assert not [part for part in parts if part not in lines[0]], lines[0][:500]
    assert len(lines[0]) < 1000 or max(map(len, arguments)) > 300  # no flood: values are quoted, not poured out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("arguments", "parts"), USAGE, ids=label)
def test_a_wrong_call_is_answered_by_usage(arguments, parts, places, nxt, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "cluster", lambda *_: pytest.fail("workers were started"))
    before = everything(places["trained"]), everything(places["searched"])
    result = nxt(*(text.format(**places) if text[1:-1] in places else text for text in arguments))
    said = plain(result.out if not arguments else result.err)
    assert result.code == 2
    assert not [part for part in parts if part not in said], said
    assert "Traceback" not in result.err
    assert (everything(places["trained"]), everything(places["searched"])) == before
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(nxt):
    with pytest.raises(Exception, match="no network is called 'foo'"):
        nxt("--debug", "profile", "foo")
    assert nxt("profile", "foo").code == 1


def test_markup_in_a_file_is_text(places, nxt):
    result = nxt("space", "show", places["root"] / "space-markup.yaml")
    assert result.code == 0
    assert "[/red]" in result.out


@pytest.fixture
def two_cpus(monkeypatch):
    """Let a search believe that it has joined a machine of two CPUs."""
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    monkeypatch.setattr(ray_cluster, "cluster", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(ray_cluster.ray, "nodes", lambda: nodes)


def last_line(result):
    assert result.code == 1 and result.out == ""
    assert [line.startswith("nxt: ") for line in result.err.splitlines()].count(True) == 1
    return result.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value"), [("--gpus-per-trial", "1"), ("--gpus-per-trial", "0.3"), ("--workers", "99")]
)
def test_more_than_the_machine_has_is_refused(option, value, two_cpus, nxt, tmp_path):
    assert last_line(nxt(*SEARCH, option, value)).startswith(f"nxt: {option} {value}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "key"),
    [(["proxy.epochs=2"], "proxy"), (["proxy.epochs=1", "recipe.lr=0.3"], "recipe"), (["proxy.share=0.5"], "")],
    ids=label,
)
def test_a_run_made_under_other_conditions_is_not_replayed(settings, key, two_cpus, places, nxt, tmp_path):
    before = everything(places["searched"])
    given = [part for setting in settings for part in ("--set", setting)]
    line = last_line(nxt(*SEARCH, *given, "--replay", places["searched"]))
    assert line.startswith(f"nxt: --replay {places['searched']}: its {key}") and "differs" in line
    assert list(tmp_path.iterdir()) == [] and everything(places["searched"]) == before


@pytest.mark.parametrize("place", ["{root}/file/x", "nowhere://bucket/x"])
def test_a_place_that_holds_no_checkpoints_is_refused(place, two_cpus, places, nxt, tmp_path):
    line = last_line(nxt(*SEARCH, "--storage", place.format(**places)))
    assert line.startswith("nxt: ") and "checkpoints cannot be stored there" in line
    assert list(tmp_path.rglob("*.pt")) == []


# Trainings that go wrong when they have begun


def begun(trained, tmp_path, **recipe):
    """Copy a run of one epoch and change its recipe to three epochs, so that two remain."""
    run, last = tmp_path / "run", tmp_path / "run" / "checkpoints" / "last.pt"
    shutil.copytree(trained, run)
    state = read(last)
    recipe = dataclasses.replace(state.recipe, epochs=3, **recipe)
    save(last, dataclasses.replace(state, recipe=recipe))
    record = yaml.safe_load((run / "run.yaml").read_text(encoding="utf-8"))
    (run / "run.yaml").write_text(dump_yaml({**record, "recipe": to_mapping(recipe)}), encoding="utf-8")
    return run


def test_images_that_cannot_be_read_are_left_out_by_name_if_asked_for(places, nxt, tmp_path):
    data = f"folder:{places['root'] / 'unreadable'}"
    given = [*TRAIN, "--set", "batch=4", "--data", data, "--skip-bad", "--out", "run", "--device", "cpu"]
    result = nxt(*given)
    assert result.code == 0, result.err
    bad = places["root"] / "unreadable" / "train" / "class0" / "5.png"
    told = [line for line in result.err.splitlines() if line.startswith("left out: ")]
    assert len(told) == 1 and told[0].startswith(f"left out: {bad}: not readable as an image (")
    assert "--skip-bad" not in told[0]
    assert "12 training and 3 validation images" in result.err
    assert nxt("train", "--resume", "run", "--json").code == 0  # the data is still the same without it
    assert nxt("eval", "run", "--json", "--device", "cpu").code == 0  # it is not in the test split


def test_where_too_little_can_be_read_nothing_is_trained(places, nxt, tmp_path):
    result = nxt(*TRAIN, "--data", f"folder:{places['root'] / 'all-bad'}", "--skip-bad", "--out", "run")
    *told, last = result.err.splitlines()
    assert result.code == 1 and len(told) == 8 and all(line.startswith("left out: ") for line in told)
    assert last.endswith("all-bad: no training image of class 'class1' is readable; remove the class")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_ends_with_step_and_rate(nxt, tmp_path):
    result = nxt(*TRAIN, "--set", "lr=1e30", "--out", "run", "--device", "cpu")
    line = last_line(result)
    rate = r"in epoch 1, step \d+, at a rate of \d(\.\d+)?e\+\d\d; lower the recipe's lr"
    assert re.fullmatch(rf"nxt: the loss became (nan|inf) {rate}\. No checkpoint was written before", line), line


def test_a_loss_that_is_no_number_later_on_names_the_last_good_checkpoint(trained, nxt, tmp_path):
    run = begun(trained, tmp_path, lr=1e30)
    line = last_line(nxt("train", "--resume", run, "--device", "cpu"))
    assert " in epoch 2, step " in line and line.endswith(f"checkpoint is {run / 'checkpoints' / 'last.pt'} (epoch 1)")
    assert nxt("eval", run, "--json", "--device", "cpu").code == 0


@pytest.fixture
def largest():
    """Let no file grow beyond so many bytes: what is written then fails in the middle, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [8_192, 65_536, 163_840, 165_000, 262_144, 309_000])
def test_a_checkpoint_that_cannot_be_written_is_one_line_and_the_earlier_one_serves(
    size, trained, nxt, tmp_path, largest
):
    run = begun(trained, tmp_path)
    before = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    assert len(before["last.pt"]) > 309_000 and len(before["best.pt"]) > 165_000
    largest(size)
    result = nxt("train", "--resume", run, "--device", "cpu")
    line = last_line(result)
    assert ".pt: cannot be written (" in line and "Traceback" not in result.err
    after = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    assert after["last.pt"] == before["last.pt"] and set(after) == set(before)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    assert nxt("eval", run, "--json", "--device", "cpu").code == 0
    assert nxt("train", "--resume", run, "--json", "--device", "cpu").code == 0


def test_a_run_that_another_process_trains_is_left_to_it(trained, nxt, python_process, tmp_path):
    run = begun(trained, tmp_path)
    before = everything(run)
    with locked(run / ".lock"):
        line = last_line(nxt("train", "--resume", run))
    assert line == f"nxt: {run}: another training is writing there; wait for it to end, or use another --out"
    assert everything(run) == before
    assert nxt("train", "--resume", run, "--device", "cpu").code == 0


def test_data_that_was_changed_meanwhile_is_not_trained_on(places, nxt, tmp_path):
    shutil.copytree(places["root"] / "no-test" / "train", tmp_path / "data" / "train")
    shutil.copytree(places["root"] / "no-test" / "train", tmp_path / "data" / "test")
    assert nxt(*TRAIN, "--set", "batch=4", "--data", "folder:data", "--out", "run", "--device", "cpu").code == 0
    (tmp_path / "data" / "train" / "class1" / "0.png").unlink()
    before = everything(tmp_path / "run")
    line = last_line(nxt("train", "--resume", "run"))
    assert "folder:data is no longer the data of this run: images were added, removed or changed; put them" in line
    assert everything(tmp_path / "run") == before


def test_weights_for_other_classes_are_evaluated_only_where_the_classes_are_theirs(places, nxt):
    result = nxt("eval", places["last"], "--data", f"folder:{places['root'] / 'other-classes'}")
    line = last_line(result)
    assert "class" in line and "other-classes" in line


@pytest.mark.slow
def test_a_search_refuses_an_address_without_a_ray_cluster(nxt_process, tmp_path):
    result = nxt_process(*SEARCH, "--address", "127.0.0.1:1")
    assert (result.code, result.out) == (1, "")
    [line] = result.err.splitlines()
    assert line.startswith("nxt: --address 127.0.0.1:1: no Ray cluster can be joined there")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_error_in_a_process_of_its_own_is_one_line(places, nxt_process):
    result = nxt_process("eval", places["root"] / "checkpoints" / "pickle.pt")
    assert result.code == 1
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("nxt: ")


@pytest.mark.parametrize("arguments", [["zoo"], ["zoo", "--json"], ["profile", "resnet50"]], ids=label)
def test_a_closed_stdout_prints_no_traceback(arguments, nxt_process):
    result = nxt_process(*arguments, stdout=None, preexec_fn=lambda: os.close(1))
    assert "Traceback" not in result.err


@pytest.mark.parametrize("arguments", [["zoo"], ["zoo", "--json"]], ids=label)
def test_output_to_a_closed_pipe_prints_no_error(arguments, nxt_process):
    reader, writer = os.pipe()
    os.close(reader)
    result = nxt_process(*arguments, stdout=writer)
    os.close(writer)
    assert result.err == ""


def test_what_an_encoding_has_not_is_escaped_where_it_is_printed(nxt_process, tmp_path, searched):
    shutil.copytree(searched, tmp_path / "\u732b")
    shown = nxt_process("show", "\u732b", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert shown.code == 0 and shown.out.startswith("\\u732b: 5 trials") and not shown.err


@pytest.mark.parametrize("problem", [OSError("AF_UNIX path length cannot exceed 107"), PermissionError(13, "denied")])
def test_a_folder_that_ray_cannot_use_is_one_line(nxt, tmp_path, monkeypatch, problem):
    def refuse(**_):
        raise problem

    monkeypatch.setattr(ray_cluster.ray, "init", refuse)
    result = nxt(*SEARCH, "--gpus-per-trial", "0")
    said = result.err.splitlines()[-1]
    where = "set TMPDIR or RAY_TMPDIR to a short folder that can be written, such as /tmp"
    assert result.code == 1 and said == f"nxt: Ray cannot start ({problem}); {where}" and "Traceback" not in result.err
    assert not list(tmp_path.iterdir())


def test_a_search_leaves_out_images_that_cannot_be_read_if_asked(nxt, tmp_path):
    for split, label in (("train", "cat"), ("train", "cow"), ("test", "cat"), ("test", "cow")):
        (tmp_path / "pics" / split / label).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (8, 8)).save(tmp_path / "pics" / split / label / f"{number}.png")
    (tmp_path / "pics" / "train" / "cow" / "5.png").write_bytes(b"no image")
    plan = [*SEARCH, "--data", "folder:pics", "--plan"]
    refused = nxt(*plan)
    assert refused.code == 1 and "--skip-bad" in refused.err
    result = nxt(*plan, "--skip-bad")
    assert result.code == 0 and "left out: " in result.err and "cow/5.png" in result.err
