"""The likeliest mistakes of new users, in mistakes.txt with the whole answer to each."""

import re
import shlex
import shutil
from pathlib import Path

import latencies
import numpy as np
import pytest
from PIL import Image
from scenes import coco_scenes, mask_scenes, write

from nxt.latency.runtime import cpu_name
from nxt.space.load import load_space

TABLE = Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8")
MISTAKES = re.findall(r"^\$ nxt (.*)\n(.+)$", TABLE, flags=re.MULTILINE)
SPACE = """\
about: mine
network: {stem: cifar, stem_width: width, radix: 0}
axes:
  depths: [[1, 2], [1, 2]]
  widht: [4, 8]
  cardinality: [1, 2]
  base_width: [4, 8]
"""
FILES = {
    "space.yaml": SPACE,
    "tabs.yaml": "stem: cifar\n\tdepths: [1]\n",
    "recipe.yaml": "epochs: 2\nbatch: 8\nlr: 0.1\nlable_smoothing: 0.1\n",
}


def images(folder, splits=("train", "test"), classes=("cat", "cow", "dog")):
    rng = np.random.default_rng(0)
    for split in splits:
        for label in classes:
            (folder / split / label).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")


@pytest.fixture(scope="module")
def here(tmp_path_factory, searched, trained):
    """A folder as users have it: runs under results/, images, files of their own."""
    root = tmp_path_factory.mktemp("here")
    shutil.copytree(searched, root / "results" / "search")
    shutil.copytree(trained, root / "results" / "training")
    images(root / "pics")
    images(root / "fruit", classes=("apple", "pear"))
    images(root / "flat", classes=(".",))
    coco_scenes(root / "boxes")
    mask_scenes(root / "parts")
    (root / "captions" / "annotations").mkdir(parents=True)
    (root / "captions" / "annotations" / "captions_train2017.json").write_text("{}")
    write(root / "labelme", "train", '{"shapes": []}')
    (root / "damaged.zip").write_bytes(b"PK and no more")
    latencies.table_file(root / "smoke.json", load_space("smoke"))
    (root / "list.csv").write_text("where,label\na.png,cat\n")
    for name, text in FILES.items():
        (root / name).write_text(text)
    return root


def answer(result):
    """Return what a command said: the text in the box of a usage error, or the one line of a refusal."""
    boxed = [line.strip("\u2502 ") for line in result.err.splitlines() if line.startswith("\u2502")]
    return " ".join(boxed) if boxed else result.err.removesuffix("\n")


@pytest.mark.parametrize(("typed", "said"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_likely_mistake(typed, said, here, nxt, monkeypatch):
    monkeypatch.chdir(here)
    before = {path for path in here.rglob("*") if path.name != ".lock"}
    result = nxt(*shlex.split(typed))
    assert answer(result) == said.replace("CPU_HERE", cpu_name()).replace("HERE", str(here))
    assert result.code == (1 if said.startswith("nxt: ") else 2)
    assert {path for path in here.rglob("*") if path.name != ".lock"} == before


def test_folders_and_files_called_like_spaces_and_networks_are_no_mistake(nxt, tmp_path):
    images(tmp_path / "cifar")
    (tmp_path / "resnet50").mkdir()
    assert nxt("space", "lint", "cifar", "--flops", "20M").code == 0
    assert nxt("profile", "resnet50").code == 0
    result = nxt("search", "smoke", "--flops", ":1G", "--data", "cifar")
    assert result.err == "nxt: no data set is called 'cifar'; for the images in that folder write folder:cifar\n"


@pytest.mark.parametrize("command", [["show"], ["pick"], ["eval"], ["train", "--resume"], ["profile"]])
def test_what_cannot_be_a_path_is_refused_in_one_line(command, nxt):
    result = nxt(*command, "x" * 300)
    assert result.code == 1 and len(result.err.splitlines()) == 1


def test_an_option_is_only_advised_where_it_is(nxt):
    assert "--set" not in answer(nxt("eval", "x", "--lr", "3"))
    assert "--set lr=VALUE" in answer(nxt("train", "resnet50", "--lr", "3"))
    assert "--version" in answer(nxt("--vesrion")) and "COMMAND" not in answer(nxt("--vesrion"))


def test_the_table_has_every_command():
    assert len(MISTAKES) >= 60 and len({typed for typed, _ in MISTAKES}) == len(MISTAKES)
    used = {shlex.split(typed)[0] for typed, _ in MISTAKES}
    assert used >= {"search", "show", "pick", "report", "train", "eval", "export", "profile", "zoo", "space"}


@pytest.mark.parametrize("words", [["search", "smoke"], ["space", "sample", "smoke"]])
def test_only_lists_are_given_twice(words, nxt):
    again = ["--seed", "1", "--seed", "2"]
    assert answer(nxt(*words, "--flops", ":1G", *again)) == "Invalid value: --seed: given twice, but it takes one value"


def test_lists_and_flags_may_be_given_twice(nxt):
    twice = ["--set", "proxy.epochs=1", "--set", "proxy.size=3", "--download", "--download"]
    assert "size is 3" in answer(nxt("search", "smoke", "--flops", ":1G", *twice))
