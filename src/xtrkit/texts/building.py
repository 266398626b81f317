"""Passages in, an index out: encoded and written piece by piece, resumed where a run was stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple

from xtrkit.encoding.base import Encoder
from xtrkit.index import Index
from xtrkit.indexing.creating import Making, check_free, write_store
from xtrkit.indexing.documents import Incoming
from xtrkit.indexing.estimate import estimated, told
from xtrkit.indexing.store import EXACT_BITS
from xtrkit.passage import Passage
from xtrkit.progress import Reporter
from xtrkit.texts.reading import check_all_came, check_passages
from xtrkit.texts.splitting import SplitCollection
from xtrkit.values import Ragged

SURVEYED = 256
"""Passages whose tokens are counted, to tell how large an index will be."""


PLAIN = Making()


@dataclass(frozen=True)
class IndexingSummary:
    """What :func:`index_passages` did.

    Attributes:
        passages: how many passages the index has.
        tokens: how many token vectors.
        truncated: how many of the passages that were encoded in this run did not fit into the model.
    """

    passages: int
    tokens: int
    truncated: int


def index_passages(
    passages: Iterable[Passage],
    path: Path,
    encoder: Encoder,
    making: Making = PLAIN,
    *,
    batch_size: int = 32,
    split: bool = False,
    progress: bool = False,
) -> IndexingSummary:
    """Encode passages and index them, some hundred at a time: memory does not grow with the collection.

    A run that is stopped or killed leaves what it has encoded beside ``path``, and the same call goes on from there.

    Args:
        passages: the passages; gone through several times.
        path: directory of the index to make; it appears when the index is complete.
        encoder: what turns texts into token vectors.
        making: bits, codec, and whether an index that is there is replaced.
        batch_size: texts encoded together.
        split: cut texts that are longer than the encoder's window into overlapping passages
            (:mod:`xtrkit.texts.splitting`) instead of cutting them off.
        progress: show on standard error what the index will take, and how each phase goes on.

    Raises:
        CollectionError: a passage can't be read; found before anything is encoded.
        IndexExistsError: something is at ``path`` already.
    """
    check_free(path, overwrite=making.overwrite)
    if split:
        passages = SplitCollection(passages, encoder)
    survey, reporter = _surveyed(passages), Reporter(progress)
    if progress:
        reporter.note(_expectation(survey, encoder, making.nbits, path))
    truncated = 0

    def embeddings(first: int) -> Iterator[Ragged]:
        nonlocal truncated
        texts = (passage.text or "" for passage in islice(passages, first, None))
        for chunk in encoder.stream_documents(texts, batch_size=batch_size):
            truncated += chunk.truncated
            first += len(chunk.embeddings)
            yield chunk.embeddings
        check_all_came(first, survey.n_passages)

    write_store(
        path,
        embeddings,
        Incoming(passages),
        encoder=encoder.identity,
        making=replace(making, n_documents=survey.n_passages),
        reporter=reporter,
    )
    with Index.open(path) as index:
        return IndexingSummary(survey.n_passages, index.n_tokens, truncated)


class _Survey(NamedTuple):
    """What a collection is like: its passages, the bytes of their ids and texts, and some of the texts."""

    n_passages: int
    text_bytes: int
    sample: list[str]


def _surveyed(passages: Iterable[Passage]) -> _Survey:
    """Check all passages, and draw ``SURVEYED`` texts of them by chance."""
    random, text_bytes = Random(0), 0
    sample: list[str] = []

    def passing() -> Iterator[Passage]:
        nonlocal text_bytes
        for seen, passage in enumerate(passages, start=1):
            text_bytes += len(passage.id) + len((passage.text or "").encode())
            if len(sample) < SURVEYED:
                sample.append(passage.text or "")
            elif (place := random.randrange(seen)) < SURVEYED:
                sample[place] = passage.text or ""
            yield passage

    return _Survey(check_passages(passing()), text_bytes, sample)


def _expectation(survey: _Survey, encoder: Encoder, nbits: int, path: Path) -> str:
    """A sentence about the index that is to be."""
    per_text = sum(len(encoder.document_tokens(text)) for text in survey.sample) / len(survey.sample)
    n_tokens = round(per_text * survey.n_passages)
    bits = None if nbits == EXACT_BITS else nbits
    expected = estimated(n_tokens, survey.n_passages, survey.text_bytes, encoder.identity.dim, bits)
    return told(expected, n_tokens, survey.n_passages, path)
