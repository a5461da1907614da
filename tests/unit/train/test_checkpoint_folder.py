"""Which checkpoints there are after any number of saves, and after a kill between any two of their steps."""

import dataclasses
import os
import resource

import pytest
import torch

from nxt.arch.spec import ArchSpec
from nxt.data.preprocess import Preprocess
from nxt.data.ref import DataRef
from nxt.errors import CheckpointError, RunError, UnreadableError
from nxt.train import checkpoint as checkpoints
from nxt.train.checkpoint import Checkpoint
from nxt.train.checkpoint_folder import CheckpointFolder
from nxt.train.recipe import Recipe, Saving

SPEC = ArchSpec.from_dict(
    {"stem": "cifar", "stem_width": 4, "depths": [1], "widths": [16], "cardinality": 1, "base_width": 2}
)


def state(epoch, step=0):
    return Checkpoint(
        spec=SPEC, classes=("a", "b"), data=DataRef("digits"), identity="abc",
        preprocess=Preprocess(size=8, mean=(0.1,) * 3, std=(0.4,) * 3), recipe=Recipe(epochs=3, batch=8, lr=0.1),
        seed=7, accuracies={"raw": 0.5},
        state={"epoch": epoch, "step": step, "weights": {"raw": {"w": torch.full((3,), float(epoch))}},
               "optimizer": {"momentum": torch.zeros(3)}},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def keeper(folder, **saving):
    return CheckpointFolder(folder, Saving(**saving))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def epoch(folder, name):
    return checkpoints.read(folder / name).epoch


def none(_text):
    raise AssertionError("nothing is damaged")


def test_without_a_save_there_is_nothing(folder):
    assert keeper(folder).newest(none) is None


def test_the_last_two_states_are_there_after_any_number_of_saves(folder):
    kept = keeper(folder)
    kept.save(state(1))
    assert names(folder) == ["last.pt"] and kept.newest(none).epoch == 1
    for number in range(2, 6):
        kept.save(state(number))
        assert names(folder) == ["last.pt", "previous.pt"]
        assert (epoch(folder, "last.pt"), epoch(folder, "previous.pt")) == (number, number - 1)
        assert kept.newest(none).epoch == number
    assert "optimizer" in checkpoints.read(folder / "previous.pt").state


def test_the_best_stays_until_there_is_a_better_one_and_is_weights_alone(folder):
    kept = keeper(folder)
    for number, best in enumerate([True, False, True, False], 1):
        kept.save(state(number), best)
        assert epoch(folder, "best.pt") == (1, 1, 3, 3)[number - 1]
    best = checkpoints.read(folder / "best.pt")
    assert set(best.state) == {"epoch", "step", "weights"} and best.state["weights"]["raw"]["w"].tolist() == [3.0] * 3
    assert best.accuracies == {"raw": 0.5} and best.spec == SPEC


@pytest.mark.parametrize(
    ("saving", "expected"),
    [
        ({"every": 0}, []),
        ({"every": 1, "most": 2}, [7, 8]),
        ({"every": 2, "most": 3}, [4, 6, 8]),
        ({"every": 3}, [3, 6]),
        ({"every": 9}, []),
    ],
)
def test_every_so_many_epochs_one_is_kept_for_good_but_not_too_many(folder, saving, expected):
    kept = keeper(folder, **saving)
    for number in range(1, 9):
        kept.save(state(number - 1, step=5))  # inside an epoch: nothing to keep
        kept.save(state(number))
    found = [name for name in names(folder) if name.startswith("epoch")]
    assert found == [f"epoch-{number:04}.pt" for number in expected]
    assert [epoch(folder, name) for name in found] == expected


def test_the_oldest_of_those_kept_goes_also_where_their_numbers_grow_longer(folder):
    kept = keeper(folder, every=1, most=2)
    for number in (9_998, 9_999, 10_000, 10_001):
        kept.save(state(number))
    assert [name for name in names(folder) if name.startswith("epoch")] == ["epoch-10000.pt", "epoch-10001.pt"]


def test_other_files_are_left_alone(folder):
    for name in ("epoch-x.pt", "epoch-0001.pt.bak", "notes.txt"):
        (folder / name).write_text("mine")
    kept = keeper(folder, every=1, most=1)
    for number in range(1, 4):
        kept.save(state(number))
    assert names(folder) == ["epoch-0001.pt.bak", "epoch-0003.pt", "epoch-x.pt", "last.pt", "notes.txt", "previous.pt"]


# A kill between any two steps of a save


def before_the_renames(folder):
    checkpoints.save(folder / "next.pt", state(4))


def between_the_renames(folder):
    checkpoints.save(folder / "next.pt", state(4))
    (folder / "last.pt").replace(folder / "previous.pt")


def after_the_best(folder):
    checkpoints.save(folder / "best.pt", state(4))


def while_it_writes(folder):
    (folder / f".next.pt.{os.getpid() + 1}.tmp").write_bytes(b"PK\x03\x04 half")


@pytest.mark.parametrize(
    ("killed", "newest"),
    [(before_the_renames, 4), (between_the_renames, 4), (after_the_best, 3), (while_it_writes, 3)],
)
def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_newest_state(folder, killed, newest):
    kept = keeper(folder)
    for number in (1, 2, 3):
        kept.save(state(number))
    killed(folder)
    found = kept.newest(none)
    assert found.epoch == newest and "optimizer" in found.state
    for number in (5, 6):  # and going on leaves what always is there
        kept.save(state(number))
        assert (kept.newest(none).epoch, epoch(folder, "last.pt")) == (number, number)
        assert epoch(folder, "previous.pt") in (3, 4, 5) and not (folder / "next.pt").exists()
    assert epoch(folder, "previous.pt") == 5


def test_before_the_first_save_is_over_a_kill_leaves_the_state_or_none(folder):
    while_it_writes(folder)
    assert keeper(folder).newest(none) is None
    before_the_renames(folder)
    assert keeper(folder).newest(none).epoch == 4


# Damage


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no more", b"text"])
def test_a_damaged_state_is_passed_over_with_a_word(folder, damage):
    kept, told = keeper(folder), []
    for number in (1, 2):
        kept.save(state(number))
    (folder / "last.pt").write_bytes(damage)
    assert kept.newest(told.append).epoch == 1
    assert told == [f"{folder / 'last.pt'}: truncated or damaged; going on from previous.pt (epoch 2)"]


def closed(path):
    path.chmod(0)


def looping(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path)


def gone(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("on a disk that is not there")


@pytest.mark.parametrize(
    ("shut", "problem"),
    [
        pytest.param(closed, "Permission denied", marks=pytest.mark.skipif(not os.getuid(), reason="root reads all")),
        (looping, "Too many levels of symbolic links"),
        (gone, "no such checkpoint"),
    ],
)
@pytest.mark.parametrize("name", ["next.pt", "last.pt"])
def test_a_state_that_cannot_be_read_is_not_damaged_and_nothing_older_replaces_it(folder, shut, problem, name):
    kept = keeper(folder)
    for number in (1, 2):
        kept.save(state(number))
    if name == "next.pt":
        (folder / name).write_bytes((folder / "last.pt").read_bytes())
    shut(folder / name)
    with pytest.raises(UnreadableError, match=rf"{name}: .*{problem}"):
        kept.newest(none)


def test_a_folder_of_states_that_cannot_be_read_is_not_an_empty_one(folder):
    kept = keeper(folder)
    folder.rmdir()
    assert kept.newest(none) is None
    folder.symlink_to(folder)
    with pytest.raises(RunError, match=r"checkpoints: cannot be read \(Too many levels of symbolic links\)"):
        kept.newest(none)


def test_of_two_damaged_states_both_are_told_and_the_third_serves(folder):
    kept, told = keeper(folder), []
    for number in (1, 2):
        kept.save(state(number))
    for name in ("next.pt", "last.pt"):
        (folder / name).write_bytes(b"x")
    assert kept.newest(told.append).epoch == 1 and len(told) == 2
    assert "next.pt" in told[0] and "last.pt" in told[1]


def test_where_all_are_damaged_an_error_says_so(folder):
    kept = keeper(folder)
    for number in (1, 2):
        kept.save(state(number))
    for name in ("last.pt", "previous.pt"):
        (folder / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"last\.pt: truncated or damaged, and there is no other; train into a"):
        kept.newest(none)


@pytest.mark.parametrize("where", ["best", "every", "last"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(folder, monkeypatch, where):
    kept = keeper(folder, every=4 if where == "every" else 0)
    for number in (1, 2, 3):
        kept.save(state(number), best=True)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunError, match=r"\.pt: cannot be written \(No space left on device\)$"):
            kept.save(state(4), best=where == "best")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert kept.newest(none).epoch == 3
    kept.save(state(4))
    assert kept.newest(none).epoch == 4


def test_what_the_system_says_while_torch_writes_is_passed_on(folder):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    weights = {"epoch": 1, "step": 0, "weights": {"raw": {"w": torch.zeros(100_000)}}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(RunError, match=r"next\.pt: cannot be written \(File too large\)$"):
            keeper(folder).save(dataclasses.replace(state(1), state=weights))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_folder_that_is_not_there_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match=r"next\.pt: cannot be written"):
        keeper(tmp_path / "no").save(state(1))
    assert keeper(tmp_path / "no").newest(none) is None


def test_weights_alone_are_less_than_half_of_a_state(folder):
    weight, moments = torch.zeros(20_000), {key: torch.zeros(20_000) for key in "mv"}
    whole = {"epoch": 1, "step": 0, "weights": {"raw": {"w": weight}}, "optimizer": moments}
    keeper(folder).save(dataclasses.replace(state(1), state=whole), best=True)
    assert (folder / "best.pt").stat().st_size < (folder / "last.pt").stat().st_size / 2
