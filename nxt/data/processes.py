"""Work on images in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from nxt.errors import DataError, NxtError, first_line

Task = TypeVar("Task")
Result = TypeVar("Result")

_MOST = 16  # processes that one training starts by itself
_PRELOADED = ["__main__", "nxt.data.stream"]  # what the process that forks the others has imported


def default_workers(processes: int = 1) -> int:
    """Returns how many worker processes one of several processes on this machine starts: 0 where it has one core."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = usable // processes
    return min(cores, _MOST) if cores > 1 else 0


class Workers(Generic[Task, Result]):
    """A function that worker processes call.

    The processes are started when they are first needed, stay for the next time, and end with this object. They are
    forked from a fresh process, not from this one, which may hold a GPU and any number of threads. That process imports
    the main script: one that starts something has to guard it with `if __name__ == "__main__"`.

    Args:
        function: What they call, with one task at a time; it must be picklable. An NxtError of it is raised here.
        count: How many processes; 0 calls it in this one.
        pin: Whether tensors among the results are put into pinned memory.
    """

    def __init__(self, function: Callable[[Task], Result], count: int, pin: bool = False) -> None:
        self.count = count
        self._called, self._pin = _Called(function), pin
        self._idle: list[tuple[_Tasks[Task], DataLoader[Any]]] = []

    def map(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yields the results in the order of the tasks. The iteration may be left at any time.

        Raises:
            DataError: if a worker process dies.
        """
        current, loader = self._idle.pop() if self._idle else self._new()
        current.tasks = tasks
        results = iter(loader)
        while True:
            try:
                result = next(results)
            except StopIteration:
                break
            except (RuntimeError, OSError, EOFError) as error:
                if not self.count or str(error).startswith("Caught "):  # from the function itself
                    raise
                result = DataError(
                    f"a process that reads images has died ({first_line(error)}); if memory ran out, also shared "
                    "memory (in a container: --shm-size), use fewer workers or a smaller batch"
                )
            if isinstance(result, NxtError):
                del results, loader  # ends the processes now; what the traceback holds would end them late
                try:
                    raise result from None
                finally:
                    del result
            try:
                yield result
            except GeneratorExit:
                break
        self._idle.append((current, loader))

    def _new(self) -> tuple[_Tasks[Task], DataLoader[Any]]:
        tasks: _Tasks[Task] = _Tasks()
        context = None
        if self.count:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(_PRELOADED)
        loader: DataLoader[Any] = DataLoader(
            self._called,
            batch_size=None,
            sampler=tasks,
            num_workers=self.count,
            collate_fn=_as_it_is,
            pin_memory=self._pin,
            multiprocessing_context=context,
            persistent_workers=self.count > 0,
            worker_init_fn=_start,
            generator=torch.Generator(),  # else a loader would draw from the global one
        )
        return tasks, loader


class _Tasks(Sampler[Task]):
    tasks: Sequence[Task] = ()

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)


class _Called(Dataset[Any], Generic[Task, Result]):
    """The function as a data set whose "indices" are tasks. Errors are results: a loader would wrap their text."""

    def __init__(self, function: Callable[[Task], Result]) -> None:
        self.function = function

    def __getitem__(self, task: Task) -> Result | NxtError:
        try:
            return self.function(task)
        except NxtError as error:
            return error


def _as_it_is(result: Result) -> Result:
    return result


def _start(_worker: int) -> None:
    """Prepares a worker process: Ctrl-C is for the training, which may still want a batch; its end is the worker's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(training: BaseProcess) -> None:
    """Ends this process when the training has, be it killed. (A loader itself watches the process that forked it.)"""
    training.join()
    os._exit(1)
