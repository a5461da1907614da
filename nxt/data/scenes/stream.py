"""stub"""

from nxt.data.stream import Stream


class SceneStream(Stream): ...
