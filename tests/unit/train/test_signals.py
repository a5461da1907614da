"""Being asked to stop: noted once; asked again, the process ends as it would have without us."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from limits import LIMIT

from nxt.train.signals import SIGNALS, StoppedError, stopping


@pytest.fixture
def heard():
    """Handlers of our own, as before the block, that note what reaches them."""
    found, before = [], {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda number, _frame: found.append(number))
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


def test_nothing_is_noted_where_nobody_asks(heard):
    with stopping() as stop:
        assert stop.signal is None
    assert stop.signal is None and heard == []


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_noted_instead_of_ending(heard, number):
    with stopping() as stop:
        send(number)
        assert stop.signal == number
    assert heard == []


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_a_second_signal_goes_where_it_went_before(heard, first, second):
    with stopping() as stop:
        send(first)
        send(second)
        assert stop.signal == first and heard == [second]
        send(second)
        assert heard == [second, second]


@pytest.mark.parametrize("asked", [False, True])
def test_after_the_block_everything_is_as_before(heard, asked):
    before = [signal.getsignal(number) for number in SIGNALS]
    with stopping():
        if asked:
            send(signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    with pytest.raises(ZeroDivisionError), stopping():
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in SIGNALS] == before
    send(signal.SIGTERM)
    assert heard == [signal.SIGTERM]


def test_a_block_inside_another_notes_for_itself_alone(heard):
    with stopping() as outer:
        with stopping() as inner:
            send(signal.SIGTERM)
        assert (inner.signal, outer.signal) == (signal.SIGTERM, None)
        send(signal.SIGINT)
        assert outer.signal == signal.SIGINT
    assert heard == []


def test_in_another_thread_signals_go_where_they_went_before(heard):
    inside, go_on, found = threading.Event(), threading.Event(), []

    def work():
        with stopping() as stop:
            inside.set()
            go_on.wait(LIMIT)
            found.append(stop.signal)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(LIMIT)
    send(signal.SIGTERM)
    go_on.set()
    thread.join()
    assert heard == [signal.SIGTERM] and found == [None]


PROGRAM = """
import os, signal, sys
from nxt.train.signals import stopping
signal.signal(signal.SIGINT, signal.default_int_handler)  # which is not so in the background of a shell
with stopping() as stop:
    for number in sys.argv[1:]:
        os.kill(os.getpid(), int(number))
        print("went on", stop.signal, flush=True)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_a_process_that_is_asked_twice_ends(number, code):
    command = [sys.executable, "-c", PROGRAM, str(int(number)), str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.stdout.splitlines() == [f"went on {int(number)}"] and done.returncode == code


def test_the_error_says_which_signal_it_was():
    error = StoppedError("stopped", signal.SIGTERM)
    assert (str(error), error.signal) == ("stopped", signal.SIGTERM)
