"""Searches whose trials are trainings of segmenters and detectors: real ones, on Ray, in a budget that counts heads."""

import pytest
from limits import LONG
from scenes import coco_scenes, mask_scenes

import nxt
from nxt.arch.costs import cost
from nxt.errors import ConfigError, SpaceError, UsageError
from nxt.search.request import load_record

pytestmark = pytest.mark.timeout(LONG)
SHORT = {"proxy": {"size": 32, "epochs": 1}, "search": {"confirm": 0}}
MASKS = {"recipe": {"batch": 4, "scene": {"longest": 64}}}
BOXES = {"recipe": {"batch": 2, "pyramid": 8, "rois": 8, "scene": {"longest": 64}}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    coco_scenes(root / "coco", count=7)
    mask_scenes(root / "masks", count=10)
    return root


@pytest.mark.parametrize(
    ("kind", "head", "settings", "measure"),
    [("masks", "fcn", MASKS, "mIoU"), ("coco", "retinanet", BOXES, "box AP")],
)
def test_a_search_trains_networks_with_heads_and_counts_them(data, tmp_path, capsys, kind, head, settings, measure):
    out = tmp_path / "run"
    run = nxt.search(
        "smoke", flops=":1G", size=32, classes=3, data=f"{kind}:{data / kind}", head=head, trials=3, workers=1, out=out,
        gpus_per_trial=0, settings={**SHORT, **settings},
    )  # fmt: skip
    assert [str(trial.outcome) for trial in run.trials] == ["done"] * 3
    pyramid = settings["recipe"].get("pyramid", 256)
    for trial in run.trials:
        whole = cost(trial.spec, 32, 3, output_stride=None, head=head, pyramid=pyramid)
        assert trial.cost.macs == whole.macs > cost(trial.spec, 32, 3).macs
        assert 0 <= trial.accuracy <= 1
    request = load_record(out).request
    assert request == run.request and (request.measure, request.recipe.head) == (measure, head)
    assert f"with {head}" in request.convention and f"compared by {measure}" in run.record.trained
    assert run.measure == f"proxy {measure}" and run.record.largest_class is None


def test_what_cannot_be_searched_for_boxes_and_masks_is_told(data, tmp_path):
    masks = {"data": f"masks:{data / 'masks'}", "out": tmp_path / "run", "gpus_per_trial": 0}
    with pytest.raises(ConfigError, match=r"is for segmentation, the recipe for detection; give a `head` .deeplabv3"):
        nxt.search("smoke", flops=":1G", head="mask-rcnn", **masks)
    with pytest.raises(ConfigError, match="recipe: frozen_bn: it keeps the BN statistics of weights to start from"):
        nxt.search("smoke", flops=":1G", head="fcn", settings={"recipe": {"frozen_bn": True}}, **masks)
    with pytest.raises(UsageError, match="`like` counts a classifier"):
        nxt.search("smoke", like="resnet50", **masks)
    with pytest.raises(SpaceError, match="nothing in the space 'smoke' has macs"):
        nxt.search("smoke", flops=":1M", size=64, **masks)  # enough for each network, but not for its head
    assert not (tmp_path / "run").exists()
