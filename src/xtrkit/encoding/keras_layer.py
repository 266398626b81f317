"""XTR's published usage: texts in, ``encodings`` and ``mask`` out, whatever model and runtime are underneath.

The code of XTR's README runs with its first lines replaced::

    from xtrkit.encoding.keras_layer import KerasLayer

    encoder = KerasLayer("google/xtr-base-en")
    sample_embeds = encoder(["dog", "Puppies are nice."])
    encodings = sample_embeds["encodings"].numpy()   # (2, tokens, 128)
    mask = sample_embeds["mask"].numpy()             # (2, tokens)

Published models pad every text to 512 tokens; here to the longest of the batch, or to ``length``. Texts may keep their
capitals, which XTR's notebook takes away before the call: the encoder does so itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import load_encoder
from xtrkit.errors import InputError


class EagerArray(np.ndarray[Any, np.dtype[np.float32]]):
    """A NumPy array that has TensorFlow's method ``numpy()``."""

    def numpy(self) -> npt.NDArray[np.float32]:
        """The array itself."""
        return np.asarray(self)


def encodings_and_mask(encoder: Encoder, texts: Iterable[str], *, length: int | None = None) -> dict[str, EagerArray]:
    """Token embeddings of texts as XTR's ``serving_default`` signature gives them.

    Args:
        encoder: any encoder; texts are encoded as documents, which for XTR are treated like queries.
        texts: strings, or UTF-8 bytes as TensorFlow's string tensors hold them.
        length: tokens to pad to; by default those of the longest text.

    Returns:
        ``encodings``, (batch, tokens, d), and ``mask``, (batch, tokens): 1 for tokens, 0 for padding, whose rows are 0.

    Raises:
        InputError: ``length`` is less than the longest text has.
    """
    if isinstance(texts, str):
        raise InputError("Expected several texts, got one string: pass a list, such as [text].")
    numpy = getattr(texts, "numpy", None)  # a string tensor
    strings = [text.decode("utf-8") if isinstance(text, bytes) else text for text in (numpy() if numpy else texts)]
    found = encoder.encode_documents(strings)
    longest = int(found.lengths.max(initial=0))
    if length is not None and length < longest:
        raise InputError(f"length must be at least {longest}, the tokens of the longest text, got {length}.")
    encodings = np.zeros((len(found), length or longest, found.dim), dtype=np.float32)
    mask = np.zeros(encodings.shape[:2], dtype=np.float32)
    for place, rows in enumerate(found):
        encodings[place, : len(rows)] = rows
        mask[place, : len(rows)] = 1
    return {"encodings": encodings.view(EagerArray), "mask": mask.view(EagerArray)}


class KerasLayer:
    """What stands for ``tensorflow_hub.KerasLayer`` in code that was written for XTR.

    Args:
        handle: a checkpoint, as :func:`~xtrkit.encoding.load.load_encoder` takes it.
        length: as of :func:`encodings_and_mask`; 512 gives the shapes of the published models.
        **options: those of ``KerasLayer``, such as ``signature``, which say here what is so anyway.
    """

    def __init__(self, handle: str | Path, *, length: int | None = None, **options: Any) -> None:
        given = options.get("signature", "serving_default"), options.get("signature_outputs_as_dict", True)
        if given != ("serving_default", True):
            raise InputError(f"XTR has the signature serving_default with outputs as a dictionary, got {given}.")
        self.encoder, self._length = load_encoder(handle), length

    def __call__(self, texts: Iterable[str]) -> dict[str, EagerArray]:
        """``encodings`` and ``mask`` of texts."""
        return encodings_and_mask(self.encoder, texts, length=self._length)
