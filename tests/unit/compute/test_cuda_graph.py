"""Recorded passes: the numbers are those of eager ones, and eager ones are used wherever recording does not work.

The stand-in for a GPU records operations and replays them on the same memory, as a CUDA graph does.
"""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
import stand_in
import torch

from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import accelerator
from nxt.compute.cuda_graph import RecordingError, Replayed, _near
from nxt.compute.devices import choose
from nxt.compute.mode import Compute, for_proxy
from nxt.data.dataset import Split
from nxt.data.preprocess import Preprocess
from nxt.data.resident import Batches
from nxt.models.network import build
from nxt.train.engine.trainer import Trainer
from nxt.train.recipe import Recipe

SPEC = ArchSpec(stem="cifar", stem_width=4, depths=(1, 2), widths=(16, 32), cardinality=2, base_width=2)
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    stand_in.plug_in(monkeypatch)
    yield choose("cuda")
    stand_in.unplug()


def trained(device, epochs=2, mixup=0.0, dropout=0.1, count=192, record=None, **changes):
    """Trains on a device, with recorded passes where it is a GPU; `record` takes the place of its recording."""
    torch.manual_seed(0)
    network = build(SPEC, 3)
    network.regularize(dropout=dropout, drop_block=0.1, stochastic_depth=0.1)
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), rng.integers(0, 3, count))
    data = Batches(split, Preprocess(size=8, mean=(0.5,) * 3, std=(0.25,) * 3), device)
    recipe = Recipe(epochs=epochs, batch=32, lr=0.05, momentum=0.9, mixup=mixup, drop_block=0.1, **changes)
    with pytest.MonkeyPatch.context() as patch:
        if record is not None:
            patch.setattr(stand_in.StandIn, "record", record)
        made = Trainer(network, data, data, recipe, seed=1, compute=Compute(channels_last=False, graph=device != CPU))
        reports = [dataclasses.replace(made.run_epoch(), seconds=0, images_per_second=0, wait=0) for _ in range(epochs)]
    return made, reports, network.state_dict()


def counted(spoil=0.0):
    """Returns a recording that counts its replays, and one that adds to the gradients what it should not."""
    replays = []

    class Spoiled(stand_in.Tape):
        def replay(self):
            replays.append(1)
            super().replay()
            for tensor in self.gradients:
                tensor.mul_(1 + spoil)

    def record(self, run):
        tape = Spoiled()
        with tape:
            loss = run()
        tape.gradients = [loss] if spoil else []
        return tape, loss

    return record, replays


@pytest.mark.parametrize("changes", [{}, {"mixup": 0.2}, {"clip": 0.5}, {"ema": 0.9}], ids=str)
def test_recorded_passes_give_the_same_bits_as_eager_ones(gpu, changes):
    _, reports, weights = trained(CPU, **changes)
    record, replays = counted()
    made, recorded_reports, recorded = trained(gpu, record=record, **changes)
    assert made._replayed.replaying and len(replays) == 12 - 3
    assert made.remark == ""
    assert recorded_reports == reports
    assert all(torch.equal(recorded[key], value) for key, value in weights.items())


def test_a_pass_that_cannot_be_recorded_is_an_error_since_the_process_is_of_no_more_use(gpu, monkeypatch):
    monkeypatch.setattr(Trainer, "_pass", reads_a_value(Trainer._pass))
    with pytest.raises(RecordingError, match=r"could not be recorded .*capturing"):
        trained(gpu)


def reads_a_value(run):
    def reading(self, images, targets):
        loss = run(self, images, targets)
        float(loss)
        return loss

    return reading


def test_running_out_of_memory_while_recording_is_told_as_that(gpu):
    def full(self, run):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        trained(gpu, record=full)


def test_a_recording_that_gives_other_gradients_is_not_used(gpu):
    _, reports, weights = trained(CPU)
    record, replays = counted(spoil=0.1)
    made, recorded_reports, recorded = trained(gpu, record=record)
    assert not made._replayed.replaying and len(replays) == 1
    assert made.remark == "a recorded pass gave other gradients than an eager one"
    assert recorded_reports == reports
    assert all(torch.equal(recorded[key], value) for key, value in weights.items())


def test_gradients_are_compared_as_one_vector():
    """In 16 bits reordered sums change a small gradient by much, and all of them together by little."""
    large, small = torch.full((100,), 1.0), torch.full((10,), 0.01)
    assert _near([large * 1.01, small * 1.5], [large, small])
    assert not _near([large * 1.1, small], [large, small])
    assert not _near([large, None], [large, small])


def test_nothing_holds_a_trainer_that_is_let_go(gpu):
    """A cycle would hold a GPU's memory until Python happens to collect it."""
    gc.disable()
    try:
        made, *_ = trained(gpu, ema=0.9)
        gone, graph_nodes = weakref.ref(made), weakref.ref(made._replayed)
        del made
        assert gone() is None and graph_nodes() is None
    finally:
        gc.enable()


def test_batches_of_another_shape_are_not_replayed(gpu):
    torch.manual_seed(0)
    network = build(SPEC, 3).eval()
    images, targets = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])

    def run(x, y):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        loss.backward()
        return loss.detach()

    record, replays = counted()
    passes = Replayed(network, accelerator(gpu))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stand_in.StandIn, "record", record)
        for count in (4, 4, 4, 4, 4, 3, 4):
            network.zero_grad()
            expected = torch.nn.functional.cross_entropy(network(images[:count]), targets[:count])
            torch.testing.assert_close(passes(run, images[:count], targets[:count]), expected.detach())
            assert all(p.grad is not None for p in network.parameters())
    assert len(replays) == 3  # when it was checked, and two more


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"accumulate": 4}], ids=str)
def test_steps_of_several_passes_stay_eager(gpu, changes):
    made, _, _ = trained(gpu, epochs=1, **changes)
    assert made._replayed is None and made.remark == ""


def test_proxies_are_recorded_on_a_gpu_alone(gpu):
    assert for_proxy(CPU) == Compute()
    assert for_proxy(gpu) == Compute(channels_last=False, precision="bf16", graph=True)
    assert str(Compute(graph=True)) == "channels last, fp32, CUDA graph"
