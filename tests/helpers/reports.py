"""Searches made up in memory, with all that a report shows."""

import dataclasses
import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from nxt.arch.costs import cost
from nxt.report.report_data import ReportData
from nxt.search.new_request import make_request
from nxt.search.request import SearchRecord
from nxt.search.results.run import Run
from nxt.search.study.timestamps import Span
from nxt.search.trial import Epoch, Outcome, Trial
from nxt.space.budget import parse_budget
from nxt.space.feasible import FeasibleSet
from nxt.space.load import space_from_dict

EVIL = "</script><script>alert('&\"')</script><img src=x onerror=alert(1)>"
AXES = {
    "depths": [{"from": 1, "to": 6}] * 3,
    "width": [8, 16, 32],
    "cardinality": [1, 2, 4, 8],
    "base_width": [4, 8, 16],
}
FIXED = {"stem": "cifar", "stem_width": "width"}
SPACE = space_from_dict({"network": FIXED, "axes": {**AXES, "radix": [0, 1, 2, 4]}}, "small", "here")
BUDGET = parse_budget({"flops": "10M:40M"})
POINTS = FeasibleSet(SPACE, BUDGET).sample(np.random.default_rng(0), 1000)
START = datetime(2026, 3, 1, 12)


def trial(number, accuracy=None, outcome=Outcome.DONE, epochs=4, **facts):
    """A trial at a point of its own, whose accuracy rises to the given one."""
    point = POINTS[facts.pop("of", number)]
    rows = [] if accuracy is None else range(1, epochs + 1)
    curve = [Epoch(e, accuracy * (0.7 + 0.3 * e / 4), 1.0, 5.0) for e in rows]
    spec = SPACE.spec(point)
    return Trial(number, point, spec, cost(spec), curve=curve, outcome=outcome, **facts)


def planted(number):
    """An accuracy that depends on cost, radix and chance."""
    spec = SPACE.spec(POINTS[number])
    noise = np.random.default_rng(number).normal(0, 0.01)
    return 0.5 + 0.05 * math.log(cost(spec).macs / 20e6) + 0.02 * (spec.radix > 0) + noise


def some(count):
    """So many finished trials, then one of each other kind, and two to confirm."""
    trials = [trial(n, planted(n), family="ResNeXt-like" if n == 0 else "") for n in range(count)]
    others = [outcome for outcome in Outcome if outcome is not Outcome.DONE]
    for number, outcome in enumerate(others, count):
        stopped = outcome in (Outcome.STOPPED, Outcome.RUNNING)
        message = "" if stopped else f"{outcome}: why (x.py:3)"
        trials.append(trial(number, 0.4 if stopped else None, outcome, epochs=2, message=message))
    trials[1].control_rung = 2
    best = max(range(count), key=planted)
    again = range(len(trials), len(trials) + 2)
    return trials + [trial(n, 0.5 + 0.01 * (n % 2), replicate=1 + n % 2, of=best) for n in again]


REQUEST = make_request(SPACE, BUDGET, "digits", 20, 0, {"proxy": {"epochs": 4}, "search": {"scheduler": "asha"}})


def report_data(trials, /, path="here", times=True, request=REQUEST, **changes):
    """Make a search in memory whose trials ran two at a time, ten seconds each. `changes` are of its request."""
    request = dataclasses.replace(request, **changes)
    full = SearchRecord(request=request, train_images=500, val_images=400)
    spans = {
        t.number: Span(
            START + timedelta(seconds=10 * (i // 2)),
            None if t.outcome is Outcome.RUNNING else START + timedelta(seconds=10 * (i // 2 + 1)),
        )
        for i, t in enumerate(trials)
    }
    return ReportData(Run(Path(path), full, list(trials)), spans if times else {})
