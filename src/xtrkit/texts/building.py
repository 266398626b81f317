"""Texts in, an index out: encoded and written piece by piece, resumed where a run was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from xtrkit.encoding.base import Encoder
from xtrkit.index import Index
from xtrkit.indexing.creating import Making, check_free, write_store
from xtrkit.indexing.documents import Incoming
from xtrkit.indexing.estimate import estimated, told
from xtrkit.indexing.pooling import pooled_count
from xtrkit.indexing.sources import Folder
from xtrkit.indexing.store import EXACT_BITS
from xtrkit.kernels.compiling import begin_compiling
from xtrkit.progress import Reporter
from xtrkit.texts.changes import fields_record
from xtrkit.texts.document import ReadingReport
from xtrkit.texts.encoding import encoded, encoded_by, foreign_share_of, nprobe_of, warn_of
from xtrkit.texts.reading import Files, Source
from xtrkit.texts.splitting import splitting_for
from xtrkit.texts.taking import Taken, check_any, take
from xtrkit.values import Ragged

PLAIN = Making()


@dataclass(frozen=True)
class IndexingSummary:
    """What making an index did.

    Attributes:
        documents: how many documents were read.
        passages: how many passages they became.
        tokens: how many token vectors the index has.
        truncated: how many passages did not fit into the model and were cut off at the end of its window.
        unknown_share: the share of pieces in a sample of the texts that the model does not know.
        unreadable: of how many passages it does not know most pieces.
        report: what was read, passed over, left out.
        encoded_by: what encoded them: library, version, device and precision; None where the encoder doesn't say.
        foreign_share: the share of a sample of the texts that aren't English, where the model reads nothing else.
    """

    documents: int
    passages: int
    tokens: int
    truncated: int
    unknown_share: float = 0.0
    unreadable: int = 0
    report: ReadingReport = field(default_factory=ReadingReport)
    encoded_by: str | None = None
    foreign_share: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**vars(self), "report": self.report.as_json()}


def index_texts(
    source: Source,
    path: Path,
    encoder: Encoder,
    making: Making = PLAIN,
    *,
    batch_size: int = 32,
    split: bool = True,
    skip_bad: bool = False,
    progress: bool = False,
) -> IndexingSummary:
    """Encode documents and index them, some at a time: memory does not grow with the collection.

    A run that is stopped or killed leaves what it has encoded beside ``path``, and the same call goes on from there.

    Args:
        source: the documents; gone through once.
        path: directory of the index to make; it appears when the index is complete.
        encoder: what turns texts into token vectors.
        making: bits, codec, and whether an index that is there is replaced.
        batch_size: texts encoded together.
        split: cut documents into passages (:mod:`xtrkit.texts.splitting`), which the index remembers; else texts that
            are longer than the encoder's window are cut off at its end.
        skip_bad: leave out what can't be read instead of refusing all of it.
        progress: show on standard error what the index will take, and how each phase goes on.

    Raises:
        CollectionError: something can't be read; found before anything is encoded.
        IndexExistsError: something is at ``path`` already.
    """
    path = path.absolute()
    check_free(path, overwrite=making.overwrite)
    making.check_dim(encoder.identity.dim)
    reporter, splitting = Reporter(progress), splitting_for(encoder) if split else None
    compiling = begin_compiling(making.nbits, making.codec)
    taken = take(source, encoder, splitting, existing_folder(path), skip_bad=skip_bad, reporter=reporter)
    check_any(taken)
    unknown = warn_of(taken, encoder)
    if progress:
        reporter.note(expectation(taken, encoder, making, path))

    def embeddings(first: int) -> Iterator[Ragged]:
        texts = (passage.text or "" for passage in islice(taken, first, None))
        return (chunk.embeddings for chunk in encoded(encoder, texts, batch_size))

    making = replace(
        making,
        n_documents=taken.n_passages,
        splitting=splitting,
        sources=sources_of(source, taken),
        encoded_by=encoded_by(encoder),
        nprobe=nprobe_of(encoder),
    )
    write_store(path, embeddings, Incoming(taken), encoder=encoder.identity, making=making, reporter=reporter)
    if compiling.running:
        reporter.note("Compiling what searches need, once on this machine …")
    compiling.wait()
    with Index.open(path) as index:
        return IndexingSummary(
            documents=len(taken.ids),
            passages=taken.n_passages,
            tokens=index.n_tokens,
            truncated=taken.truncated,
            unknown_share=unknown,
            unreadable=taken.unreadable,
            foreign_share=foreign_share_of(taken, encoder),
            encoded_by=making.encoded_by,
            report=taken.report,
        )


def existing_folder(path: Path) -> Path:
    """The nearest folder above a path that is there: where a temporary file may go."""
    return next(parent for parent in path.parents if parent.is_dir())


def sources_of(source: Source, taken: Taken) -> tuple[Folder, ...]:
    """Which files the passages were read from, for an index to remember."""
    if not isinstance(source, Files):
        return ()
    return (Folder(source.name, fields_record(source.fields), taken.files),)


def expectation(taken: Taken, encoder: Encoder, making: Making, path: Path) -> str:
    """A sentence about the index that is to be."""
    window = encoder.identity.document_length
    counts = [
        window if encoder.is_document_truncated(text) else encoder.document_token_count(text) for text in taken.sample
    ]
    kept = [pooled_count(count, making.pooling) for count in counts]
    n_tokens = round(sum(kept) / len(kept) * taken.n_passages)
    bits = None if making.nbits == EXACT_BITS else making.nbits
    expected = estimated(n_tokens, taken.n_passages, taken.text_bytes, encoder.identity.dim, bits, making.dim)
    return told(expected, n_tokens, taken.n_passages, path)
