"""What a user says of a training, in one place: the arguments of `nxt.train` and the options of the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nxt.arch.load import counted, provenance_of, resolve
from nxt.arch.spec import ArchSpec
from nxt.config import refuse_given
from nxt.data.ref import DataRef
from nxt.errors import DataError, UsageError
from nxt.files import exists, is_file
from nxt.rundir import RECORD, check_same, free_run_directory
from nxt.tracking.sender import check_tracker
from nxt.train.recipe import Recipe, make_recipe
from nxt.train.request import TrainRequest, at_size, load_request

# The recipes unless another is given: for new weights, and for those from elsewhere.
RECIPES = {
    "classification": ("quick", "finetune"),
    "detection": ("quick-detection", "quick-detection"),
    "segmentation": ("quick-segmentation", "quick-segmentation"),
}
_RECORDED = "recipe", "head", "epochs", "size", "weights", "freeze", "settings", "seed", "out", "tune", "skip_bad"
_IN_RECORD = "cannot be given with `resume`: run.yaml has what was asked"


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The arguments of `nxt.train`, which says what they mean; None or empty where nothing is said.

    Raises:
        UsageError: if something is given again that the record of the run to resume says.
        RunError: if the package of the tracker is not installed.
    """

    network: str | Path | ArchSpec | None = None
    data: DataRef | None = None
    recipe: str | Path | Mapping[str, Any] | None = None
    head: str | None = None
    epochs: int | None = None
    size: int | None = None
    weights: str | Path | None = None
    freeze: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    out: Path | None = None
    resume: Path | None = None
    resume_or_new: bool = False
    workers: int | None = None
    tune: bool | None = None
    skip_bad: bool = False
    download: bool = False
    track: str | None = None

    def __post_init__(self) -> None:
        check_tracker(self.track)
        if self.resume_or_new and (self.out is None or self.resume is not None):
            raise UsageError("`resume_or_new` goes on with the run in `out`, or begins it: give that, and no `resume`")
        if self.resume is not None:
            if self.epochs is not None:
                anew = f"a new training begins with its weights by `weights` {self.resume}"
                raise UsageError(f"`epochs` {_IN_RECORD}; {anew}")
            refuse_given(self, _RECORDED, _IN_RECORD)

    def settled(self) -> TrainOptions:
        """Returns the options of a new run or of one to resume; which of them, `resume_or_new` leaves to what is there.

        Raises:
            RunError: if the run that is there was asked something else.
            NxtError: if it cannot be read, or as `request` does.
        """
        if not self.resume_or_new or self.out is None or not is_file(self.out / RECORD):
            return self
        before, asked = load_request(self.out), self.request()
        sizes = {key: getattr(asked.recipe, key) or getattr(before.recipe, key) for key in ("size", "eval_size")}
        asked = dataclasses.replace(asked, recipe=dataclasses.replace(asked.recipe, **sizes))  # the data's, if not said
        check_same(asked.asked(), before.asked(), self.out)
        return TrainOptions(resume=self.out, data=self.data, download=self.download, track=self.track)

    def recipe_for(self, network: str, side: int | None = None, task: str = "classification") -> Recipe:
        """Returns the recipe that the options ask for, for a network of that name. Raises as `make_recipe` does.

        Where they say no image side, it is `side` in pixels, if given; where they say no recipe, it is one for `task`.
        """
        recipe = self.recipe or RECIPES[task][bool(self.weights)]
        settings = {"head": self.head, **self.settings} if self.head else self.settings
        made = make_recipe(recipe, network, epochs=self.epochs, size=self.size, settings=settings)
        return made if side is None else at_size(made, side)

    def request(self) -> TrainRequest:
        """Returns the request for a new training, or the one of the run to resume with what has changed.

        Raises:
            UsageError: if there is no network to train.
            NxtError: if something named is not there or cannot be used.
        """
        if self.resume is not None:
            return self._resumed(self.resume)
        if self.network is None:
            raise UsageError("give the network to train, such as resnext50_32x4d or best.yaml")
        spec = resolve(self.network)
        data = self.data or data_of(self.network)
        return TrainRequest(
            spec=spec,
            data=data,
            recipe=self.recipe_for(spec.name, counted(self.network)[0], data.task),
            seed=self.seed or 0,
            out=self.out or free_run_directory("train", spec.name, data.name),
            weights=str(self.weights or ""),
            freeze=self.freeze or "",
            workers=1 if self.workers is None else self.workers,
            tune=self.tune is not False,
            download=self.download,
            skip_bad=self.skip_bad,
        )

    def _resumed(self, run: Path) -> TrainRequest:
        refuse_given(self, ["workers"], _IN_RECORD)
        request = load_request(run)
        spec = request.spec if self.network is None else resolve(self.network)
        return dataclasses.replace(request, spec=spec, data=self.data or request.data, download=self.download)


def data_of(network: str | Path | ArchSpec) -> DataRef:
    """Returns the data that an architecture file says it was found on; the digits where it does not say.

    Raises:
        DataError: if that data is not here.
        ConfigError: if the file cannot be read.
    """
    data = DataRef.parse(str(provenance_of(network).get("data") or "digits"))
    if data.kind in ("folder", "table", "hf") and not data.is_uri and not exists(Path(data.path)):
        raise DataError(f"{network}: was found on {data}, which is not here; say with `data` what to train on")
    return data.absolute()
