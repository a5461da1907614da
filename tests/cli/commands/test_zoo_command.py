"""`nxt zoo`: all that is published of a network, what is only cited, and own results beside the published."""

import json
import re

import pytest
from terminals import left_out, shown


def test_a_whole_name_shows_all_that_is_published_of_the_network(nxt):
    listed, title, everything = nxt("zoo", "resnext50_32x4d").out.partition(
        "All that is published of resnext50_32x4d\n"
    )
    assert title and "seresnext50_32x4d" in listed
    for figures, how in [
        ("top-1 77.8 ", "ImageNet-1k +center @224 +ResNeXt paper, table 3"),
        ("top-1 57.7, top-5 83.2 ", "ImageNet-5k, 5K-way +center @224 +ResNeXt paper, table 6"),
        ("AP 27.5, AP50 49.7 ", "COCO minival +Faster R-CNN +ResNeXt paper, table 8"),
        ("top-1 81.198, top-5 95.34 ", "ImageNet-1k +center @224 +torchvision, V2 weights"),
    ]:
        assert re.search(f"^{figures}.* {how}$", everything, re.MULTILINE), how
    assert "All that is published" not in nxt("zoo", "resnext50").out


def test_nothing_published_of_a_network_is_said(nxt):
    assert nxt("zoo", "resnext29_4x64d_cifar").out.endswith("Nothing is published of it.\n")


def test_networks_that_are_only_cited_are_found_where_nothing_else_matches(nxt):
    text = nxt("zoo", "Inception").out
    assert text.startswith("Cited only: nxt does not build these\n") and "Inception-v4" in text
    assert re.search(
        r"^Inception-ResNet-v2 +top-1 82.2, top-5 96.3 .*ImageNet-1k +multi-crop +ResNeXt", text, re.MULTILINE
    )
    rows = json.loads(nxt("zoo", "inception", "--json").out)
    assert [row["name"] for row in rows][:2] == ["Inception-v3", "Inception-v4"] and all(row["cited"] for row in rows)
    assert "Cited only" not in nxt("zoo").out


def test_json_has_backbone_figures_apart_from_accuracies(nxt):
    (row,) = (row for row in json.loads(nxt("zoo", "resnest101", "--json").out))
    assert [figure["top1"] for figure in row["published"]] == [82.83, 82.916]
    assert row["also_published"][-1]["miou"] == 46.91
    assert {figure["task"] for figure in row["also_published"]} == {"detection", "segmentation"}


def test_all_figures_fit_a_terminal():
    assert left_out(shown(120, "zoo", "resnest101")) == set()
    assert left_out(shown(90, "zoo", "resnest101")) == {"task"}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "measured.csv"
    rows = [
        "resnext50_32x4d,77.5,93.5,224",
        "resnext101_64x4d,80.7,95.5,320",
        "resnest269,84.0,,224",
        "resnext50_32x8d,79,,",
    ]
    path.write_text("\n".join(["network,top1,top5,size", *rows]) + "\n")
    return path


def test_own_results_stand_beside_the_published_at_their_size(own, nxt):
    result = nxt("zoo", "--against", own)
    assert (result.code, result.err) == (0, "")
    for line in [
        r"resnext50_32x4d +224 +77.50 +93.50 +-0.30 +77.80 +ResNeXt paper, table 3",
        r"resnext101_64x4d +320 +80.70 +95.50 +-0.20 +80.90 +95.60 +ResNeXt paper, table 5",
        r"resnest269 +224 +84.00 +-0.54 +84.54 @416 +ResNeSt repository, README",
        r"resnext50_32x8d +79.00 +none",
    ]:
        assert re.search(f"^{line}$", result.out, re.MULTILINE), line


def test_own_results_go_with_a_pattern_and_as_json(own, nxt):
    (row,) = json.loads(nxt("zoo", "resnext50_32x4d", "--against", own, "--json").out)
    assert (row["network"], row["top1"], row["dataset"]) == ("resnext50_32x4d", 77.5, None)
    assert row["published"][0] == {
        "top1": 77.8, "size": 224, "dataset": "ImageNet-1k", "task": "classification", "protocol": "center",
        "source": "ResNeXt paper, table 3", "difference": -0.3,
    }  # fmt: skip
    assert len(row["published"]) > 5


def test_own_results_fit_a_terminal(own):
    assert left_out(shown(120, "zoo", "--against", own)) == set()
    assert "its top-5" in left_out(shown(90, "zoo", "--against", own))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("resnt50,77,,", "line 2: no network is called 'resnt50'; did you mean 'resnet50'?"),
        ("resnet50,high,,", "line 2: top1: 'high' is not a number"),
        ("resnet50,0.77,,", "line 2: top1: 0.77 looks like a share; write percent: 77 (or 0.77% if it is one)"),
    ],
)
def test_what_no_row_of_own_results_can_be_is_told_in_one_line(row, message, nxt, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(f"network,top1,top5,size\n{row}\n")
    result = nxt("zoo", "--against", path)
    assert (result.code, result.out, result.err) == (1, "", f"nxt: {path}: {message}\n")


def test_a_table_without_a_column_and_a_pattern_without_a_row_are_told(own, nxt, tmp_path):
    result = nxt("zoo", "vgg", "--against", own)
    assert (result.code, result.err) == (1, f"nxt: {own}: no network in it matches 'vgg'\n")
    (tmp_path / "other.csv").write_text("model,acc\nresnet50,76\n")
    result = nxt("zoo", "--against", tmp_path / "other.csv")
    assert (result.code, result.err) == (
        1, f"nxt: {tmp_path / 'other.csv'}: no column 'network'; it has model, acc\n"
    )  # fmt: skip
