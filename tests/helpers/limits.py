"""How long tests wait before they take something to hang: far longer than it takes, also on a slow or busy machine.

Tests wait for a state, such as a line, a file, or the end of a process. A limit is there only so that what never comes
ends the test; nothing is concluded from how long it took. The limit of whole tests is `timeout` in pyproject.toml.
"""

import time

LIMIT = 600.0  # seconds, where seconds are usual
LONG = 1500.0  # where a minute is usual: for whole searches and trainings


def wait_until(condition, seconds=LIMIT, said=str, pause=0.05):
    """Wait until a condition holds; after the limit, fail with what `said` tells of the state by then."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(pause)
