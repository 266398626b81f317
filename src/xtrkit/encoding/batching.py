"""Which texts share a batch: of like length, so that little of it is padding; and what all encoders do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.base import EncodedChunk, Task
from xtrkit.errors import InputError
from xtrkit.values import Ragged

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


def check_texts(texts: Iterable[str], batch_size: int = 1) -> None:
    """Refuse what can't be encoded, before anything is.

    Raises:
        InputError: one string instead of several, or no room for a text in a batch.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}.")
    if isinstance(texts, str):
        raise InputError("Expected several texts, got one string: pass a list, such as [text].")


def check_chunk_size(chunk_size: int) -> None:
    """Refuse chunks without texts.

    Raises:
        InputError: ``chunk_size`` is below 1.
    """
    if chunk_size < 1:
        raise InputError(f"chunk_size must be at least 1, got {chunk_size}.")


class TextEncoder(ABC):
    """Queries, documents and streams of them, from one way of encoding some texts."""

    @abstractmethod
    def _encode(self, texts: Sequence[str], task: Task, batch_size: int, progress: bool) -> EncodedChunk:
        """Token embeddings of some texts, and how many of them were truncated."""

    def encode_queries(self, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False) -> Ragged:
        """Token embeddings of queries, in the order given: one (n, d) float32 run a query."""
        return self._encode(texts, "query", batch_size, progress).embeddings

    def encode_documents(self, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False) -> Ragged:
        """Token embeddings of documents, in the order given: one (m, d) float32 run a document."""
        return self._encode(texts, "document", batch_size, progress).embeddings

    def stream_documents(
        self, texts: Iterable[str], *, batch_size: int = 32, chunk_size: int = 256
    ) -> Iterator[EncodedChunk]:
        """Encode a stream of any length, ``chunk_size`` texts at a time, holding no more than that in memory."""
        check_chunk_size(chunk_size)
        check_texts(texts)
        stream = iter(texts)
        while chunk := list(islice(stream, chunk_size)):
            yield self._encode(chunk, "document", batch_size, progress=False)
