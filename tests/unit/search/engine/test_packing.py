"""How trials share GPUs: by predicted memory, corrected by what was measured, and what a share leaves to torch."""

import pytest

from nxt.compute.ray_cluster import _fit
from nxt.errors import DeviceError
from nxt.search.engine.packing import ON_CPU, Gpu, Packing, Share

GIB = 1 << 30
CARD = Gpu("NVIDIA A10", total=24 * GIB, available=24 * GIB, overhead=GIB // 2)


def packing(fixed=None, images=0, cpus=16, usual=(GIB,), gpus=(CARD,)):
    return Packing(list(gpus), fixed, images, cpus, usual)


@pytest.mark.parametrize(
    ("predicted", "together"),
    [(GIB // 8, 8), (2 * GIB, 8), (4 * GIB, 4), (8 * GIB, 2), (12 * GIB, 1), (100 * GIB, 1)],
)
def test_so_many_share_a_gpu_as_fit_into_it(predicted, together):
    pack = packing()
    share = pack.share(0, predicted)
    assert pack.together(predicted) == together
    assert together * share.gpus <= 1 < (together + 1) * share.gpus + 1e-3
    assert together == 1 or together * (share.memory + CARD.overhead) <= CARD.available
    assert together == 1 or share.memory >= predicted
    assert share.halves is (together == 1)  # another trial is no reason to train one with half the batch


def test_a_large_network_waits_for_a_whole_gpu_without_a_limit():
    assert packing().share(0, 20 * GIB) == Share(1.0, memory=0, room=0, halves=True)


def test_measured_memory_corrects_the_prediction_both_ways():
    pack = packing()
    assert pack.together(4 * GIB) == 4
    pack.measured(4 * GIB, 2 * GIB)  # 16 bits take half of what is predicted for 32
    assert pack.together(4 * GIB) == 8
    pack.measured(2 * GIB, 3 * GIB)  # the highest ratio counts
    assert pack.together(4 * GIB) == 3
    pack.measured(0, 5 * GIB), pack.measured(GIB, 0)  # a CPU's, and one of an older worker
    assert pack.together(4 * GIB) == 3


def test_a_trial_that_ran_out_of_memory_is_alone_from_then_on():
    pack = packing()
    pack.alone(7)
    assert pack.share(7, GIB).gpus == 1 and pack.share(7, GIB).memory == 0 and pack.share(8, GIB).gpus == 0.125


def test_what_others_take_of_a_gpu_is_not_given_away():
    busy = Gpu("busy", total=24 * GIB, available=10 * GIB, overhead=GIB // 2)
    pack = packing(gpus=(CARD, busy))
    assert pack.gpu is busy
    assert pack.together(4 * GIB) == 1 and packing().together(4 * GIB) == 4
    assert pack.share(0, GIB).memory * pack.together(GIB) <= 10 * GIB


def test_images_count_where_they_are_on_the_gpu():
    assert packing(images=GIB).images == GIB
    assert packing(images=GIB).together(4 * GIB) == 3
    assert packing(images=63 * GIB).images == 0  # ImageNet at 128 pixels stays in main memory
    assert packing(images=63 * GIB).together(4 * GIB) == 4


@pytest.mark.parametrize(("cpus", "gpus", "most"), [(16, 1, 8), (2, 1, 2), (4, 4, 1), (3, 2, 2), (1, 8, 1)])
def test_each_trial_has_a_cpu(cpus, gpus, most):
    assert packing(cpus=cpus, gpus=[CARD] * gpus).together(1) == most


@pytest.mark.parametrize("fixed", [0.1, 0.25, 0.5])
def test_a_fraction_that_is_asked_for_leaves_room_for_what_each_process_takes_beside_it(fixed):
    pack = packing(fixed)
    share = pack.share(0, 100 * GIB)
    assert share.gpus == fixed and share.halves
    assert share.memory == int(fixed * 24 * GIB) - CARD.overhead
    assert pack.together(1) * (share.memory + CARD.overhead) <= CARD.available


def test_a_whole_gpu_that_is_asked_for_has_no_limit():
    assert (packing(1.0).share(0, 1).memory, packing(1.0).share(0, 1).halves) == (0, True)


@pytest.mark.parametrize("fixed", [None, 0.25, 0.5, 1.0])
def test_images_have_the_room_that_a_trial_does_not_need_for_its_steps(fixed):
    pack = packing(fixed)
    for predicted in (GIB, 4 * GIB, 30 * GIB):
        share = pack.share(0, predicted)
        memory = share.memory or CARD.available - CARD.overhead
        assert share.room == max(0, memory - round(1.25 * predicted))


def test_images_that_are_counted_have_room():
    pack = packing(images=GIB)
    for predicted in (GIB // 64, GIB, 4 * GIB):
        assert pack.share(0, predicted).room >= pack.images


def test_on_a_cpu_all_images_have_room():
    assert Share(0.0, memory=0, room=None, halves=True) == ON_CPU


def test_a_fraction_smaller_than_cuda_itself_is_refused():
    with pytest.raises(DeviceError, match=r"^`gpus_per_trial` 0.01: .* CUDA itself takes 512 MiB in each process"):
        packing(0.01).share(0, 1)


def test_it_says_how_many_run_together_and_why():
    text = packing(usual=(GIB, 4 * GIB, 9 * GIB)).sentence(4)
    assert text == (
        "4 at a time on NVIDIA A10, up to 4 share a GPU: a network in the middle takes about 5.5 GiB of 24.0 GiB, "
        "512 MiB of it for CUDA"
    )
    assert packing(usual=(20 * GIB,)).sentence(2).startswith("2 at a time on NVIDIA A10, each alone on a GPU: ")
    assert packing(0.25).sentence(4) == "4 at a time on NVIDIA A10, 0.25 of a GPU each"


@pytest.mark.parametrize(
    ("gpus", "places"), [(0.3, 12), (0.4, 8), (0.7, 4), (0.25, 16), (0.3333, 12), (0.1, 40), (1, 4), (0, 64)]
)
def test_places_on_a_machine_with_four_gpus(gpus, places):
    """A trial lies within one GPU: what is left over of each cannot be put together."""
    assert _fit({"CPU": 64, "GPU": 4}, 1, gpus) == places
