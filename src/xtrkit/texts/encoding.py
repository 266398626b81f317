"""Passages through an encoder, some at a time: few enough that little is lost where a run is killed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator

from xtrkit.encoding.base import EncodedChunk, Encoder
from xtrkit.encoding.text_encoder import TextEncoder
from xtrkit.encoding.worker_pool import PooledEncoder
from xtrkit.errors import XtrkitWarning
from xtrkit.texts.taking import Taken

FIRST_CHARACTERS, MOST_CHARACTERS, MOST_TEXTS = 1 << 14, 1 << 17, 256
"""Characters encoded before anything is written down: at first, and at most; and the most texts."""

SECONDS = 5.0
"""A part that took longer is followed by a smaller one: a kill costs seconds, however slow the model is."""

UNREADABLE = 0.01
"""Share of pieces that a model does not know beyond which there is a warning; English, German and Spanish collections
had below .0001 with the default model, Chinese ones have more than half."""


def encoded(encoder: Encoder, texts: Iterable[str], batch_size: int) -> Iterator[EncodedChunk]:
    """Encode a stream of texts; each part takes some seconds."""
    stream, budget = iter(texts), FIRST_CHARACTERS
    if isinstance(encoder, PooledEncoder):
        yield from encoder.stream_parts(_parts(stream), batch_size)
        return
    while part := _part(stream, budget):
        begin = time.monotonic()
        yield from encoder.stream_documents(part, batch_size=batch_size, chunk_size=len(part))
        slow = time.monotonic() - begin > SECONDS
        budget = max(1, budget // 2) if slow else min(2 * budget, MOST_CHARACTERS)


def encoded_by(encoder: Encoder) -> str | None:
    """What an encoder computes documents with, for an index to remember; None of encoders that don't say."""
    return encoder.computed_by if isinstance(encoder, TextEncoder) else None


def _parts(stream: Iterator[str]) -> Iterator[list[str]]:
    """Parts that are on their way side by side, so that none can be told to be slow before the next is given out."""
    budget = FIRST_CHARACTERS
    while part := _part(stream, budget):
        yield part
        budget = min(2 * budget, MOST_CHARACTERS)


def _part(stream: Iterator[str], budget: int) -> list[str]:
    part: list[str] = []
    for text in stream:
        part.append(text)
        budget -= len(text)
        if budget <= 0 or len(part) == MOST_TEXTS:
            break
    return part


def unknown_share(taken: Taken, encoder: Encoder) -> float:
    """The share of pieces in a sample of texts that the model does not know."""
    found = encoder.readability(taken.sample)
    return found.unknown / max(1, found.pieces)


def warn_of(taken: Taken, encoder: Encoder) -> float:
    """Say what the model will make of texts before it is asked to: what it cuts off, and what it can't read.

    Returns:
        the share of pieces in a sample of the texts that the model does not know.
    """
    name, window = encoder.identity.name, encoder.identity.document_length
    if taken.truncated:
        warnings.warn(
            f"{taken.truncated:,} of {taken.n_passages:,} texts are longer than the {window} tokens that {name} reads: "
            "what is behind them will not be found. An index that splits documents keeps all of it: build it without "
            "--no-split (split=True).",
            XtrkitWarning,
            stacklevel=3,
        )
    share = unknown_share(taken, encoder)
    if share > UNREADABLE or taken.unreadable:
        warnings.warn(
            f"{name} does not know {share:.1%} of the pieces of these texts, and of {taken.unreadable:,} of "
            f"{taken.n_passages:,} passages it does not know most: they can't be found by those. Choose a model that "
            "reads their language: `xtrkit models` lists some.",
            XtrkitWarning,
            stacklevel=3,
        )
    return share
