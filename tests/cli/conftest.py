"""Two ways to run `nxt`, fast in this process and truly in another one, and runs to run it on."""

import contextlib
import functools
import io
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from limits import LONG
from nxt.cli.main import main
from runs import opened

from nxt.config import parse_settings
from nxt.rundir import remove_unused_directories
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.strategy.schedulers import Decision
from nxt.search.trial import Epoch
from nxt.space.budget import parse_budget
from nxt.space.load import load_space

TINY = "resnext_1-1-1_w8_1x8d_cifar"
COMMAND = [sys.executable, "-c", "from nxt.cli.main import program; program()"]


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and its output."""

    code: int
    out: str
    err: str


def run(*arguments, width=200):
    """Run `nxt` in this process. Warnings that a user would see are part of stderr."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", ["nxt", *map(str, arguments)]))
        stack.enter_context(mock.patch.object(sys.modules["__main__"], "__package__", None))  # so usage says "nxt"
        stack.enter_context(mock.patch.dict(os.environ, {"COLUMNS": str(width), "NO_COLOR": "1"}))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(warnings.catch_warnings())
        warnings.resetwarnings()
        for hidden in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", hidden)
        try:
            main()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        finally:
            remove_unused_directories()  # as where a process ends
    return Result(code, out.getvalue(), err.getvalue())


def run_process(*arguments, command=COMMAND, **options):
    """Run `nxt`, or another command, in a process of its own. `options` are those of subprocess.run."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    done = subprocess.run([*command, *map(str, arguments)], text=True, timeout=LONG, check=False, **options)
    return Result(done.returncode, done.stdout or "", done.stderr or "")


@pytest.fixture
def nxt(tmp_path, monkeypatch):
    """Return `run`, for commands that work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def nxt_process(tmp_path):
    """Return `run_process`, for commands that work in an empty folder."""
    return functools.partial(run_process, cwd=tmp_path)


@pytest.fixture(scope="session")
def any_process():
    """Return `run_process`, for fixtures that serve several tests."""
    return run_process


@pytest.fixture(scope="session")
def any_run():
    """Return `run`, likewise."""
    return run


@pytest.fixture
def python_process(tmp_path):
    """Return `run_process` for Python itself."""
    return functools.partial(run_process, command=[sys.executable], cwd=tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Return the directory of a finished training run of one epoch on few pixels."""
    out = tmp_path_factory.mktemp("training") / "run"
    result = run(
        "train", TINY, "--size", 8, "--epochs", 1, "--set", "warmup=0", "--device", "cpu", "--out", out, "--json"
    )
    assert result.code == 0, result.err
    return out


def made_up(out, *settings, trials=5, epochs=1):
    """Make a search whose accuracies are made up instead of trained: fresh seeds reach less than the first."""
    space = load_space("smoke")
    settings = [f"proxy.epochs={epochs}", *settings]
    request = make_request(space, parse_budget({"flops": ":1G"}), "digits", trials, 0, parse_settings(settings))
    with opened(prepare_search(request, Path(out)), new=True) as session:
        strategy = session.strategy
        while (trial := strategy.suggest()) is not None:
            accuracy = 0.5 + 0.01 * trial.number if not trial.replicate else 0.4 + 0.02 * trial.replicate
            for epoch in range(1, epochs + 1):
                if strategy.observe(trial.number, Epoch(epoch, accuracy * epoch / epochs, 1.0, 0.1)) is Decision.STOP:
                    break
    return out


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """Return the directory of a finished search that confirmed nothing."""
    return made_up(tmp_path_factory.mktemp("search") / "run", "search.confirm=0")


@pytest.fixture(scope="session")
def confirmed(tmp_path_factory):
    """Return the directory of a finished search whose best was trained again with fresh seeds."""
    return made_up(tmp_path_factory.mktemp("confirmed") / "run", "search.confirm=1", "search.confirm_seeds=2")


@pytest.fixture(scope="session")
def longer(tmp_path_factory):
    """Return the directory of a finished search of enough trials and epochs to tell how far to trust early ones."""
    return made_up(tmp_path_factory.mktemp("longer") / "run", "search.confirm=0", trials=12, epochs=4)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Return the directory of a finished search like `longer`, whose architectures were drawn by chance."""
    out = tmp_path_factory.mktemp("drawn") / "run"
    return made_up(out, "search.confirm=0", "search.sampler=random", trials=9, epochs=4)
