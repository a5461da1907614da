"""Shows messages of the library as a user of the command line needs them: arguments as options, and hints."""

from __future__ import annotations

import re
from pathlib import Path

from nxt.errors import NxtError

# Arguments whose option has another name.
_OPTIONS = {"archs": "--arch", "settings": "--set", "target": "--to", "space": "SPACE"}


def as_options(message: str) -> str:
    """Returns a message whose arguments, in backquotes, are options: `gpus_per_trial` becomes --gpus-per-trial."""
    return re.sub(r"`([a-z_]+)`", lambda match: _OPTIONS.get(match[1]) or "--" + match[1].replace("_", "-"), message)


def explained(error: NxtError) -> str:
    """Returns an error as one line; a hint replaces or follows the message if something of another kind was given."""
    from .wrong_kind import nearby_run, other_run, wrong_kind_hint

    message = wrong_kind_hint(error.given, error.wanted)
    if not message:
        message = str(error)
        if error.wanted == "run":
            message += other_run(Path(error.given)) or nearby_run(Path(error.given))
        message = as_options(message)
    return " ".join(message.split())
