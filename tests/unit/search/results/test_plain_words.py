"""What a search found, in plain words."""

import pytest
from runs import in_memory

from nxt.arch.costs import Cost
from nxt.arch.load import parse_name
from nxt.search.results.plain_words import plain_words
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import parse_budget

FAR = "It has 33% of the macs that are allowed"


@pytest.mark.parametrize(
    ("flops", "said"),
    [
        (":90M", FAR),
        (":60.1M", "It has 50% of the macs"),
        (":59M", ""),
        ("10M:90M", ""),  # a range, not a cap
        ("30M", ""),
        ("1M:", ""),
        (None, ""),
    ],
)
def test_the_best_far_below_a_cap_is_told_with_where_to_search_instead(flops, said):
    trial = Trial(
        number=0, point=(0,), spec=parse_name("resnext_1-1-1_w8_1x8d_cifar"), outcome=Outcome.DONE,
        cost=Cost(macs=30 * 10**6, params=10**4, acts=10**4),
        curve=[Epoch(epoch=1, accuracy=0.5, loss=1.0, seconds=1.0)],
    )  # fmt: skip
    words = plain_words(in_memory([trial], budget=parse_budget({"flops": flops})))
    assert ("are allowed" in words) == bool(said) and said in words
    if said == FAR:
        assert words.endswith("For the most accurate near the cap, search there: `flops` 76.5M:90.0M.")
