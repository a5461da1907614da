"""Measuring latency on a device that only infers: with one runtime, without what searches and trainings need."""

import json
import subprocess
import sys

import pytest
from limits import LONG

from nxt.space.load import space_from_dict

NEVER = ("ray", "optuna", "scipy", "sklearn", "torchvision", "matplotlib", "plotly", "fvcore", "tensorboardX", "PIL")
ALONE = {"torch": ("onnx", "onnxruntime", "onnxscript"), "onnxruntime": ("torch",)}
CODE = """
import sys
for name in {names!r}:
    sys.modules[name] = None  # an import raises ModuleNotFoundError
sys.argv = ["nxt", *{arguments!r}]
from nxt.cli.main import main
main()
"""
FEW = {
    "stages": 2,
    "network": {"stem": "cifar", "stem_width": 8, "radix": 2},
    "axes": {"depth": [1, 2], "width": [16], "ratio": [1], "groups": [1, 2]},
}


@pytest.mark.parametrize("runtime", ALONE)
def test_the_command_runs_with_one_runtime_and_nothing_else(runtime, tmp_path):
    (tmp_path / "few.yaml").write_text(json.dumps(FEW))
    arguments = ["latency", "measure", "few.yaml", "--runtime", runtime, "--device", "cpu", "-o", "t.json"]
    code = CODE.format(names=(*NEVER, *ALONE[runtime]), arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=LONG, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("t.json: ") and f"{runtime} fp32, batch 1, 32 px" in done.stdout
    data = json.loads((tmp_path / "t.json").read_text())
    assert runtime in data["versions"] and data["wanted"] == len(data["measured"])
    space = space_from_dict(FEW, "few", "here")
    assert len(data["measured"]) > 5 and data["space"] == space.name == "few"
