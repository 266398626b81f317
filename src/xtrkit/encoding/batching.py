"""Which texts share a batch: of like length, so that little of it is padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

# A batch holds as many tokens as ``batch_size`` texts of this length: a batch of long texts falls out of the caches of
# a CPU (32 texts of 256 tokens took a fifth longer than 16 and 16), one of short texts keeps its cores idle.
_TYPICAL_LENGTH = 128


def batches_of(
    lengths: npt.NDArray[np.int64], batch_size: int, most_tokens: int | None = None
) -> Iterator[npt.NDArray[np.intp]]:
    """The places of the texts of each batch; the longest come first, so that memory runs out at once or never.

    Args:
        lengths: (N,) how many tokens each text takes up in a batch, at least 1.
        batch_size: how many texts of 128 tokens share a batch: of longer ones fewer do, of shorter ones more.
        most_tokens: beyond which a batch gains nothing, whatever ``batch_size`` allows.
    """
    budget = batch_size * _TYPICAL_LENGTH
    if most_tokens is not None:
        budget = min(budget, most_tokens)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        stop = start + max(1, budget // int(lengths[order[start]]))
        yield order[start:stop]
        start = stop
