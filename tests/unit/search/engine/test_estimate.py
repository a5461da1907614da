"""What a search would cost: the memory of a real pass, and trials at a time from what the machine has."""

import pytest
import stand_in
import torch
from PIL import Image

from nxt.config import parse_settings
from nxt.data.ref import DataRef
from nxt.errors import DeviceError
from nxt.search.engine import estimate
from nxt.search.engine.search import prepare_search
from nxt.search.new_request import make_request
from nxt.space.budget import parse_budget
from nxt.space.load import load_space
from nxt.train.engine.trainer import Trainer

LARGE = 64 << 20


@pytest.fixture
def search(tmp_path):
    settings = parse_settings(["proxy.epochs=2", "proxy.share=0.5", "search.confirm=0"])
    request = make_request(load_space("smoke"), parse_budget({"flops": "5M:9M"}), "digits", 4, 0, settings)
    return prepare_search(request, tmp_path / "run")


@pytest.fixture
def gpus(monkeypatch):
    """Two stand-ins, and epochs of which the first computes and the second, which replays, allocates nothing."""
    stand_in.plug_in(monkeypatch, gpus=2, memory=1 << 30, context=5 << 20)
    done = []

    def epoch(trainer):
        if len(done) % 2 == 0:
            torch.zeros(LARGE // (1 + len(done)), dtype=torch.uint8, device=trainer.device)
        done.append(trainer.device)

    monkeypatch.setattr(Trainer, "run_epoch", epoch)
    monkeypatch.setattr(estimate.os, "cpu_count", lambda: 16)
    monkeypatch.setattr(estimate, "_start_of_a_process", lambda: 2.0)
    yield done
    stand_in.unplug()


def test_on_a_gpu_memory_is_that_of_a_pass_that_computes_all_images_and_the_process(search, gpus):
    data = search.squares().open()
    made = estimate.plan(search)
    assert len(gpus) == 2 * estimate._SAMPLES and made.memory_measured
    images = data.train.images.nbytes + data.val.images.nbytes
    weights = made.disk  # an upper bound of what the small networks add
    assert LARGE + images + (5 << 20) <= made.memory < LARGE + images + (6 << 20) + weights


def test_each_architecture_is_measured_without_the_one_before(search, gpus, monkeypatch):
    asked = []
    for name in ("release_memory", "reset_peaks", "peak_reserved"):
        real = getattr(stand_in.StandIn, name)
        monkeypatch.setattr(
            stand_in.StandIn, name, lambda gpu, real=real, name=name: (asked.append(name), real(gpu))[1]
        )
    estimate.plan(search)
    each = ["release_memory", "reset_peaks", "peak_reserved"] * estimate._SAMPLES
    assert asked[-len(each) :] == each  # after a look at each GPU


def test_trials_that_share_a_gpu_share_its_time(search, gpus):
    plans = {share: estimate.plan(search, gpus_per_trial=share) for share in (None, 0.3, 0)}
    assert {share: (made.workers, made.devices) for share, made in plans.items()} == {
        None: (16, 2),  # networks as small as these: as many on a GPU as may share its time
        0.3: (6, 2),
        0: (16, 16),
    }
    made = estimate.plan(search, workers=1)
    assert (made.workers, made.devices) == (1, 1)


def test_a_batch_smaller_than_the_probe_of_a_cpu_is_measured_on_a_gpu_too(tmp_path, gpus):
    settings = parse_settings(["proxy.epochs=2", "recipe.batch=2"])
    request = make_request(load_space("smoke"), parse_budget({"flops": "5M:9M"}), "digits", 4, 0, settings)
    assert estimate.plan(prepare_search(request, tmp_path / "run")).epoch_seconds > 0


def test_a_gpu_that_is_not_there_is_an_error(search):
    with pytest.raises(DeviceError, match=r"`gpus_per_trial` 0.5: there are no GPUs here"):
        estimate.plan(search, gpus_per_trial=0.5)


def test_without_a_gpu_for_trials_it_measures_on_the_cpu(search, gpus):
    made = estimate.plan(search, gpus_per_trial=0)
    assert made.device == "cpu" and not made.memory_measured and set(gpus) == {torch.device("cpu")}
    assert made.workers == made.devices == 16


@pytest.fixture
def clock(monkeypatch):
    """A clock that only epochs of training move: a second for each image; processes start in 2 seconds."""
    now = [0.0]
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(estimate, "_start_of_a_process", lambda: 2.0)
    monkeypatch.setattr(estimate.os, "cpu_count", lambda: 2)

    def epoch(trainer):
        trained.append((len(trainer.train_images), torch.get_num_threads()))
        now[0] += speed[0] * (len(trainer.train_images) + len(trainer.val_images) / 3)

    speed, trained = [1.0], []
    monkeypatch.setattr(Trainer, "run_epoch", epoch)
    return speed, trained


@pytest.mark.parametrize("speed", [1e-4, 0.01, 0.1, 1.0])
def test_measuring_ends_in_time_however_slow_the_networks_are(search, clock, speed):
    clock[0][0], said = speed, []
    made = estimate.plan(search, workers=1, say=said.append)
    images = sum(count * 4 / 3 for count, _ in clock[1])
    assert speed * images <= max(1.5 * estimate._SECONDS, speed * 2 * 4 / 3 * estimate._PROBE)
    record = search.record()
    calibrate = search.request.recipe.calibrate
    assert made.epoch_seconds == pytest.approx(
        speed * (record.train_images + (record.val_images + calibrate) / 3), rel=1e-6
    )
    least, most = made.epoch_range
    assert least <= made.epoch_seconds <= most and most == pytest.approx(least, rel=1e-6)  # all are as slow here
    assert said[0] == "reading some images" and said[-1].startswith("measuring resnext_")


def test_the_time_contains_the_start_and_whole_rounds(search, clock):
    clock[0][0] = 1e-4
    made = estimate.plan(search, workers=2)
    assert {threads for _, threads in clock[1]} == {1}  # each worker has one of two CPUs
    assert made.starting == 2.0 * estimate._STARTS
    assert made.seconds == pytest.approx(made.starting + 2 * 2 * made.epoch_seconds)
    one = estimate.plan(search, workers=3)  # the fourth trial has to wait
    assert one.seconds == pytest.approx(one.starting + 2 * 4 / 3 * one.epoch_seconds)


def test_a_process_is_waited_for_only_so_long(monkeypatch):
    monkeypatch.setattr(estimate, "_IMPORT", 0.05)
    assert estimate._start_of_a_process() >= 0.05


def test_images_that_are_decoded_already_take_no_time_to_start(tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(12):
            Image.new("RGB", (90, 90), (index, 0, 0)).save(tmp_path / "data" / name / f"{index}.png")
    monkeypatch.setenv("NXT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("nxt.data.squares._FEW", 0)
    settings = parse_settings(["proxy.size=8", "proxy.epochs=1"])
    data = DataRef("folder", str(tmp_path / "data"))
    request = make_request(load_space("smoke"), parse_budget({"flops": ":1G"}), data, 4, 0, settings)
    search = prepare_search(request, tmp_path / "run")
    before = estimate._read(search)
    assert before.reading > 0 and before.cache == before.bytes == len(search.squares()) * 3 * 64
    search.squares().open()
    assert estimate._read(search).reading == 0
