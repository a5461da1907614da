"""Budgets: limits on the cost of a network, in one grammar for every cost.

    4.1G         a window of +-8 % around 4.1G
    4.1G+-2%     a window of another width
    1G:4.1G      a range
    :4.1G  1G:   a cap, a floor

A latency has us, ms or s: `:5ms`. A throughput, in images a second, is a limit on the latency of a batch: `2000:`.

The default window covers the networks that the papers call equal in complexity, all at "4.1 G": from 4.09 G
(ResNet-50) to 4.40 G (ResNeSt-50-fast 1s4x24d).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nxt.arch.costs import Cost, cost
from nxt.arch.latency import LatencyTable
from nxt.arch.load import resolve
from nxt.arch.spec import ArchSpec
from nxt.errors import BudgetError
from nxt.units import format_cost, format_time, parse_count, parse_time

WINDOW = 0.08
COSTS = {"flops": "macs", "params": "params", "acts": "acts", "memory": "memory"}  # option -> field or property of Cost
OPTIONS = {cost: option for option, cost in COSTS.items()} | {"latency": "latency"}
MEASURED = ("latency", "throughput")  # options that need a table of latencies; both limit the latency
_UNBOUNDED = 10**18
_TOO_SMALL = 1000
_WINDOW = re.compile(r"(?P<target>[^+±]+)(?:\+-|±|\+/-)(?P<percent>\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True)
class Limit:
    """Lowest and highest allowed value of one cost, both included."""

    cost: str
    low: int
    high: int
    text: str  # as the user wrote it

    @property
    def is_window(self) -> bool:
        """Whether the limit is a narrow window (high at most 1.25 x low), in which networks cost about the same."""
        return self.low * 1.25 >= self.high

    @property
    def is_cap(self) -> bool:
        """Whether it has an upper end alone."""
        return self.low <= 1 and self.high < _UNBOUNDED

    @property
    def label(self) -> str:
        """The limit in a file's name: 4.1G, 4.1Gpm2, 1G-4.1G, le4.1G, ge1G, like-resnet50."""
        low, colon, high = (part.strip() for part in self.text.partition(":"))
        if not colon:
            return re.sub(r"\+-|\+/-|±", "pm", low).strip("%").replace(" ", "-")
        return f"{low}-{high}" if low and high else f"ge{low}" if low else f"le{high}"

    def allows(self, value: int) -> bool:
        """Tells whether a value is inside."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        low, high = format_cost(self.cost, self.low, 4), format_cost(self.cost, self.high, 4)
        if self.high >= _UNBOUNDED:
            return f"{self.cost} >= {low}"
        return f"{self.cost} {low} to {high}" if self.low > 1 else f"{self.cost} <= {high}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on several costs, all of which must hold. Without limits everything fits."""

    limits: tuple[Limit, ...] = ()

    def allows(self, value: Cost) -> bool:
        """Tells whether a network of that cost fits."""
        return not self.violations(value)

    def violations(self, value: Cost) -> list[str]:
        """Returns one sentence for each broken limit."""
        return [
            f"{limit.cost} {format_cost(limit.cost, getattr(value, limit.cost), 4)} is outside {limit}"
            for limit in self.limits
            if not limit.allows(getattr(value, limit.cost))
        ]

    def miss(self, value: Cost) -> float:
        """Returns how far a network is outside: the sum of the logarithms of the factors by which it breaks limits."""
        costs = [(getattr(value, limit.cost), limit) for limit in self.limits]
        return sum(math.log(max(limit.low / cost, cost / limit.high, 1)) for cost, limit in costs)

    def limit(self, name: str) -> Limit | None:
        """Returns the limit on a cost, if there is one."""
        return next((limit for limit in self.limits if limit.cost == name), None)

    @property
    def is_window(self) -> bool:
        """Whether it asks for networks of one size: a window of multiply-adds."""
        limit = self.limit("macs")
        return limit is not None and limit.is_window

    def __str__(self) -> str:
        return ", ".join(str(limit) for limit in self.limits) or "no limit"


def parse_limit(name: str, text: str) -> Limit:
    """Reads one limit in the grammar above.

    Args:
        name: The field of `Cost` to which it applies.
        text: The limit as the user wrote it.

    Raises:
        BudgetError: if the text does not follow the grammar, or no value can satisfy it.
    """
    parse = parse_time if name == "latency" else parse_count
    if name == "memory":
        text = re.sub(r"(?i)(?<=[kmgt\d])b\b", "", text)  # accepts 8GB, as memory is printed
    if ":" in text:
        low_text, high_text = map(str.strip, text.split(":", 1))
        if not low_text and not high_text:
            raise BudgetError(f"{text!r} sets no limit; write LOW:HIGH, :HIGH or LOW:")
        low = parse(low_text) if low_text else 1
        high = parse(high_text) if high_text else _UNBOUNDED
        if low > high:
            raise BudgetError(f"{text!r} is empty: {low_text} is more than {high_text}")
        return Limit(name, low, high, text)
    match = _WINDOW.fullmatch(text.strip())
    target = parse(match["target"] if match else text)
    width = float(match["percent"]) / 100 if match else WINDOW
    if not 0 <= width < 1:
        raise BudgetError(f"{text!r}: a window must be narrower than +-100%")
    return _window(name, target, width, text)


def parse_budget(
    texts: Mapping[str, str | None],
    like: str | ArchSpec | None = None,
    size: int | None = None,
    classes: int | None = None,
    table: LatencyTable | None = None,
) -> Budget:
    """Reads a whole budget.

    Args:
        texts: Limit by option (`flops`, `params`, `acts`, `memory`, `latency`, `throughput`); None without a limit.
        like: A network whose MACs become the window, unless `flops` is given; read as by `resolve`.
        size: Image side in pixels at which it is counted; by default what it is made for.
        classes: Outputs of its last layer; by default what it is made for.
        table: The table of latencies, which `latency` and `throughput` need.

    Raises:
        BudgetError: as `parse_limit`; the message names the option.
        ArchError, ConfigError: if there is no such network.
    """
    limits = []
    for option, text in texts.items():
        if text is None:
            continue
        try:
            limits.append(_measured(option, text, table) if option in MEASURED else parse_limit(COSTS[option], text))
            _check_unit(limits[-1])
        except BudgetError as error:
            raise BudgetError(f"`{option}`: {error}") from None
    if like is not None:
        spec = resolve(like)
        if not texts.get("flops"):
            limits.insert(0, _window("macs", cost(spec, size, classes).macs, WINDOW, f"like {spec.name}"))
    return Budget(tuple(limits))


def _check_unit(limit: Limit) -> None:
    """Raises BudgetError if a limit is smaller than the cost of any network: its unit is missing."""
    value = limit.high if ":" in limit.text else (limit.low + limit.high) / 2
    if limit.cost == "latency":
        return  # its unit was parsed
    if value < _TOO_SMALL:
        small = f"{limit.text!r} is fewer than a thousand, which no network has"
        raise BudgetError(f"{small}; write the unit: K, M, G or T, such as 4.1G")


def _measured(option: str, text: str, table: LatencyTable | None) -> Limit:
    """Reads a limit on the latency of a batch, or on the images a second that it makes."""
    if table is None:
        raise BudgetError("it needs a table of latencies: `latency_table` FILE; nxt latency measure SPACE makes one")
    if option == "latency":
        return parse_limit("latency", text)
    rate, second = parse_limit(option, text), table.batch * 10**9
    low = 1 if rate.high >= _UNBOUNDED else -(-second // rate.high)
    high = _UNBOUNDED if text.strip().startswith(":") else second // rate.low
    if not 1 <= low <= high:
        raise BudgetError(f"{text!r} leaves no latency of a batch of {table.batch}")
    shown = ("" if low == 1 else format_time(low, 4), "" if high == _UNBOUNDED else format_time(high, 4))
    return Limit("latency", low, high, ":".join(shown))


def _window(name: str, target: int, width: float, text: str) -> Limit:
    return Limit(name, max(1, round(target * (1 - width))), round(target * (1 + width)), text)
