"""A search on a Ray cluster that machines join and leave: told to, and without a word."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from jobs import Job
from limits import LIMIT
from PIL import Image

from nxt.errors import NxtError
from nxt.search.results.run import load_run
from nxt.search.trial import Outcome

TRIALS, EPOCHS = 4, 60
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def cluster(nodes=1):
    """Give the address of a cluster of so many nodes, and a function that tells it what to do: see ray_nodes.py."""
    script = Path(__file__).parents[1] / "helpers" / "ray_nodes.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(nodes)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip

        def tell(word):
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        try:
            yield process.stdout.readline().strip(), tell
        finally:
            process.stdin.close()
            process.wait(LIMIT)


def running(out):
    """Return how far the trials are that have begun to train and have not ended: epochs by number."""
    try:
        return {t.number: len(t.curve) for t in load_run(out).trials if t.outcome is Outcome.RUNNING and t.curve}
    except NxtError:  # not begun
        return {}


def test_a_search_uses_machines_that_join_and_takes_its_trials_back_from_those_that_leave(tmp_path):
    out, storage = tmp_path / "run", tmp_path / "everywhere"
    settings = ["--set", f"proxy.epochs={EPOCHS}", "--set", "proxy.share=0.3", "--set", "search.retries=0"]
    with cluster() as (address, tell):
        given = ["--address", address, "--storage", f"file://{storage}", "--confirm", 0, "--trials", TRIALS, "--json"]
        with Job(out, "smoke", "--flops", "5M:9M", *given, "--out", out, *settings, **LOOPBACK) as job:
            job.until(lambda: running(out))
            assert f"1 at a time, more as machines join, into {out}" in job.text()
            assert tell("add") == 2
            job.until(lambda: len(running(out)) == 2)
            before = running(out)
            assert any(storage.iterdir())
            assert tell("drain") == 1  # the first one: its trial waits, with its checkpoint
            assert tell("add") == 2
            job.until(lambda: all(running(out).get(number, EPOCHS) > epochs for number, epochs in before.items()))
            assert tell("kill") == 1  # the second one
            code, printed = job.ended()
            assert code == 0, job.text()
    run = load_run(out)
    assert [trial.outcome for trial in run.trials] == [Outcome.DONE] * TRIALS  # without retries
    assert all([row.epoch for row in trial.curve] == list(range(1, EPOCHS + 1)) for trial in run.trials)
    assert len({trial.spec.fingerprint for trial in run.trials}) == TRIALS
    assert json.loads(printed)["trials"]["done"] == TRIALS  # nothing of Ray's on stdout
    assert "raylet" not in job.text() and "Traceback" not in job.text()
    assert not any(storage.iterdir())


DECODE = """
import sys
from functools import partial
from nxt.data import squares
from nxt.data.ref import DataRef
from nxt.data.sources import digits, open_source
from nxt.search.engine import execute
from nxt.compute import ray_cluster

class Told:
    def note(self, text):
        print(text, flush=True)

    def reading(self, done, total):
        print(done, total, flush=True)

squares._FEW = 0
source = digits() if sys.argv[2] == "digits" else open_source(DataRef("folder", sys.argv[2]))
with ray_cluster.cluster(1 << 20, sys.argv[1]):
    execute._decode(squares.Squares(source, 8), sys.argv[1], Told())
"""


def decode(address, data):
    command = [sys.executable, "-c", DECODE, address, data]
    env = {**os.environ, **LOOPBACK}
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False, env=env)
    return done.stdout.splitlines(), done.stderr.strip().splitlines()


def test_each_node_decodes_the_images_once_for_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "b").mkdir()
    for index in range(20):
        for name in ("a", "b"):
            Image.new("RGB", (70, 70)).save(tmp_path / "bad" / name / f"{index}.png")
    (tmp_path / "bad" / "b" / "7.png").write_bytes(b"no image")
    with cluster(2) as (address, _):
        told, _ = decode(address, "digits")
        caches = [sorted(path.name for path in (tmp_path / "cache" / str(node)).glob("*.pixels")) for node in (0, 1)]
        assert caches[0] == caches[1] and len(caches[0]) == 1  # and none of the driver's, which trains nothing
        assert not list((tmp_path / "cache").glob("*.pixels"))
        assert told.count("1438 1438") == 2  # all images, of each node
        assert decode(address, "digits") == ([], [])  # all is there
        told, said = decode(address, str(tmp_path / "bad"))
        assert "DataError: " in said[-1] and "7.png: not readable as an image (of no known format)" in said[-1]
