"""A search as a run directory: what was asked, the durable study, and the front with its files.

run.yaml  study.db  trials/N.pt (of running trials)  trials.csv  front.json  front.csv  pareto/*.yaml  best.yaml
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nxt.arch import ArchSpec
from nxt.budget import Budget, Limit
from nxt.config import dump_yaml, from_mapping, parse_settings, read_yaml, require, to_mapping
from nxt.data.dataset import Dataset, Source, load_train, open_source
from nxt.errors import ArchError, ConfigError, RunError, SpaceError
from nxt.feasible import FeasibleSet
from nxt.files import new_run_directory, write_text
from nxt.provenance import versions
from nxt.references import references
from nxt.search import results
from nxt.search.halving import SuccessiveHalving, rungs
from nxt.search.proxy import Proxy, load_proxy
from nxt.search.sampler import SAMPLERS, FeasibleSampler
from nxt.search.strategy import Strategy, trial_seed
from nxt.search.study import StudyRecord
from nxt.search.trial import Trial
from nxt.search.worker import TrialTask
from nxt.space import Space
from nxt.train.recipe import Recipe, load_recipe


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to search: the values that `--set search.key=value` changes.

    Raises:
        ConfigError: for values out of range.
    """

    sampler: str = "tpe"
    eta: float = 3.0  # one in eta trials goes on at a rung
    grace: float = 0.5  # share of a trial's epochs before the first rung

    def __post_init__(self) -> None:
        require(self.sampler in SAMPLERS, "search", f"sampler is {self.sampler!r}, not one of {', '.join(SAMPLERS)}")
        require(1 < self.eta <= 100, "search", f"eta is {self.eta}; it lies in (1, 100]")
        require(0 < self.grace <= 1, "search", f"grace is {self.grace}; it lies in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """What was asked of a search: everything that decides its result, as recorded in run.yaml."""

    space: Space
    budget: Budget
    data: str
    proxy: Proxy
    recipe: Recipe
    trials: int
    seed: int
    objective: str  # the cost that is kept low while accuracy gets high
    settings: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        require(1 <= self.trials <= 10**6, "--trials", f"{self.trials} is not between 1 and 1000000")
        require(0 <= self.seed < 2**31, "--seed", f"{self.seed} is not between 0 and 2147483647")


def make_request(space: Space, budget: Budget, data: str, trials: int, seed: int, settings: list[str]) -> SearchRequest:
    """Put a request together from what the command line gave; `settings` are `section.key=value`.

    Raises:
        ConfigError: for unknown or unusable settings.
    """
    given = parse_settings(settings)
    unknown = set(given) - {"proxy", "recipe", "search"}
    if unknown:
        raise ConfigError(f"--set {unknown.pop()}...: the sections are proxy, recipe and search")
    for section, values in given.items():
        require(isinstance(values, dict), f"--set {section}", "write section.key=value, such as proxy.epochs=3")
    require("epochs" not in given.get("recipe", {}), "--set recipe.epochs", "a trial's length is proxy.epochs")
    proxy = load_proxy(data, given.get("proxy", {}))
    recipe = load_recipe(proxy.recipe, given.get("recipe", {})).with_epochs(proxy.epochs)
    limit = budget.limit("macs")
    return SearchRequest(
        space=space,
        budget=budget,
        data=data,
        proxy=proxy,
        recipe=recipe,
        trials=trials,
        seed=seed,
        objective="acts" if limit is not None and limit.is_window else "macs",
        settings=from_mapping(Settings, given.get("search", {}), "--set search"),
    )


class Search:
    """A search in its run directory, new or continued. A context manager: inside, no other process writes there.

    Args:
        request: What was asked.
        out: The run directory.
        download: Whether data may be downloaded.

    Raises:
        SpaceError: if nothing in the space fits the budget.
        DataError: as the data set does.
    """

    def __init__(self, request: SearchRequest, out: Path, download: bool = False) -> None:
        self.request, self.out = request, out
        self.source: Source = open_source(request.data, download)
        self.feasible = FeasibleSet(request.space, request.budget)
        self.roles = {point: family for family, point in references(self.feasible).items()}
        self.size = request.proxy.image_size(self.source.size, _example(request.space))
        self.strategy: Strategy

    def load_data(self) -> Dataset:
        """Load what the trials train and are judged on."""
        return load_train(self.source, round(self.size / self.request.recipe.eval_crop), self.request.proxy.share)

    @contextmanager
    def directory(self, new: bool) -> Iterator[None]:
        """Make the run directory, if it is to be a new one; it goes again if nothing comes of it.

        Raises:
            RunError: if it exists already, or cannot be created.
        """
        with new_run_directory(self.out) if new else nullcontext(self.out.resolve()) as self.out:
            yield

    def write_record(self, data: Dataset) -> None:
        """Write run.yaml."""
        write_text(self.out / "run.yaml", dump_yaml(_record(self.request, data)))

    @contextmanager
    def opened(self) -> Iterator[Strategy]:
        """Open the study for writing, alone, and give the strategy that continues it.

        On leaving, however that happens, the result files are brought up to date.

        Raises:
            RunError: if another process is writing here, or the study is damaged.
        """
        request = self.request
        with _locked(self.out):
            (self.out / "trials").mkdir(exist_ok=True)
            study = StudyRecord(self.out / "study.db", request.space, request.objective)
            _extend(self.out, request.trials, len(study.trials))
            settings = request.settings
            self.strategy = Strategy(
                study,
                FeasibleSampler(self.feasible, list(self.roles), settings.sampler, request.seed),
                SuccessiveHalving(rungs(request.proxy.epochs, settings.eta, settings.grace), settings.eta),
                self.roles,
                request.budget,
                request.trials,
                request.proxy.epochs,
            )
            try:
                yield self.strategy
            finally:
                results.write(self.out, list(study.trials.values()), request.objective)
                if self.strategy.complete:
                    shutil.rmtree(self.out / "trials", ignore_errors=True)

    def task(self, device: str, threads: int, gpu_share: float = 0.0) -> Callable[[Trial], TrialTask]:
        """Return the function that turns a trial into work for a worker."""
        recipe = to_mapping(self.request.recipe)

        def make(trial: Trial) -> TrialTask:
            return TrialTask(
                number=trial.number,
                arch=self.request.proxy.apply(trial.spec, self.size).to_dict(),
                recipe=recipe,
                size=self.size,
                seed=trial_seed(self.request.seed, trial.spec.fingerprint),
                device=device,
                threads=threads,
                gpu_share=gpu_share,
                reported=len(trial.curve),
                checkpoint=str(self.out / "trials" / f"{trial.number}.pt"),
            )

        return make

    def clean(self, trial: Trial) -> None:
        """Remove the checkpoint of a trial that has ended."""
        (self.out / "trials" / f"{trial.number}.pt").unlink(missing_ok=True)


def load_request(run: Path) -> SearchRequest:
    """Read what a search in a run directory was asked.

    Raises:
        RunError: if it is no run directory of a search.
        ConfigError: if its record is damaged.
    """
    path = run / "run.yaml"
    record = results.read_record(run)
    where = str(path)
    try:
        return SearchRequest(
            space=Space.from_dict(record["space"], record["space_name"], where),
            budget=Budget(tuple(from_mapping(Limit, limit, where) for limit in record["budget"])),
            data=record["data"],
            proxy=from_mapping(Proxy, record["proxy"], where),
            recipe=from_mapping(Recipe, record["recipe"], where),
            trials=record["trials"],
            seed=record["seed"],
            objective=record["objective"],
            settings=from_mapping(Settings, record["search"], where),
        )
    except (SpaceError, ArchError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _extend(run: Path, trials: int, begun: int) -> None:
    """Record how many trials there are to be in all, if that has changed."""
    require(trials >= begun, "--trials", f"{trials}, but {begun} have begun already; give the number of trials in all")
    record = read_yaml(run / "run.yaml")
    if record.get("trials") != trials:
        write_text(run / "run.yaml", dump_yaml({**record, "trials": trials}))


def _example(space: Space) -> ArchSpec:
    return next(iter(space.configs.values()))


def _record(request: SearchRequest, data: Dataset) -> Mapping[str, Any]:
    example = _example(request.space)
    return {
        "command": "search",
        "space_name": request.space.name,
        "budget_rule": str(request.budget),
        "convention": f"MACs of convolution and linear layers, no bias, {example.size} px, {example.classes} classes",
        "objective": request.objective,
        "trials": request.trials,
        "seed": request.seed,
        "data": request.data,
        "train_images": len(data.train),
        "val_images": len(data.val),
        "proxy": to_mapping(request.proxy),
        "recipe": to_mapping(request.recipe),
        "search": to_mapping(request.settings),
        "budget": [to_mapping(limit) for limit in request.budget.limits],
        "space": request.space.to_dict(),
        "versions": versions(),
    }


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the run directory for this process; the lock goes with the process, however it ends."""
    try:
        file = (out / ".lock").open("w")
    except OSError as error:
        raise RunError(f"{out}: cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{out}: another search is writing there; wait for it, or choose another --out") from None
        yield
