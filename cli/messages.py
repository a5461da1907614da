"""Messages of the library as a user of the command line reads them: arguments as options, and hints from the disk."""

from __future__ import annotations

import re
from pathlib import Path

from nxt.errors import NxtError

# Arguments whose option is not spelled as they are.
_SPELLED = {"archs": "--arch", "settings": "--set", "target": "--to", "space": "SPACE"}


def as_options(message: str) -> str:
    """Returns a message with its arguments, in backquotes, as options: `gpus_per_trial` becomes --gpus-per-trial."""
    return re.sub(r"`([a-z_]+)`", lambda match: _SPELLED.get(match[1]) or "--" + match[1].replace("_", "-"), message)


def explained(error: NxtError) -> str:
    """Returns an error as one line that says what was given in the place of what was wanted, where that can be told."""
    return " ".join(as_options(f"{error}{_hint(error)}" if not (other := _other_kind(error)) else other).split())


def _other_kind(error: NxtError) -> str:
    from .wrong_kind import wrong_kind_hint

    return wrong_kind_hint(error.given, error.wanted) if error.wanted else ""


def _hint(error: NxtError) -> str:
    from .wrong_kind import nearby_run, other_run

    if error.wanted != "run":
        return ""
    return other_run(Path(error.given)) or nearby_run(Path(error.given))
