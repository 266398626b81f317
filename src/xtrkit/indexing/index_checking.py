"""``verify``, of an index in one directory: is it what was written?"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from xtrkit.errors import IndexFormatError, StorageError, XtrkitError
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.indexing.store import OpenedSegment, Properties, open_segment, opened_quantiser
from xtrkit.kernels.encoding import leads_back
from xtrkit.lexical.postings import open_words
from xtrkit.machine import usable_cores
from xtrkit.storage.files import check_content, check_size, damaged, storage_errors
from xtrkit.storage.generations import Pin, existing
from xtrkit.storage.manifest import LARGEST_MANIFEST, Manifest, SegmentFacts, decoded, manifest_name
from xtrkit.storage.passage_file import PassageFile
from xtrkit.storage.tombstones import read_tombstones

IDS_SHOWN = 1000


@dataclass(frozen=True)
class Problem:
    """Something that is not what was written.

    Attributes:
        file: its name; of a cluster, with its shard before it: SHARD/FILE.
        segment: the segment that it belongs to; None where it belongs to none, or to all. Of a cluster, with its shard
            before it: SHARD/SEGMENT.
        problem: what is wrong.
        ids: living documents that are affected, as far as they can be told, ``IDS_SHOWN`` at most; all of the segment
            where its vectors are damaged.
    """

    file: str
    segment: str | None
    problem: str
    ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """What a verification found.

    Attributes:
        index: the directory.
        generation: the generation that was looked at, the newest.
        full: whether everything was read.
        bytes_read: how much was hashed.
        seconds: how long it took.
        problems: what is wrong; nothing where all is well.
        intact_generations: generations whose manifest and sizes are right.
        not_checked: a sentence that says what was not read; None with ``full``.
        repair: the commands that mend the index, to be run one after the other; empty where nothing is wrong, or where
            no repair fits: then a backup helps, or building the index anew.
    """

    index: str
    generation: int
    full: bool
    bytes_read: int
    seconds: float
    problems: list[Problem]
    intact_generations: list[int]
    not_checked: str | None = None
    repair: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def verify_index(
    path: Path,
    generation: int | None = None,
    *,
    full: bool = False,
    advance: Callable[[int], None] = lambda amount: None,
) -> Report:
    """Look whether a generation of an index in one directory is what was written.

    Args:
        path: the index.
        generation: which; the newest where it is left out.
        full: read every file and compare its sha256, every row its CRC, and every place whether it leads back. Without
            it: sizes, headers, counts, and SQLite's own check.
        advance: told how many bytes were hashed.

    Raises:
        IndexFormatError: there is no index.
        StorageError: the directory can't be read.
    """
    begin, found = time.perf_counter(), existing(path)
    wanted = found[-1] if generation is None else generation
    problems: list[Problem] = []
    manifest, bytes_read = _manifest_of(path, wanted, problems), 0
    if manifest:
        if full:
            bytes_read = sum(file.size for file in manifest.files)
            problems += _damaged_files(path, manifest, advance)
        problems += _structure(path, manifest, full=full, known={problem.file for problem in problems})
    intact = [generation for generation in found if _is_intact(path, generation)]
    return Report(
        str(path),
        wanted,
        full,
        bytes_read,
        time.perf_counter() - begin,
        problems,
        intact,
        _not_checked(manifest) if manifest and not full else None,
        _repair(path, manifest, problems, [generation for generation in intact if generation < wanted]),
    )


def _not_checked(manifest: Manifest) -> str:
    """What is left out without ``full``."""
    unread = [
        file
        for segment in manifest.segments
        for file in (segment.vectors, segment.passages, segment.words)
        if file is not None
    ]
    size = sum(file.size for file in unread)
    return (
        f"Of {len(unread)} files, {size:,} bytes, only sizes and structure were looked at: not the numbers in "
        "vectors and words, nor the checksums of passages. --full reads them."
    )


def _repair(path: Path, manifest: Manifest | None, problems: list[Problem], older: list[int]) -> list[str]:
    """The commands that mend an index: encoding anew loses nothing, going back what is newer, dropping passages."""
    if not problems:
        return []
    command = repair_of(path)
    damaged_files = {problem.file for problem in problems}
    if manifest and manifest.sources and damaged_files == {manifest.sources.name}:
        return [f"{command} --forget-sources"]
    shared = any(problem.segment is None for problem in problems)
    segments = manifest.segments if manifest else ()
    words = {segment.words.name: segment.name for segment in segments if segment.words}
    broken = {problem.segment for problem in problems if problem.file not in words}
    bad = [segment for segment in segments if segment.name in broken]
    last = [f"{command} --words"] if {words[file] for file in damaged_files & words.keys()} - broken else []
    again = [
        segment
        for segment in bad
        if manifest and not shared and _can_be_encoded(path, manifest, segment, damaged_files)
    ]
    steps = [f"{command} --reencode {segment.name}" for segment in again]
    if len(again) == len(bad) and not shared:
        return [*steps, *last]
    for generation in reversed(older):
        if _content_is_intact(path, generation, damaged_files):
            return [f"{command} --rollback {generation}"]
    if manifest is None or shared or (len(bad) == len(manifest.segments) and not again):
        return []  # a file that all depends on, or every segment
    return [*steps, *(f"{command} --drop-segment {segment.name}" for segment in bad if segment not in again), *last]


def repair_of(path: Path) -> str:
    """How the commands that mend an index begin."""
    name = str(path) if not str(path).startswith("-") else f"./{path}"
    return f"xtrkit repair {shlex.quote(name)}"


def _can_be_encoded(path: Path, manifest: Manifest, segment: SegmentFacts, damaged_files: set[str]) -> bool:
    """Whether a segment's living passages have texts, all as they were written, and an encoder made the vectors."""
    try:
        if segment.passages.name in damaged_files or Properties.of(manifest, path).encoder is None:
            return False
        check_content(path, segment.passages)
        dead: set[int] = set()
        if segment.tombstones:
            dead = set(read_tombstones(path, segment.tombstones, segment.documents).tolist())
        passages = PassageFile(path / segment.passages.name, segment.documents)
        texts = (passage.text for number, passage in enumerate(passages.all_passages(texts=True)) if number not in dead)
        return not passages.problems() and all(text is not None for text in texts)
    except (XtrkitError, OSError):
        return False


def _content_is_intact(path: Path, generation: int, damaged_files: set[str]) -> bool:
    """Whether every file of a generation is what was written."""
    try:
        with closing(Pin(path, generation)) as pinned:
            for file in pinned.manifest.files:
                if file.name in damaged_files:
                    return False
                check_content(path, file)
    except (OSError, XtrkitError):
        return False
    return True


def _manifest_of(path: Path, generation: int, problems: list[Problem]) -> Manifest | None:
    name = manifest_name(generation)
    try:
        with storage_errors(path / name, "reading"), (path / name).open("rb") as file:
            return decoded(file.read(LARGEST_MANIFEST), path / name)
    except (IndexFormatError, StorageError) as error:
        problems.append(Problem(name, None, str(error)))
    return None


def _is_intact(path: Path, generation: int) -> bool:
    try:
        Pin(path, generation).close()
    except (OSError, XtrkitError):
        return False
    return True


def _owners(manifest: Manifest) -> dict[str, SegmentFacts]:
    return {file.name: segment for segment in manifest.segments for file in segment.files}


def _damaged_files(path: Path, manifest: Manifest, advance: Callable[[int], None]) -> Iterator[Problem]:
    """Files whose sha256 is another; some are hashed at a time, since hashing needs no Python."""
    owners = _owners(manifest)

    def message(name: str) -> str | None:
        facts = next(file for file in manifest.files if file.name == name)
        try:
            check_content(path, facts)
        except (XtrkitError, OSError) as error:
            return str(error)
        finally:
            advance(facts.size)
        return None

    names = [file.name for file in sorted(manifest.files, key=lambda file: -file.size)]
    with ThreadPoolExecutor(min(4, usable_cores())) as pool:
        for name, problem in zip(names, pool.map(message, names), strict=True):
            if problem:
                owner = owners.get(name)
                yield Problem(name, owner.name if owner else None, problem, living_ids(path, owner))


def living_ids(path: Path, segment: SegmentFacts | None) -> list[str]:
    """Ids of a segment's living documents, if they can still be read."""
    if segment is None:
        return []
    try:
        dead: set[int] = set()
        if segment.tombstones:
            dead = set(read_tombstones(path, segment.tombstones, segment.documents).tolist())
        passages = PassageFile(path / segment.passages.name, segment.documents).all_passages()
        return [passage.id for number, passage in enumerate(passages) if number not in dead][:IDS_SHOWN]
    except (XtrkitError, OSError):
        return []


def _structure(path: Path, manifest: Manifest, *, full: bool, known: set[str]) -> Iterator[Problem]:
    """What opening the index would find, file by file, and with ``full`` what reading all of it would."""
    owners = _owners(manifest)
    for file in manifest.files:
        if file.name not in known:
            yield from _tried(partial(check_size, path, file), file.name, path, owners.get(file.name))
    if manifest.sources and manifest.sources.name not in known:
        yield from _tried(partial(check_content, path, manifest.sources), manifest.sources.name, path, None)
    try:
        properties = Properties.of(manifest, path)
        quantiser = opened_quantiser(path, manifest, properties)
    except XtrkitError as error:
        name = manifest.codec.name if manifest.codec else manifest_name(manifest.generation)
        if name not in known:
            yield Problem(name, None, str(error))
        return
    ids: set[str] = set()
    for segment in manifest.segments:
        yield from _problem_of_words(path, segment, full=full, known=known)
        try:
            opened = open_segment(path, replace(segment, words=None), properties, quantiser)
        except XtrkitError as error:
            if not known & {file.name for file in segment.files if file != segment.words}:
                yield Problem(segment.vectors.name, segment.name, str(error), living_ids(path, segment))
            continue
        yield from _segment_problems(path, opened, full=full)
        living = ids_of(opened.passages, opened.live) if full and len(manifest.segments) > 1 else set()
        if twice := ids & living:
            yield Problem(segment.passages.name, segment.name, "ids come twice", sorted(twice)[:IDS_SHOWN])
        ids |= living


def _problem_of_words(path: Path, segment: SegmentFacts, *, full: bool, known: set[str]) -> Iterator[Problem]:
    if segment.words is None or segment.words.name in known:
        return
    file = path / segment.words.name
    try:
        words = open_words(file, segment.documents)
        if full and (problem := words.problem()):
            raise damaged(file, problem)
    except XtrkitError as error:
        yield Problem(segment.words.name, segment.name, str(error))


def _segment_problems(path: Path, opened: OpenedSegment, *, full: bool) -> Iterator[Problem]:
    segment = opened.facts
    for problem in opened.passages.problems(full=full):
        yield Problem(segment.passages.name, segment.name, problem.text, problem.ids)
    if full and isinstance(opened.tokens, CompressedTokens) and not _is_consistent(opened.tokens):
        text = str(damaged(path / segment.vectors.name, "documents and positions contradict each other"))
        yield Problem(segment.vectors.name, segment.name, text, living_ids(path, segment))


def ids_of(passages: PassageFile, live: np.ndarray) -> set[str]:
    """The ids of the living documents of a segment; none where they can't be read."""
    try:
        return {passage.id for number, passage in enumerate(passages.all_passages()) if not len(live) or live[number]}
    except XtrkitError:
        return set()  # told by the passages' own check


def _tried(check: Callable[[], None], name: str, path: Path, owner: SegmentFacts | None) -> Iterator[Problem]:
    try:
        check()
    except (XtrkitError, OSError) as error:
        yield Problem(name, owner.name if owner else None, str(error), living_ids(path, owner))


def _is_consistent(tokens: CompressedTokens) -> bool:
    """Whether documents and positions say the same."""
    seen = np.zeros(tokens.n_tokens, dtype=np.bool_)
    return leads_back(tokens.positions, tokens.document_offsets, tokens.documents, seen)
