"""`nxt train` of several networks: trains a list of networks fully with the engine of searches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nxt.arch.families import is_family
from nxt.files import is_file, is_folder

from ..terminal import tables

if TYPE_CHECKING:
    from nxt.search.results.run import Run
    from nxt.train.options import TrainOptions


def is_for_several(networks: list[str], resume: Path | None, top: int | None, repeats: int | None) -> bool:
    """Returns whether there is more than one training to do."""
    if repeats is not None or top is not None or any(is_family(name) for name in networks):
        return True
    if resume is not None:
        return is_file(resume / "study.db")
    return len(networks) > 1 or any(is_folder(Path(name)) for name in networks)


def train(
    networks: list[str],
    chosen: TrainOptions,
    top: int | None,
    repeats: int | None,
    device: str,
    address: str | None,
    as_json: bool,
) -> None:
    """Trains all networks fully, and prints them side by side; for the run of a search also how its ranking agrees.

    Raises:
        NxtError: as a search does.
    """
    from nxt.search.engine.train_many import prepare, run_trainings
    from nxt.search.results.run import load_run

    from .search import carry_out

    job = prepare(networks, chosen, top, repeats)
    again = {"workers": chosen.workers, "device": None if device == "auto" else device, "address": address}
    again["track"] = chosen.track
    carry_out(job, lambda observer: run_trainings(job, chosen, device, address, observer), again, as_json)
    for origin in job.request.origins if not as_json else ():
        print_agreement(load_run(origin), load_run(job.out))


def print_agreement(proxy: Run, full: Run) -> None:
    """Prints the accuracies in a search beside those of full training, and how well the rankings agree."""
    from nxt.analysis import trust
    from nxt.search.results.front_table import accuracy_text

    from .show import print_trust

    known = {entry.spec.fingerprint: (rank, entry) for rank, entry in enumerate(proxy.entries, 1)}
    rows = []
    for rank, entry in enumerate(full.entries, 1):
        if entry.spec.fingerprint in known:
            proxy_rank, proxy_entry = known[entry.spec.fingerprint]
            accuracies = accuracy_text(proxy, proxy_entry), accuracy_text(full, entry)
            rows.append([entry.spec.name, *accuracies, proxy_rank, rank])
    columns = ["architecture", "in the search", "full training", "rank there", "rank here"]
    title = f"Proxy and full training, against {proxy.path}"
    tables.print_table(columns, rows, ["rank there", "rank here"], title)
    agreement = trust.against(proxy, full)
    if agreement is not None:
        tables.out().print(agreement.verdict(), soft_wrap=True)
        print_trust(agreement)
