"""The Ray cluster that a search, or a training with several workers, runs on.

It is one of its own on this machine, or one that is there; and here is what fits on it.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

# Ray reads these when it is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")  # of its own state, which nobody reads
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")

import ray
from ray._private import ray_constants
from ray._private import state as ray_state
from ray._private import worker as ray_worker
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nxt.compute import accelerator
from nxt.errors import DeviceError, first_line

T = TypeVar("T")

_ADDRESS = "127.0.0.1"
_ANSWER = 30.0  # seconds that a cluster has to answer
_GPU_ANSWER = 600.0  # seconds that GPUs have for a small task: processes start, and CUDA's libraries are loaded
_OBJECT_STORE = 256 << 20  # bytes beside the data itself


@dataclass(frozen=True)
class Placement:
    """What each trial gets, and how many run at a time."""

    workers: int  # at the start
    cpus: int  # per trial
    gpus: float  # per trial, at the least; a fraction shares a device
    most: int | None  # the most at a time, also when machines join; None: as many as fit then

    @property
    def growth(self) -> str:
        """How many more trials run at a time when machines join, in words; empty if none do."""
        if self.most is None:
            return ", more as machines join"
        return f", up to {self.most} as machines join" if self.most > self.workers else ""


def place(workers: int | None, gpus: float, joined: bool = False) -> Placement:
    """Decides the placement on the running cluster, and checks that the resources exist.

    Args:
        workers: Trials at a time, on a cluster that others run at most; None: as many as fit, one CPU each at least.
        gpus: GPUs per trial: 0 for the CPU, 1 or a fraction.
        joined: Whether others run the cluster, so that machines may join and leave.

    Raises:
        DeviceError: if the cluster has not got that much. (Ray itself would wait for ever.)
    """
    nodes, have_cpus = _nodes(), cpu_count()
    most = sum(_fit(node, 1, gpus) for node in nodes)  # a trial does not span nodes
    if workers is not None and workers > most and not joined:
        raise DeviceError(f"`workers` {workers}: only {most} trial(s) fit here at a time")
    if not most:
        raise DeviceError(f"no machine has {gpus:g} GPU(s) and a CPU for a trial")
    now = min(workers or most, most)
    cpus = max(1, have_cpus // now)
    while sum(_fit(node, cpus, gpus) for node in nodes) < now:
        cpus -= 1
    return Placement(now, cpus, gpus, workers if joined else now)


def at_a_time(placement: Placement) -> int:
    """Returns how many trials run at a time on the machines that are in the cluster now."""
    fit = sum(_fit(node, placement.cpus, placement.gpus) for node in _nodes())
    return fit if placement.most is None else min(fit, placement.most)


def is_leaving() -> bool:
    """Returns whether the machine of this worker was told to leave the cluster (preempted, or scaled down)."""
    draining: Mapping[str, int] = ray_state.state.get_draining_nodes()
    return ray.get_runtime_context().get_node_id() in draining


def _fit(node: dict[str, float], cpus: int, gpus: float) -> int:
    """Returns how many trials fit on a node; each lies within one GPU."""
    by_cpu = int(node.get("CPU", 0)) // cpus
    return min(by_cpu, int(node.get("GPU", 0)) * int(1 / gpus + 1e-9)) if gpus else by_cpu


def gpu_count() -> int:
    """Returns the number of GPUs in the running cluster."""
    return sum(int(node.get("GPU", 0)) for node in _nodes())


def cpu_count() -> int:
    """Returns the number of CPUs in the running cluster."""
    return sum(int(node.get("CPU", 0)) for node in _nodes())


def _nodes() -> list[dict[str, float]]:
    """Returns the resources of the nodes that are alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def on_each_gpu(task: Callable[[], T]) -> list[T]:
    """Runs a task on every free GPU of the running cluster, each in a process of its own, and returns the answers.

    Raises:
        DeviceError: if it fails on one of them, or if none is free.
    """
    free = int(ray.available_resources().get("GPU", 0))
    if not free:
        raise DeviceError("all GPUs of the cluster are taken by others; wait, or use `gpus_per_trial` 0")
    return _on_gpus(task, free)


def on_a_gpu(task: Callable[[], T]) -> T:
    """Runs a task on one GPU. Errors as `on_each_gpu` has them."""
    return _on_gpus(task, 1)[0]


def _on_gpus(task: Callable[[], T], count: int) -> list[T]:
    worker = ray.remote(num_gpus=1, num_cpus=0, max_restarts=0)(_OnGpu)
    workers = [worker.remote() for _ in range(count)]  # all of them together, so that each has a GPU of its own
    try:
        answers = ray.get([one.run.remote(task) for one in workers], timeout=_GPU_ANSWER)
    except GetTimeoutError:
        raise DeviceError(f"a GPU did not answer within {_GPU_ANSWER:.0f} s; look at it with nvidia-smi") from None
    except RayError as error:
        raise DeviceError(f"a GPU cannot be used: the process on it died ({first_line(error)})") from None
    finally:
        for one in workers:
            ray.kill(one)
    for where, problem, _ in answers:
        if problem:
            raise DeviceError(
                f"GPU {where} cannot be used ({problem}); leave it out with CUDA_VISIBLE_DEVICES, "
                "or use `gpus_per_trial` 0 to train on the CPU"
            )
    return [answer for _, _, answer in answers]


def on_each_node(task: Callable[[], Iterator[T]]) -> Iterator[tuple[str, T]]:
    """Runs a function on every machine of the running cluster that has CPUs, and yields what it yields there.

    Each answer comes with the address of its machine, as soon as it is there. A machine that dies is left out.
    """
    run = ray.remote(num_cpus=0, max_retries=0, num_returns="streaming")(_yielded)
    sent = ray.put(task)
    streams = [
        (node["NodeManagerAddress"], run.options(scheduling_strategy=_only_on(node["NodeID"])).remote(sent))
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    ]
    while streams:
        ready, _ = ray.wait([stream for _, stream in streams])
        address, stream = next(pair for pair in streams if pair[1] is ready[0])
        try:
            yield address, ray.get(next(stream))
        except RayTaskError:  # of the function's own
            raise
        except (StopIteration, RayError):  # it has ended, or its machine is gone
            streams.remove((address, stream))


def _yielded(task: Callable[[], Iterator[T]]) -> Iterator[T]:
    yield from task()


def _only_on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


class _OnGpu:
    """An actor that owns one GPU."""

    def run(self, task: Callable[[], T]) -> tuple[str, str, T | None]:
        """Returns where it ran, what went wrong, and the task's answer."""
        where = f"{','.join(map(str, ray.get_gpu_ids()))} of {ray.util.get_node_ip_address()}"
        try:
            return where, "", task()
        except Exception as error:
            return where, first_line(error), None


@contextmanager
def cluster(data_bytes: int, address: str | None = None) -> Iterator[None]:
    """Runs a Ray instance of our own on local addresses during the block, or joins a cluster.

    Raises:
        DeviceError: if there is no cluster at that address, or Ray cannot use its folder for temporary files.
    """
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray_worker._worker_logs_enabled = False  # log_to_driver leaves Ray's own messages on stdout, where results go
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if address is not None:
        _probe(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise DeviceError(
                f"`address` {address}: no Ray cluster can be joined there ({first_line(error)})"
            ) from None
    else:
        # Else Ray listens on all interfaces. The variable is for the processes it starts, the constant for this one.
        os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                num_gpus=accelerator.gpus().count(),  # Ray itself counts those that torch cannot use, too
                object_store_memory=_OBJECT_STORE + 2 * data_bytes,
                _node_ip_address=_ADDRESS,
                **quiet,
            )
        except OSError as error:  # the paths of its sockets are limited to about a hundred characters
            folder = "set TMPDIR or RAY_TMPDIR to a short folder that can be written, such as /tmp"
            raise DeviceError(f"Ray cannot start ({first_line(error)}); {folder}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """Raises DeviceError unless a Ray cluster answers at HOST:PORT. (Ray itself would try for minutes, and noisily.)"""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise DeviceError(f"`address` {address}: write HOST:PORT of the cluster's head, such as 10.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
        check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
        answer = subprocess.run(check, capture_output=True, text=True, timeout=_ANSWER, check=False)
        problem = (answer.stdout + answer.stderr).strip().splitlines()[-1:] if answer.returncode else None
    except subprocess.TimeoutExpired:
        problem = [f"what listens there does not answer like one within {_ANSWER:.0f} s"]
    except OSError as error:
        problem = [error.strerror or str(error)]
    if problem is not None:
        raise DeviceError(f"`address` {address}: no Ray cluster can be joined there ({' '.join(problem)})")
