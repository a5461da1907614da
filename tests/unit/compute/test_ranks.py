"""With one worker nothing is sent: neither a process group nor a network is needed."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from nxt.compute.ranks import Ranks


def test_one_worker_agrees_with_itself_without_a_process_group():
    assert not dist.is_initialized()
    assert Ranks().agree(lambda: [1, "two"]) == [1, "two"]
    with pytest.raises(ZeroDivisionError):
        Ranks().agree(lambda: 1 / 0)


def test_the_sum_and_the_mean_of_one_value_are_itself():
    value = torch.tensor([1.5, -2.0])
    assert torch.equal(Ranks().total(value), value) and torch.equal(Ranks().mean(value), value)


def test_one_workers_buffers_stay_its_own():
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(7.0)
    Ranks().share_buffers(norm)
    assert norm.running_mean.tolist() == [7.0] * 3
