"""Token vectors as callers of PyLate and ColBERT have them: arrays, tensors, lists; of one text, or of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xtrkit.errors import InputError
from xtrkit.values import FloatArray

Embeddings = Any
"""A list of (tokens, dimensions) arrays or tensors, one of three axes, or a single one."""


def each_text(embeddings: Embeddings) -> list[FloatArray]:
    """The (tokens, dimensions) arrays of some texts.

    Raises:
        InputError: these are no token vectors.
    """
    if hasattr(embeddings, "ndim") and embeddings.ndim == 2:
        return [rows(embeddings)]
    if isinstance(embeddings, str | bytes) or not (isinstance(embeddings, Sequence) or hasattr(embeddings, "ndim")):
        raise InputError(f"Embeddings come as a list of arrays, got {embeddings!r:.40}: encode texts first.")
    return [rows(of_text) for of_text in embeddings]


def rows(embeddings: Any) -> FloatArray:
    """One text's token vectors as an array.

    Raises:
        InputError: these are none.
    """
    if hasattr(embeddings, "detach"):  # a tensor, wherever it is
        embeddings = embeddings.detach().cpu().float().numpy()
    try:
        found = np.asarray(embeddings, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"Token vectors must be numbers, got {embeddings!r:.40} ({error}).") from error
    if found.ndim != 2:
        raise InputError(f"Token vectors of a text have two axes (tokens, dimensions), got shape {found.shape}.")
    return found
