"""What a search found, in plain words."""

import pytest
from runs import in_memory

from nxt.arch.costs import Cost
from nxt.arch.load import parse_name
from nxt.search.results.plain_words import plain_words
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import parse_budget

FAR = "It has 33% of the macs that are allowed"


def trial(number, name, macs, accuracy):
    """Return a finished trial of so many millions of multiply-adds."""
    return Trial(
        number=number, point=(number,), spec=parse_name(name), outcome=Outcome.DONE,
        cost=Cost(macs=macs * 10**6, params=10**4, acts=10**4),
        curve=[Epoch(epoch=1, accuracy=accuracy, loss=1.0, seconds=1.0)],
    )  # fmt: skip


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
        (":1G", ""),  # of which nothing in the space comes near
    ],
)
def test_the_best_far_below_a_cap_is_told_with_where_to_search_instead(flops, said):
    trials = [trial(0, "resnext_1-1-1_w8_1x8d_cifar", 30, 0.5), trial(1, "resnext_2-2-2_w8_1x8d_cifar", 58, 0.4)]
    words = plain_words(in_memory(trials, budget=parse_budget({"flops": flops})))
    assert ("are allowed" in words) == bool(said) and said in words
    if said == FAR:
        assert words.endswith("For the most accurate near the cap, search there: `flops` 76.5M:90.0M.")
