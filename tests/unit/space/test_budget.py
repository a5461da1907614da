"""The budget grammar, value by value, and what a budget says about a cost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nxt.arch.costs import Cost, cost
from nxt.arch.load import parse_name
from nxt.errors import BudgetError
from nxt.space.budget import COSTS, WINDOW, Budget, Limit, parse_budget, parse_limit

G = 10**9
ENDLESS = 10**18

GRAMMAR = [
    ("4.1G", 3_772_000_000, 4_428_000_000),
    (" 4.1G ", 3_772_000_000, 4_428_000_000),
    ("4.1g", 3_772_000_000, 4_428_000_000),
    ("4.1 G", 3_772_000_000, 4_428_000_000),
    ("100", 92, 108),
    ("1", 1, 1),
    ("4.1G+-2%", 4_018_000_000, 4_182_000_000),
    ("4.1G\u00b12%", 4_018_000_000, 4_182_000_000),
    ("4.1G+/-2%", 4_018_000_000, 4_182_000_000),
    ("4.1G +-2 %", 4_018_000_000, 4_182_000_000),
    ("4.1G+-0.5%", 4_079_500_000, 4_120_500_000),
    ("4.1G+-0%", 4_100_000_000, 4_100_000_000),
    ("10+-99%", 1, 20),
    ("1G:4.1G", G, 4_100_000_000),
    (" 1G : 4.1G ", G, 4_100_000_000),
    ("4G:4G", 4 * G, 4 * G),
    (":4.1G", 1, 4_100_000_000),
    ("1G:", G, ENDLESS),
]


@pytest.mark.parametrize(("text", "low", "high"), GRAMMAR)
def test_a_limit_is_read_with_both_its_ends(text, low, high):
    assert parse_limit("macs", text) == Limit("macs", low, high, text)


ERRORS = [
    ("4,1G", "'4,1G' is not a count; write a point: 4.1G"),
    ("4,089,184", "'4,089,184' is not a count; write it without commas: 4089184"),
    ("<4.1G", "a cap is written with a colon before it"),
    (">4.1G", "a floor is written with a colon behind it"),
    ("3G-4G", "a range is written LOW:HIGH"),
    ("4.1X", "'4.1X' is not a count"),
    ("-1G", "'-1G' is not a count"),
    ("nan", "'nan' is not a count"),
    ("inf", "'inf' is not a count"),
    ("1e9", "'1e9' is not a count"),
    ("", "'' is not a count"),
    ("0", "'0' is out of range"),
    ("0G", "'0G' is out of range"),
    ("2000T", "'2000T' is out of range"),
    (":", "':' sets no limit; write LOW:HIGH, :HIGH or LOW:"),
    (" : ", "sets no limit"),
    ("5G:4G", "'5G:4G' is empty: 5G is more than 4G"),
    ("1:2:3", "'2:3' is not a count"),
    ("-1G:4G", "'-1G' is not a count"),
    ("0:4G", "'0' is out of range"),
    ("nan:", "'nan' is not a count"),
    ("4.1G+-200%", "a window must be narrower than +-100%"),
    ("4.1G\u00b1100%", "a window must be narrower than +-100%"),
    ("4.1G+-nan%", "is not a count"),
    ("4.1G+--2%", "is not a count"),
    ("4.1G+-2", "is not a count"),
    ("4.1G+-%", "is not a count"),
    ("4.1G-2%", "is not a count"),
    ("+-2%", "is not a count"),
    ("4.1X+-2%", "'4.1X' is not a count"),
    ("1G:4.1G+-2%", "'4.1G+-2%' is not a count"),
]


@pytest.mark.parametrize(("text", "problem"), ERRORS)
def test_what_is_no_limit_is_refused_with_the_reason(text, problem):
    with pytest.raises(BudgetError, match=re.escape(problem)):
        parse_limit("macs", text)


@given(st.text(alphabet="0123456789.GMKTX:+-/\u00b1% nae", max_size=14) | st.text(max_size=10))
def test_any_text_is_a_satisfiable_limit_or_a_budget_error(text):
    try:
        limit = parse_limit("macs", text)
    except BudgetError:
        return
    assert 1 <= limit.low <= limit.high
    assert limit.allows(limit.low) and limit.allows(limit.high)


@given(st.integers(100, 10**15))
def test_the_default_window_reaches_eight_percent_to_both_sides(target):
    limit = parse_limit("macs", str(target))
    assert limit.low == pytest.approx(0.92 * target, abs=1)
    assert limit.high == pytest.approx(1.08 * target, abs=1)
    assert limit.is_window


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("4G", True),
        ("4G+-11%", True),
        ("4G+-12%", False),
        ("4G:5G", True),
        ("4G:5.1G", False),
        (":4G", False),
        ("4G:", False),
    ],
)
def test_a_narrow_limit_is_a_window(text, window):
    assert parse_limit("macs", text).is_window is window


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("4.1G", "macs 3.772G to 4.428G"),
        (":4.1G", "macs <= 4.100G"),
        ("1G:", "macs >= 1.000G"),
        ("1G:2G", "macs 1.000G to 2.000G"),
    ],
)
def test_a_limit_is_shown_as_it_applies(text, shown):
    assert str(parse_limit("macs", text)) == shown
    assert str(Budget((parse_limit("macs", text),))) == shown


def test_both_ends_of_a_limit_are_inside():
    limit = parse_limit("params", "10:20")
    assert [limit.allows(value) for value in (9, 10, 20, 21)] == [False, True, True, False]


# Whole budgets


def test_options_limit_the_cost_they_stand_for():
    budget = parse_budget({"flops": ":1G", "params": "1M:2M", "acts": "5M:", "memory": "1G:3G"})
    assert [(limit.cost, limit.low, limit.high) for limit in budget.limits] == [
        ("macs", 1, G),
        ("params", 10**6, 2 * 10**6),
        ("acts", 5 * 10**6, ENDLESS),
        ("memory", G, 3 * G),
    ]
    assert set(COSTS.values()) == {"macs", "params", "acts", "memory"}


def test_a_limit_on_memory_holds_to_the_byte():
    value = Cost(7, params=1000, acts=500)
    exact = 12 * 1000 + 8 * 32 * 500
    assert parse_budget({"memory": f"{exact}:{exact}"}).allows(value)
    assert parse_budget({"memory": f":{exact - 1}"}).violations(value) == ["memory 140.0K is outside memory <= 140.0K"]
    assert not parse_budget({"memory": f"{exact + 1}:"}).allows(value)


def test_options_that_are_not_given_set_no_limit():
    budget = parse_budget({"flops": None, "params": None, "acts": None, "memory": None})
    assert budget == Budget()
    assert str(budget) == "no limit"
    assert budget.allows(Cost(10**17, 10**17, 10**17))


@pytest.mark.parametrize("text", [":8G", ":8GB", ":8gb", "1:8GB"])
def test_memory_may_be_written_in_bytes(text):
    assert parse_limit("memory", text).high == 8_000_000_000
    assert parse_limit("memory", ":500B").high == 500


@pytest.mark.parametrize("text", ["4.1", "999", ":25", "4+-2%", "1:999"])
def test_a_budget_that_lacks_its_unit_is_refused(text):
    with pytest.raises(
        BudgetError, match=rf"^`params`: '{re.escape(text)}' is fewer than a thousand, .*; write the unit"
    ):
        parse_budget({"params": text})
    assert parse_budget({"params": "1000"}).limits[0].low == 920


@pytest.mark.parametrize("option", COSTS)
def test_an_error_names_the_option(option):
    with pytest.raises(BudgetError, match=f"^`{option}`: '4.1X' is not a count"):
        parse_budget({option: "4.1X"})


def test_an_empty_text_is_an_error_and_not_an_absent_option():
    with pytest.raises(BudgetError, match="`flops`"):
        parse_budget({"flops": ""}, like=parse_name("resnet50"))


def test_every_limit_must_hold():
    budget = parse_budget({"flops": "1G:2G", "params": ":5M"})
    cases = {
        (1_500_000_000, 5_000_000): [],
        (900_000_000, 5_000_000): ["macs 900.0M is outside macs 1.000G to 2.000G"],
        (1_500_000_000, 6_000_000): ["params 6.000M is outside params <= 5.000M"],
        (3 * G, 6_000_000): [
            "macs 3.000G is outside macs 1.000G to 2.000G",
            "params 6.000M is outside params <= 5.000M",
        ],
    }
    for (macs, params), violations in cases.items():
        assert budget.violations(Cost(macs, params)) == violations
        assert budget.allows(Cost(macs, params)) == (not violations)
    assert budget.limit("params").high == 5 * 10**6
    assert budget.limit("acts") is None


# --like


@pytest.mark.parametrize("name", ["resnet50", "resnext29_8x64d_cifar"])
def test_like_makes_a_window_around_the_multiply_adds_of_a_network(name):
    spec = parse_name(name)
    (limit,) = parse_budget({"flops": None}, like=spec).limits
    macs = cost(spec).macs
    assert limit == Limit("macs", round(macs * (1 - WINDOW)), round(macs * (1 + WINDOW)), f"like {name}")
    assert limit.allows(macs) and limit.is_window


def test_flops_overrides_like_and_other_limits_add_to_it():
    spec = parse_name("resnet50")
    assert parse_budget({"flops": ":1G"}, like=spec) == parse_budget({"flops": ":1G"})
    both = parse_budget({"flops": None, "params": ":30M"}, like=spec)
    assert [limit.cost for limit in both.limits] == ["macs", "params"]


def test_the_default_window_holds_what_the_papers_call_4_1_g():
    budget = parse_budget({"flops": "4.1G"})
    equal = ["resnet50", "resnext50_32x4d", "resnext50_8x14d", "resnest50_fast_1s4x24d"]
    assert all(budget.allows(cost(parse_name(name))) for name in equal)
    assert not budget.allows(cost(parse_name("resnest50")))
