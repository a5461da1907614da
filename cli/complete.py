"""Completes arguments in the shell. If nothing fits, the shell offers files."""

from __future__ import annotations

from pathlib import Path

from nxt.data.ref import OWN


def networks(incomplete: str) -> list[str]:
    """Returns the named networks that begin with a text."""
    from nxt.arch.zoo import ZOO

    return [name for name in ZOO if name.startswith(incomplete)]


def spaces(incomplete: str) -> list[str]:
    """Returns the design spaces of nxt that begin with a text."""
    from nxt.space.load import spaces_folder

    return _stems(spaces_folder(), incomplete)


def recipes(incomplete: str) -> list[str]:
    """Returns the recipes for full training that begin with a text."""
    import nxt

    return [name for name in _stems(Path(nxt.__file__).parent / "train" / "recipes", incomplete) if name != "proxy"]


def data(incomplete: str) -> list[str]:
    """Returns the kinds of data that begin with a text."""
    kinds = ("digits", "cifar10", "cifar100", *(f"{kind}:" for kind in OWN))
    return [kind for kind in kinds if kind.startswith(incomplete)]


def _stems(folder: Path, incomplete: str) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.yaml") if file.stem.startswith(incomplete))
