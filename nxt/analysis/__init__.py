"""Analyses of searches and networks beyond a search's own front: trust in proxies, error distributions, profiles.

The functions take runs (`nxt.search.results.Run`) and return plain values; `nxt.report` draws them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.analysis.compare_runs import RunPair as RunPair
    from nxt.analysis.error_distribution import population as population
    from nxt.analysis.profile import Profile as Profile
    from nxt.analysis.trust import between_epochs as between_epochs
else:
    __getattr__, __all__ = lazy_face(
        __name__,
        {
            "Profile": "nxt.analysis.profile",
            "RunPair": "nxt.analysis.compare_runs",
            "between_epochs": "nxt.analysis.trust",
            "population": "nxt.analysis.error_distribution",
        },
    )
