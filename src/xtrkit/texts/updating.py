"""Texts into an index that is there: add passages, and encode a damaged segment again from its texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from xtrkit.encoding.base import Encoder
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.indexing.changing import Writer, WriteSummary
from xtrkit.indexing.documents import checked_documents
from xtrkit.indexing.pooling import pooled
from xtrkit.indexing.repairing import replace_segment
from xtrkit.indexing.segments import RowsInMemory, write_segment
from xtrkit.indexing.store import Properties, opened_quantiser
from xtrkit.passage import Passage
from xtrkit.progress import Reporter, progress_bar
from xtrkit.storage.generations import new_segment_name
from xtrkit.storage.manifest import Manifest, SegmentFacts
from xtrkit.storage.passage_file import PassageFile
from xtrkit.storage.tombstones import read_tombstones
from xtrkit.texts.document import ReadingReport
from xtrkit.texts.encoding import encoded, encoded_by, foreign_share_of, warn_of
from xtrkit.texts.reading import Source
from xtrkit.texts.taking import Taken, check_any, take
from xtrkit.values import Ragged


@dataclass(frozen=True)
class AddingSummary(WriteSummary):
    """What adding texts did, beside its commit.

    Attributes:
        read: how many documents were read.
        passages: how many passages they became.
        truncated: how many passages did not fit into the model and were cut off at the end of its window.
        unknown_share: the share of pieces in a sample of the texts that the model does not know.
        unreadable: of how many passages it does not know most pieces.
        report: what was read, passed over, left out.
        encoded_by: what encoded them, as of :class:`~xtrkit.texts.building.IndexingSummary`.
        foreign_share: the share of a sample of the texts that aren't English, where the model reads nothing else.
    """

    read: int = 0
    passages: int = 0
    truncated: int = 0
    unknown_share: float = 0.0
    unreadable: int = 0
    report: ReadingReport = field(default_factory=ReadingReport)
    encoded_by: str | None = None
    foreign_share: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**super().as_json(), "report": self.report.as_json()}


def add_texts(
    source: Source,
    index: Index,
    encoder: Encoder,
    *,
    batch_size: int = 32,
    skip_bad: bool = False,
    progress: bool = False,
) -> AddingSummary:
    """Encode documents and add them in one commit; those whose ids are there already are replaced.

    They are cut into passages as those of the index were. All passages of a document that comes again are replaced,
    however many they were.

    Args:
        source: the documents; gone through once.
        index: the index; it moves to the new generation.
        encoder: the one that made its vectors.
        batch_size: texts encoded together.
        skip_bad: leave out what can't be read instead of refusing all of it.
        progress: show how each phase goes on.

    Raises:
        CollectionError: something can't be read; found before anything is encoded.
        IndexLockedError: another writer is at work.
    """
    reporter = Reporter(progress)
    taken = take(source, encoder, index.splitting, index.path.parent, skip_bad=skip_bad, reporter=reporter)
    check_any(taken)
    with index.writer(progress=progress) as writer:
        return write_taken(writer, taken, index, encoder, batch_size=batch_size, reporter=reporter)


def write_taken(
    writer: Writer, taken: Taken, index: Index, encoder: Encoder, *, batch_size: int, reporter: Reporter
) -> AddingSummary:
    """Encode passages, let them take the place of those of their documents, and commit."""
    unknown, ids, by = warn_of(taken, encoder), {passage.id for passage in taken}, encoded_by(encoder)
    if by is not None:
        writer.set_encoded_by(by)
    before = writer.ids_of_documents(list(taken.documents)).values()
    writer.delete([name for names in before for name in names if name not in ids])
    texts, to_store = (passage.text or "" for passage in taken), iter(taken)
    with reporter.phase("Encoding", taken.n_passages, "passages") as advance:
        for chunk in encoded(encoder, texts, batch_size):
            writer.add(islice(to_store, len(chunk.embeddings)), chunk.embeddings)
            advance(len(chunk.embeddings))
    summary = writer.commit()
    index.refresh()
    return AddingSummary(
        **vars(summary),
        read=len(taken.ids),
        passages=taken.n_passages,
        truncated=taken.truncated,
        unknown_share=unknown,
        unreadable=taken.unreadable,
        foreign_share=foreign_share_of(taken, encoder),
        encoded_by=by,
        report=taken.report,
    )


def reencode(
    path: Path, segment: str, encoder: Encoder, *, batch_size: int = 32, progress: bool = False
) -> tuple[int, int]:
    """Make a generation in which the vectors of a segment come from its stored texts once more.

    Args:
        path: the index.
        segment: the segment's name.
        encoder: the encoder that made the index.
        batch_size: texts encoded together.
        progress: show a progress bar.

    Returns:
        the generation, and how many passages were encoded.

    Raises:
        InputError: there is no such segment, it has no texts, or another encoder made the index.
        IndexDamagedError: its texts are damaged too.
    """
    encoded = 0

    def change(manifest: Manifest, facts: SegmentFacts) -> tuple[SegmentFacts, ...]:
        nonlocal encoded
        properties = Properties.of(manifest, path)
        if properties.encoder is None or properties.encoder.fingerprint != encoder.identity.fingerprint:
            raise InputError(f"The index at {path} was not made with this model: name the one that made it.")
        quantiser = opened_quantiser(path, manifest, properties)
        passages = _living(path, facts)
        encoded = len(passages)
        vectors = _encoded(passages, encoder, batch_size, progress)
        vectors = pooled(
            checked_documents([passage.id for passage in passages], list(vectors), properties.dim), properties.pooling
        )
        name = new_segment_name(manifest.generation + 1)
        new, _ = write_segment(path, name, RowsInMemory(vectors), passages, quantiser)
        return tuple(new if other.name == facts.name else other for other in manifest.segments)

    generation, _ = replace_segment(path, segment, change)
    return generation, encoded


def _living(path: Path, facts: SegmentFacts) -> list[Passage]:
    dead: set[int] = set()
    if facts.tombstones:
        dead = set(read_tombstones(path, facts.tombstones, facts.documents).tolist())
    file = PassageFile(path / facts.passages.name, facts.documents)
    passages = [passage for number, passage in enumerate(file.all_passages(texts=True)) if number not in dead]
    if any(passage.text is None for passage in passages):
        raise InputError(f"The segment {facts.name} has no texts to encode again: drop it, or roll back.")
    return passages


def _encoded(passages: list[Passage], encoder: Encoder, batch_size: int, progress: bool) -> Ragged:
    parts: list[Ragged] = []
    with progress_bar("Encoding", len(passages), shown=progress, unit="passages") as advance:
        for chunk in encoder.stream_documents((passage.text or "" for passage in passages), batch_size=batch_size):
            parts.append(chunk.embeddings)
            advance(len(chunk.embeddings))
    return Ragged.from_arrays([vectors for part in parts for vectors in part], dim=encoder.identity.dim)
