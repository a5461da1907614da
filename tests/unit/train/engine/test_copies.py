"""What a step of a training asks of a GPU beside computing: few copies, which are not waited for, and no reads.

The meta device stands for the GPU: it has shapes but no values, so that whatever reads a value raises.
"""

import ast
import inspect
import textwrap

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nxt.arch.spec import ArchSpec
from nxt.compute.accelerator import Accelerator, accelerator
from nxt.compute.mode import Compute
from nxt.data import resident, stream
from nxt.data.augment import Augment
from nxt.data.dataset import Split
from nxt.data.draw import Draw
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.data.resident import _AHEAD, Batches
from nxt.data.sources import open_source
from nxt.data.stream import Stream
from nxt.models.network import build
from nxt.tasks.classification import Classification
from nxt.tasks.detection import Detection
from nxt.tasks.segmentation import Segmentation
from nxt.train.engine import optim, trainer
from nxt.train.recipe import Recipe

META = torch.device("meta")
KINDS = {
    "plain": Augment(),
    "picked": Augment(shift=0.125, mirror=True),
    "affine": Augment(crop_area=0.3, rotate=20, zoom=0.2, mirror=True, shift=0.1),
    "jitter": Augment(jitter=0.4),
    "lighting": Augment(lighting=0.1),
    "erase": Augment(erase=0.5),
    "all": Augment(crop_area=0.3, shift=0.1, rotate=20, zoom=0.2, mirror=True, jitter=0.4, lighting=0.1, erase=0.5),
}


class Meta(Accelerator):
    """A GPU of which only shapes are known."""

    is_gpu = True

    def upload(self, tensor):
        return tensor.to(self.device, non_blocking=True)


class Copies(TorchDispatchMode):
    """Counts the operations that take something from the CPU to the GPU, and those of them that are waited for."""

    def __init__(self):
        super().__init__()
        self.all = self.waited_for = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given, made = ({t.device.type for t in tree_leaves(x) if isinstance(t, torch.Tensor)} for x in (args, result))
        if "cpu" in given and "meta" in made:
            self.all += 1
            self.waited_for += not kwargs.get("non_blocking", False)
        return result


@pytest.fixture(autouse=True)
def gpu():
    """Has the meta device answered for as if it were a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (resident, stream):
            patch.setattr(module, "accelerator", lambda device: Meta(device) if device == META else accelerator(device))
        yield


def how(size=16, crop=1.0):
    return Preprocess(size=size, crop=crop, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def batches(count, side=16, room=None, **kind):
    split = Split(np.zeros((count, 3, side, side), dtype=np.uint8), np.arange(count))
    return Batches(split, how(**kind), META, room)


def copies(steps):
    """Returns how many copies each step made, and how many were waited for in all."""
    counts, waited_for = [], 0
    while True:
        with Copies() as found:
            batch = next(steps, None)
        if batch is None:
            return counts, waited_for
        assert all(tensor.device == META for tensor in batch)
        counts.append(found.all)
        waited_for += found.waited_for


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("side", "crop"), [(16, 1.0), (20, 0.8), (12, 1.0)])
def test_a_step_on_resident_images_copies_nothing_and_an_epoch_little(kind, side, crop):
    images = batches(4 * (_AHEAD + 8), side, crop=crop)
    counts, waited_for = copies(images.train(Draw(batch=4, augment=KINDS[kind], seed=1), 0))
    assert counts == [1] + [0] * (_AHEAD - 1) + [1] + [0] * 7
    assert waited_for == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_on_images_in_main_memory_copies_them_and_nothing_else(kind):
    counts, waited_for = copies(batches(40, room=1).train(Draw(batch=4, augment=KINDS[kind], seed=1), 0))
    assert counts == [2] + [1] * 9  # the first one, also all that was drawn
    assert waited_for == 0


@pytest.mark.parametrize(("room", "each"), [(None, 0), (1, 1)])
def test_evaluation_copies_labels_once(room, each):
    counts, waited_for = copies(batches(40, room=room).plain(16))
    assert counts == [1 + each] + [each] * 2 or counts == [each, each, each]
    assert waited_for == 0


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set")  # torch looks for an accelerator of its own
def test_a_step_on_streamed_images_copies_them_alone():
    images = Stream(open_source(DataRef("digits")), "train", np.arange(40), how(8), META, workers=0)
    for steps in (images.train(Draw(batch=8, augment=Augment(), seed=1), 0), images.plain(8)):
        counts, waited_for = copies(steps)
        assert counts == [2] + [1] * 4 and waited_for == 0


@pytest.mark.parametrize("changes", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=str)
@pytest.mark.parametrize("name", ["cross-entropy", "bce"])
def test_mixing_and_the_loss_copy_nothing(changes, name):
    objective = Classification(Recipe(epochs=1, batch=8, lr=0.1, loss=name, **changes), 7)
    images, labels = torch.empty(8, 3, 16, 16, device=META), torch.zeros(8, dtype=torch.int64, device=META)
    for seed in range(10):
        torch.manual_seed(seed)
        with Copies() as found:
            mixed, targets = objective.mix(images, labels)
            objective.loss(torch.empty(8, 7, device=META), targets)
        assert mixed.device == targets.device == META and found.all == 0


READS = {"item", "tolist", "cpu", "numpy", "nonzero", "int", "float", "bool", "is_nonzero", "equal", "masked_select"}
STEP = [
    (resident.Batches, ["train", "plain", "_changed", "_resized", "_mapped", "_picked", "_recoloured", "_erased"]),
    (resident.Normalised, ["__call__", "back"]),
    (stream.Stream, ["_given"]),
    (Classification, ["prepared", "loss_of", "mix", "loss"]),
    (Segmentation, ["prepared", "loss_of", "_loss"]),
    (Detection, ["prepared", "loss_of"]),
    (optim.MovingAverage, ["update"]),
    (trainer.Trainer, ["_step", "_backward", "_pass"]),
]
ON_CPU = {"int(torch.randint(len(self._mixes), ()))", "batch.numpy()"}  # of values that are drawn there


def reads(source):
    """Returns the calls in source code that bring a tensor's values to Python."""
    calls = [node for node in ast.walk(ast.parse(textwrap.dedent(source))) if isinstance(node, ast.Call)]
    found = [call for call in calls if getattr(call.func, "attr", getattr(call.func, "id", "")) in READS]
    return {ast.unparse(call) for call in found} - ON_CPU


@pytest.mark.parametrize(("owner", "names"), STEP, ids=lambda value: getattr(value, "__name__", ""))
def test_no_function_of_a_step_reads_from_the_device(owner, names):
    assert {name: reads(inspect.getsource(getattr(owner, name))) for name in names} == {name: set() for name in names}


def test_the_walk_finds_reads():
    assert reads("def f(x):\n    return int(x.sum()), x.tolist(), len(x)") == {"int(x.sum())", "x.tolist()"}


class Reads(TorchDispatchMode):
    """Counts the values that are brought to Python."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **(kwargs or {}))


def small(precision="fp32", **changes):
    """Returns a trainer on the CPU, where reads can be seen as they are made by optimizers and so on."""
    torch.manual_seed(0)
    spec = ArchSpec(stem="cifar", stem_width=4, depths=(1, 1), widths=(16, 32), cardinality=2, base_width=2)
    network = build(spec, 3)
    network.regularize(dropout=0.1, drop_block=0.1, stochastic_depth=0.1)
    split = Split(np.zeros((64, 3, 8, 8), dtype=np.uint8), np.arange(64) % 3)
    images = Batches(split, how(8), torch.device("cpu"))
    recipe = Recipe(**{"epochs": 1, "batch": 8, "lr": 0.1, "augment": KINDS["all"], **changes})
    return trainer.Trainer(network, images, images, recipe, 0, compute=Compute(precision=precision))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "changes",
    [{"clip": 1.0, "ema": 0.9}, {"optimizer": "adamw", "ema": 0.9}, {"accumulate": 2}],
    ids=str,
)
def test_no_part_of_a_step_reads_a_value(precision, changes):
    made = small(precision, **changes)
    passes = made.train_images.train(made._draw, 0)
    made._step(passes)  # draws what is to come on the CPU, too
    for _ in range(2):
        with Reads() as reads:
            made._step(passes)
        assert reads.found == 0


def test_calibration_reads_no_counters(monkeypatch):
    made = small(calibrate=64)
    prepared = list(made.train_images.train(Draw(batch=16, augment=Augment(), seed=0), 0))
    monkeypatch.setattr(made.train_images, "train", lambda *_: iter(prepared))
    with Reads() as reads:
        made._calibrate(made.network, lambda: None)
    assert reads.found == 0


def test_waiting_is_the_time_of_the_cpu_until_images_can_be_sent(monkeypatch):
    """On a clock that goes on only where work is done: drawing and reading take 1 s each, the GPU's part 100 s."""
    now = [0.0]

    def taking(seconds, run):
        def slow(*given):
            now[0] += seconds
            return run(*given)

        return slow

    monkeypatch.setattr(resident.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(resident, "changes", taking(1, resident.changes))
    monkeypatch.setattr(Batches, "_picked", taking(100, Batches._picked))
    monkeypatch.setattr(Meta, "upload", taking(100, Meta.upload))
    images = batches(40)
    assert len(list(images.train(Draw(batch=4, augment=Augment(), seed=1), 0))) == 10
    assert images.waited == 10
    read = Stream(open_source(DataRef("digits")), "train", np.arange(40), how(8), torch.device("cpu"), workers=0)
    monkeypatch.setattr(read._read, "map", lambda tasks: map(taking(1, lambda _: torch.zeros(8, 3, 8, 8)), tasks))
    monkeypatch.setattr(read, "_normalised", taking(100, read._normalised))
    assert len(list(read.train(Draw(batch=8, augment=Augment(), seed=1), 0))) == 5
    assert read.waited == 5
