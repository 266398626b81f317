"""Assignment of tokens to centroids on a device that torch drives: by brute force, which suits a GPU."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from xtrkit.devices import device_named
from xtrkit.indexing.centroids import Assign, CentroidTree, Floats

PRODUCTS_AT_A_TIME = 1 << 28
"""Similarities that are in the device's memory at a time: 1 GB of float32."""


def assign_on(device: str) -> Assign:
    """What :meth:`CentroidTree.assign` does, on a device; all centroids are compared instead of those of some groups.

    Raises:
        InputError: torch has no such device here.
    """
    place = device_named(device)

    def assign(tree: CentroidTree, rows: Floats) -> npt.NDArray[np.int32]:
        centroids = torch.from_numpy(tree.centroids).to(place).T
        at_a_time = max(1, PRODUCTS_AT_A_TIME // centroids.shape[1])
        assigned = np.empty(len(rows), dtype=np.int32)
        for first in range(0, len(rows), at_a_time):
            block = torch.from_numpy(np.ascontiguousarray(rows[first : first + at_a_time])).to(place)
            assigned[first : first + at_a_time] = (block @ centroids).argmax(dim=1).cpu().numpy()
        return assigned

    return assign
