"""Trainings of detectors and segmenters, also when they are cut off: what continues ends in the same bits."""

import dataclasses
import os
import signal
import subprocess
import sys
import warnings

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from limits import LIMIT, LONG
from PIL import Image
from scenes import coco_scenes, mask_scenes, write
from trainings import ALWAYS, CPU, CutOffError, assert_same_run, metrics, run, weights

from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.config import dump_yaml, to_mapping
from nxt.data import readable, stream
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError, DataError
from nxt.models.network import build
from nxt.train import checkpoint as checkpoints
from nxt.train.engine.open import prepared
from nxt.train.engine.session import Watcher
from nxt.train.model import backbone_of
from nxt.train.recipe import load_recipe
from nxt.train.request import TrainRequest, load_request

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 8, "depths": [1, 1], "widths": [32, 64], "cardinality": 2, "base_width": 4}
)
SPLIT = SPEC.replace(radix=2, cardinality=(1, 1))  # its attention normalises a single value for each image
COMMAND = [sys.executable, "-c", "from nxt.cli.main import program; program()"]
SMALL = {"size": 32, "eval_size": 32, "batch": 2, "warmup": 1, "scene": {"sides": [], "longest": 64}}
DETECTOR = {**SMALL, "pyramid": 8, "rois": 8, "optimizer": "adamw"}
# For each head what it is trained on, and how.
HEADS = {
    "fcn": ("masks", {**SMALL, "epochs": 6, "lr": 0.05, "aux": 0.4, "ema": 0.5, "output_stride": None}),
    "mask-rcnn": ("coco", {**DETECTOR, "epochs": 4, "lr": 0.006, "scene": {"sides": [28, 36], "longest": 64}}),
    "retinanet": ("coco", {**DETECTOR, "epochs": 8, "lr": 0.005}),
}

pytestmark = pytest.mark.usefixtures("one_thread", "in_this_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder with boxes, `coco`, and masks, `masks`."""
    root = tmp_path_factory.mktemp("scenes")
    coco_scenes(root / "coco", count=6)
    mask_scenes(root / "masks", count=7)
    (root / "masks" / "classes.txt").write_text("sea\nland\nhouse\n")
    return root


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    """Read images in this process: starting others takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patched:
        for module in (stream, readable):
            patched.setattr(module, "default_workers", lambda processes=1: 0)
        yield


def request_for(out, data, head, spec=SPEC, weights="", **changes):
    kind, settings = HEADS[head]
    name = "quick-segmentation" if kind == "masks" else "quick-detection"
    recipe = load_recipe(name, {**settings, "head": head, **changes})
    ref = DataRef.of(f"{kind}:{data / kind}")
    return TrainRequest(spec=spec, data=ref, recipe=recipe, seed=3, out=out, compute=Compute(), weights=weights)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """Return a function from a head to its training, which nothing disturbed."""
    done, folder = {}, tmp_path_factory.mktemp("whole")

    def trained(head):
        if head not in done:
            before = torch.get_num_threads()
            torch.set_num_threads(1)
            done[head] = run(request_for(folder / head, data, head))
            torch.set_num_threads(before)
        return done[head]

    return trained


@pytest.mark.parametrize("head", HEADS)
def test_a_training_runs_to_its_end_and_learns(whole, head):
    result = whole(head)
    rows, measure = metrics(result.out), {"fcn": "mIoU", "mask-rcnn": "mask AP", "retinanet": "box AP"}[head]
    assert len(rows) == load_request(result.out).recipe.epochs
    assert rows[-1]["loss"] < 0.9 * rows[0]["loss"]
    assert all(next(iter(row["measures"])) == measure for row in rows)
    assert all(max(row["accuracy"], row["ema_accuracy"] or 0) == row["measures"][measure] for row in rows)
    assert rows[-1]["train_accuracy"] is not None
    assert checkpoints.read(result.out).model().head == head


def test_a_segmenter_tells_coloured_areas_apart(whole):
    """By chance, or with one class everywhere, the mean IoU of these three classes is below 0.2."""
    assert whole("fcn").best_accuracy > 0.5


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("steps", [1, 4])
def test_a_training_cut_off_inside_an_epoch_continues_to_the_same_bits(whole, data, tmp_path, head, steps):
    request = request_for(tmp_path / "cut", data, head, saving={"minutes": ALWAYS})
    with pytest.raises(CutOffError):
        run(request, steps=steps)
    with pytest.raises(CutOffError):
        run(request, resume=True, steps=3)
    assert_same_run(run(request, resume=True).out, whole(head).out)


@pytest.mark.parametrize("head", ["fcn", "mask-rcnn"])
def test_a_training_that_is_killed_continues_to_the_same_bits(data, tmp_path, head):
    """Its images are read by worker processes, and those of the undisturbed training by none."""
    out, recipe, arch = tmp_path / "killed", tmp_path / "recipe.yaml", tmp_path / "arch.yaml"
    asked = request_for(out, data, head, epochs=12, saving={"minutes": ALWAYS})
    recipe.write_text(dump_yaml(to_mapping(asked.recipe)))
    arch.write_text(SPEC.to_yaml())
    given = ["train", arch, "--data", asked.data, "--recipe", recipe, "--seed", 3, "--out", out, "--tune", "off"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [*COMMAND, *map(str, given), "--device", "cpu"], env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait(LIMIT) == -signal.SIGKILL, "ended before it was killed"
    finally:
        process.kill()
        process.communicate()
    assert 2 <= checkpoints.read(out).epoch < 12
    resumed = [*COMMAND, "train", "--resume", str(out), "--device", "cpu"]
    subprocess.run(resumed, env=environment, capture_output=True, check=True, timeout=LONG)
    assert_same_run(out, run(dataclasses.replace(load_request(out), out=tmp_path / "undisturbed")).out)


def test_a_training_counted_in_steps_ends_after_them(data, tmp_path):
    result = run(request_for(tmp_path / "run", data, "fcn", epochs=0, steps=4, warmup=0))
    assert result.metrics[0]["lr"] > 0 and len(result.metrics) == load_request(result.out).recipe.epochs == 2
    with prepared(load_request(result.out), CPU, resume=True) as training:
        per_epoch = training.trainer.steps_per_epoch
    whole, last = result.metrics
    assert per_epoch == 3 and whole["lr"] > last["lr"] > 0  # the second epoch has one step


def test_the_head_learns_at_a_rate_of_its_own(data, tmp_path):
    with prepared(request_for(tmp_path / "run", data, "fcn", head_lr=10.0), CPU) as training:
        trainer = training.trainer
        rates = []
        trainer.run_epoch(lambda: rates.append([group["lr"] for group in trainer.optimizer.param_groups]))
        backbone = {id(each) for each in backbone_of(trainer.network).parameters()}
        inside = [{id(each) in backbone for each in group["params"]} for group in trainer.optimizer.param_groups]
    assert len(rates) >= 3 and all(inside)
    for found in rates:
        own = {rate for rate, parts in zip(found, inside, strict=True) if parts == {True}}
        head = {rate for rate, parts in zip(found, inside, strict=True) if parts == {False}}
        assert len(own) == len(head) == 1 and min(own) > 0
        assert max(head) == pytest.approx(10 * max(own))


# Weights to start from


def classifier(folder, spec=SPEC):
    """Return the file of a classifier's weights, with statistics of batch norms that no network starts from."""
    torch.manual_seed(5)
    network = build(spec, 10)
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, 16, 16) + 1)
    torch.save(network.state_dict(), folder / "classifier.pth")
    return folder / "classifier.pth"


PLACES = {"fcn": "model.backbone.", "mask-rcnn": "model.backbone.body.", "retinanet": "model.backbone.body."}


@pytest.mark.parametrize("head", HEADS)
def test_frozen_batch_norms_keep_what_the_weights_bring(data, tmp_path, head):
    file = classifier(tmp_path)
    request = request_for(tmp_path / "run", data, head, frozen_bn=True, epochs=1, weights=str(file))
    before, after = torch.load(file), weights(run(request).out)["weights"]["raw"]
    norms = {key.rpartition(".")[0] for key in before if key.endswith("running_mean")}
    kept = {key for key in before if key.rpartition(".")[0] in norms and not key.endswith("num_batches_tracked")}
    assert len(kept) == 4 * len(norms) > 20
    assert all(torch.equal(after[PLACES[head] + key], before[key]) for key in kept)
    others = [key for key in before if key not in kept and key.endswith("weight") and not key.startswith("fc.")]
    assert sum(not torch.equal(after[PLACES[head] + key], before[key]) for key in others) == len(others)


@pytest.mark.parametrize("head", ["fcn", "retinanet"])
def test_split_attention_trains_on_single_images_with_frozen_batch_norms(data, tmp_path, head):
    file = str(classifier(tmp_path, SPLIT))
    request = request_for(tmp_path / "run", data, head, SPLIT, file, frozen_bn=True, batch=1, epochs=1)
    assert run(request).last.loss > 0


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Return the run of a classifier that nxt trained."""
    out = tmp_path_factory.mktemp("digits") / "run"
    recipe = load_recipe("quick", {"epochs": 1, "warmup": 0, "batch": 256, "size": 8, "ema": 0.5})
    request = TrainRequest(
        spec=SPEC, data=DataRef("digits"), recipe=recipe, seed=0, out=out, compute=Compute(), tune=False
    )
    return run(request).out


@pytest.mark.parametrize("head", HEADS)
def test_a_classifier_of_nxt_lands_in_the_network_under_the_head(data, digits, tmp_path, head):
    notes = []
    request = request_for(tmp_path / "run", data, head, weights=str(digits))
    with prepared(request, CPU, watcher=Watcher(note=notes.append)) as training:
        found = backbone_of(training.trainer.network).state_dict()
    before = {key: value for key, value in checkpoints.read(digits).network().state_dict().items() if key[:3] != "fc."}
    assert found.keys() == before.keys()
    assert all(torch.equal(found[key], before[key]) for key in found)
    assert any(note.startswith("started from ") for note in notes)


def test_weights_of_another_network_are_refused_in_a_line(data, digits, tmp_path):
    request = request_for(tmp_path / "run", data, "retinanet", SPEC.replace(depths=(2, 1)), str(digits))
    with pytest.raises(CheckpointError, match=r"not the weights of .*layer1\.1.*") as caught:
        run(request)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


# Images that cannot be judged or read


def test_validation_images_without_objects_are_told(tmp_path):
    contents = coco_scenes(tmp_path / "coco", ("train", "val", "test"), count=4)
    write(tmp_path / "coco", "val", {**contents["val"], "annotations": []})
    with pytest.raises(DataError, match="no image that is judged has an object; hold out others, or more of them"):
        run(request_for(tmp_path / "run", tmp_path, "retinanet", epochs=1))


def test_validation_masks_without_a_class_are_told(tmp_path):
    mask_scenes(tmp_path / "masks", ("train", "val", "test"))
    for file in (tmp_path / "masks" / "val" / "masks").iterdir():
        Image.new("L", (24, 18), 255).save(file)
    with pytest.raises(DataError, match="all pixels of the images that are judged are ignored"):
        run(request_for(tmp_path / "run", tmp_path, "fcn", epochs=1))


def test_images_that_cannot_be_read_end_a_training_or_are_left_out(tmp_path):
    coco_scenes(tmp_path / "coco", count=7)
    bad = tmp_path / "coco" / "train" / "2.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=r"2\.png.*`skip_bad`"):
        run(request_for(tmp_path / "one", tmp_path, "retinanet", epochs=1))
    notes = []
    request = dataclasses.replace(request_for(tmp_path / "two", tmp_path, "retinanet", epochs=1), skip_bad=True)
    with prepared(request, CPU, watcher=Watcher(note=notes.append)) as training:
        training.run()
    assert sum(note.startswith("left out: ") and "2.png" in note for note in notes) == 1


# Two workers: processes on one machine, without Ray


def without_dropout(request, ranks):
    """Train; nothing is dropped, for which each worker draws by itself."""
    with prepared(request, CPU, ranks=ranks) as training:
        for module in training.trainer.network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        training.run()
    return metrics(request.out)


def part(rank, folder, requests):
    """What one of two processes does."""
    torch.set_num_threads(1)
    stream.default_workers = lambda processes=1: 0
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    for request in requests:
        without_dropout(request, Ranks(rank, 2))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def pairs(data, tmp_path_factory):
    """Return trainings by two workers, two of each of two heads that were asked the same: requests by head."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "meet").mkdir()
    alike = {"sync_bn": True, "aux": 0, "ema": 0, "scene": {"scale": [1.0, 1.0], "longest": 64}}
    found = {
        "fcn": request_for(folder / "one", data, "fcn", batch=4, epochs=4, **alike),
        "mask-rcnn": request_for(folder / "one", data, "mask-rcnn", batch=4, epochs=2),
    }
    made = {
        head: [dataclasses.replace(request, workers=2, out=folder / f"{head}-{n}") for n in range(2)]
        for head, request in found.items()
    }
    processes.spawn(part, (str(folder / "meet"), [each for both in made.values() for each in both]), 2)
    return made


@pytest.mark.parametrize("head", ["fcn", "mask-rcnn"])
def test_two_workers_have_the_same_losses_in_each_run(pairs, head):
    first, second = (metrics(request.out) for request in pairs[head])
    assert first == second and len(first) == pairs[head][0].recipe.epochs


def test_two_workers_with_joint_batch_norms_have_the_losses_of_one(pairs, tmp_path):
    """Of pixels that are ignored there are as many in each image here; the mean over workers is that over pixels."""
    request = dataclasses.replace(pairs["fcn"][0], workers=1, out=tmp_path / "one")
    one, two = (
        [row["loss"] for row in rows] for rows in (without_dropout(request, Ranks()), metrics(pairs["fcn"][0].out))
    )
    assert two[0] == pytest.approx(one[0], rel=1e-4)  # in single precision, and a small difference grows
    assert two == pytest.approx(one, rel=1e-2)
