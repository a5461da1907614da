"""What hangs and what does not: by ticks that tests give, and in real processes that are stopped or do hang."""

import os
import signal
import subprocess
import sys
import time

import pytest
from limits import LIMIT

from nxt.search.engine.watchdog import Watchdog, hang_of

PATIENCE = 3600


def ticks(watchdog, count):
    """Let so many ticks pass without a sign of life, and tell after how many it barked; None: it did not."""
    return next((n for n in range(1, count + 1) if watchdog.tick()), None)


def stepping(*lengths, patience=PATIENCE):
    """A watchdog that has seen steps so many ticks apart."""
    watchdog = Watchdog(patience)
    watchdog.starting()
    watchdog.tick()
    for length in lengths or (1,):
        assert ticks(watchdog, length) is None
        watchdog.step()
        watchdog.tick()
    return watchdog


def test_a_trial_that_starts_has_all_patience_and_every_sign_of_life_gives_it_anew():
    watchdog = Watchdog(PATIENCE)
    watchdog.starting()
    for beat in (lambda: None, watchdog.beat, lambda: watchdog.beat(64, 1000)):  # as readers of images tell how far
        beat()
        assert ticks(watchdog, PATIENCE) is None
    watchdog.beat()
    assert ticks(watchdog, 2 * PATIENCE) == PATIENCE + 2


def test_after_its_first_step_a_trial_has_five_minutes_or_twenty_of_its_slowest_steps():
    assert ticks(stepping(), 10**4) == 301
    assert ticks(stepping(2, 15, 3), 10**4) == 301
    assert ticks(stepping(2, 40, 3), 10**4) == 801


def test_a_long_first_step_counts_as_a_step_but_a_long_start_before_it_does_not():
    for silent, expected in [(100, 2001), (0, 301)]:
        watchdog = Watchdog(PATIENCE)
        watchdog.starting()
        ticks(watchdog, 2000)
        watchdog.beat()  # the trainer is made
        ticks(watchdog, silent + 1)
        watchdog.step()
        watchdog.tick()
        assert ticks(watchdog, 10**4) == expected


def test_steps_that_become_ten_times_slower_are_no_hang_at_whatever_length():
    for length in (1, 29, 30, 31, 60, 500):
        watchdog = stepping(length, length)
        for slower in (10, 100):
            assert ticks(watchdog, slower * length) is None
            watchdog.step()
            watchdog.tick()


def test_a_trial_that_starts_anew_with_half_the_batch_has_all_patience_again():
    watchdog = stepping(5)
    watchdog.starting()
    assert ticks(watchdog, PATIENCE) is None


def test_who_asks_for_less_patience_grants_less_to_steps_as_well():
    assert ticks(stepping(1, patience=60), 10**4) == 61
    assert ticks(stepping(10, patience=60), 10**4) == 201


# Real processes

COMMON = """
import re, sys, threading, time
from pathlib import Path
from nxt.search.engine import watchdog
"""
LONG_STEP = """
watchdog._TICK = 0.02
watched = watchdog.Watchdog(100)  # two seconds
with watched.watching(Path(sys.argv[1])):
    watched.step()
    while watched._alive:
        time.sleep(0.01)
    print("stepping", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
print("over")
"""
LOCKED = """
watchdog._TICK = 0.02
def waits_for_ever(lock):
    with lock, lock:
        pass
with watchdog.Watchdog(2).watching(Path(sys.argv[1])):
    waits_for_ever(threading.Lock())
"""
NO_PYTHON = """
watchdog._NET = 0.5
def computes_for_ever():
    re.match("(a+)+$", 60 * "a" + "b")  # no other thread has its turn
with watchdog.Watchdog(0.1).watching(Path(sys.argv[1])):
    computes_for_ever()
"""


def process(script, *arguments):
    path = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", COMMON + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_process_that_was_stopped_for_longer_than_is_granted_goes_on(tmp_path):
    hung, enough = tmp_path / "0.hung", tmp_path / "enough"
    with process(LONG_STEP, hung, enough) as watched:
        assert watched.stdout.readline() == "stepping\n"
        watched.send_signal(signal.SIGSTOP)
        time.sleep(3)
        watched.send_signal(signal.SIGCONT)
        time.sleep(0.2)  # a watchdog with a clock ends it here, within its step
        enough.touch()
        output, _ = watched.communicate(timeout=LIMIT)
    assert watched.returncode == 0 and output == "over\n" and not hung.exists()


@pytest.mark.parametrize(
    ("script", "line", "where"), [(LOCKED, 8, "waits_for_ever"), (NO_PYTHON, None, "computes_for_ever")]
)
def test_a_process_that_hangs_is_ended_and_leaves_its_stacks(tmp_path, script, line, where):
    hung = tmp_path / "0.hung"
    with process(script, hung) as watched:
        output, _ = watched.communicate(timeout=LIMIT)
    assert watched.returncode == 1 and output == ""
    assert f"in {where}" in hung.read_text() and "most recent call first" in hung.read_text()
    assert hang_of(hung).startswith("no step was made for 0 s, in ")
    assert line is None or hang_of(hung).endswith(f"in <string>:{line} ({where})")


def test_what_was_left_is_read_for_how_long_and_where(tmp_path):
    hung = tmp_path / "0.hung"
    assert hang_of(hung) == ""
    hung.write_text("")
    assert hang_of(hung) == ""  # killed, not hung
    ticker = 'Thread 0x1 (most recent call first):\n  File "/a/engine/watchdog.py", line 9 in _watch\n\n'
    reader = 'Thread 0x2 (most recent call first):\n  File "/a/data/stream.py", line 5 in read\n\n'
    own = 'Thread 0x3 (most recent call first):\n  File "b.py", line 7 in f\n  File "engine/worker.py", line 3 in g\n'
    for stacks, where in [(ticker + reader + own, "b.py:7 (f)"), (ticker + reader, "stream.py:5 (read)")]:
        hung.write_text("Timeout (1:02:03)!\n" + stacks)
        assert hang_of(hung) == f"no step was made for 3723 s, in {where}"
    hung.write_text("Timeout (0:00:01)!\nThread 0x00007f (most recent call first):\n  <no Python>\n")
    assert hang_of(hung) == "no step was made for 1 s, in no Python code"
    hung.write_bytes(b"\xff\xfe")
    assert hang_of(hung) == ""
