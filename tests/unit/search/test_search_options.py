"""What is said of a search: what goes together, what it becomes, and what may change when a search goes on."""

from pathlib import Path

import numpy as np
import pytest
from runs import begin

import nxt
from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.data.ref import DataRef
from nxt.errors import ArchError, RunError, UsageError
from nxt.search.options import TRIALS, SearchOptions
from nxt.search.request import load_record
from nxt.space.feasible import FeasibleSet
from nxt.space.load import load_space


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give a budget, such as `flops` 4.1G or `like`"),
        ({"space": "cifar", "trials": 3}, "give a budget"),
        ({"archs": ("resnet50",), "flops": "4G"}, "`flops` cannot be given with `archs`"),
        ({"archs": ("resnet50",), "trials": 3}, "`trials` cannot be given with `archs`"),
        ({"flops": "4G", "repeats": 2}, "`repeats` needs `archs`"),
        ({"resume": Path("run"), "seed": 0}, "`seed` cannot be given with `resume`: run.yaml has what was asked"),
        ({"resume": Path("run"), "settings": {"proxy": {}}}, "`settings` cannot be given with `resume`"),
        (
            {"flops": "4G", "resume_or_new": True},
            "`resume_or_new` goes on with the run in `out`, or begins it: give that",
        ),
        ({"resume": Path("run"), "resume_or_new": True}, "give that, and no `resume`"),
        ({"flops": "4G", "workers": 0}, "`workers` 0: at least one"),
        ({"flops": "4G", "gpus_per_trial": -1.0}, "`gpus_per_trial` -1: give a part of a GPU"),
        ({"flops": "4G", "hours": 0.0}, "`hours` 0: give a time"),
    ],
)
def test_what_does_not_go_together_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        SearchOptions(**given)


@pytest.mark.parametrize(("said", "trials"), [({}, TRIALS), ({"trials": 7}, 7), ({"hours": 1.0}, None)])
def test_how_many_trials_are_asked(said, trials):
    assert SearchOptions(space="smoke", flops=":1G", **said).request().trials == trials


def test_a_request_has_what_was_said():
    settings = {"proxy": {"epochs": 2}, "search": {"sampler": "tpe"}}
    said = SearchOptions(space=load_space("smoke"), like="resnext50_32x4d", confirm=1, seed=3, settings=settings)
    request = said.request()
    assert (request.proxy.epochs, request.settings.sampler, request.settings.confirm, request.seed) == (2, "tpe", 1, 3)
    assert request.data == DataRef("digits") and request.budget.limit("macs") is not None
    assert settings == {"proxy": {"epochs": 2}, "search": {"sampler": "tpe"}}  # the caller's own stays as it is


def test_a_budget_is_counted_at_the_size_and_classes_asked_and_so_is_what_is_read_back(tmp_path):
    own = SearchOptions(space="imagenet", like="resnet50").request()
    said = SearchOptions(space="imagenet", like="resnet50", size=112, classes=10)
    request = said.request()
    macs = cost(parse_name("resnet50"), 112, 10).macs
    assert request.budget.limit("macs").allows(macs) and not own.budget.limit("macs").allows(macs)
    assert request.convention.endswith("112 px, 10 classes") and own.convention.endswith("224 px, 1000 classes")
    [point] = FeasibleSet(request.space, request.budget).sample(np.random.default_rng(0), 1)
    assert request.budget.allows(cost(request.space.spec(point), 112, 10))
    begin(request, tmp_path / "run")
    read = load_record(tmp_path / "run").request
    assert read == request and read.space.cost(point) == cost(request.space.spec(point), 112, 10)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"size": 0}, "image size 0 is not between 1 and 16384"), ({"classes": 0}, "0 classes are not between 1 and")],
)
def test_a_size_that_no_image_has_is_refused(given, message):
    with pytest.raises(ArchError, match=message):
        SearchOptions(space="imagenet", flops="4G", **given).request()


def test_specifications_and_names_make_a_list():
    request = SearchOptions(archs=("resnet50", parse_name("resnet101"), parse_name("resnet50")), repeats=2).request()
    assert request.is_list and request.space.size == 2 and request.trials == 4


def test_a_free_run_directory_is_named_by_what_was_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = SearchOptions(space="smoke", flops=":1G")
    assert said.directory(said.request()) == Path("results/smoke_le1G_digits_1")
    assert SearchOptions(space="smoke", flops=":1G", out=Path("x")).directory(said.request()) == Path("x")


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"flops": ":600M", "params": ":8M"}, "smoke_le600M_le8M_clothes_1"),
        ({"flops": "1K:600M", "params": "1K:"}, "smoke_1K-600M_ge1K_clothes_1"),
        ({"flops": "20M+-50%"}, "smoke_20Mpm50_clothes_1"),
    ],
)
def test_a_run_directory_names_the_folder_and_no_negative_numbers(limits, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = SearchOptions(space="smoke", data=DataRef("folder", "/home/me/clothes"), **limits)
    assert said.directory(said.request()) == Path("results", name)


def test_a_search_goes_on_with_other_numbers_alone(tmp_path):
    first = SearchOptions(space="smoke", flops=":1G", trials=4, skip_bad=True, out=tmp_path / "run").request()
    begin(first, tmp_path / "run")
    again = SearchOptions(resume=tmp_path / "run", trials=9, confirm=0).request()
    assert (again.trials, again.settings.confirm, again.space, again.proxy) == (9, 0, first.space, first.proxy)
    assert SearchOptions(resume=tmp_path / "run").request() == first and first.skip_bad


def test_a_list_or_hours_ask_for_what_they_need_to_go_on(tmp_path):
    begin(SearchOptions(archs=["resnext29_2x64d_cifar"]).request(), tmp_path / "list")
    with pytest.raises(UsageError, match="cannot be given for a list"):
        SearchOptions(resume=tmp_path / "list", trials=3).request()
    begin(SearchOptions(space="smoke", flops=":1G", hours=1.0).request(), tmp_path / "hours")
    with pytest.raises(UsageError, match="give `hours` again"):
        SearchOptions(resume=tmp_path / "hours").request()
    assert SearchOptions(resume=tmp_path / "hours", trials=3).request().trials == 3


@pytest.mark.parametrize("place", ["{}/place", "{}/what?", "file://{}/place/", "file://{}/place?use_mmap=false"])
def test_resume_or_new_begins_a_run_and_goes_on_with_the_same_one(tmp_path, place):
    out, place = tmp_path / "run", place.format(tmp_path)
    settings = {"proxy": {"epochs": 2}}
    said = {"space": "smoke", "flops": ":1G", "settings": settings, "storage": place, "confirm": 1, "hours": 9.0}
    both = SearchOptions(**said, out=out, resume_or_new=True)
    assert both.settled() is both
    out.mkdir()
    assert both.settled() is both  # without a record it has not begun
    out.rmdir()
    begin(both.request(), out)
    more = SearchOptions(**said | {"confirm": 2}, out=out, resume_or_new=True, trials=9, workers=2, address="a:1")
    again = more.settled()
    assert again == SearchOptions(resume=out, trials=9, confirm=2, hours=9.0, workers=2, address="a:1")
    assert again.request().storage == load_record(out).request.storage  # its own folder there


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "the run there has seed 0, not 1; ask for the same, or begin a new run with another `out`"),
        ({"flops": ":2G"}, r"budget_rule macs <= 1\.000G, not macs <= 2\.000G"),
        ({"space": "cifar"}, "space_name smoke, not cifar"),
        ({"settings": {"proxy": {"epochs": 3}}}, "proxy.epochs [0-9]+, not 3"),
        ({"data": DataRef("folder", "x")}, "data digits, not folder:/"),
        ({"skip_bad": True}, "skip_bad none, not True"),
        ({"storage": "s3://bucket/place"}, "storage none, not s3://bucket/place"),
    ],
)
def test_resume_or_new_refuses_a_run_of_something_else(other, message, tmp_path):
    said = {"space": "smoke", "flops": ":1G", "out": tmp_path, "resume_or_new": True}
    begin(SearchOptions(**said).request(), tmp_path / "run")
    with pytest.raises(RunError, match=f"{tmp_path / 'run'}: .*{message}"):
        SearchOptions(**said | {"out": tmp_path / "run"} | other).settled()


def test_the_function_asks_what_is_there_too(tmp_path):
    begin(SearchOptions(space="smoke", flops=":1G").request(), tmp_path / "run")
    with pytest.raises(RunError, match="the run there has seed 0, not 4"):
        nxt.search("smoke", flops=":1G", seed=4, out=tmp_path / "run", resume_or_new=True)
