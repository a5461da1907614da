"""Which checkpoints a training has on disk: the last two, the best, and every so many epochs one for good."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from nxt.errors import CheckpointError, RunError, UnreadableError
from nxt.files import is_file, names_in
from nxt.train import checkpoint as checkpoints
from nxt.train.checkpoint import Checkpoint
from nxt.train.recipe import Saving

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


class CheckpointFolder:
    """The folder of a training's checkpoints.

    Args:
        path: Where they are.
        saving: How many are kept.
    """

    def __init__(self, path: Path, saving: Saving) -> None:
        self.path, self.saving = path, saving

    def save(self, checkpoint: Checkpoint, best: bool = False) -> None:
        """Writes the newest state; the one before it stays. With `best`, also keeps its weights as the best ones.

        Raises:
            RunError: if it cannot be written.
        """
        if best:
            self._save_weights(BEST, checkpoint)
        every, epoch = self.saving.every, checkpoint.epoch
        if every and epoch and epoch % every == 0 and not checkpoint.state["step"]:
            self._save_weights(f"epoch-{epoch:04}.pt", checkpoint)
            for old in self._kept()[: -self.saving.most]:
                old.unlink(missing_ok=True)
        checkpoints.save(self.path / "next.pt", checkpoint)
        try:
            if is_file(self.path / LAST):
                (self.path / LAST).replace(self.path / PREVIOUS)
            (self.path / "next.pt").replace(self.path / LAST)
        except OSError as error:
            raise RunError(f"{self.path}: cannot be written ({error.strerror})") from None

    def _save_weights(self, name: str, checkpoint: Checkpoint) -> None:
        """Writes what a network needs to be used, without what only a training needs: less than half as much."""
        state = {key: checkpoint.state[key] for key in ("epoch", "step", "weights")}
        checkpoints.save(self.path / name, dataclasses.replace(checkpoint, state=state))

    def _kept(self) -> list[Path]:
        kept = (self.path / name for name in names_in(self.path) if re.fullmatch(r"epoch-\d+\.pt", name))
        return sorted(kept, key=lambda path: int(path.stem.partition("-")[2]))

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Returns the newest whole state; None if nothing has been saved yet.

        A damaged one is passed over for the one before it, and `warn` is called with what is wrong. One that cannot
        be read may be whole, and is never passed over: going on from an older state would replace it.

        Raises:
            RunError: if the folder cannot be read.
            UnreadableError: if one of them cannot be read.
            CheckpointError: if there are only damaged ones.
        """
        present = names_in(self.path)
        paths = [self.path / name for name in ("next.pt", LAST, PREVIOUS) if name in present]
        problems = []
        for path in paths:
            try:
                checkpoint = checkpoints.read(path)
            except UnreadableError:
                raise
            except CheckpointError as error:
                problems.append(str(error))
                continue
            if "optimizer" not in checkpoint.state:
                problems.append(f"{path}: holds weights alone")
                continue
            for problem in problems:
                warn(f"{_short(problem)}; going on from {path.name} (epoch {checkpoint.epoch + 1})")
            return checkpoint
        if problems:
            raise CheckpointError(f"{_short(problems[0])}, and there is no other; train into a new `out`")
        return None


def _short(problem: str) -> str:
    """Returns what is wrong, without why and what to do."""
    return re.split(r"; | \(", problem, maxsplit=1)[0]
