"""Searches in their run directories, as the engine opens them, but without Ray."""

import contextlib
import dataclasses
from pathlib import Path

from nxt.rundir import hold_run_directory
from nxt.search.engine.search import prepare_search
from nxt.search.engine.session import open_session
from nxt.search.new_request import make_request
from nxt.search.request import SearchRecord, load_record
from nxt.search.results.run import Run
from nxt.space.budget import Budget
from nxt.space.load import load_space


@contextlib.contextmanager
def opened(search, new=False, **options):
    """Give the open session of a search in its run directory. `options` are those of `open_session`."""
    with hold_run_directory(search.out, "search", new) as directory:
        if new:
            search = search.with_own_storage()
            search.write_record(directory)
        with open_session(search, directory, **options) as session:
            yield session


def begin(request, out, **options):
    """Make the run directory of a search and return the search. `options` are those of `prepare_search`."""
    search = prepare_search(request, out, **options)
    with hold_run_directory(out, "search", new=True) as directory:
        search = search.with_own_storage()
        search.write_record(directory)
    return search


def resumed(out, **options):
    """Return the search of a run directory, ready to go on. `options` are those of `prepare_search`."""
    return prepare_search(load_record(out).request, out, **options)


def in_memory(trials, path="here", space=None, settings=None, train_images=1000, val_images=400, **changes):
    """Return a run that is nowhere on the disk. `changes` are fields of its request."""
    request = make_request(space or load_space("smoke"), Budget(), trials=20, settings=settings)
    request = dataclasses.replace(request, **{"objective": "macs", **changes})
    record = SearchRecord(request=request, train_images=train_images, val_images=val_images)
    return Run(Path(path), record, list(trials))
