"""Searches and trainings as processes, found by a mark in their environment: so that what a kill leaves is seen."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from limits import LIMIT, LONG, wait_until

COMMAND = [sys.executable, "-c", "from nxt.cli.main import program; program()"]
MARK = "NXT_TEST_MARK"
# These see only after about a minute that their raylet was killed, and go then.
SLOW_TO_GO = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def marked(mark):
    """Return the processes that carry a mark: command line by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


class Job:
    """`nxt search ARGUMENTS` in a process group of its own; on leaving, whatever is left of it is ended."""

    command, worker = "search", "Trainable"

    def __init__(self, out, *arguments, **environment):
        self.mark, self.out, self.log = uuid.uuid4().hex, out, out.with_name(f"{out.name}.{uuid.uuid4().hex}.log")
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [*COMMAND, self.command, *map(str, arguments)],
                env={**os.environ, MARK: self.mark, "CUDA_VISIBLE_DEVICES": "", **environment},
                start_new_session=True, stdout=subprocess.PIPE, stderr=file,
            )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(LIMIT)
        left = self.left()
        for number in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        assert not left

    def workers(self):
        """Return the process ids of the workers that train."""
        return [n for n, line in marked(self.mark).items() if line.startswith("ray::") and self.worker in line]

    def left(self):
        """Wait for the processes of the job to go, and return those that do not: but for Ray's two agents."""

        def there():
            return {n: line for n, line in marked(self.mark).items() if not line.startswith(SLOW_TO_GO)}

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not there(), pause=0.1)
        return there()

    def text(self):
        return self.log.read_text()

    def until(self, condition):
        """Wait until a condition holds, which it has to while the job runs."""

        def holds():
            over = self.process.poll() is not None  # before the look: what it wrote last is there by now
            found = condition()
            assert found or not over, self.text()
            return found

        wait_until(holds, LONG, self.text, pause=0.01)

    def ended(self):
        output, _ = self.process.communicate(timeout=LONG)
        return self.process.returncode, output.decode()


class Training(Job):
    """`nxt train ARGUMENTS`, likewise."""

    command, worker = "train", "RayTrainWorker"


def facts(run):
    """Return what a run says of its trials, as plain data by number."""
    return {
        t.number: (
            t.spec.fingerprint,
            t.replicate,
            t.family,
            t.outcome,
            t.control_rung,
            [r.accuracy for r in t.curve],
        )
        for t in run.trials
    }
