"""What a search says before it starts: little to choose from, no model, a proxy that larger images make cheaper."""

import dataclasses

import pytest

from nxt.config import parse_settings
from nxt.data.ref import DataRef
from nxt.search.engine import notices as notices_module
from nxt.search.engine.notices import notices
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.search.strategy.setup import SearchSetup
from nxt.space.budget import parse_budget
from nxt.space.load import load_space


def told(tmp_path, space, trials=20, *settings, natural=None, data="digits", **limits):
    request = make_request(load_space(space), parse_budget(limits), "digits", trials, 0, parse_settings(settings))
    search = prepare_search(request, tmp_path / "run")
    search = dataclasses.replace(search, setup=SearchSetup(dataclasses.replace(request, data=DataRef.of(data))))
    source = dataclasses.replace(search.source, size=natural)
    size = request.proxy.image_size(natural, request.space.example)
    return notices(dataclasses.replace(search, source=source, size=size))


def test_of_two_narrow_windows_each_is_told_and_how_a_cap_is_written(tmp_path):
    text, *_ = told(tmp_path, "imagenet", flops="600M", params="8M", natural=8)
    assert text.startswith("only 4 of 7,767,900 architectures fit, fewer than the 20 trials")
    assert "without macs 552.0M to 648.0M 98,613, without params 7.360M to 8.640M 21,292" in text
    assert text.endswith("a cap has a colon: `flops` :600M, `params` :8M")


def test_a_cap_and_a_range_are_no_windows_to_explain(tmp_path):
    (text,) = told(tmp_path, "smoke", flops=":2M", acts="1K:100M")
    assert text.startswith("only ") and "without acts" in text and "colon" not in text


def test_references_that_are_toys_are_told(tmp_path):
    (text,) = told(tmp_path, "imagenet", flops=":600M", natural=8)
    assert text.startswith("the references inside the budget have at most 6 blocks (resnext_2-1-2-1_w32")
    assert "where the papers' have 16" in text
    assert told(tmp_path, "imagenet", flops=":4G", natural=8) == []
    (text,) = told(tmp_path, "cifar", flops="5M", natural=8)
    assert "at most 3 blocks" in text and "where the papers' have 9" in text


def test_a_budget_for_other_classes_than_those_of_the_data_is_told_where_that_matters(tmp_path):
    (text,) = told(tmp_path, "imagenet", params=":8M", natural=8)
    assert text.startswith("the budget is counted for 1,000 classes and the data has 10: the params of ")
    assert text.endswith("; `classes` 10 counts as it will be")
    assert told(tmp_path, "imagenet", flops=":4G", natural=8) == []  # of which a last layer is little


def test_a_budget_for_far_larger_images_than_those_of_the_data_is_told(tmp_path):
    given = {"data": "folder:mine", "flops": ":4G"}
    (text,) = told(tmp_path, "imagenet", natural=64, **given)
    assert text == (
        "the budget is counted at 224 px and the images have 64 px: `size` 64 counts what they will cost; "
        "for 64 px and less the space cifar is made"
    )
    assert told(tmp_path, "imagenet", natural=160, **given) == []
    assert told(tmp_path, "imagenet", natural=64, flops=":4G") == []  # digits


@pytest.mark.parametrize("sampler", ["ehvi", "gp"])
def test_a_search_that_ends_before_its_sampler_has_a_model_is_told(tmp_path, sampler):
    begins = {"ehvi": 5, "gp": 10}[sampler]
    setting = f"search.sampler={sampler}"
    (text,) = told(tmp_path, "smoke", begins, setting, flops=":1G", natural=8)
    assert f"only after {begins} architectures (2 of them references): all {begins} asked" in text
    assert told(tmp_path, "smoke", begins + 1, setting, flops=":1G", natural=8) == []
    assert told(tmp_path, "smoke", begins, "search.sampler=random", flops=":1G", natural=8) == []


def test_a_proxy_that_larger_images_make_cheaper_is_told(tmp_path):
    (text,) = told(tmp_path, "imagenet", 20, "proxy.size=32", flops=":4G")
    assert text.startswith("at 32 px") and "proxy.size=33" in text


@pytest.mark.parametrize(
    ("space", "setting", "natural"),
    [
        ("imagenet", "proxy.size=33", None),
        ("imagenet", "proxy.size=8", None),  # cheap all the same
        ("imagenet", "proxy.size=32", 32),  # there are no larger images
        ("cifar", "proxy.size=32", None),  # its stem has no strides
    ],
)
def test_a_proxy_that_is_as_cheap_as_it_can_be_is_not(tmp_path, space, setting, natural):
    assert told(tmp_path, space, 20, setting, flops=":4G", natural=natural) == []


def test_what_was_left_out_of_the_images_is_told_first(tmp_path):
    search = prepare_search(make_request(load_space("smoke"), parse_budget({"flops": ":1G"}), "digits", 20), tmp_path)
    source = dataclasses.replace(search.source, notes=("left out of mine: 3 of other kinds",))
    assert notices(dataclasses.replace(search, source=source))[0] == "left out of mine: 3 of other kinds"


def test_few_images_that_judge_are_told(tmp_path, monkeypatch):
    assert not [text for text in told(tmp_path, "imagenet", 20, flops="4.1G") if "images judge" in text]
    monkeypatch.setattr(notices_module, "divided", lambda *_: (range(153), "train", range(37)))
    (text,) = [text for text in told(tmp_path, "imagenet", 20, flops="4.1G") if "images judge" in text]
    assert text.startswith("37 images judge: two networks differ clearly from about 23 points on")
