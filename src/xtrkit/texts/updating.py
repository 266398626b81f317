"""Texts into an index that is there: add passages, and encode a damaged segment again from its texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from xtrkit.encoding.base import Encoder
from xtrkit.errors import InputError
from xtrkit.index import Index
from xtrkit.indexing.repairing import replace_segment
from xtrkit.indexing.segments import RowsInMemory, write_segment
from xtrkit.indexing.store import Properties, opened_quantiser
from xtrkit.indexing.writer import WriteSummary
from xtrkit.passage import Passage
from xtrkit.progress import progress_bar
from xtrkit.storage.manifest import Manifest, SegmentFacts
from xtrkit.storage.passage_file import PassageFile
from xtrkit.storage.tombstones import read_tombstones
from xtrkit.texts.reading import check_all_came, check_passages
from xtrkit.texts.splitting import SplitCollection
from xtrkit.values import Ragged


def add_passages(
    passages: Iterable[Passage],
    index: Index,
    encoder: Encoder,
    *,
    batch_size: int = 32,
    split: bool = False,
    progress: bool = False,
) -> WriteSummary:
    """Encode passages and add them in one commit; passages whose ids are there already are replaced.

    So are those that were cut out of a document whose id comes again, however many they were.

    Args:
        passages: the passages; gone through twice.
        index: the index; it moves to the new generation.
        encoder: the one that made its vectors.
        batch_size: texts encoded together.
        split: cut texts that are longer than the encoder's window into passages (:mod:`xtrkit.texts.splitting`).
        progress: show a progress bar.

    Raises:
        CollectionError: a passage can't be read; found before anything is encoded.
        IndexLockedError: another writer is at work.
    """
    if split:
        passages = SplitCollection(passages, encoder)
    ids: set[str] = set()
    documents: dict[str, None] = {}

    def noted() -> Iterator[Passage]:
        for passage in passages:
            ids.add(passage.id)
            documents[passage.document] = None
            yield passage

    n_passages = check_passages(noted())
    with (
        index.writer(progress=progress) as writer,
        progress_bar("Encoding", n_passages, shown=progress, unit="passages") as advance,
    ):
        before = writer.ids_of_documents(list(documents)).values()
        writer.delete([name for names in before for name in names if name not in ids])
        came, texts, to_store = 0, (passage.text or "" for passage in passages), iter(passages)
        for chunk in encoder.stream_documents(texts, batch_size=batch_size):
            writer.add(islice(to_store, len(chunk.embeddings)), chunk.embeddings)
            came += len(chunk.embeddings)
            advance(len(chunk.embeddings))
        check_all_came(came, n_passages)
        summary = writer.commit()
    index.refresh()
    return summary


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
        new, _ = write_segment(path, manifest.generation + 1, RowsInMemory(vectors), passages, quantiser)
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
