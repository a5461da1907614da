"""Counts and durations, against values worked out by hand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nxt.errors import BudgetError, NxtError
from nxt.units import format_count, format_seconds, parse_count, plural

COUNTS = [
    ("1", 1),
    ("4.1G", 4_100_000_000),
    ("4.1g", 4_100_000_000),
    ("4.1B", 4_100_000_000),
    (" 25 M ", 25_000_000),
    ("25.5M", 25_500_000),
    (".5K", 500),
    ("7.K", 7_000),
    ("2T", 2 * 10**12),
    ("1000T", 10**15),
    ("0.000000001G", 1),
    # A binary fraction could not hold these; Decimal does.
    ("4.089184256G", 4_089_184_256),
    ("1.1M", 1_100_000),
    ("0.29K", 290),
]
NO_COUNTS = [
    "",
    " ",
    "4.1X",
    "4.1GG",
    "-1G",
    "+1G",
    "nan",
    "inf",
    "1e9",
    "1,5G",
    "1_000",
    "0x10",
    "1.5.2",
    ".",
    "G",
    "4 1",
]
OUT_OF_RANGE = ["0", "0G", "0.0", "0.4", "1001T", "1000000000000001", "9" * 5000]


@pytest.mark.parametrize(("text", "value"), COUNTS)
def test_a_count_is_read_exactly(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize("text", NO_COUNTS)
def test_what_is_no_count_is_refused_and_quoted(text):
    with pytest.raises(BudgetError, match=re.escape(f"{text!r} is not a count")):
        parse_count(text)


@pytest.mark.parametrize("text", OUT_OF_RANGE)
def test_a_count_outside_1_to_1000t_is_refused(text):
    with pytest.raises(BudgetError, match="out of range"):
        parse_count(text)


def test_a_bad_count_is_an_error_of_nxt():
    assert issubclass(BudgetError, NxtError)


@given(st.text(max_size=12))
def test_any_text_is_a_count_in_range_or_a_budget_error(text):
    try:
        value = parse_count(text)
    except BudgetError:
        return
    assert type(value) is int
    assert 1 <= value <= 10**15


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (999, "999"),
        (1000, "1.00K"),
        (1234, "1.23K"),
        (12_345, "12.3K"),
        (123_456, "123K"),
        (4_089_184_256, "4.09G"),
        (25_557_032, "25.6M"),
        (3 * 10**12, "3.00T"),
        (5 * 10**15, "5000T"),
        (-4_100_000_000, "-4.10G"),
        (12.6, "13"),
    ],
)
def test_a_count_is_shown_with_three_digits(value, text):
    assert format_count(value) == text


@pytest.mark.parametrize(("digits", "text"), [(1, "4G"), (2, "4.1G"), (3, "4.09G"), (4, "4.089G"), (6, "4.08918G")])
def test_the_digits_asked_for_are_shown(digits, text):
    assert format_count(4_089_184_256, digits) == text


@pytest.mark.parametrize(
    ("value", "text"), [(9_999, "10.0K"), (99_950, "100K"), (999_999, "1.00M"), (999_999_999, "1.00G")]
)
def test_rounding_up_to_a_new_digit_keeps_the_number_of_digits(value, text):
    assert format_count(value) == text


@given(st.integers(1, 10**15), st.integers(3, 8))
def test_a_shown_count_reads_back_to_its_own_precision(value, digits):
    assert parse_count(format_count(value, digits)) == pytest.approx(value, rel=0.5 * 10 ** (1 - digits), abs=0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (48, "48s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (60, "1m 00s"),
        (247, "4m 07s"),
        (3599, "59m 59s"),
        (3599.6, "1h 00m"),
        (11_520, "3h 12m"),
        (360_000, "100h 00m"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (12_000, "12,000 epochs")]
)
def test_counts_agree_with_their_nouns(count, text):
    assert plural(count, "epoch") == text
