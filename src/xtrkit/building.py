"""From a collection of texts to an index: encoded and written piece by piece, resumed where it was stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, tee
from pathlib import Path
from random import Random
from typing import NamedTuple

from xtrkit.collection import Passage, check_passages
from xtrkit.encoding.base import Encoder
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.indexing.creating import check_free
from xtrkit.indexing.estimate import estimated, told
from xtrkit.indexing.store import EXACT_BITS
from xtrkit.progress import Reporter
from xtrkit.splitting import SplitCollection
from xtrkit.storage.passages import Part
from xtrkit.values import Ragged

SURVEYED = 256
"""Passages whose tokens are counted, to tell how large an index will be."""


@dataclass(frozen=True)
class IndexingSummary:
    """What :func:`index_collection` did.

    Attributes:
        passages: how many passages the index has.
        tokens: how many token vectors.
        truncated: how many of the passages that were encoded in this run did not fit into the model.
    """

    passages: int
    tokens: int
    truncated: int


def index_collection(
    passages: Iterable[Passage],
    path: str | Path,
    encoder: Encoder,
    *,
    batch_size: int = 32,
    nbits: int = EXACT_BITS,
    codec: str = "grid",
    overwrite: bool = False,
    split: bool = False,
    progress: bool = False,
) -> IndexingSummary:
    """Encode a collection and index it, some hundred passages at a time: memory does not grow with the collection.

    A run that is stopped or killed leaves what it has encoded beside ``path``, and the same call goes on from there.

    Args:
        passages: the collection, such as :func:`~xtrkit.collection.open_collection` gives, or a list; read twice.
        path: directory of the index to make; it appears when the index is complete.
        encoder: what turns texts into token vectors.
        batch_size: texts encoded together.
        nbits: as in :meth:`xtrkit.Index.create`.
        codec: as in :meth:`xtrkit.Index.create`.
        overwrite: replace an index that is there already, once the new one is complete.
        split: cut texts that are longer than the encoder's window into overlapping passages
            (:mod:`xtrkit.splitting`) instead of cutting them off.
        progress: show on standard error what the index will take, and how each phase goes on.

    Raises:
        CollectionError: a passage can't be read; found before anything is encoded.
        IndexExistsError: something is at ``path`` already.
    """
    if isinstance(passages, Iterator):
        raise InputError("Passages are read twice, which an iterator can't be: give a collection or a list.")
    check_free(Path(path), overwrite=overwrite)
    if split:
        passages = SplitCollection(passages, encoder)
    survey = _surveyed(passages)
    if progress:
        Reporter(shown=True).note(_expectation(survey, encoder, nbits, Path(path)))
    truncated = 0

    def embeddings(first: int) -> Iterator[Ragged]:
        nonlocal truncated
        texts = (passage.text for passage in islice(passages, first, None))
        for chunk in encoder.stream_documents(texts, batch_size=batch_size):
            truncated += chunk.truncated
            yield chunk.embeddings

    to_name, to_store, to_filter, to_group = tee(passages, 4)
    index = Index.create(
        path,
        embeddings,
        ids=(passage.id for passage in to_name),
        texts=(passage.text for passage in to_store),
        metadata=(passage.metadata for passage in to_filter),
        parts=(None if passage.part is None else Part(*passage.part) for passage in to_group),
        encoder=encoder.identity,
        nbits=nbits,
        codec=codec,
        overwrite=overwrite,
        progress=progress,
        n_documents=survey.n_passages,
    )
    with index:
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
            text_bytes += len(passage.id) + len(passage.text.encode())
            if len(sample) < SURVEYED:
                sample.append(passage.text)
            elif (place := random.randrange(seen)) < SURVEYED:
                sample[place] = passage.text
            yield passage

    return _Survey(check_passages(passing()), text_bytes, sample)


def _expectation(survey: _Survey, encoder: Encoder, nbits: int, path: Path) -> str:
    """A sentence about the index that is to be."""
    per_text = sum(len(encoder.document_tokens(text)) for text in survey.sample) / len(survey.sample)
    n_tokens = round(per_text * survey.n_passages)
    bits = None if nbits == EXACT_BITS else nbits
    expected = estimated(n_tokens, survey.n_passages, survey.text_bytes, encoder.identity.dim, bits)
    return told(expected, n_tokens, survey.n_passages, path)
