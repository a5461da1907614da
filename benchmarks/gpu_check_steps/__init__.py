"""The steps of gpu_check.py: what each is called, where it is, and how long it may take."""

from __future__ import annotations

import faulthandler
import importlib
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Step:
    """A function of a module here, which takes a `Check`."""

    module: str
    limit: float  # seconds


STEPS = {
    "machine": Step("machine", 60),
    "numbers": Step("numbers", 60),
    "trial": Step("trials", 70),
    "replay": Step("graphs", 60),
    "refusal": Step("graphs", 90),
    "memory": Step("memory", 90),
    "fp16": Step("trials", 45),
    "stream": Step("stream", 60),
    "ranks": Step("ranks", 90),
    "proxy": Step("proxy", 150),
    "tuning": Step("speeds", 150),
}


def run(name: str, device: str) -> dict[str, Any]:
    """Run a step in this process and return its findings; what it raises is one."""
    faulthandler.register(signal.SIGUSR1)  # sent where the step takes too long
    from gpu_check_steps.check import Check

    check = Check(device)
    try:
        check.start()
        getattr(importlib.import_module(f"gpu_check_steps.{STEPS[name].module}"), name)(check)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        check.problems.append(f"{type(error).__name__}: {error} ({place})")
        traceback.print_exc()
    return check.found()
