"""Which checkpoints a training has on disk: the last two, the best, and every so many epochs one for good."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from nxt.errors import CheckpointError, RunError
from nxt.files import is_file
from nxt.train import checkpoint as checkpoints
from nxt.train.checkpoint import Checkpoint
from nxt.train.recipe import Saving

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


class Keeper:
    """The folder of a training's checkpoints.

    Args:
        folder: Where they are.
        saving: How many are kept.
    """

    def __init__(self, folder: Path, saving: Saving) -> None:
        self.folder, self.saving = folder, saving

    def save(self, checkpoint: Checkpoint, best: bool = False) -> None:
        """Write the newest state; the one before it stays. With `best`, also keep its weights as the best ones.

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
        checkpoints.save(self.folder / "next.pt", checkpoint)
        try:
            if is_file(self.folder / LAST):
                (self.folder / LAST).replace(self.folder / PREVIOUS)
            (self.folder / "next.pt").replace(self.folder / LAST)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error.strerror})") from None

    def _save_weights(self, name: str, checkpoint: Checkpoint) -> None:
        """Write what a network needs to be used, without what only a training needs: less than half as much."""
        state = {key: checkpoint.state[key] for key in ("epoch", "step", "weights")}
        checkpoints.save(self.folder / name, dataclasses.replace(checkpoint, state=state))

    def _kept(self) -> list[Path]:
        found = {path: re.fullmatch(r"epoch-(\d+)\.pt", path.name) for path in self.folder.iterdir()}
        return sorted((path for path in found if found[path]), key=lambda path: int(path.stem.partition("-")[2]))

    def newest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest whole state; None if nothing has been saved yet.

        A damaged one is passed over for the one before it, and `warn` is told.

        Raises:
            CheckpointError: if there are only damaged ones.
        """
        found = [path for name in ("next.pt", LAST, PREVIOUS) if is_file(path := self.folder / name)]
        problems = []
        for path in found:
            try:
                checkpoint = checkpoints.read(path)
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
            raise CheckpointError(f"{_short(problems[0])}, and there is no other; train into a new --out")
        return None


def _short(problem: str) -> str:
    """Return what is wrong, without why and what to do."""
    return re.split(r"; | \(", problem, maxsplit=1)[0]
