"""`nxt profile`: tables, JSON, CSV, differences, budgets as a gate, measuring."""

import csv
import io
import json

import pytest

from nxt.arch.costs import cost
from nxt.arch.load import parse_name
from nxt.models.network import build

TINY = "resnext_1-1-1_w8_1x8d_cifar"
SUMS = ("params", "macs", "acts", "flops", "fvcore", "bytes")


def answer(nxt, *arguments):
    result = nxt("profile", *arguments, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.mark.parametrize(("by", "key"), [("stage", "stages"), ("block", "blocks"), ("layer", "layers")])
def test_every_level_adds_up(by, key, nxt):
    found = answer(nxt, "resnest50", "--by", by, "--size", 97, "--classes", 7)
    for figure in SUMS:
        assert sum(part[figure] for part in found[key]) == found[figure]
    assert max(part["peak_bytes"] for part in found[key]) == found["peak_bytes"]


def test_csv_has_the_same_figures(nxt):
    rows = list(csv.DictReader(io.StringIO(nxt("profile", "resnet50", TINY, "--by", "layer", "--csv").out)))
    for name in ("resnet50", TINY):
        assert sum(int(row["macs"]) for row in rows if row["network"] == name) == cost(parse_name(name)).macs
    whole = list(csv.DictReader(io.StringIO(nxt("profile", "resnet50", "--csv").out)))
    assert [(row["part"], row["params"]) for row in whole] == [("", "25557032")]


def test_published_flops_stand_beside_all_three_counts(nxt):
    out = nxt("profile", "resnet50").out
    assert "4.089G" in out.splitlines()[2]
    assert "published are 4.1G FLOPs (ResNeXt paper, table 1); counted are 4.089G MACs and 8.178G FLOPs, by" in out
    assert "published" not in nxt("profile", "resnet50", "--size", 160).out


def test_two_networks_end_in_their_difference(nxt):
    out = nxt("profile", "resnet50", "resnext29_8x64d_cifar", "--size", 64, "--classes", 10).out
    assert "resnext29_8x64d_cifar minus resnet50" in out
    rows = {line.split()[0]: line for line in out[out.index(" minus ") :].splitlines() if line.strip()}
    assert set(rows) >= {"stem", "stage1", "stage2", "stage3", "stage4", "head", "total"}
    assert " 3 -> " in rows["stage4"]
    assert "minus" not in nxt("profile", "resnet50", "resnest14", "resnest26").out
    same = nxt("profile", "resnet50", "ResNet-50").out
    assert "+0.0%" in same and "+0 " in same


def test_steps_are_told(nxt):
    assert answer(nxt, "resnext50_32x4d", "--steps")["steps"][0]["change"] == "stage 1: 3 -> 4 blocks"
    assert "cardinality 32 -> 33" in nxt("profile", "resnext50_32x4d", "--steps").out


def test_the_check_holds_fvcore_and_torch_against_the_closed_form(nxt):
    found = answer(nxt, "resnest14", TINY + "_preact", "--check", "--size", 40)
    for row in found:
        assert set(row["check"]) == {"macs", "params", "acts", "fvcore_total", "flop_counter", "flop_counter_layers"}
        assert not any(row["check"].values())
    assert "no difference" in nxt("profile", TINY, "--check").out


@pytest.mark.parametrize("form", ["a", "b"])
def test_the_forms_of_a_block_have_as_many_multiply_adds_and_parameters(form, nxt):
    """ResNeXt fig. 3 and sec. 3.3."""
    found = answer(nxt, "resnext_1-1-1_w8_4x4d_cifar", "--form", form, "--check")
    assert found["form"] == form and found["check"] == {"macs": 0, "params": 0, "flop_counter": 0}
    printed = nxt("profile", "resnext_1-1-1_w8_4x4d_cifar", "--form", form).out
    assert (
        f"resnext_1-1-1_w8_4x4d_cifar, form {form}" in printed and "acts, moved and peak are those of form c" in printed
    )


def test_what_is_measured_is_the_form_that_is_asked_for(monkeypatch, nxt):
    from nxt.compute import benchmark

    built = []
    monkeypatch.setattr(benchmark, "build", lambda *given, form: built.append(form) or build(*given, form=form))
    monkeypatch.setattr(benchmark, "_SECONDS", 0.01)
    result = nxt(
        "profile", "resnext_1-1-1_w8_2x4d_cifar", "--measure", "--batch", "2", "--form", "a", "--device", "cpu"
    )
    assert result.code == 0 and set(built) == {"a"} and len(built) >= 3


def test_a_network_without_such_a_form_is_refused_in_a_line(nxt):
    result = nxt("profile", "resnest14", "--form", "a")
    assert result.code == 1 and "resnest14 has form c alone" in result.err


def test_a_wrong_closed_form_fails_the_check(monkeypatch, nxt):
    from nxt.models import check

    def wrong(spec, size, classes, **how):
        return cost(spec, size + 2, classes, **how)

    monkeypatch.setattr(check, "cost", wrong)
    result = nxt("profile", TINY, "--check")
    assert result.code == 1 and "differs from the built network" in result.err
    assert "'macs': " in result.out and "'flop_counter': " in result.out


@pytest.mark.parametrize(
    ("budget", "code"),
    [(["--flops", ":4.2G"], 0), (["--flops", "4.1G+-1%"], 0), (["--params", ":25M"], 1), (["--acts", "12M:"], 1)],
)
def test_a_budget_is_a_gate_with_an_exit_code(budget, code, nxt):
    result = nxt("profile", "resnet50", *budget, "--json")
    assert result.code == code
    assert json.loads(result.out)["name"] == "resnet50"
    assert ("resnet50: " in result.err and "outside" in result.err) == bool(code)


def test_measuring_gives_every_way_a_training_step_and_the_stages(tmp_path, monkeypatch, nxt):
    from nxt.compute import benchmark as measure

    for name, value in {"_SECONDS": 0.02, "_SIDE": 64, "_COPIED": 2**12}.items():
        monkeypatch.setattr(measure, name, value)
    result = nxt(
        "profile", TINY, "--measure", "--batch", "2,1", "--device", "cpu", "--json", "--roofline", tmp_path / "r.png"
    )
    assert result.code == 0, result.err
    found = json.loads(result.out)["measured"]
    assert len(found["ways"]) == 4 and set(found["ways"][0]["images_per_second"]) == {"1", "2"}
    assert found["training"]["batch"] == 2 and found["training"]["peak_bytes"] > 0
    assert [stage["name"] for stage in found["stages"]] == ["stem", "stage1", "stage2", "stage3", "head"]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    alone = nxt("profile", TINY, "--measure", "--batch", "1", "--device", "cpu")
    note = "a training step is measured with 2 images: batch norm cannot train on one"
    assert note in alone.err and note not in result.err
    text = alone.out
    assert "latency, batch 1" in text and "training step" in text and "attainable" in text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--json", "--csv"], "give one of both"),
        (["--roofline", "x.png"], "need --measure"),
        (["--csv", "--steps"], "--csv has costs alone"),
        (["--compile"], "need --measure"),
        (["--measure", "--batch", "0"], "--batch 0"),
        (["--measure", "--batch", "a,b"], "--batch a,b"),
        (["--count", "flops"], "--json and --csv have FLOPs and fvcore's total, too"),
    ],
)
def test_usage_errors_are_said(arguments, part, nxt):
    result = nxt("profile", TINY, *arguments)
    assert result.code == 2 and part in result.err


def test_a_device_that_is_not_there_is_one_line(nxt):
    result = nxt("profile", TINY, "--measure", "--device", "cuda:7")
    assert result.code == 1 and "--device cuda:7" in result.err and len(result.err.splitlines()) == 1


def test_a_drawing_that_has_no_place_is_refused_before_anything_is_measured(nxt):
    result = nxt("profile", TINY, "--measure", "--roofline", "no/such/r.png")
    assert result.code == 1 and "there is no folder no/such" in result.err and "measuring" not in result.err


def test_a_batch_of_one_on_a_map_of_one_pixel_can_be_measured(nxt, monkeypatch):
    from nxt.compute import benchmark as measure

    for name, value in {"_SECONDS": 0.02, "_SIDE": 64, "_COPIED": 2**12}.items():
        monkeypatch.setattr(measure, name, value)
    found = answer(nxt, TINY, "--measure", "--batch", "1", "--size", 4, "--device", "cpu")
    assert found["measured"]["training"]["batch"] == 2


def test_sizes_are_width_by_height_on_the_command_line_and_height_first_in_python(nxt):
    found = answer(nxt, "resnest14", "--size", "96x64", "--output-stride", 16, "--by", "stage")
    assert found["size"] == "96x64" and found["output_stride"] == 16
    assert [stage["side"] for stage in found["stages"]] == ["48x32", "24x16", "12x8", "6x4", "6x4", 1]
    assert found["macs"] == cost(parse_name("resnest14"), (64, 96), output_stride=16).macs
    assert found["peak_at"] and found["peak_bytes"]
    assert answer(nxt, "resnest14", "--size", "64x64") == answer(nxt, "resnest14", "--size", 64)
    assert "12 x 8" not in (printed := nxt("profile", "resnest14", "--size", "96x64", "--by", "stage").out)
    assert "512 x 12x8" in printed and "image 96x64" in nxt("profile", TINY, "--size", "96x64", "--steps").out
    assert answer(nxt, "resnet50", "--output-stride", 32)["published"]
    assert "published" not in answer(nxt, "resnet50", "--output-stride", 16)


def test_heads_are_counted_in_all_forms(nxt):
    checked = answer(nxt, TINY, "--head", "fcn", "--size", "70x50", "--output-stride", 2, "--check")["check"]
    assert set(checked) >= {"macs", "flop_counter_layers"} and not any(checked.values())
    found = answer(nxt, TINY, "--head", "mask-rcnn", "--size", "70x50")
    assert found["head"] == "mask-rcnn" and found["classes"] == 80 and "output_stride" not in found
    names = ["stem", "stage1", "stage2", "stage3", "fpn", "rpn", "box head", "mask head"]
    assert [stage["name"] for stage in found["stages"]] == names
    assert found["peak_at"] is found["peak_bytes"] is None
    rows = list(csv.DictReader(io.StringIO(nxt("profile", TINY, "--head", "fcn", "--by", "layer", "--csv").out)))
    assert rows[-1]["part"] == "classifier.4" and rows[-1]["classes"] == "150" and rows[-1]["peak_bytes"] == ""
    assert sum(int(row["macs"]) for row in rows) == cost(parse_name(TINY), head="fcn").macs
    out = nxt("profile", "resnet50", "resnest50", "--head", "deeplabv3", "--by", "stage").out
    assert "resnet50, stride 8, deeplabv3" in out and "without auxiliary heads" in out
    assert "resnest50, stride 8, deeplabv3 minus resnet50, stride 8, deeplabv3" in out
    assert nxt("profile", "resnet50", "--head", "retinanet", "--flops", ":1G").code == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--size", "48y"], 2, "write a square's side such as 224, or WIDTHxHEIGHT such as 480x360"),
        (["--size", "480x"], 2, "write a square's side such as 224"),
        (["--size", "0x4"], 1, "image size 0 is not between 1 and 16384 pixels"),
        (["--head", "yolo"], 2, "'yolo' is not one of"),
        (["--head", "fcn", "--output-stride", 12], 1, "output stride 12 of resnet50 is not one of 4, 8, 16, 32"),
        (
            ["--head", "mask-rcnn", "--output-stride", 8],
            1,
            "head mask-rcnn: its pyramid needs all strides of the network",
        ),
        (["--head", "fcn", "--steps"], 1, "--head: goes without --form and --steps"),
        (["--size", "48x40", "--measure"], 1, "--measure: is of square images, without --output-stride and --head"),
        (["--head", "fcn", "--latency", "x"], 1, "--latency: is of square images, without --output-stride and --head"),
    ],
)
def test_sizes_strides_and_heads_that_cannot_be_end_in_a_line(options, code, message, nxt):
    result = nxt("profile", "resnet50", *options)
    assert result.code == code and message in " ".join(result.err.replace("│", " ").split()), result.err
