"""A search that joins a Ray cluster of several nodes, which loses one of them."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from jobs import Job
from limits import LIMIT

from nxt.search.results.run import load_run
from nxt.search.trial import Outcome

NODES, TRIALS, EPOCHS = 2, 6, 8
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextmanager
def cluster():
    script = Path(__file__).parents[1] / "helpers" / "ray_nodes.py"
    with subprocess.Popen(
        [sys.executable, str(script), str(NODES)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(LIMIT)


def test_a_search_on_a_cluster_that_loses_a_node_completes(tmp_path):
    out, storage = tmp_path / "run", f"file://{tmp_path / 'everywhere'}"
    settings = ["--set", f"proxy.epochs={EPOCHS}", "--set", "proxy.share=0.3", "--set", "search.grace=1.0"]
    with cluster() as (nodes, address):
        given = ["--address", address, "--storage", storage, "--confirm", 0, "--trials", TRIALS, "--json", "--out", out]
        with Job(out, "smoke", "--flops", "5M:9M", *given, *settings, **LOOPBACK) as job:
            job.until(lambda: f"2 at a time, into {out}" in job.text() and "[2/" in job.text())
            assert any((tmp_path / "everywhere").iterdir())  # where the workers keep their checkpoints
            nodes.stdin.write("one\n")
            nodes.stdin.flush()
            code, printed = job.ended()
            assert code == 0, job.text()
    run = load_run(out)
    assert [trial.outcome for trial in run.trials] == [Outcome.DONE] * TRIALS
    assert all([row.epoch for row in trial.curve] == list(range(1, EPOCHS + 1)) for trial in run.trials)
    assert json.loads(printed)["trials"]["done"] == TRIALS  # nothing of Ray's on stdout
    assert "raylet" not in job.text() and "Traceback" not in job.text()
    assert not any((tmp_path / "everywhere").iterdir())
