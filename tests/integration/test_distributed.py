"""One training on several devices: the same losses as on one, also through the death of a worker and a stop.

The devices are processes on CPUs, which Ray Train starts as it would start those with a GPU each.
"""

import dataclasses
import json
import os
import signal
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from jobs import Training, marked
from near import assert_near
from torch import nn

from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.compute.ranks import Ranks
from nxt.compute.sync_bn import SyncBatchNorm2d, synchronised
from nxt.data.augment import Augment
from nxt.data.dataset import Split, load_train
from nxt.data.ref import DataRef
from nxt.data.resident import Batches
from nxt.data.sources import open_source
from nxt.models.network import build
from nxt.tasks.classification import evaluate
from nxt.train import checkpoint as checkpoints
from nxt.train.engine.open import prepared
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe
from nxt.train.request import load_request

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 8, "depths": [1, 1], "widths": [32, 64], "cardinality": 2, "base_width": 4}
)
EPOCHS = 6
CPU = torch.device("cpu")
LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


pytestmark = pytest.mark.usefixtures("one_thread")


# Two processes without Ray: batch norm over the images of both, and the loop, in double precision

WORLD = 2
MOMENTA = (0.1, None)
LOOP = Recipe(
    epochs=2, batch=32, accumulate=2, lr=0.05, clip=0.5, ema=0.9, sync_bn=True, label_smoothing=0.1,
    augment=Augment(shift=0.1, rotate=10, erase=0.3),
)  # fmt: skip


def norm_of(momentum):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5, momentum=momentum).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def batches():
    generator = torch.Generator().manual_seed(1)
    for scale in (1.0, 3.0, 0.2):
        yield 2 + scale * torch.randn(6, 5, 4, 3, generator=generator, dtype=torch.float64)


def loss_of(output):
    return (output * output.roll(1, 2)).sin().sum()


def norm_in_part(rank, momentum):
    """Train a few steps of BN on a part of the images; return what came out at each step, and at the end."""
    norm, rows = norm_of(momentum), []
    norm.__class__ = SyncBatchNorm2d
    for images in batches():
        own = images.chunk(WORLD)[rank].clone().requires_grad_()
        output = norm(own)
        norm.zero_grad()
        loss_of(output).backward()
        for parameter in norm.parameters():
            dist.all_reduce(parameter.grad)
        rows.append((output.detach(), own.grad, norm.weight.grad.clone(), norm.bias.grad.clone()))
    norm.eval()
    return rows, norm.state_dict(), norm(next(batches())).detach()


@dataclasses.dataclass
class Double:
    """Images in double precision; see `nxt.data.resident.Images`."""

    images: Batches

    def __post_init__(self):
        self.preprocess, self.device = self.images.preprocess, self.images.device
        self.waited = 0.0

    def __len__(self):
        return len(self.images)

    def train(self, *given):
        return ((images.double(), labels) for images, labels in self.images.train(*given))

    def plain(self, *given):
        return ((images.double(), labels) for images, labels in self.images.plain(*given))


def trained(ranks):
    """Train two epochs on 200 digits; return the reports and the weights."""
    data = load_train(open_source(DataRef("digits")), 8)
    preprocess = LOOP.preprocess(8, data.mean, data.std)
    few = (Split(split.images[:200], split.labels[:200]) for split in (data.train, data.val))
    train, val = (Double(Batches(split, preprocess, CPU)) for split in few)
    torch.manual_seed(0)
    network = build(SPEC, 10).double()
    if ranks.world > 1:
        network = synchronised(network, CPU)
    trainer = Trainer(network, train, val, LOOP, seed=3, ranks=ranks)
    return [trainer.run_epoch() for _ in range(LOOP.epochs)], trainer.state()["weights"]


def part(rank, folder, request):
    """What one of two processes does: everything above, or the training that is asked for."""
    torch.set_num_threads(1)
    warnings.simplefilter("error", FutureWarning)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    if request is None:
        found = [norm_in_part(rank, momentum) for momentum in MOMENTA], trained(Ranks(rank, WORLD))
        torch.save(found, f"{folder}/{rank}.pt")
    else:
        with prepared(request, CPU, ranks=Ranks(rank, WORLD)) as training:
            training.run()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    processes.spawn(part, (str(folder), None), WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.mark.parametrize("momentum", MOMENTA)
def test_batch_norm_of_two_workers_is_that_of_their_images_together(parts, momentum):
    found = [norms[MOMENTA.index(momentum)] for norms, _ in parts]
    norm = norm_of(momentum)
    for step, images in enumerate(batches()):
        images.requires_grad_()
        output = norm(images)
        norm.zero_grad()
        loss_of(output).backward()
        shares = [rows[step] for rows, _, _ in found]
        for together, own in (output, [share[0] for share in shares]), (images.grad, [share[1] for share in shares]):
            assert_near(torch.cat(own), together)
        for share in shares:
            assert_near(share[2], norm.weight.grad)
            assert_near(share[3], norm.bias.grad)
    norm.eval()
    for _, state, judged in found:
        assert state.keys() == norm.state_dict().keys()
        for key, value in norm.state_dict().items():
            if value.is_floating_point():
                assert_near(state[key], value)
            else:
                assert torch.equal(state[key], value), key
        assert_near(judged, norm(next(batches())))


def test_two_workers_train_the_network_that_one_trains(parts):
    reports, weights = trained(Ranks())
    for _, (others, found) in parts:
        for report, other in zip(reports, others, strict=True):
            assert other.loss == pytest.approx(report.loss, abs=1e-6)  # it is told in single precision
            assert (other.epoch, other.lr) == (report.epoch, report.lr)
            assert (other.accuracy, other.ema_accuracy) == (report.accuracy, report.ema_accuracy)
        for kind in ("raw", "ema"):
            assert found[kind].keys() == weights[kind].keys()
            for key, value in weights[kind].items():
                if value.is_floating_point():
                    assert_near(found[kind][key], value)
                else:
                    assert torch.equal(found[kind][key], value), (kind, key)


def test_a_network_with_joint_batch_norm_keeps_its_keys_and_weights():
    network = build(SPEC, 10)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    norms = sum(type(module) is nn.BatchNorm2d for module in network.modules())
    joint = synchronised(network, CPU)
    assert sum(type(module) is SyncBatchNorm2d for module in joint.modules()) == norms > 5
    assert joint.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in joint.state_dict().items())
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(joint.eval()(images), build_with(before)(images))  # without the others, where nothing trains


def build_with(weights):
    network = build(SPEC, 10)
    network.load_state_dict(weights)
    return network.eval()


# Whole trainings


def start(out, *extra, workers=2, epochs=EPOCHS):
    arch = out.with_name("arch.yaml")
    arch.write_text(SPEC.to_yaml())
    given = [arch, "--size", 8, "--epochs", epochs, "--set", "sync_bn=true", "--set", "lr=0.02", "--workers", workers]
    return Training(out, *given, "--out", out, "--device", "cpu", "--tune", "off", *extra)


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def exposed(job):
    """Return the processes of a job that listen on more than the loopback address."""
    sockets = {}
    for number, line in marked(job.mark).items():
        try:
            for entry in Path(f"/proc/{number}/fd").iterdir():
                sockets[str(entry.readlink())] = line
        except OSError:
            continue  # it is gone
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    listening = [row for row in rows if row[3] == "0A" and row[1].split(":")[0] not in LOOPBACK]
    return {sockets[f"socket:[{row[9]}]"] for row in listening if f"socket:[{row[9]}]" in sockets}


@pytest.fixture(scope="module")
def journey(tmp_path_factory):
    """A training by two workers; one is killed, it goes on by itself, is asked to stop, and goes on once more."""
    out, seen = tmp_path_factory.mktemp("journey") / "run", {}
    with start(out) as job:
        job.until(lambda: "epoch 1/" in job.text())
        seen["exposed"], seen["workers"] = exposed(job), job.workers()
        os.kill(seen["workers"][0], signal.SIGKILL)
        job.until(lambda: f"epoch 3/{EPOCHS}" in job.text())
        job.process.send_signal(signal.SIGTERM)
        seen["code"], seen["out"] = job.ended()
        seen["log"] = job.text()
    seen["stopped"] = checkpoints.read(out)
    with Training(out, "--resume", out, "--device", "cpu", "--json") as job:
        code, text = job.ended()
        assert code == 0, job.text()
        seen["told"], seen["resumed"] = json.loads(text), job.text()
    return out, seen


@pytest.fixture(scope="module")
def whole(tmp_path_factory, journey):
    """The same training by two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    request = dataclasses.replace(load_request(journey[0]), out=folder / "run")
    processes.spawn(part, (str(folder), request), WORLD)
    return request.out


def test_a_training_whose_worker_is_killed_goes_on_by_itself(journey):
    _, seen = journey
    assert len(seen["workers"]) == 2 and "batch 32 (2 workers x 16)" in seen["log"]
    assert seen["log"].count("a worker died; going on from the last checkpoint") == 1
    assert seen["log"].count(f"epoch 1/{EPOCHS}") == 1 and "Traceback" not in seen["log"]


def test_a_training_of_several_workers_that_is_asked_to_stop_saves_and_says_how_to_go_on(journey):
    out, seen = journey
    assert (seen["code"], seen["out"]) == (128 + signal.SIGTERM, "")
    last = seen["log"].splitlines()[-1]
    assert last.endswith(f"; its state is saved. Go on with: nxt train --resume {out} --device cpu")
    stopped = seen["stopped"]
    step = stopped.state["step"]
    where = f"in epoch {stopped.epoch + 1}, after step {step}" if step else f"after epoch {stopped.epoch}"
    assert 3 <= stopped.epoch < EPOCHS and last.startswith(f"Stopped {where}; ")
    assert not (out / ".stop").exists()


def test_through_all_of_this_it_ends_as_if_nothing_had_happened(journey, whole):
    out, seen = journey
    assert f"epoch {EPOCHS}/{EPOCHS}" in seen["resumed"] and f"epoch 3/{EPOCHS}" not in seen["resumed"]
    for name in ("last.pt", "best.pt"):
        a, b = (checkpoints.read(run / "checkpoints" / name).state["weights"]["raw"] for run in (out, whole))
        assert all(torch.equal(value, b[key]) for key, value in a.items())
    kinds = ("epoch", "accuracy", "lr")
    disturbed, undisturbed = ([{k: row[k] for k in kinds} for row in metrics(run)] for run in (out, whole))
    assert disturbed == undisturbed and [row["epoch"] for row in disturbed] == list(range(1, EPOCHS + 1))


def test_the_loss_of_an_epoch_that_was_stopped_inside_is_that_of_all_workers(journey, whole):
    disturbed, undisturbed = ([row["loss"] for row in metrics(run)] for run in (journey[0], whole))
    assert disturbed == pytest.approx(undisturbed, rel=1e-6)


def test_two_workers_have_the_losses_of_one(whole, tmp_path):
    request = dataclasses.replace(load_request(whole), workers=1, out=tmp_path / "one")
    assert load_request(whole).workers == 2
    with prepared(request, CPU) as training:
        training.run()
    two, one = ([row["loss"] for row in metrics(run)] for run in (whole, tmp_path / "one"))
    assert len(two) == len(one) == EPOCHS and two[-1] < two[0]
    assert two[0] == pytest.approx(one[0], rel=1e-4)  # in single precision, and a small difference grows
    assert two == pytest.approx(one, rel=1e-2)


def test_what_two_workers_trained_is_a_checkpoint_like_any_other(journey):
    out, seen = journey
    last, told = metrics(out)[-1], seen["told"]
    assert (told["epochs"], told["accuracy"], told["split"]) == (EPOCHS, last["accuracy"], "val")
    found = checkpoints.read(out)
    images = Batches(load_train(open_source(DataRef("digits")), 8).val, found.preprocess, CPU)
    accuracy = evaluate(found.network(), images, 32, Compute(), Ranks())
    assert accuracy == pytest.approx(last["accuracy"], abs=1.01 / len(images)) and accuracy > 0.2
    names = {path.name for path in out.iterdir()}
    assert {"run.yaml", "metrics.jsonl", "card.yaml", "CARD.md", "checkpoints"} <= names
    assert {path.name for path in out.parent.iterdir() if path.suffix != ".log"} == {"run", "arch.yaml"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel's list of sockets is read from /proc")
def test_no_process_of_a_training_listens_to_other_machines(journey):
    assert journey[1]["exposed"] == set()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["TrainController", "QueueActor"])
def test_the_death_of_a_process_of_rays_own_is_overcome_or_told_in_words(tmp_path, victim):
    with start(tmp_path / "run") as job:
        job.until(lambda: "epoch 1/" in job.text())
        for number, line in marked(job.mark).items():
            if line.startswith("ray::") and victim in line:
                os.kill(number, signal.SIGKILL)
        code, _ = job.ended()
        assert code in (0, 1) and "Traceback" not in job.text()
        assert code == 0 or job.text().splitlines()[-1].startswith("nxt: ")


def test_more_workers_than_there_are_devices_are_refused_in_one_line(tmp_path):
    with start(tmp_path / "run", "--set", "batch=198", workers=99) as job:
        assert job.ended() == (1, "")
        [line] = job.text().splitlines()
        assert line.startswith("nxt: --workers 99: there are ") and line.endswith(" CPUs here, one for each; use fewer")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_a_worker_finds_wrong_is_one_line(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("x")
    with start(tmp_path / "run") as job:
        assert job.ended() == (1, "")
        [line] = job.text().splitlines()
        assert line.startswith(f"nxt: {tmp_path / 'run'}: exists already; choose another --out, or continue that run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]
