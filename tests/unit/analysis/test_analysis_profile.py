"""`nxt.profile`: exact costs divided as asked, what it checks and measures, and no torch until then."""

import subprocess
import sys

import pytest

import nxt
from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.errors import ArchError, ConfigError

TINY = "resnext_1-1-1_w8_1x8d_cifar"


@pytest.mark.parametrize("by", ["stage", "block", "layer"])
def test_the_parts_add_up_to_the_exact_cost(by):
    profile = nxt.profile("resnest50", 97, 7, by=by)
    assert profile.cost == cost(parse_name("resnest50"), 97, 7)
    assert sum(row["macs"] for row in profile.rows()) == profile.to_dict()["macs"] == profile.cost.macs
    assert profile.to_dict()[f"{by}s"] == profile.rows()


def test_a_specification_serves_as_well_as_its_name():
    assert nxt.profile(parse_name(TINY)) == nxt.profile(TINY)


def test_what_was_published_is_of_the_network_s_own_size():
    assert nxt.profile("resnet50").published == ("4.1G", "ResNeXt paper, table 1")
    assert nxt.profile("resnet50", 160).published is None
    assert nxt.profile(TINY).published is None


def test_steps_and_check_are_there_on_request():
    plain, full = nxt.profile(TINY), nxt.profile(TINY, steps=True, check=True)
    assert (plain.steps, plain.check, plain.measured) == (None, None, None)
    assert full.steps[0].change == "stage 1: 1 -> 2 blocks"
    assert full.check and not any(full.check.values())
    assert set(full.to_dict()) - set(plain.to_dict()) == {"steps", "check"}


def test_measuring_says_what_it_does_and_returns_every_way(monkeypatch):
    from nxt.compute import benchmark

    for name, value in {"_SECONDS": 0.02, "_SIDE": 64, "_COPIED": 2**12}.items():
        monkeypatch.setattr(benchmark, name, value)
    lines = []
    measured = nxt.profile(TINY, measure=True, device="cpu", batches=[2, 1], say=lines.append).measured
    assert len(measured.speeds) == 4 == len(lines) - 1
    assert lines[-1] == f"{TINY}: measuring a training step, {measured.best}"
    assert measured.batch == 2 and not measured.best.compile
    fastest = max(measured.speeds, key=lambda speed: max(speed.throughput.values()))
    assert measured.best == fastest.compute
    assert measured.predicted_bytes == cost(parse_name(TINY)).step_memory(2)


def test_a_network_that_does_not_fit_is_one_error(monkeypatch):
    from nxt.compute import measurement

    def no_memory(*arguments):
        raise RuntimeError("out of memory\nmore")

    monkeypatch.setattr(measurement, "training", no_memory)
    monkeypatch.setattr(measurement, "ways", lambda device, compile: [measurement.Compute()])
    with pytest.raises(ArchError, match=r"cannot be measured here \(out of memory\); try a smaller batch"):
        nxt.profile(TINY, measure=True, device="cpu", batches=[1])


def test_a_notebook_shows_the_parts_and_their_total():
    html = nxt.profile("resnet50")._repr_html_()
    assert html.startswith("<p><b>resnet50</b>, 224 px, 1000 classes</p>\n<table>")
    assert html.count("<tr>") == 1 + 6 + 1  # heads, stem, four stages and head, total
    assert "<td>total</td><td>25.56M</td><td>4.089G</td>" in html


def test_a_network_is_also_meant_by_the_path_of_a_file(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text(nxt.ArchSpec.from_name("resnet50").to_yaml())
    for path in (file, str(file)):
        assert nxt.profile(path).cost == nxt.cost(path) == nxt.cost("resnet50")
        assert nxt.build(path).spec.fingerprint == nxt.load_arch(path).fingerprint


@pytest.mark.parametrize(
    ("arguments", "error", "part"),
    [
        (["resnet51"], ArchError, "resnet51"),
        (["resnet50", 0], ArchError, "image size 0"),
        (["resnet50", None, None, "network"], ConfigError, "'network' is not one of stage, block, layer"),
    ],
)
def test_what_cannot_be_profiled_is_an_error(arguments, error, part):
    with pytest.raises(error, match=part):
        nxt.profile(*arguments)


def test_no_batches_are_an_error_before_anything_is_measured():
    with pytest.raises(ConfigError, match="`batches`"):
        nxt.profile(TINY, measure=True, batches=[])


def test_closed_forms_need_no_torch_and_no_numpy():
    code = "import nxt, sys; nxt.profile('resnet50', steps=True); print({'torch', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
