"""A search whose trials are told to a tracker as they end."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager

from nxt.search.engine.execute import Ending, Observer, Resources, execute
from nxt.search.engine.search import Search
from nxt.search.engine.session import SearchSession
from nxt.search.results.run import Run, load_run
from nxt.search.trial import Outcome, Trial
from nxt.tracking.sender import Sender


def execute_tracked(search: Search, resources: Resources, observer: Observer, new: bool, tracker: str | None) -> Ending:
    """Does what `execute` does; with the name of a tracker, that hears of it, too."""
    if tracker is None:
        return execute(search, resources, observer, new)
    tracked = TrackedObserver(observer, tracker)
    ending = execute(search, resources, tracked, new)
    tracked.end(load_run(search.out), ending)
    return ending


class TrackedObserver:
    """An `Observer` that passes everything on, and tells a tracker of the trials that have ended."""

    def __init__(self, observer: Observer, tracker: str) -> None:
        self._observer, self._tracker = observer, tracker
        self._sender: Sender | None = None

    def note(self, text: str) -> None:
        """Passes it on."""
        self._observer.note(text)

    def reading(self, done: int, total: int) -> None:
        """Passes it on."""
        self._observer.reading(done, total)

    def begin(self, session: SearchSession, workers: int) -> None:
        """Sends what has not been sent of a search that goes on."""
        self._observer.begin(session, workers)
        self._catch_up(session.run())

    def ended(self, trial: Trial) -> None:
        """Sends the trial."""
        self._observer.ended(trial)
        if self._sender is not None:
            _send(self._sender, trial)

    def update(self) -> None:
        """Passes it on."""
        self._observer.update()

    def shown(self) -> AbstractContextManager[None]:
        """Passes it on."""
        return self._observer.shown()

    def end(self, run: Run, ending: Ending) -> None:
        """Sends what has not been sent, and the front's best."""
        best = None if run.best is None else run.row(run.best)
        summary = {"best": best, "front_size": len(run.front), "front": ", ".join(e.spec.name for e in run.front)}
        self._catch_up(run).end({**summary, "verdict": run.verdict()}, ending is Ending.COMPLETE)

    def _catch_up(self, run: Run) -> Sender:
        if self._sender is None:
            asked = {key: value for key, value in run.record.to_dict().items() if key not in ("space", "budget")}
            self._sender = Sender(self._tracker, run.path, run.path.resolve().name, asked)
        for trial in run.trials:
            if trial.outcome is not Outcome.RUNNING:
                _send(self._sender, trial)
        return self._sender


def _send(sender: Sender, trial: Trial) -> None:
    params = {
        "trial": trial.number,
        "state": str(trial.outcome),
        "role": trial.family,
        "repeat": trial.replicate,
        "message": trial.message,
        **trial.cost.to_dict(),
        "fingerprint": trial.spec.fingerprint,
        "arch": trial.spec.to_dict(),
    }
    name = f"{trial.number:04}_{trial.spec.name}"
    rows = [dataclasses.asdict(row) for row in trial.curve]
    sender.trial(trial.number, name, params, rows, trial.outcome is Outcome.DONE)
