"""Searches and trainings as processes, found by a mark in their environment: so that what a kill leaves is seen."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

COMMAND = [sys.executable, "-c", "from nxt.cli.main import main; main()"]
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
        self.process.wait(30)
        left = self.left(30)
        for number in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        assert not left

    def workers(self):
        """Return the process ids of the workers that train."""
        return [n for n, line in marked(self.mark).items() if line.startswith("ray::") and self.worker in line]

    def left(self, seconds):
        """Wait for the processes of the job to go, and return those that do not: but for Ray's two agents."""
        deadline = time.monotonic() + seconds
        while True:
            left = {n: line for n, line in marked(self.mark).items() if not line.startswith(SLOW_TO_GO)}
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.1)

    def text(self):
        return self.log.read_text()

    def until(self, condition, seconds=120):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.01)

    def ended(self, seconds=200):
        output, _ = self.process.communicate(timeout=seconds)
        return self.process.returncode, output.decode()


class Training(Job):
    """`nxt train ARGUMENTS`, likewise."""

    command, worker = "train", "RayTrainWorker"


def facts(run):
    """Return what a run says of its trials, as plain data by number."""
    return {
        t.number: (t.spec.fingerprint, t.repeat, t.role, t.outcome, t.control, [r.accuracy for r in t.curve])
        for t in run.trials
    }
