"""Passages through an encoder, some at a time: few enough that little is lost where a run is killed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from xtrkit.encoding.base import EncodedChunk, Encoder
from xtrkit.encoding.default import DEFAULT, ENGLISH_ALONE, MINI
from xtrkit.encoding.packaged import MODEL_PACKAGES, MULTI, is_installed
from xtrkit.encoding.worker_pool import PooledEncoder
from xtrkit.errors import XtrkitWarning
from xtrkit.texts.document import Document
from xtrkit.texts.language import foreign_share
from xtrkit.texts.reading import Files, Source
from xtrkit.texts.taking import Taken

FIRST_CHARACTERS, MOST_CHARACTERS, MOST_TEXTS = 1 << 14, 1 << 17, 256
"""Characters encoded before anything is written down: at first, and at most; and the most texts."""

SECONDS = 5.0
"""A part that took longer is followed by a smaller one: a kill costs seconds, however slow the model is."""

FIRST_DOCUMENTS = 64
"""Documents that are read before the model is chosen."""

FOREIGN, MOSTLY_FOREIGN = 0.1, 0.5
"""Shares of texts that aren't English, by a sample, beyond which there is a warning, and another model if it is there:
of programs .004 are taken for such texts, of English passages none of 19,640."""

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
    found: str | None = getattr(encoder, "computed_by", None)
    return found


def nprobe_of(encoder: Encoder) -> int | None:
    """How many clusters XTR is to open for a query token of an encoder's; None of encoders that don't say."""
    found: int | None = getattr(encoder, "nprobe", None)
    return found


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
    share, foreign = unknown_share(taken, encoder), foreign_share_of(taken, encoder)
    if share > UNREADABLE or taken.unreadable:
        advice = _advice() if foreign else "Choose a model that reads their language: `xtrkit models` lists some."
        warnings.warn(
            f"{name} does not know {share:.1%} of the pieces of these texts, and of {taken.unreadable:,} of "
            f"{taken.n_passages:,} passages it does not know most: they can't be found by those. {advice}",
            XtrkitWarning,
            stacklevel=3,
        )
    elif foreign > FOREIGN:
        warnings.warn(
            f"{foreign:.0%} of a sample of these texts are not English, all that {name} reads. {_advice()}",
            XtrkitWarning,
            stacklevel=3,
        )
    return share


def foreign_share_of(taken: Taken, encoder: Encoder) -> float:
    """The share of a sample of texts that aren't English; 0 where the model isn't known to read English alone."""
    return foreign_share(taken.sample) if encoder.identity.name in ENGLISH_ALONE else 0.0


def suited_model(source: Source, model: str | Path | Encoder) -> str | Path | Encoder:
    """The model of many languages for files that are mostly not English, if it is installed and none was named.

    Args:
        source: the collection; of files the first ones are read.
        model: what the caller said.
    """
    if model != DEFAULT or not isinstance(source, Files) or not is_installed(MULTI):
        return model
    texts = [item.text for item in islice(source, FIRST_DOCUMENTS) if isinstance(item, Document)]
    if (foreign := foreign_share(texts)) <= MOSTLY_FOREIGN:
        return model
    warnings.warn(
        f"{foreign:.0%} of the first {len(texts)} texts are not English: they are encoded with {MULTI}, which is "
        f"installed. To use the English model all the same, say --model {MINI} (model=).",
        XtrkitWarning,
        stacklevel=3,
    )
    return MULTI


def _advice() -> str:
    """What to do about texts that aren't English."""
    if is_installed(MULTI):
        return f"Index them with --model {MULTI} (model=), which is installed."
    return (
        f"Install the model of many languages, {MODEL_PACKAGES[MULTI]}, and index them with --model {MULTI} (model=)."
    )
