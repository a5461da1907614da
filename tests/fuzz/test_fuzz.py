"""Damaged and nonsensical input of every kind: each ends as what it is, or in an error of one line; never otherwise.

A valid text or file is changed at random: bits, pieces, and words that mean something to its reader. A few hundred
changes each belong to `make test`; `make test-all` goes on for ten minutes in all. What fails is printed with its seed.
"""

import io
import json
import random
import shutil
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from runs import begin, opened

from nxt.arch.load import load_arch, parse_name
from nxt.arch.zoo import ZOO
from nxt.config import dump_yaml, parse_settings
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.sources import open_source
from nxt.errors import NxtError
from nxt.models.network import build
from nxt.models.weights import read_weights
from nxt.search.new_request import make_request
from nxt.search.request import load_record
from nxt.search.results.run import load_run
from nxt.search.trial import Epoch
from nxt.space.budget import parse_budget
from nxt.space.load import load_space, spaces_folder
from nxt.train.checkpoint import Checkpoint, read, save
from nxt.train.history import load_history
from nxt.train.recipe import Recipe, load_recipe

SOME, SECONDS = 150, 600  # changes of each kind in a short run; seconds of all kinds together in a long one
WORDS = [
    b"", b"0", b"-1", b"1e999", b"nan", b".inf", b"null", b"true", b"[]", b"{}", b"'", b'"', b":", b"\n", b"\0", b"G",
    b"9" * 30, b"[" * 50, b"&a [*a]", b"!!python/name:os.system ", b"<<: ", b"\xef\xbb\xbf", b"~", b"../", b"0x10",
    b"1_0", b"+-", b"%", b"#", b"---\n", b"\r", b"\t", b"| \n", b"\xff",
    "\N{SUPERSCRIPT TWO}\N{RIGHT-TO-LEFT OVERRIDE}".encode(),
]  # fmt: skip


def changed(content, rng):
    """Return the content with one to four changes."""
    made = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(made) + 1), rng.choice((1, 1, 2, 8, 40, len(made) // 2))
        piece, kind = bytes(made[at : at + length]), rng.randrange(6)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[at : at + length]
        elif kind == 2:
            made[at:at] = piece
        elif kind == 3:
            made[at : at + length] = rng.randbytes(len(piece))
        else:
            made[at : at + (length if kind == 4 else 0)] = rng.choice(WORDS)
    return bytes(made)


class Texts:
    """Arguments: the reader gets a text."""

    def __init__(self, read, *valid):
        self.read, self.valid = read, [text.encode() for text in valid]

    def __call__(self, rng):
        return self.read(changed(rng.choice(self.valid), rng).decode(errors="surrogateescape"))


class Files:
    """Files: the reader is called with `argument` after the file has been damaged; afterwards it is whole again."""

    def __init__(self, read, path, argument=None, valid=()):
        self.read, self.path, self.argument = read, path, path if argument is None else argument
        self.valid = [*valid] or [path.read_bytes()]

    def __call__(self, rng):
        before = self.path.read_bytes()
        self.path.write_bytes(changed(rng.choice(self.valid), rng))
        try:
            return self.read(self.argument)
        finally:
            self.path.write_bytes(before)


def a_search(out):
    """Make a search's run directory with two trials."""
    budget, settings = parse_budget({"flops": ":1G"}), {"proxy": {"epochs": 1}}
    request = make_request(load_space("smoke"), budget, "digits", 2, 0, settings)
    with opened(begin(request, out)) as session:
        for number in range(2):
            session.strategy.observe(session.strategy.suggest().number, Epoch(1, 0.5 + number / 10, 1.0, 0.5))
    return out


def a_checkpoint(path):
    spec = parse_name("resnext_1-1-1_w8_1x8d_cifar")
    weights = {"raw": build(spec, 2).state_dict()}
    checkpoint = Checkpoint(
        spec=spec,
        classes=("a", "b"),
        data=DataRef("digits"),
        identity="",
        preprocess=Preprocess(size=8, mean=(0.5,) * 3, std=(0.5,) * 3),
        recipe=Recipe(epochs=1, batch=2, lr=0.1),
        seed=0,
        accuracies={"raw": 0.5},
        state={"epoch": 1, "weights": weights},
    )
    save(path, checkpoint)
    return path


def a_training(out):
    """Make as much of a training's run directory as its history needs."""
    out.mkdir()
    record = {"command": "train", "name": "n", "data": "digits", "recipe": {"epochs": 3}}
    (out / "run.yaml").write_text(dump_yaml(record))
    row = dict.fromkeys(("epoch", "loss", "accuracy", "ema_accuracy", "seconds", "images_per_second", "time"), 1)
    (out / "metrics.jsonl").write_text(json.dumps(row))
    return out


def pictures(folder):
    """Make a folder of images, and return it with the encoded forms of one of them."""
    rng, forms = np.random.default_rng(0), []
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(2):
                image = Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
                image.save(folder / split / name / f"{index}.png")
    for form in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        file = io.BytesIO()
        image.save(file, form)
        forms.append(file.getvalue())
    return folder, forms


def a_table(folder):
    """Make images and a table of them."""
    pictures(folder)
    names = sorted(str(path.relative_to(folder)) for path in folder.glob("*/*/*.png"))
    rows = [f"{name},{Path(name).parent.name},{Path(name).parts[0]}" for name in names]
    return written(folder / "t.csv", "\n".join(["path,label,split", *rows]))


def all_images(place):
    source = open_source(DataRef("table" if place.suffix == ".csv" else "folder", str(place)))
    return source.images("train", np.arange(len(source.labels("train"))), 8)


def packed(folder, form):
    pictures(folder / "p")
    return Path(shutil.make_archive(folder / "packed", form, folder / "p"))


def exports(path):
    safetensors.torch.save_file({"fc.weight": torch.ones(2, 2)}, path)
    return path


def whole(run):
    found = load_run(run)
    return found.verdict(), found.front, found.rows()


def spaces():
    return [path.read_bytes() for path in spaces_folder().glob("*.yaml")]


RECIPE = {"epochs": 3, "lr": 0.1, "augment": {"mirror": True}, "schedule": "cosine"}
KINDS = {
    "names": lambda at: Texts(parse_name, *ZOO, "resnext_3-4-6-3_w32_2s4x8d", "resnext29_8x64d_cifar"),
    "budgets": lambda at: Texts(lambda t: parse_budget({"flops": t, "memory": t}), "4.1G+-2%", ":8M", "1G:4.1G", "8GB"),
    "settings": lambda at: Texts(lambda text: parse_settings([text]), "proxy.epochs=3", "augment={mirror: true}"),
    "data": lambda at: Texts(
        lambda t: open_source(DataRef.of(t)), "digits", "cifar10:P", "folder:~me", "table:~/x.csv", "hf:P"
    ),
    "architectures": lambda at: Files(load_arch, written(at / "a.yaml", ZOO["resnest50"].spec.to_yaml())),
    "spaces": lambda at: Files(load_space, written(at / "s.yaml", ""), str(at / "s.yaml"), spaces()),
    "recipes": lambda at: Files(load_recipe, written(at / "r.yaml", dump_yaml(RECIPE)), str(at / "r.yaml")),
    "records": lambda at: Files(load_record, a_search(at / "run") / "run.yaml", at / "run"),
    "studies": lambda at: Files(whole, a_search(at / "run") / "study.db", at / "run"),
    "histories": lambda at: Files(load_history, a_training(at / "run") / "metrics.jsonl", at / "run"),
    "checkpoints": lambda at: Files(read, a_checkpoint(at / "c.pt")),
    "weights": lambda at: Files(read_weights, a_checkpoint(at / "c.pt")),
    "safetensors": lambda at: Files(read_weights, exports(at / "w.safetensors")),
    "tables": lambda at: Files(all_images, a_table(at / "t")),
    "zip": lambda at: Files(all_images, packed(at, "zip")),
    "tar": lambda at: Files(all_images, packed(at, "tar")),
    "gzip": lambda at: Files(all_images, packed(at, "gztar")),
    "images": lambda at: Files(all_images, *reversed_pictures(at / "pictures")),
}


def written(path, text):
    path.write_text(text)
    return path


def reversed_pictures(folder):
    made, forms = pictures(folder)
    return made / "train" / "cat" / "0.png", made, forms


def hold(kind, folder, seed):
    """Hold one change of an input against the rule; tell the seed of what breaks it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind(random.Random(seed))
    except NxtError as error:
        words = str(error)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    else:
        return
    assert words.strip(), f"seed {seed}: an error without words"


@pytest.mark.parametrize("name", KINDS)
def test_what_is_damaged_ends_in_an_error_of_one_line(name, tmp_path):
    kind = KINDS[name](tmp_path)
    for seed in range(SOME):
        hold(kind, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_for_ten_minutes_what_is_damaged_ends_in_an_error_of_one_line(name, tmp_path):
    kind, seed = KINDS[name](tmp_path), random.randrange(2**32)
    end = time.monotonic() + SECONDS / len(KINDS)
    while time.monotonic() < end:
        hold(kind, tmp_path, seed)
        seed += 1
