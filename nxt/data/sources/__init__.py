"""Where images come from: a data set by its name, or a user's own images in folders, archives, tables and more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.data.sources.open import cifar as cifar
    from nxt.data.sources.open import digits as digits
    from nxt.data.sources.open import open_source as open_source
else:
    __getattr__, __all__ = lazy_face(
        __name__, dict.fromkeys(("cifar", "digits", "open_source"), "nxt.data.sources.open")
    )
