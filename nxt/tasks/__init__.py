"""What a network is trained for: classification, detection, segmentation.

One engine trains for all of them (`nxt.train.engine`). A `Task` has what differs: how a batch becomes the network's
input, the loss, and the measures by which a trained network is judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nxt.faces import lazy_face

if TYPE_CHECKING:
    from nxt.tasks.task import Task as Task
    from nxt.tasks.task import task_for as task_for
else:
    __getattr__, __all__ = lazy_face(__name__, {"Task": "nxt.tasks.task", "task_for": "nxt.tasks.task"})
