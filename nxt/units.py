"""Parses and formats counts with unit suffixes: `4.1G` <-> 4_100_000_000. Units are powers of 1000, not of 1024.

Times are whole nanoseconds: `5ms` <-> 5_000_000.
"""

from __future__ import annotations

import re
from decimal import Decimal

from nxt.errors import BudgetError

_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_COUNT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z\u00b5\u03bc]*)")
_TIMES = {"ns": 1, "us": 10**3, "\u00b5s": 10**3, "\u03bcs": 10**3, "ms": 10**6, "s": 10**9}


def parse_count(text: str) -> int:
    """Parses a positive count: digits, an optional fraction, and an optional K, M, G (or B) or T.

    Raises:
        BudgetError: for signs, `nan`, unknown suffixes, zero, and more than 1000 T.
    """
    match = _COUNT.fullmatch(text.strip())
    suffix = match.group(2).upper() if match else ""
    if match is None or suffix not in _FACTORS:
        raise BudgetError(f"{text!r} is not a count; {_advice(text)}")
    value = int(Decimal(match.group(1)) * _FACTORS[suffix])
    if not 0 < value <= 10**15:
        raise BudgetError(f"{text!r} is out of range; a count lies between 1 and 1000T")
    return value


def _advice(text: str) -> str:
    """Returns how to write the count that was probably meant."""
    if re.fullmatch(r"\s*\d+(,\d{3})+\s*", text):
        return f"write it without commas: {text.strip().replace(',', '')}"
    if re.fullmatch(r"\s*\d+,\d+\s*[A-Za-z]*\s*", text):
        return f"write a point: {text.replace(',', '.')}"
    if text.lstrip()[:1] in ("<", "\u2264"):
        return "a cap is written with a colon before it, such as :4.1G"
    if text.lstrip()[:1] in (">", "\u2265"):
        return "a floor is written with a colon behind it, such as 4.1G:"
    if re.fullmatch(r"[\d.]+\s*[A-Za-z]?\s*(-|\.\.)\s*[\d.]+\s*[A-Za-z]?", text.strip()):
        return "a range is written LOW:HIGH, such as 3G:4.1G"
    return "write a positive number with K, M, G or T, such as 4.1G"


def format_count(value: float, digits: int = 3) -> str:
    """Returns a count as text with so many significant digits: 4_089_184_256 -> `4.09G`."""
    rounded = float(f"{value:.{digits - 1}e}")  # round first: 999_999 becomes 1.00M, not 1000K
    for suffix in ("T", "G", "M", "K"):
        if abs(rounded) >= _FACTORS[suffix]:
            scaled = rounded / _FACTORS[suffix]
            decimals = max(0, digits - len(str(int(abs(scaled)))))
            return f"{scaled:.{decimals}f}{suffix}"
    return f"{value:.0f}"


def plural(count: int, noun: str) -> str:
    """Returns a count with its noun: `1 epoch`, `12,000 epochs`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def parse_time(text: str) -> int:
    """Parses a positive time: a number and ns, us, ms or s. Returns nanoseconds.

    Raises:
        BudgetError: for signs, a missing or unknown unit, zero, and more than 1000 s.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None or match.group(2) not in _TIMES:
        raise BudgetError(f"{text!r} is not a time; write a positive number with us, ms or s, such as 5ms")
    value = int(Decimal(match.group(1)) * _TIMES[match.group(2)])
    if not 0 < value <= 10**12:
        raise BudgetError(f"{text!r} is out of range; a latency lies between 1ns and 1000s")
    return value


def format_time(nanoseconds: float, digits: int = 3) -> str:
    """Returns a time as text with so many significant digits: 5_120_000 -> `5.12ms`."""
    rounded = float(f"{nanoseconds:.{digits - 1}e}")
    for unit in ("s", "ms", "us"):
        if rounded >= _TIMES[unit]:
            scaled = rounded / _TIMES[unit]
            return f"{scaled:.{max(0, digits - len(str(int(scaled))))}f}{unit}"
    return f"{nanoseconds:.0f}ns"


def format_cost(name: str, value: float, digits: int = 3) -> str:
    """Returns a network's cost as text: a latency as time, any other cost as count."""
    return format_time(value, digits) if name == "latency" else format_count(value, digits)


def format_seconds(seconds: float) -> str:
    """Returns a duration as text: `48s`, `4m 07s`, `3h 12m`."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m"
