"""What was given in the place of what was wanted, told by a look at the disk: hints for error messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nxt.config import read_yaml
from nxt.errors import ConfigError, suggestion
from nxt.files import is_file, is_folder

# What a thing is, and how it is used; {0} stands for how it was given.
_KINDS = {
    "network": ("a network", "nxt train {0}, or --like {0} as a budget"),
    "architecture": ("an architecture file", "nxt train {0}"),
    "space": ("a design space", "nxt search {0}"),
    "recipe": ("a recipe", "nxt train NETWORK --recipe {0}"),
    "search": ("the run of a search", "its best network is {0}/best.yaml"),
    "training": ("the run of a training", "nxt eval {0}"),
    "checkpoint": ("a checkpoint", "nxt eval {0}"),
    "images": ("a folder of images", "--data folder:{0}"),
    "record": ("the record of a run", "give the run's folder"),
}
_KEYS = {"space": {"axes"}, "architecture": {"depths", "widths"}, "recipe": {"epochs", "lr"}, "record": {"command"}}
_WEIGHTS = (".pt", ".pth", ".safetensors")
_SERVES = {("network", "architecture"), ("architecture", "network"), ("training", "checkpoint")}  # as well


def wrong_kind_hint(given: Path | str, wanted: str) -> str:
    """Returns `X: a design space, where a network was expected; nxt search X`.

    Empty where `given` is of the wanted kind, or where it cannot be told what it is.
    """
    kind = _kind(str(given))
    if kind in ("", wanted) or wanted not in _KINDS or (kind, wanted) in _SERVES:
        return ""
    what, how = _KINDS[kind]
    expected, _ = _KINDS[wanted]
    return f"{given}: {what}, where {expected} was expected; {how.format(given)}"


def nearby_run(path: Path) -> str:
    """Returns `; did you mean results/X?`, or where else the run is that this path does not name; empty if unknown."""
    inside = next((parent for parent in path.parents if is_file(parent / "run.yaml")), None)
    there = is_file(path) or is_folder(path)
    if there and inside is not None:
        return f"; it lies in a run: give {inside}"
    runs = [str(run) for run in _runs(path)]
    if runs:
        return f"; runs in it: {', '.join(runs[:3])}" + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    if there:
        what, how = _KINDS.get(_kind(str(path)), ("", ""))
        return f"; it is {what}: {how.format(path)}" if what else ""
    if is_file(Path("results", path.name, "run.yaml")):
        return f"; did you mean {str(Path('results', path.name))!r}?"
    if kind := _kind_of_name(str(path)):
        what, how = _KINDS[kind]
        return f"; it is {what}: {how.format(path)}"
    return suggestion(str(path), [str(run) for folder in (path.parent, Path("results")) for run in _runs(folder)])


def other_run(path: Path) -> str:
    """Returns which commands take a run that another command was given; empty if that is unknown."""
    takers = {"training": "nxt show, nxt eval and nxt train --resume take it", "search": "nxt search --resume goes on"}
    return "".join(f"; {takers[kind]}" for kind in [_kind_of_folder(path)] if kind in takers)


def _runs(folder: Path) -> Iterator[Path]:
    """Yields the runs in a folder, by name."""
    try:
        yield from sorted(record.parent for record in folder.glob("*/run.yaml"))
    except (OSError, ValueError):  # not a path that can be
        return


def _kind(given: str) -> str:
    """Returns the kind of what a file, a folder or a name is; empty if it cannot be told."""
    path = Path(given)
    if is_folder(path):
        return _kind_of_folder(path)
    if is_file(path):
        return "checkpoint" if path.suffix in _WEIGHTS else _kind_of_file(path)
    return _kind_of_name(given)


def _kind_of_folder(path: Path) -> str:
    if is_file(path / "run.yaml"):
        try:
            command = read_yaml(path / "run.yaml").get("command")
        except ConfigError:
            return ""
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
