"""The files in deploy/ can be read, their commands of nxt parsed, and they have no secrets; and what Slurm's does."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from limits import LIMIT, wait_until
from nxt.cli import lazy

from nxt.search.options import SearchOptions

FOLDER = Path(__file__).resolve().parents[2] / "deploy"
FILES = sorted(FOLDER.iterdir())
SCRIPTS = [FOLDER / "ray-job.sh", FOLDER / "slurm.sbatch"]
LAUNCHED = {"ray-job.sh", "slurm.sbatch", "kuberay.yaml", "skypilot.yaml"}


def commands(text):
    """Return the command lines of nxt in a script, as words: with continued lines joined and variables as they are."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = re.findall(r"(?:^|exec )\s*(nxt \w.*?)(?:'?$| &$)", joined, re.M)
    return [shlex.split(re.sub(r'"\$\(.*\)', '"HEAD', line)) for line in found]


def texts(path):
    """Return the scripts in a file."""
    if path.suffix != ".yaml":
        return [path.read_text("utf-8")]
    content = yaml.safe_load(path.read_text("utf-8"))
    return [content["spec"]["entrypoint"]] if "spec" in content else [content["setup"], content["run"]]


def checked(words):
    """Hold a command against the options of nxt, and return what was given."""
    name, *rest = words[1:]
    return lazy.load(name).make_context(name, rest).params


def test_there_is_a_file_for_each_way_to_launch():
    assert {path.name for path in FILES} == LAUNCHED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_search_goes_on_where_it_was_begun_and_joins_the_cluster(path):
    [words] = [words for text in texts(path) for words in commands(text)]
    given = checked(words)
    assert given["resume_or_new"] and given["address"] and str(given["out"]).startswith("/shared/")
    assert SearchOptions(flops=given["flops"], data=given["data"], trials=given["trials"], out=given["out"]).request()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_there_is_what_it_needs_and_nothing_secret(path):
    text = path.read_text("utf-8")
    assert "# Storage: " in text and len(text.splitlines()) < 70
    assert not re.search(r"(?i)(token|secret|password|key)\s*[:=]\s*['\"]?[\w/+]{12,}", text)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_can_read_it(path):
    assert subprocess.run(["bash", "-n", str(path)], timeout=LIMIT, check=False).returncode == 0


def test_all_pods_see_the_storage():
    spec = yaml.safe_load((FOLDER / "kuberay.yaml").read_text("utf-8"))["spec"]["rayClusterSpec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]] == ["/shared"]
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "nxt"}


STUBS = {
    "hostname": "echo 10.0.0.1 10.0.0.2",
    "srun": "",
    "ray": 'echo "ray $*" >> "$SAID"',
    "scontrol": 'echo "scontrol $*" >> "$SAID"',
}


@pytest.mark.parametrize(
    ("nxt", "stopped", "code", "requeued"),
    [
        ('trap "kill \\$!; exit 130" TERM; sleep 600 & touch "$SAID.begun"; wait', True, 130, True),
        ("exit 0", False, 0, False),
        ("exit 1", False, 1, False),
    ],
)
def test_slurm_queues_the_job_again_when_its_time_is_nearly_over(nxt, stopped, code, requeued, tmp_path):
    for name, body in {**STUBS, "nxt": f'echo "nxt $*" >> "$SAID"; {nxt}'}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    said = tmp_path / "said"
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SAID": str(said), "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", str(FOLDER / "slurm.sbatch")], env=environment)
    if stopped:
        wait_until((tmp_path / "said.begun").exists)
        job.send_signal(signal.SIGTERM)
    assert job.wait(LIMIT) == code
    lines = said.read_text().splitlines()
    assert lines[0] == "ray health-check --address 10.0.0.1:6379"
    assert lines[1].endswith("--out /shared/runs/first --resume-or-new --address 10.0.0.1:6379")
    assert lines[2:] == ["scontrol requeue 7"] * requeued
