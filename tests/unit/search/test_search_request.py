"""What a search is asked survives run.yaml, also as older versions wrote it, and damage is told."""

import dataclasses

import pytest
from runs import begin

from nxt.config import dump_yaml, read_yaml
from nxt.data.ref import DataRef
from nxt.errors import ConfigError
from nxt.search.new_request import full_request, make_request
from nxt.search.request import SearchRequest, first_difference, load_record
from nxt.space.arch_list import load_list
from nxt.space.budget import parse_budget
from nxt.space.load import load_space
from nxt.train.recipe import load_recipe

REQUEST = make_request(load_space("smoke"), parse_budget({"flops": "5M:9M", "params": ":1M"}), trials=4)
REQUESTS = {
    "window": REQUEST,
    "hours": dataclasses.replace(REQUEST, trials=None, data=DataRef("folder", "/a b/c:d"), storage="s3://x/y"),
    "stagewise": make_request(load_space("nds_resnext_a"), parse_budget({"flops": "100M"}), seed=7),
    "list": make_request(load_list(["resnet50", "resnest14"]), parse_budget({}), repeats=3),
    "full": full_request(load_list(["resnet50"]), DataRef("digits"), "quick", load_recipe("quick"), 1, 2, ["/from"]),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_request_comes_back_from_plain_data(request_):
    data = request_.to_dict()
    assert SearchRequest.from_dict(data, "here") == request_
    assert SearchRequest.from_dict(SearchRequest.from_dict(data, "here").to_dict(), "here") == request_


def test_a_record_comes_back_from_run_yaml_with_what_made_it(tmp_path):
    search = begin(REQUEST, tmp_path / "run")
    record = load_record(tmp_path / "run")
    assert record == search.record() and record.request == REQUEST
    assert record.train_images >= record.val_images > 0 and {"nxt", "torch", "python"} <= set(record.versions)


def test_a_million_trials_in_an_older_record_mean_as_many_as_the_hours_allow(tmp_path):
    begin(REQUEST, tmp_path / "run")
    record = read_yaml(tmp_path / "run" / "run.yaml")
    (tmp_path / "run" / "run.yaml").write_text(dump_yaml({**record, "trials": 10**6}))
    assert load_record(tmp_path / "run").request.trials is None


@pytest.mark.parametrize("trials", [0, 10**6, -3])
def test_a_number_of_trials_out_of_range_is_refused(trials):
    with pytest.raises(ConfigError, match=f"`trials`: {trials} is not between 1 and 999999"):
        dataclasses.replace(REQUEST, trials=trials)


def test_conditions_differ_where_accuracies_would_not_compare():
    def difference(**changes):
        return first_difference(REQUEST.conditions, dataclasses.replace(REQUEST, **changes).conditions)

    assert difference(seed=5, trials=9) == difference() == ""
    assert difference(data=DataRef("cifar10")) == "data"
    assert difference(proxy=dataclasses.replace(REQUEST.proxy, epochs=3)) == "proxy"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.1}, r"`settings` lr...: the sections are proxy, recipe and search; write recipe\.lr=VALUE"),
        ({"proxy": 3}, "`settings` proxy: write section.key=value"),
        ({"recipe": {"epochs": 3}}, r"`settings` recipe\.epochs: a trial's length is proxy\.epochs"),
        ({"search": {"sampler": "none"}}, "search: sampler is 'none', not one of ehvi, gp, tpe, nsga2, random"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_request(load_space("smoke"), parse_budget({}), settings=settings)
