"""Text into an index that is there: add a collection, and encode a damaged segment anew from its texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, tee
from pathlib import Path

from xtrkit.collection import Passage, check_passages
from xtrkit.encoding.base import Encoder
from xtrkit.errors import InputError
from xtrkit.indexing.checking import replace_segment
from xtrkit.indexing.segments import RowsInMemory, write_segment
from xtrkit.indexing.store import Properties, opened_quantiser
from xtrkit.indexing.writer import WriteSummary
from xtrkit.progress import progress_bar
from xtrkit.retriever import Retriever
from xtrkit.splitting import SplitCollection
from xtrkit.storage.manifest import Manifest, SegmentFacts
from xtrkit.storage.passages import Part, PassageFile
from xtrkit.storage.passages import Passage as StoredPassage
from xtrkit.storage.tombstones import read_tombstones
from xtrkit.values import Ragged


def add_collection(
    passages: Iterable[Passage],
    retriever: Retriever,
    *,
    batch_size: int = 32,
    split: bool = False,
    progress: bool = False,
) -> WriteSummary:
    """Encode a collection and add it in one commit; passages whose ids are there already are replaced.

    So are those that were cut out of a document whose id comes again, however many they were.

    Args:
        passages: the collection; read twice.
        retriever: the index with its encoder; it moves to the new generation.
        batch_size: texts encoded together.
        split: cut texts that are longer than the encoder's window into passages, as in
            :func:`~xtrkit.building.index_collection`.
        progress: show a progress bar.

    Raises:
        CollectionError: a passage can't be read; found before anything is encoded.
        IndexLockedError: another writer is at work.
    """
    if isinstance(passages, Iterator):
        raise InputError("Passages are read twice, which an iterator can't be: give a collection or a list.")
    if split:
        passages = SplitCollection(passages, retriever.encoder)
    n_passages = check_passages(passages)
    to_encode, to_store = tee(passages, 2)
    with (
        retriever.index.writer(progress=progress) as writer,
        progress_bar("Encoding", n_passages, shown=progress, unit="passages") as advance,
    ):
        retriever.index.refresh()  # nobody else can change it any more
        writer.delete(_outdated(passages, retriever))
        texts = (passage.text for passage in to_encode)
        for chunk in retriever.encoder.stream_documents(texts, batch_size=batch_size):
            part = list(islice(to_store, len(chunk.embeddings)))
            ids, texts_of, metadata, parts = zip(*part, strict=True)
            writer.add(ids, chunk.embeddings, texts_of, metadata, [None if p is None else Part(*p) for p in parts])
            advance(len(part))
        summary = writer.commit()
    retriever.index.refresh()
    return summary


def _outdated(passages: Iterable[Passage], retriever: Retriever) -> list[str]:
    """Ids of passages of documents that come again, and that do not come again themselves."""
    ids, documents = set(), set()
    for passage in passages:
        ids.add(passage.id)
        documents.add(passage.id if passage.part is None else passage.part[0])
    return [
        passage.id
        for passage in retriever.index.passages()
        if passage.id not in ids and (passage.id if passage.part is None else passage.part.document) in documents
    ]


def encode_anew(
    path: Path, segment: str, encoder: Encoder, *, batch_size: int = 32, progress: bool = False
) -> tuple[int, int]:
    """Make a generation in which the vectors of a segment come anew from its stored texts.

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


def _living(path: Path, facts: SegmentFacts) -> list[StoredPassage]:
    dead: set[int] = set()
    if facts.tombstones:
        dead = set(read_tombstones(path, facts.tombstones, facts.documents).tolist())
    file = PassageFile(path / facts.passages.name, facts.documents)
    passages = [passage for number, passage in enumerate(file.all_passages(texts=True)) if number not in dead]
    if any(passage.text is None for passage in passages):
        raise InputError(f"The segment {facts.name} has no texts to encode anew: drop it, or roll back.")
    return passages


def _encoded(passages: list[StoredPassage], encoder: Encoder, batch_size: int, progress: bool) -> Ragged:
    parts: list[Ragged] = []
    with progress_bar("Encoding", len(passages), shown=progress, unit="passages") as advance:
        for chunk in encoder.stream_documents((passage.text or "" for passage in passages), batch_size=batch_size):
            parts.append(chunk.embeddings)
            advance(len(chunk.embeddings))
    return Ragged.from_arrays([vectors for part in parts for vectors in part], dim=encoder.identity.dim)
