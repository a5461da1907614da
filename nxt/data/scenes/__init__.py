"""Images with boxes or masks on them: read, changed together with what is marked, and given out in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.data.scenes.scene import Scene as Scene
    from nxt.data.scenes.stream import SceneStream as SceneStream
else:
    __getattr__, __all__ = lazy_face(
        __name__, {"Scene": "nxt.data.scenes.scene", "SceneStream": "nxt.data.scenes.stream"}
    )
