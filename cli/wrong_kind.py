"""Makes hints for error messages: finds out on the disk what the user gave instead of the expected thing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nxt.config import read_yaml
from nxt.errors import ConfigError, suggestion
from nxt.files import is_file, is_folder

# What each kind is called, and how to use it; {0} stands for what the user gave.
_KINDS = {
    "network": ("a network", "nxt train {0}, or --like {0} as a budget"),
    "architecture": ("an architecture file", "nxt train {0}"),
    "space": ("a design space", "nxt search {0}"),
    "recipe": ("a recipe", "nxt train NETWORK --recipe {0}"),
    "search": ("the run of a search", "its best network is {0}/best.yaml"),
    "list": ("the trainings of a list", "nxt show {0} names the checkpoint of the best"),
    "training": ("the run of a training", "nxt eval {0}"),
    "checkpoint": ("a checkpoint", "nxt eval {0}"),
    "images": ("a folder of images", "--data folder:{0}"),
    "record": ("the record of a run", "give the run's folder"),
}
_KEYS = {"space": {"axes"}, "architecture": {"depths", "widths"}, "recipe": {"epochs", "lr"}, "record": {"command"}}
_WEIGHTS = (".pt", ".pth", ".safetensors")
# Pairs (given, wanted) that are accepted.
_ACCEPTED = {("network", "architecture"), ("architecture", "network"), ("training", "checkpoint"), ("list", "search")}


def wrong_kind_hint(given: Path | str, wanted: str) -> str:
    """Returns `X: a design space, where a network was expected; nxt search X`.

    Empty if `given` is of the wanted kind, or if its kind or the wanted one is unknown.
    """
    kind = _kind(str(given)) if wanted in _KINDS else ""
    if kind in ("", wanted) or (kind, wanted) in _ACCEPTED:
        return ""
    noun, usage = _KINDS[kind]
    expected, _ = _KINDS[wanted]
    return f"{given}: {noun}, where {expected} was expected; {usage.format(given)}"


def nearby_run(path: Path) -> str:
    """Returns `; did you mean results/X?` or another hint for a path that is no run; empty if there is none."""
    parent_run = next((parent for parent in path.parents if is_file(parent / "run.yaml")), None)
    exists = is_file(path) or is_folder(path)
    if exists and parent_run is not None:
        return f"; it lies in a run: give {parent_run}"
    runs = [str(run) for run in _runs(path)]
    if runs:
        return f"; runs in it: {', '.join(runs[:3])}" + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    if not exists and is_file(Path("results", path.name, "run.yaml")):
        return f"; did you mean {str(Path('results', path.name))!r}?"
    if kind := _kind(str(path)):
        noun, usage = _KINDS[kind]
        return f"; it is {noun}: {usage.format(path)}"
    if exists:
        return ""
    return suggestion(str(path), [str(run) for folder in (path.parent, Path("results")) for run in _runs(folder)])


def other_run(path: Path) -> str:
    """Returns which commands take a run that this command does not take; empty if that is unknown."""
    takers = {
        "training": "; nxt show, nxt eval and nxt train --resume take it",
        "list": "; nxt show, nxt report and nxt train --resume take it",
        "search": "; nxt show, nxt report and nxt search --resume take it",
    }
    return takers.get(_kind_of_folder(path), "")


def _runs(folder: Path) -> Iterator[Path]:
    """Yields the runs in a folder, sorted by name."""
    try:
        yield from sorted(record.parent for record in folder.glob("*/run.yaml"))
    except (OSError, ValueError):  # an invalid path
        return


def _kind(given: str) -> str:
    """Returns the kind of a file, a folder or a name; empty if unknown."""
    path = Path(given)
    if is_folder(path):
        return _kind_of_folder(path)
    if is_file(path):
        return "checkpoint" if path.suffix in _WEIGHTS else _kind_of_file(path)
    return _kind_of_name(given)


def _kind_of_folder(path: Path) -> str:
    if is_file(path / "run.yaml"):
        try:
            record = read_yaml(path / "run.yaml")
        except ConfigError:
            return ""
        command, space = record.get("command"), record.get("space")
        if command == "search" and isinstance(space, dict) and "architectures" in space:
            return "list"
        return {"search": "search", "train": "training"}.get(str(command), "")
    return "images" if is_folder(path / "train") else ""


def _kind_of_file(path: Path) -> str:
    try:
        keys = set(read_yaml(path))
    except ConfigError:
        return ""
    return next((kind for kind, wanted in _KEYS.items() if wanted <= keys), "")


def _kind_of_name(name: str) -> str:
    from nxt.arch.zoo import ZOO
    from nxt.space.load import spaces_folder

    return "network" if name in ZOO else "space" if is_file(spaces_folder() / f"{name}.yaml") else ""
