"""The picture of a training's curves."""

import pytest
from PIL import Image

from nxt.errors import RunError
from nxt.report.matplotlib_figures import plot_curves


def rows(epochs, ema):
    return [
        {"epoch": n, "loss": 2 / n, "accuracy": 0.1 * n / epochs, "ema_accuracy": 0.05 if ema else None, "lr": 0.1 / n}
        for n in range(1, epochs + 1)
    ]


@pytest.mark.parametrize(("epochs", "ema"), [(1, False), (3, True), (600, True)])
def test_curves_are_drawn_for_any_number_of_epochs(tmp_path, epochs, ema):
    plot_curves("a network on data", rows(epochs, ema), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 800 and len(set(image.convert("L").resize((60, 40)).get_flattened_data())) > 5


def test_averaged_weights_are_another_line(tmp_path):
    for name, ema in (("with", True), ("without", False)):
        plot_curves("a network on data", rows(3, ema), tmp_path / name)
    assert (tmp_path / "with").read_bytes() != (tmp_path / "without").read_bytes()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(RunError, match=r"no/curves\.png: cannot be written"):
        plot_curves("a network on data", rows(2, False), tmp_path / "no" / "curves.png")
