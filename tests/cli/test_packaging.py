"""The wheel: what is in it, and that it works where the source tree is not."""

import configparser
import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from limits import LIMIT
from near import assert_near

import nxt

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "nxt", "cli", "search_spaces")
RECIPES = ("finetune", "proxy", "quick", "resnest-imagenet", "resnext-cifar", "resnext-imagenet", "torchvision-long")
SPACES = ["cifar", "imagenet", "mobile", "nds_resnext_a", "nds_resnext_b", "resnest", "smoke"]
NEEDED = [
    "nxt/py.typed",
    "nxt/data/digits.npz",
    "nxt/arch/published.csv",
    "nxt/cli/main.py",
    *(f"nxt/search_spaces/{name}.yaml" for name in SPACES),
    *(f"nxt/train/recipes/{name}.yaml" for name in RECIPES),
    *(f"nxt/search/proxies/{name}.yaml" for name in ("digits", "cifar10", "cifar100", "folder")),
]
USE = """
import json, sys
from pathlib import Path
import nxt
from nxt.data.ref import DataRef
from nxt.cli.main import main
from nxt.space.load import load_space
from nxt.data.sources import digits
from nxt.train.recipe import load_recipe
from nxt.search.proxy import load_proxy

names = sorted(p.stem for p in (Path(nxt.__file__).parent / "search_spaces").glob("*.yaml"))
print(json.dumps({
    "home": str(Path(nxt.__file__).parent.parent),
    "command": sys.modules["nxt.cli.main"].__file__,
    "sizes": {name: load_space(name).size for name in names},
    "classes": len(digits().classes),
    "epochs": load_recipe("quick", {}).epochs,
    "proxy": load_proxy(DataRef("digits"), {}).epochs,
}))
"""


def call(*arguments, **options):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=LIMIT, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy of the tree, so that no build folder is left in the tree itself."""
    tree, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), cwd=tree)
    (found,) = target.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel alone into a folder."""
    target = tmp_path_factory.mktemp("site")
    quiet = ("--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")
    call(sys.executable, "-m", "pip", "install", *quiet, "--target", str(target), str(wheel))
    return target


def test_the_wheel_has_one_package_and_its_record(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    assert {name.split("/")[0] for name in names} == {"nxt", info}
    assert not [name for name in names if "test" in name or name.endswith(".pyc")]


@pytest.mark.parametrize("name", NEEDED)
def test_the_wheel_has_the_file(name, wheel):
    assert zipfile.ZipFile(wheel).getinfo(name).file_size > 0 or name.endswith("py.typed")


def test_every_source_file_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    homes = {"nxt": "nxt", "cli": "nxt/cli", "search_spaces": "nxt/search_spaces"}
    for folder, home in homes.items():
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".yaml", ".csv", ".npz", ".typed"):
                assert f"{home}/{path.relative_to(ROOT / folder).as_posix()}" in names


def test_the_wheel_declares_its_command_and_licence(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (entry,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        points = configparser.ConfigParser()
        points.read_string(archive.read(entry).decode())
        said = email.message_from_bytes(archive.read(metadata))
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert {section: dict(points[section]) for section in points.sections()} == {
        "console_scripts": {"nxt": "nxt.cli.main:program"}
    }
    assert said["Name"] == "nxt"
    assert said["License-Expression"] == "Apache-2.0"
    versions = [text.rpartition(" ")[2] for text in said.get_all("Classifier") if "Python :: 3." in text]
    assert versions[0] == said["Requires-Python"].removeprefix(">=")


def test_the_installed_package_works_from_another_folder(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    found = json.loads(call(sys.executable, "-c", USE, cwd=tmp_path, env=environment))
    assert Path(found["home"]) == installed
    assert Path(found["command"]) == installed / "nxt" / "cli" / "main.py"
    assert sorted(found["sizes"]) == SPACES
    assert found["sizes"]["smoke"] == 96
    assert found["classes"] == 10
    assert found["epochs"] > 0
    assert found["proxy"] > 0
    assert list(tmp_path.iterdir()) == []


def test_the_installed_package_loads_a_checkpoint_in_a_fresh_process(installed, trained, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = (
        "import nxt, torch, sys; network = nxt.load(sys.argv[1]);"
        "print(nxt.__file__, network.training, network(torch.zeros(2, 3, 8, 8)).tolist())"
    )
    place, training, logits = call(sys.executable, "-c", code, str(trained), cwd=tmp_path, env=environment).split(
        " ", 2
    )
    assert Path(place).parent.parent == installed and training == "False"
    with torch.inference_mode():
        assert_near(torch.tensor(json.loads(logits)), nxt.load(trained)(torch.zeros(2, 3, 8, 8)))


def test_the_installed_command_works_from_another_folder(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for command in ([str(installed / "bin" / "nxt")], [sys.executable, "-m", "nxt"]):
        said = call(*command, "space", "show", "smoke", "--json", cwd=tmp_path, env=environment)
        assert json.loads(said)["size"] == 96
        assert "doctor" in call(*command, "--help", cwd=tmp_path, env=environment)


def test_the_installed_doctor_knows_its_own_package(installed, tmp_path):
    """The exit code is the machine's; what is missing of an extra is known from the wheel's own metadata."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-m", "nxt", "doctor", "--json"],
        capture_output=True, text=True, timeout=LIMIT, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    found = {each["subject"]: each for each in answer["findings"]}
    assert done.returncode == (0 if answer["usable"] else 1), done.stderr
    assert found["nxt"]["found"] == nxt.__version__
    assert {"extra onnx", "extra bench", "extra engines"} <= set(found) and "extra dev" not in found
