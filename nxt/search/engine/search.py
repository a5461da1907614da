"""A search that is ready to run: what it trains on, where it goes, whose trials it takes over. Nothing is open yet."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import numpy as np

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.compute.mode import Compute
from nxt.data.dataset import Source, divided, largest_share
from nxt.data.readable import without_bad
from nxt.data.sources.open import open_source
from nxt.data.squares import Squares
from nxt.errors import ConfigError, RunError
from nxt.files import inside, write_text
from nxt.rundir import RunDirectory
from nxt.search.engine.checkpoints import Storage
from nxt.search.engine.packing import Gpu, Packing
from nxt.search.request import LATENCY, SearchRecord, SearchRequest, first_difference
from nxt.search.results.run import Run
from nxt.search.strategy.setup import SearchSetup
from nxt.search.trial import Outcome, Trial
from nxt.space.arch_list import ArchList

SAMPLES = 21  # architectures that stand for all of a search: how much memory they take, how they compute fastest


@dataclass(frozen=True)
class Search:
    """A search with its data opened; made by `prepare_search`."""

    setup: SearchSetup
    out: Path  # the run directory
    source: Source
    size: int  # image side in pixels
    ways: Mapping[str, Compute] = field(default_factory=dict)  # how proxies compute on a GPU, by family
    replay: Run | None = None  # its finished trials are taken over where architecture, conditions and seed are the same

    @property
    def request(self) -> SearchRequest:
        """What was asked."""
        return self.setup.request

    @property
    def storage(self) -> Storage:
        """Where trials keep their checkpoints."""
        return Storage(self.request.storage or str(self.out.resolve() / "trials"))

    def record(self) -> SearchRecord:
        """Returns what run.yaml of this search says.

        Raises:
            DataError: if there are too few images.
            RunError: if the run to replay was made under other conditions.
        """
        train, name, val = divided(self.source, self.request.proxy.share)
        record = SearchRecord(
            request=self.request,
            train_images=len(train),
            val_images=len(val),
            ways=self.ways,
            size=self.size,
            largest_class=largest_share(self.source.labels(name)[val])
            if self.request.task == "classification"
            else None,
        )
        _check_replay(record, self.replay)
        return record

    def write_record(self, directory: RunDirectory) -> None:
        """Writes run.yaml of a new search, after the table of latencies that it names. Raises RunError, as `record`."""
        if self.request.latency is not None:
            write_text(directory.path / LATENCY, json.dumps(self.request.latency.data, indent=0) + "\n")
        directory.write_record(self.record().to_dict())

    def squares(self) -> Squares:
        """Returns the images that the trials of a search train and are judged on. Errors as `Squares` has them."""
        preprocess = self.request.recipe.preprocess(self.size, self.source.mean, self.source.std)
        return Squares(self.source, preprocess.resized, self.request.proxy.share)

    def trial_data(self) -> Squares | Source:
        """Returns what workers open images from: whole ones of scenes and full trainings. Errors as `Squares` has."""
        scenes = self.source.task != "classification"
        return self.source if self.request.full or scenes else self.squares()

    def with_own_storage(self) -> Search:
        """Returns the same search with a folder of its own inside its storage, which other searches may use too.

        Raises:
            ConfigError: if nothing can be stored there.
        """
        if not self.request.storage:
            return self
        own = inside(self.request.storage, f"{quote(self.out.resolve().name)}-{uuid.uuid4().hex[:8]}")
        search = dataclasses.replace(self, setup=SearchSetup(dataclasses.replace(self.request, storage=own)))
        search.storage.prepare()
        return search

    def samples(self, count: int) -> list[ArchSpec]:
        """Returns architectures that the search may train: uniform draws, always the same, or a list's first."""
        space, feasible = self.request.space, self.setup.feasible
        if feasible is None:
            return [space.spec((index,)) for index in range(min(count, space.size))]
        rng = np.random.default_rng(self.request.seed)
        return [space.spec(feasible.draw(rng)) for _ in range(count)]

    def predicted_memory(self, spec: ArchSpec) -> int:
        """Returns the bytes that a trial of an architecture is predicted to take beside its images, in float32."""
        recipe, proxy = self.request.recipe, self.request.proxy.apply(spec, self.size)
        return cost(proxy, self.size, len(self.source.classes)).step_memory(recipe.batch // recipe.accumulate)

    def packing(self, gpus: Sequence[Gpu], asked: float | None, images: int, cpus: int) -> Packing:
        """Returns how trials share GPUs.

        Args:
            gpus: What was found.
            asked: The part of a GPU for each trial; None: what each needs, or in full trainings a GPU each.
            images: Bytes of the images that every trial uses.
            cpus: CPUs for all trials together.
        """
        usual = [self.predicted_memory(spec) for spec in self.samples(SAMPLES)]
        return Packing(gpus, 1.0 if asked is None and self.request.full else asked, images, cpus, usual)

    def finished_elsewhere(self) -> dict[tuple[str, int], Trial]:
        """Returns the finished trials of the run to replay, by fingerprint and seed."""
        if self.replay is None:
            return {}
        done = [trial for trial in self.replay.trials if trial.outcome is Outcome.DONE]
        return {(trial.spec.fingerprint, trial.seed(self.replay.request.seed)): trial for trial in done}


def prepare_search(
    request: SearchRequest,
    out: Path,
    download: bool = False,
    replay: Run | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Search:
    """Opens the data of a search and checks that everything fits together; writes nothing.

    Args:
        request: What is asked.
        out: The run directory, new or to go on with.
        download: Whether data may be downloaded.
        replay: A run whose finished trials are taken over.
        say: Is called with a sentence for each image that is left out.

    Raises:
        SpaceError: if nothing fits the budget.
        DataError: if the data is not there.
        ConfigError: if a list mixes networks for several image sizes.
        RunError: if the run to replay was made under other conditions.
    """
    _check_replay(request, replay)
    source = open_source(request.data, download)
    if request.skip_bad:
        source = without_bad(source, lambda problem: say(f"left out: {problem}"))
    setup = SearchSetup(request)
    _ = setup.feasible  # where nothing fits, that is said before anything is read
    sizes = {spec.size for spec in request.space.specs} if isinstance(request.space, ArchList) else set()
    if request.recipe.size is None and source.size is None and len(sizes) > 1:
        raise ConfigError(f"`archs`: networks for {sorted(sizes)} pixels in one list; train them in lists of their own")
    size = request.recipe.size or request.proxy.image_size(source.size, request.space.example)
    return Search(setup, out, source, size, replay=replay)


def _check_replay(asked: SearchRequest | SearchRecord, replay: Run | None) -> None:
    """Raises RunError if the run to replay was made under other conditions."""
    if replay is not None and (key := first_difference(asked.conditions, replay.record.conditions)):
        raise RunError(f"`replay` {replay.path}: its {key} differs, so its accuracies do not compare")
