"""A plain list of architectures instead of a design space: for repeats, ablations and whole fronts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nxt.arch.costs import Cost, cost
from nxt.arch.families import family, is_family
from nxt.arch.load import resolve
from nxt.arch.spec import ArchSpec
from nxt.config import require
from nxt.errors import ArchError, RunError, expecting
from nxt.files import is_folder, write_text
from nxt.space.space import Counted, Point

NAME = "list"


@dataclass(frozen=True)
class ArchList:
    """Distinct architectures, in order. The only axis is the position in the list."""

    specs: tuple[ArchSpec, ...]
    name: str = NAME

    @property
    def axis_names(self) -> list[str]:
        """The name of the only axis."""
        return ["arch"]

    @property
    def axis_values(self) -> list[tuple[Any, ...]]:
        """All positions."""
        return [tuple(range(len(self.specs)))]

    @property
    def size(self) -> int:
        """Number of architectures."""
        return len(self.specs)

    @property
    def example(self) -> ArchSpec:
        """One of the architectures."""
        return self.specs[0]

    @property
    def counted(self) -> Counted:
        """Costs are counted at what each network is made for."""
        return None, None

    def spec(self, point: Point) -> ArchSpec:
        """Returns the architecture at a point."""
        return self.specs[point[0]]

    def cost(self, point: Point) -> Cost:
        """Returns the cost of the architecture at a point, at the image size and classes it is made for."""
        return cost(self.spec(point))

    def to_dict(self) -> dict[str, Any]:
        """Returns the plain data from which `from_dict` makes an equal list."""
        return {"architectures": [spec.to_dict() for spec in self.specs]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str) -> ArchList:
        """Builds a list from plain data.

        Raises:
            ConfigError: if it has no list of architectures.
            ArchError: if an architecture makes no network.
        """
        rows = data.get("architectures")
        require(isinstance(rows, list) and bool(rows), f"{where}: architectures", "a list was expected")
        return cls(tuple(ArchSpec.from_dict(row) for row in rows or []))


def load_list(sources: Iterable[str | Path | ArchSpec]) -> ArchList:
    """Reads architectures from names, YAML files, families and searches' run directories (fronts); each network once.

    Raises:
        ArchError: for unknown names, files without an architecture, and runs without a front.
        ConfigError: if a file cannot be read.
    """
    distinct: dict[str, ArchSpec] = {}
    for source in sources:
        if isinstance(source, ArchSpec):
            specs = [source]
        elif is_family(str(source)):
            specs = list(family(str(source)))
        else:
            specs = _front(Path(source)) if is_folder(Path(source)) else [resolve(str(source))]
        for spec in specs:
            distinct.setdefault(spec.fingerprint, spec)
    if not distinct:
        raise ArchError("the list of architectures is empty")
    return ArchList(tuple(distinct.values()))


def write_files(folder: Path, specs: Sequence[ArchSpec], provenance: Mapping[str, Any]) -> None:
    """Writes architecture files into a new folder, numbered in order.

    Args:
        folder: Must not exist yet.
        specs: The architectures.
        provenance: Where they come from; each file's index is added.

    Raises:
        RunError: if the folder exists already or cannot be created, or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise RunError(f"{folder}: exists already; choose another `out`") from None
    except OSError as error:
        raise RunError(f"{folder}: cannot be created ({error.strerror}); choose another `out`") from None
    digits = len(str(len(specs) - 1))
    for index, spec in enumerate(specs):
        text = spec.to_yaml(provenance={**provenance, "index": index})
        write_text(folder / f"{index:0{digits}}_{spec.name}.yaml", text)


def _front(run: Path) -> list[ArchSpec]:
    files = sorted((run / "pareto").glob("*.yaml"))
    if not files:
        with expecting("search", run):
            raise ArchError(f"{run}: no architectures there (a run of a search has them in pareto/)")
    return [resolve(str(file)) for file in files]
