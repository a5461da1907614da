"""The commands on the pages: all can be parsed, the quick ones run, and the tutorial is walked from end to end.

Files that a page shows (a block whose first line is `# NAME`) are there when its commands run.
"""

import contextlib
import functools
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import latencies
import pytest
from nxt.cli import lazy

import nxt
from nxt.config import parse_settings
from nxt.data.sources import digits
from nxt.search.new_request import make_request
from nxt.space.budget import parse_budget
from nxt.space.load import load_space
from nxt.train.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("COMMANDS.md", "API.md")
PAGES = {page.name: page for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if page.name not in GENERATED}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
RUNS = {"RUN", "RUN_A", "RUN_B", "results/RUN", "results/first"}


def words(line):
    """Split a command line as a shell does; what comes after a redirection is left out."""
    found = shlex.split(line, comments=True)
    return found[: found.index(">")] if ">" in found else found


def typed(page, program="nxt"):
    """Return the command lines in a page's console blocks, in order, without `$`."""
    blocks = [body for language, body in FENCED.findall(page.read_text("utf-8")) if language == "console"]
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [words(line) for line in lines if line.startswith(program)]


def mentioned(page):
    """Return the command lines in a page's running text."""
    return [words(line) for line in re.findall(r"`(nxt [^`]*)`", FENCED.sub("", page.read_text("utf-8")))]


def write_files(page, folder):
    """Write the files that a page shows."""
    for _, body in FENCED.findall(page.read_text("utf-8")):
        if head := re.match(r"# ([\w.]+\.\w+)\n", body):
            (folder / head[1]).write_text(body, "utf-8")


def parse(arguments):
    """Hold arguments against the options of their command, and what --set says against the recipe or the search."""
    name, *rest = arguments
    if name in ("--help", "--version", "--install-completion"):
        return
    assert name in lazy.COMMANDS, f"no command {name}"
    command = lazy.load(name)
    if name in ("space", "latency") and rest:
        command, rest = command.commands[rest[0]], rest[1:]
    given = command.make_context(name, rest).params
    if name == "train":
        load_recipe("quick", parse_settings(given["settings"] or []))
    elif name == "search":
        data = "folder:x" if given["data"] is not None and given["data"].kind == "folder" else "digits"
        make_request(
            load_space("smoke"), parse_budget({"flops": ":1G"}), data, 1, 0, parse_settings(given["settings"] or [])
        )


def quick(arguments):
    """Whether a command takes no longer than a few seconds."""
    name, *rest = arguments
    return (
        name in ("zoo", "space", "show", "pick") or "--plan" in rest or (name == "profile" and "--measure" not in rest)
    )


def label(value):
    """Name a page or a command in a test's name."""
    return value if isinstance(value, str) else " ".join(value)


TYPED = [(name, line) for name, page in sorted(PAGES.items()) for line in typed(page)]
MENTIONED = [(name, line) for name, page in sorted(PAGES.items()) for line in mentioned(page)]
QUICK = sorted({(name, *line[1:]) for name, line in TYPED if quick(line[1:]) and "folder:mine" not in line})


@pytest.mark.parametrize(
    ("page", "line"), TYPED, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_command_in_a_console_block_can_be_parsed(page, line):
    parse(line[1:])


@pytest.mark.parametrize(("page", "line"), MENTIONED, ids=label)
def test_a_command_in_the_text_can_be_parsed(page, line):
    """There, arguments may be left out."""
    try:
        parse(line[1:])
    except Exception as error:
        if type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise


@pytest.mark.parametrize(
    "line",
    [
        "profile resnet50 --bye stage",
        "space lint",
        "search --flops 1M --set proxy.epoch=3",
        "train resnet50 --set lrr=1",
    ],
)
def test_a_wrong_command_cannot_be_parsed(line):
    with pytest.raises(Exception, match=r"(?i)no such option|missing|epoch|lrr"):
        parse(words(line))


def test_commands_are_found_with_comments_and_redirections_left_out(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "`nxt zoo` and `nxt.x`\n```console\n$ nxt pick R > a  # b\nnxt no\n$ make\n```\n```\n$ nxt x\n```\n"
    )
    assert typed(page) == [["nxt", "pick", "R"]]
    assert mentioned(page) == [["nxt", "zoo"]]


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A small folder of images: eight digits of each class to train on, two to test on."""
    root, source = tmp_path_factory.mktemp("images"), digits()
    for split, most in (("train", 8), ("test", 2)):
        labels = source.labels(split)
        for label, name in enumerate(source.classes):
            (root / split / name).mkdir(parents=True)
            for row in (labels == label).nonzero()[0][:most]:
                source.open(split, row).save(root / split / name / f"{row}.png")
    return root


@pytest.mark.parametrize("given", QUICK, ids=" ".join)
def test_a_quick_command_runs(nxt, given, longer, trained, images, tmp_path):
    _, *arguments = given
    for one in PAGES.values():
        write_files(one, tmp_path)
    for name in ("small.yaml", "best.yaml"):
        (tmp_path / name).write_text(load_space("cifar").example.to_yaml())
    if "measured.csv" in arguments:
        (tmp_path / "measured.csv").write_text("network,top1\nresnet50,76.2\n")
    if "phone.json" in arguments:
        latencies.table_file(tmp_path / "phone.json", load_space("mobile"))
    if "RUN_B" in arguments:
        shutil.copytree(longer, tmp_path / "RUN_B")
    if "--out" in arguments:
        (tmp_path / arguments[arguments.index("--out") + 1]).unlink(missing_ok=True)
    where = {name: str(longer) for name in RUNS} | {"folder:PATH": f"folder:{images}", "RUN_B": "RUN_B"}
    where["results/TRAINING"] = str(trained)
    result = nxt(*(where.get(word, word) for word in arguments))
    assert result.code == 0, result.err
    assert result.out or result.err


SHORT = {"--trials": "2", "--confirm": "0"}
FASTER = {
    "search": ["--set", "proxy.epochs=1", "--set", "proxy.share=0.2", "--workers", "1"],
    "train": ["--epochs", "1", "--size", "8", "--set", "warmup=0", "--tune", "off"],
}


def shortened(line):
    """Make a command of the tutorial faster: fewer trials, epochs and pixels."""
    found = [SHORT.get(before, word) for before, word in zip(["", *line], line, strict=False)]
    return found if "--plan" in line else found + FASTER.get(line[1], [])


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory, any_run, any_process):
    """The folder in which all of the tutorial's commands have run, shortened, and what each printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    write_files(PAGES["TUTORIAL.md"], folder)
    python, printed = functools.partial(any_process, command=[sys.executable]), []
    with contextlib.chdir(folder):
        for line in typed(PAGES["TUTORIAL.md"], ("nxt", "python ")):
            done = python(*line[1:]) if line[0] == "python" else any_run(*shortened(line)[1:])
            assert done.code == 0, f"{' '.join(line)}: {done.err}"
            printed.append((line, done))
    return folder, printed


def test_the_tutorial_can_be_walked(tutorial):
    folder, printed = tutorial
    assert [line[1] for line, _ in printed[:7]] == ["search", "show", "pick", "profile", "train", "eval", "export"]
    assert len(list((folder / "mine").rglob("*.png"))) == 1797
    assert nxt.load_run(folder / "results" / "first").best is not None
    assert nxt.load(folder / "results" / "mine").num_classes == 10
    assert list((folder / "results" / "digits").glob("*.onnx"))


def test_the_notebook_runs_from_top_to_bottom(tutorial, any_process):
    folder, _ = tutorial
    cells = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text("utf-8"))["cells"]
    code = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert "nxt.load_run" in code and ".frame()" in code
    done = any_process("-c", code, command=[sys.executable], cwd=folder)
    assert done.code == 0, done.err
