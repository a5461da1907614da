"""The report of a training, on run directories made by hand."""

import json
import re

import pytest
from reports import EVIL

from nxt.config import dump_yaml
from nxt.errors import RunError
from nxt.files import locked
from nxt.report.training import write_training_report

RECIPE = {"about": "Short.", "epochs": 4, "batch": 32, "lr": 0.1, "optimizer": "sgd", "size": 8, "ema": 0.0}


def row(epoch, accuracy, ema=None):
    return {
        "epoch": epoch, "loss": 2.0 / epoch, "accuracy": accuracy, "ema_accuracy": ema, "lr": 0.1, "seconds": 3.0,
        "images_per_second": 100.0, "wait": 0.0, "time": 1e9 + epoch,
    }  # fmt: skip


@pytest.fixture
def make(tmp_path):
    """Return a function that makes a training's run directory."""

    def made(name, rows, recipe=RECIPE, **record):
        out = tmp_path / name
        out.mkdir()
        whole = {"command": "train", "name": "resnet50", "data": "digits", "recipe": recipe, "seed": 0, **record}
        (out / "run.yaml").write_text(dump_yaml(whole))
        if rows:
            (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            images = {"source": "digits", "classes": ["0", "1"], "images": {"train": 1000, "val": 400}}
            cost = {"params": 1000, "macs": 2_000_000, "acts": 3000, "size": 8}
            (out / "card.yaml").write_text(dump_yaml({"data": images, "cost": cost, "seconds": 12.0}))
        return out

    return made


def page(out, against=None):
    """Return the sections, the text without scripts, and the figures of a training's page."""
    file = out / "page.html"
    sections = write_training_report(out, against, file)
    whole = file.read_text("utf-8")
    figures = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', whole)]
    return sections, re.sub(r"<script.*?</script>", "", whole, flags=re.S), figures


ROWS = [row(1, 0.2), row(2, 0.5), row(3, 0.7), row(4, 0.6)]


def test_a_training_that_has_ended_is_told_with_its_best_its_curves_and_what_to_do_next(make):
    out = make("run", ROWS)
    sections, text, figures = page(out)
    assert sections == ["summary", "curves", "epochs", "recipe", "provenance"]
    assert (
        "70.0% on the validation split, in epoch 3 of 4. The last one, which nxt eval measures, has " in text
        and "ended, 4 of 4 epochs, 12s" in text
    )
    assert f"nxt eval {out}\nnxt export {out} --to onnx" in text
    assert "1,000 training and 400 validation images of 2 classes" in text
    assert "sgd, 4 epochs, batch 32, rate 0.1, 8 px" in text and "2.00M multiply-adds" in text
    accuracy, *small = figures
    assert [(trace["x"], trace["y"]) for trace in accuracy["data"]] == [([1, 2, 3, 4], [0.2, 0.5, 0.7, 0.6])]
    assert [figure["data"][0]["y"][0] for figure in small] == [2.0, 0.1, 100.0]
    assert "averaged weights" not in json.dumps(figures) and "points against" not in text


def test_averaged_weights_have_a_curve_of_their_own(make):
    _, text, [accuracy, *_] = page(
        make("run", [row(1, 0.2, 0.1), row(2, 0.5, 0.6), row(3, 0.5, 0.55), row(4, 0.5, 0.5)])
    )
    assert [trace["name"] for trace in accuracy["data"]] == ["weights", "averaged weights"]
    assert "60.0% on the validation split, in epoch 2 of 4." in text


def test_one_that_was_interrupted_says_how_to_go_on_and_one_that_runs_how_to_follow_it(make):
    out = make("run", ROWS[:2])
    _, text, _ = page(out)
    assert f"nxt train --resume {out}" in text and "interrupted, 2 of 4 epochs" in text
    with locked(out / ".lock"):
        _, text, _ = page(out)
    assert f"nxt show {out}" in text and "running, 2 of 4 epochs" in text


def test_before_the_first_epoch_there_is_what_was_asked(make):
    sections, text, figures = page(make("run", []))
    assert sections == ["summary", "recipe", "provenance"] and figures == []
    assert "No epoch has ended yet: interrupted." in text


def test_beside_another_training_its_curves_the_difference_with_its_noise_and_what_was_asked_otherwise(make):
    own = make("own", ROWS)
    other = make("other", [row(1, 0.9), row(2, 0.5)], recipe={**RECIPE, "epochs": 2, "ema": 0.9, "about": "Others"})
    _, text, [accuracy, *small] = page(own, other)
    assert [trace["name"] for trace in accuracy["data"]] == ["own: weights", "other: weights"]
    assert all(len(figure["data"]) == 2 for figure in small)
    start = "Last epochs: 60.0%, +10.0 points against other (50.0%)"  # not the best, which eval does not take
    assert f"{start}; clearly different: more than twice the noise of 3.5 points" in text
    assert re.findall(r'<td class="text">(recipe\.\w+)</td><td>([\d.]+)</td><td>([\d.]+)</td>', text) == [
        ("recipe.epochs", "4", "2"), ("recipe.ema", "0.0", "0.9"),
    ]  # fmt: skip
    _, text, _ = page(other, make("same", [row(1, 0.2), row(2, 0.52)], recipe={**RECIPE, "epochs": 2, "ema": 0.9}))
    assert "-2.0 points against same (52.0%); not clearly different: within" in text
    assert "Both were asked the same." in text


def test_how_two_trainings_computed_is_among_what_differs(make):
    own = make("own", ROWS, compute={"precision": "fp32", "channels_last": True})
    _, text, _ = page(own, make("other", ROWS, compute={"precision": "bf16", "channels_last": True}))
    assert re.findall(r'<td class="text">(compute\.\w+)</td><td[^>]*>(\w+)</td><td[^>]*>(\w+)</td>', text) == [
        ("compute.precision", "fp32", "bf16")
    ]


def test_accuracies_on_images_that_were_trained_on_are_not_compared(make):
    own = make("own", ROWS)
    _, text, _ = page(own, make("whole", [{**each, "split": "train"} for each in ROWS]))
    assert "their accuracies do not compare" in text and "points against" not in text


def test_what_does_not_compare_is_refused(make, tmp_path):
    own, other = make("own", ROWS), make("other", ROWS, data="cifar10")
    with pytest.raises(RunError, match=r"`against` .*other: its data differs, so it does not compare"):
        page(own, other)
    with pytest.raises(RunError, match="nowhere: not a run directory"):
        page(own, tmp_path / "nowhere")


def test_nothing_in_a_record_can_break_the_page_and_nothing_is_fetched(make):
    out = make("run", ROWS, recipe={**RECIPE, "about": EVIL}, typed=EVIL)
    page(out)
    whole = (out / "page.html").read_text("utf-8")
    assert "<script>alert" not in whole and "default-src 'none'" in whole
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(?:http|//)", whole)
