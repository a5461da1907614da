"""What a device is asked: by which calls, of which device, and what is said where a GPU cannot be used."""

import ast
from pathlib import Path

import pytest
import stand_in
import torch

import nxt
from nxt.compute import accelerator as room
from nxt.compute.accelerator import Accelerator, Cuda, accelerator, is_out_of_memory
from nxt.compute.devices import choose
from nxt.errors import DeviceError

ROOT = Path(nxt.__file__).parent
SOURCES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("cli", "search_spaces"))
SOURCES += sorted(Path(nxt.__file__).parents[1].joinpath("cli").rglob("*.py"))
ONLY = ROOT / "compute" / "accelerator.py"


def faults(source):
    """Returns what source code asks of a GPU past the accelerator: the expressions, with their lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        text = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Call, ast.Compare)) else ""
        asks = isinstance(node, ast.Attribute) and text == "torch.cuda"
        unnumbered = isinstance(node, ast.Call) and text in ("torch.device('cuda')", "Tensor.cuda()")
        branches = isinstance(node, ast.Compare) and ".type" in text and "'cuda'" in text
        if asks or unnumbered or branches:
            found.append(f"{node.lineno}: {text}")
    return found


@pytest.mark.parametrize("path", [p for p in SOURCES if p != ONLY], ids=lambda p: str(p.relative_to(ROOT.parent)))
def test_only_one_module_asks_a_gpu_anything(path):
    assert faults(path.read_text(encoding="utf-8")) == []


def test_the_walk_finds_what_it_looks_for():
    lines = [
        "torch.cuda.empty_cache()",
        "d = torch.device('cuda')",
        "if d.type == 'cuda': pass",
        "d = torch.device('cuda', 0)",
    ]
    assert [fault.partition(":")[0] for fault in faults("\n".join(lines))] == ["2", "3", "1"]


@pytest.fixture
def two_gpus(monkeypatch):
    """CUDA as torch shows it on a machine with two GPUs; returns the devices that were made the current one."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)

    def set_device(device):
        assert device.index is not None, "as torch refuses it: Expected a torch.device with a specified index"
        current.append(device)

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    room.accelerator.cache_clear()
    yield current
    room.accelerator.cache_clear()


@pytest.mark.parametrize(("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_always_has_an_index_and_becomes_the_current_one(two_gpus, name, index):
    device = choose(name)
    assert device == torch.device("cuda", index) and device.index == index
    assert two_gpus == [device]


def test_cpu_asks_nothing_of_a_gpu(two_gpus):
    assert choose("cpu") == torch.device("cpu") and two_gpus == []


@pytest.mark.parametrize("name", ["cuda:2", "cuda:-1", "cuda:x", "cpu:0", "mps", "gpu", "", "cuda:"])
def test_other_devices_are_refused_in_one_line(two_gpus, name):
    with pytest.raises(DeviceError, match=rf"^`device` {name}: "):
        choose(name)


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_gpus_that_torch_cannot_use_are_told_and_not_passed_over(monkeypatch, name):
    """A driver too old for the wheel: NVML counts GPUs, and torch has none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: 4)
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update")

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(
        DeviceError, match=r"has 4 NVIDIA GPUs, but torch .* driver on your system is too old .*`device` cpu"
    ):
        choose(name)
    assert choose("cpu").type == "cpu"


def test_a_torch_for_cpus_on_a_machine_with_a_gpu_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: 1)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceError, match=r"has 1 NVIDIA GPU, but torch .* is built for CPUs alone"):
        choose("auto")


def test_a_machine_without_gpus_computes_on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "_device_count_nvml", lambda: -1)
    assert choose("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be reported elsewhere"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("Unable to find an engine to execute this computation"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
    ids=lambda error: str(error)[:40],
)
def test_memory_that_ran_out_is_known_by_all_its_names(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("out of memory"),
    ],
    ids=str,
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


def test_a_cpu_is_asked_the_same_questions():
    cpu = accelerator(torch.device("cpu"))
    assert type(cpu) is Accelerator and cpu.name == "cpu" and cpu.overhead() == 0
    cpu.prepare(), cpu.synchronize(), cpu.release_memory(), cpu.make_current(), cpu.check()
    assert len(cpu.durations(lambda: None, 3)) == 3
    state = cpu.random_state()
    first = torch.rand(3)
    cpu.set_random_state(state)
    assert torch.equal(torch.rand(3), first)
    with cpu.side_stream(), cpu.exact(), cpu.forbid_waits():
        assert torch.equal(cpu.upload(first), first)
    with pytest.raises(RuntimeError, match="records no graphs"):
        cpu.record(lambda: first)


def test_a_recording_that_fails_leaves_the_usual_stream_current(monkeypatch):
    """Torch leaves the recording's stream current when ending the recording raises."""
    streams = []
    gpu = Cuda(torch.device("cuda", 0))
    gpu.__dict__["_stream"] = "own"
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "usual")
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)

    class Capture:
        def __init__(self, graph, stream):
            assert stream == "own"  # one stream for all: each has a pool of memory of its own

        def __enter__(self):
            streams.append("own")

        def __exit__(self, *_):
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda, "graph", Capture)
    with pytest.raises(RuntimeError, match="during capture"):
        gpu.record(lambda: torch.zeros(()))
    assert streams == ["own", "usual"]


def test_a_gpu_s_own_clock_times_it_and_it_is_waited_for_once(monkeypatch):
    """Two events beside each other are as far apart as the device took; waiting after each run would add to it."""
    done = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            assert stream == "its own"
            self.at = 4.0 * len(done)  # milliseconds
            done.append("event")

        def synchronize(self):
            done.append("wait")

        def elapsed_time(self, end):
            assert "wait" in done
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "its own")
    gpu = Cuda(torch.device("cuda", 0))
    assert gpu.durations(lambda: done.append("run"), 3) == [0.008] * 3
    assert done == ["event", *["run", "event"] * 3, "wait"]
    assert gpu.durations(lambda: None, 0) == []


def test_waits_are_forbidden_for_a_block_alone(monkeypatch):
    modes = ["default"]
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with Cuda(torch.device("cuda", 0)).forbid_waits():
        assert modes == ["default", "error"]
    assert modes == ["default", "error", "default"]


def test_plans_of_convolutions_do_not_pile_up():
    import os

    assert int(os.environ["TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT"]) <= 1000


def test_the_stand_in_answers_all_that_cuda_does():
    """A question that the stand-in inherits would reach the real CUDA."""
    asked = {name for name, value in vars(Cuda).items() if not name.startswith("__")} - {"is_gpu", "_stream"}
    assert asked <= set(vars(stand_in.StandIn))


def test_the_stand_in_refuses_a_device_without_an_index_and_counts_memory(monkeypatch):
    stand_in.plug_in(monkeypatch, gpus=2, memory=2 << 20, context=1 << 20)
    try:
        with pytest.raises(ValueError, match="specified index"):
            stand_in.StandIn(torch.device("cpu")).make_current()
        device = choose("cuda:1")
        fits = torch.zeros(200_000, device=device)
        with pytest.raises(torch.OutOfMemoryError):
            torch.zeros(200_000, device=device)
        del fits
        assert torch.zeros(200_000, device=device).sum() == 0
    finally:
        stand_in.unplug()


def test_the_stand_in_autocasts_in_inference_mode_as_a_gpu_does(monkeypatch):
    """There operations made of others reach a dispatch mode whole, and autocast does not see those inside."""
    stand_in.plug_in(monkeypatch)
    try:
        device = choose("cuda")
        images, weights = torch.ones(2, 2, 4, device=device, dtype=torch.bfloat16), torch.ones(2, 4, 4, device=device)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert torch.einsum("bgi,goi->bgo", images, weights).dtype == torch.bfloat16
        with accelerator(device).forbid_waits(), pytest.raises(RuntimeError, match="synchronizing"):
            accelerator(device).synchronize()
    finally:
        stand_in.unplug()
