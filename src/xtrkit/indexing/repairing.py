"""``repair``: ways out where an index is not what was written; the caller chooses, and each makes a new generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from xtrkit.errors import IndexDamagedError, InputError
from xtrkit.indexing.creating import creator
from xtrkit.indexing.index_checking import living_ids
from xtrkit.indexing.sources import Sources, read_sources, stale, write_sources
from xtrkit.indexing.store import Properties
from xtrkit.lexical.postings import WordsWriter
from xtrkit.lexical.terms import ANALYSER
from xtrkit.storage.files import check_content, storage_errors
from xtrkit.storage.generations import WriterLock, collect, commit, existing, new_words_name, roll_back
from xtrkit.storage.manifest import Manifest, SegmentFacts, decoded, manifest_name
from xtrkit.storage.passage_file import PassageFile
from xtrkit.storage.shards import check_no_shard, is_cluster, roll_back_cluster
from xtrkit.values import EncoderIdentity


def encoder_of(path: Path) -> EncoderIdentity:
    """Which encoder made an index, whose segments may be damaged.

    Raises:
        InputError: it was made of embeddings.
        IndexDamagedError: its manifest is damaged.
    """
    encoder = Properties.of(_newest(path), path).encoder
    if encoder is None:
        raise InputError(f"The index at {path} was made of embeddings, so nothing can be encoded again.")
    return encoder


def roll_back_to(path: Path, generation: int) -> int:
    """Make a generation of an index, or of a cluster, that holds what an older one held; return its number.

    Raises:
        InputError: there is no such generation.
        IndexDamagedError: it is damaged too.
        IndexLockedError: a writer is at work.
        StorageError: the disk refused.
    """
    check_no_shard(path)
    if is_cluster(path):
        with WriterLock(path):
            return roll_back_cluster(path, generation)
    existing(path)
    with WriterLock(path):
        return roll_back(path, generation)


def drop_segment(path: Path, name: str) -> tuple[int, list[str], int]:
    """Make a generation without a segment.

    Returns:
        its number, the ids of the documents that are lost, as far as they can still be read and ``IDS_SHOWN`` at most,
        and how many are lost.

    Raises:
        InputError: there is no such segment, or no other.
        IndexLockedError: a writer is at work.
        StorageError: the disk refused.
    """

    def without(manifest: Manifest, segment: SegmentFacts) -> tuple[SegmentFacts, ...]:
        left = tuple(other for other in manifest.segments if other.name != segment.name)
        if not left:
            raise InputError(f"{name} is the only segment of {path}: build the index anew, or roll back.")
        return left

    generation, dropped = replace_segment(path, name, without)
    lost = living_ids(path, dropped)
    return generation, lost, dropped.documents - dropped.dead


def replace_segment(
    path: Path, name: str, change: Callable[[Manifest, SegmentFacts], tuple[SegmentFacts, ...]]
) -> tuple[int, SegmentFacts]:
    """Make a generation with other segments.

    Args:
        path: the index.
        name: the segment that is to be replaced.
        change: gives the segments of the new generation, of the old manifest and the segment.

    Returns:
        the generation, and what the old one said of the segment.
    """
    with _changing(path) as manifest:
        segment = next((one for one in manifest.segments if one.name == name), None)
        if segment is None:
            there = ", ".join(one.name for one in manifest.segments)
            raise InputError(f"{path} has no segment {name!r}: there are {there}.")
        generation, segments, sources = manifest.generation + 1, change(manifest, segment), manifest.sources
        if len(segments) < len(manifest.segments):  # what is lost must not pass for indexed
            sources = write_sources(path, generation, _all_stale(path, manifest))
        new = replace(manifest, generation=generation, created_by=creator(), segments=segments, sources=sources)
        commit(path, new)
        return generation, segment


def rebuild_words(path: Path) -> int:
    """Make a generation in which the words of every segment come from its stored texts once more; return its number.

    Raises:
        IndexDamagedError: its manifest, or a file of passages, is damaged.
        IndexLockedError: a writer is at work.
        StorageError: the disk refused.
    """
    with _changing(path) as manifest:
        generation = manifest.generation + 1
        segments = tuple(_with_words(path, segment) for segment in manifest.segments)
        commit(path, replace(manifest, generation=generation, created_by=creator(), segments=segments))
        return generation


def _with_words(path: Path, segment: SegmentFacts) -> SegmentFacts:
    check_content(path, segment.passages)
    passages = PassageFile(path / segment.passages.name, segment.documents)
    try:
        with WordsWriter(path, new_words_name(segment.name)) as writer:
            for passage in passages.all_passages(texts=True):
                writer.add(passage.text)
            words = writer.finish()
    finally:
        passages.close()
    return replace(segment, words=words, analyser=ANALYSER if words else None)


def forget_sources(path: Path) -> int:
    """Make a generation that does not know which files its documents were read from; return its number.

    Raises:
        IndexDamagedError: its manifest is damaged.
        IndexLockedError: a writer is at work.
        StorageError: the disk refused.
    """
    with _changing(path) as manifest:
        generation = manifest.generation + 1
        commit(path, replace(manifest, generation=generation, created_by=creator(), sources=None))
        return generation


@contextmanager
def _changing(path: Path) -> Iterator[Manifest]:
    """The newest manifest, while this process alone may make another."""
    check_no_shard(path)
    existing(path)
    with WriterLock(path):
        try:
            yield _newest(path)
        finally:
            collect(path)


def _newest(path: Path) -> Manifest:
    file = path / manifest_name(existing(path)[-1])
    with storage_errors(file, "reading"):
        return decoded(file.read_bytes(), file)


def _all_stale(path: Path, manifest: Manifest) -> Sources:
    try:
        return stale(read_sources(path, manifest.sources))
    except IndexDamagedError:
        return ()
