"""`nxt train` of several networks: a study of a plain list under the search's own engine, with nothing shrunk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nxt.errors import ConfigError, DeviceError, RunError
from nxt.files import is_file, is_folder

from .. import options
from ..terminal import tables as render

if TYPE_CHECKING:
    from nxt.search.ranking import Entry
    from nxt.search.request import SearchRequest
    from nxt.search.results.run import Run

_NOT_HERE = ("--weights", "--freeze", "--tune", "--skip-bad")  # what is for one network alone


def wanted(networks: list[str], resume: Path | None, top: int | None, repeats: int | None) -> bool:
    """Tell whether there is more than one training to do."""
    if resume is not None:
        return is_file(resume / "study.db")
    return len(networks) > 1 or repeats is not None or top is not None or any(is_folder(Path(n)) for n in networks)


def train(
    networks: list[str],
    resume: Path | None,
    given: dict[str, Any],
    device: str,
    address: str | None,
    download: bool,
    as_json: bool,
) -> None:
    """Train all of them fully, print how they compare, and with what a search had said of them.

    Raises:
        NxtError: what a search raises.
    """
    from nxt.search.engine.execute import Where
    from nxt.search.engine.search import Search
    from nxt.search.results.run import load_run

    from .search import carry_out

    if resume is not None and networks:
        raise typer.BadParameter("networks cannot be given with --resume: run.yaml has what was asked")
    if resume is not None:
        from nxt.search.request import load_request

        request, out = load_request(resume), resume
        if not request.proxy.full:
            raise RunError(f"{resume}: a run of 'search', where a training was expected; nxt search --resume goes on")
        request = dataclasses.replace(request, data=given["--data"] or request.data)
    else:
        request = _request(networks, given)
        kind = request.data.partition(":")[0]
        out = given["--out"] or options.free_run("train", f"{request.space.size}-networks", kind)
    gpus = _gpus(device, address)
    job = Search(request, out, download)
    carry_out(job, Where(workers=given["--workers"], gpus_per_trial=gpus, address=address), resume is None, as_json)
    run = load_run(out)
    for origin in request.origins if not as_json else ():
        print_beside(load_run(origin), run)


def _gpus(device: str, address: str | None) -> float | None:
    """Return how many GPUs each training gets; None: one where there are any. A cluster may have what we lack here."""
    from nxt.compute.devices import choose

    if device.startswith("cuda:"):
        raise DeviceError(f"--device {device}: with several networks write auto, cpu or cuda")
    if device != "auto" and address is None:
        choose(device)
    return {"cpu": 0.0, "cuda": 1.0}.get(device)


def _request(networks: list[str], given: dict[str, Any]) -> SearchRequest:
    from nxt.search.request import full_request
    from nxt.search.results.run import load_run
    from nxt.space.arch_list import ArchList, load_list

    from .train import recipe_of

    for name in _NOT_HERE:
        if given[name] is not None:
            raise typer.BadParameter(f"{name} is for the training of one network")
    if not networks:
        raise typer.BadParameter("give the networks to train: names, architecture files, or a search's run")
    runs = [name for name in networks if is_folder(Path(name))]
    top = given["--top"]
    if top is not None and not runs:
        raise typer.BadParameter("--top chooses from a search's run; give one")
    specs = []
    for name in networks:
        if top is not None and name in runs:
            specs += [entry.spec for entry in load_run(name).entries[:top]]
        else:
            specs += load_list([name]).specs
    distinct = ArchList(tuple({spec.fingerprint: spec for spec in specs}.values()))
    recipes = [recipe_of(given, spec.name) for spec in distinct.specs]
    for spec, recipe in zip(distinct.specs, recipes, strict=True):
        if recipe != recipes[0]:
            pair = f"{distinct.specs[0].name} and {spec.name}"
            raise ConfigError(f"{given['--recipe']}: has values of their own for {pair}; train them one by one")
    return full_request(
        distinct,
        given["--data"] or _data_of(networks),
        given["--recipe"] or "quick",
        recipes[0],
        given["--seed"] or 0,
        given["--repeats"] or 1,
        [str(Path(run).resolve()) for run in runs],
    )


def _data_of(networks: list[str]) -> str:
    """Return the data that the searches used, and that files were found on, if that is the same; else the default."""
    from nxt.search.results.run import read_record

    from .train import data_of

    runs = [read_record(Path(given))["data"] for given in networks if is_folder(Path(given))]
    files = [data_of(given) for given in networks if given.endswith((".yaml", ".yml"))]  # names say nothing
    found = {*runs, *files}
    return str(found.pop()) if len(found) == 1 else "digits"


def print_beside(proxy: Run, full: Run) -> None:
    """Print what a search's proxy had said of the networks beside what full training says, and how far it was right."""
    from nxt.analysis import trust

    from .show import print_trust

    known = {entry.spec.fingerprint: (rank, entry) for rank, entry in enumerate(proxy.entries, 1)}
    rows = []
    for rank, entry in enumerate(full.entries, 1):
        if entry.spec.fingerprint in known:
            before, other = known[entry.spec.fingerprint]
            rows.append([entry.spec.name, _percent(proxy, other), _percent(full, entry), before, rank])
    columns = ["architecture", "in the search", "full training", "rank there", "rank here"]
    title = f"Proxy and full training, against {proxy.path}"
    render.print_table(columns, rows, ["rank there", "rank here"], title)
    told = trust.against(proxy, full)
    if told is not None:
        render.out().print(told.verdict(), soft_wrap=True)
        print_trust(told)


def _percent(run: Run, entry: Entry) -> str:
    return f"{entry.accuracy:.1%} \u00b1 {100 * run.error(entry):.1f}"
