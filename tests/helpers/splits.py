"""Whole splits of a data set in memory, for tests that look at every image."""

import numpy as np

from nxt.data.dataset import Split


def load_split(source, name, side):
    """Returns all images of a split, "train", "test" or "val", at the given side in pixels."""
    labels = source.labels(name)
    return Split(source.images(name, np.arange(len(labels)), side), labels)
