"""A manifest: which files make one generation of an index, with size and sha256 of each.

Two lines of JSON: the generation in canonical form, and the sha256 of the first line. What is not exactly as this
module writes it is refused, so there is one spelling of each manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xtrkit.errors import IndexFormatError
from xtrkit.storage.files import FileFacts, damaged

FORMAT = "xtrkit-index"
FORMAT_VERSION = 6
FEATURES: frozenset[str] = frozenset()
"""Features of the format that readers must know, beyond those of its version."""

FILES = ("vectors", "passages", "tombstones", "words")
"""What of a segment is a file."""

LARGEST_MANIFEST = 1 << 24
FILE_NAME = re.compile(r"[0-9a-z][0-9a-z._-]{0,80}", re.ASCII)
SEGMENT_NAME = re.compile(r"s\d{12}-[0-9a-f]{8}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class SegmentFacts:
    """One segment of a generation.

    Attributes:
        name: what its files' names begin with.
        documents: documents, dead ones included.
        tokens: token vectors, dead ones included.
        dead: documents that are dead.
        vectors: the file of arrays.
        passages: the file of passages.
        tombstones: the file that says which documents are dead; None where none is.
        words: the file of words; None where no document has a text.
        analyser: name and version of what found the words; None where there are none.
    """

    name: str
    documents: int
    tokens: int
    dead: int
    vectors: FileFacts
    passages: FileFacts
    tombstones: FileFacts | None = None
    words: FileFacts | None = None
    analyser: str | None = None

    @property
    def files(self) -> list[FileFacts]:
        """Its files."""
        return [self.vectors, self.passages, *(file for file in (self.tombstones, self.words) if file)]


@dataclass(frozen=True)
class Manifest:
    """One generation of an index.

    Attributes:
        generation: its number, from 1.
        created_by: which program wrote it.
        properties: what holds for all segments, such as dimensions and bits; whoever opens the index checks it.
        codec: the file of arrays that all segments share, if they share some.
        segments: its segments, in the order in which documents are numbered.
        sources: the file that says which files the documents were read from; None where that is not known.
    """

    generation: int
    created_by: str
    properties: Mapping[str, Any]
    codec: FileFacts | None = None
    segments: tuple[SegmentFacts, ...] = field(default=())
    sources: FileFacts | None = None

    @property
    def files(self) -> list[FileFacts]:
        """Every file that the generation needs."""
        files = [file for segment in self.segments for file in segment.files]
        return [*files, *(file for file in (self.codec, self.sources) if file)]


def manifest_name(generation: int) -> str:
    """The file name of a generation's manifest."""
    return f"manifest-{generation:012d}.json"


def encoded(manifest: Manifest) -> bytes:
    """A manifest's file."""
    record = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "features": sorted(FEATURES),
        "generation": manifest.generation,
        "created_by": manifest.created_by,
        "properties": dict(manifest.properties),
        "codec": file_record(manifest.codec),
        "sources": file_record(manifest.sources),
        "segments": [
            {
                **asdict(segment),
                **{name: file_record(getattr(segment, name)) for name in FILES},
            }
            for segment in manifest.segments
        ],
    }
    line = canonical(record)
    return line + checksum_line(line)


def decoded(content: bytes, path: Path) -> Manifest:
    """A manifest from the content of its file.

    Args:
        content: the file's bytes.
        path: where it was, for its name and for messages.

    Raises:
        IndexDamagedError: it is not what was written.
        IndexFormatError: a newer xtrkit wrote it.
    """
    line, _, _ = content.partition(b"\n")
    line += b"\n"
    if content != line + checksum_line(line):
        raise damaged(path, "its content is not what was written: another sha256")
    try:
        record = json.loads(line.decode("utf-8"))
        if canonical(record) != line:
            raise ValueError("it is not in canonical form")
        _check_version(record, path)
        manifest = _manifest(record)
        if manifest_name(manifest.generation) != path.name:
            raise ValueError(f"it is that of generation {manifest.generation}")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}") from error
    return manifest


def _check_version(record: Mapping[str, Any], path: Path) -> None:
    if record["format"] != FORMAT:
        raise ValueError(f"it does not say that this is a {FORMAT}")
    version, features = _number(record["version"]), record["features"]
    if version != FORMAT_VERSION:
        raise IndexFormatError(
            f"{path.parent} has format version {version}, this xtrkit reads version {FORMAT_VERSION}: "
            "use the xtrkit that wrote it, or build the index anew."
        )
    if not isinstance(features, list) or not all(isinstance(feature, str) for feature in features):
        raise ValueError("its features are no list of names")
    unknown = sorted(set(features) - FEATURES)
    if unknown:
        raise IndexFormatError(f"{path.parent} needs the feature {unknown[0]!r}, which this xtrkit does not know.")


def _manifest(record: Mapping[str, Any]) -> Manifest:
    _check_keys(record, "format version features generation created_by properties codec sources segments")
    segments = tuple(_segment(part) for part in record["segments"])
    if not isinstance(record["properties"], dict) or not isinstance(record["created_by"], str):
        raise TypeError("its properties are no table, or its creator is no text")
    codec, sources = (None if record[name] is None else file_of(record[name]) for name in ("codec", "sources"))
    generation = _number(record["generation"], 1)
    manifest = Manifest(generation, record["created_by"], record["properties"], codec, segments, sources)
    names = [file.name for file in manifest.files]
    if len(set(names)) != len(names) or len({segment.name for segment in segments}) != len(segments):
        raise ValueError("a file or segment is named twice")
    return manifest


def _segment(record: Any) -> SegmentFacts:
    _check_keys(record, "name documents tokens dead vectors passages tombstones words analyser")
    if not isinstance(record["name"], str) or not SEGMENT_NAME.fullmatch(record["name"]):
        raise ValueError(f"{record['name']!r} is no name of a segment")
    tombstones, words = (None if record[name] is None else file_of(record[name]) for name in ("tombstones", "words"))
    counts = {name: _number(record[name]) for name in ("documents", "tokens", "dead")}
    segment = SegmentFacts(
        name=record["name"], vectors=file_of(record["vectors"]), passages=file_of(record["passages"]),
        tombstones=tombstones, words=words, analyser=record["analyser"], **counts,
    )  # fmt: skip
    if (words is None) != (segment.analyser is None) or not isinstance(segment.analyser, str | None):
        raise ValueError(f"{segment.name} has words without an analyser, or the other way round")
    if segment.dead > segment.documents or (segment.dead > 0) != (tombstones is not None):
        raise ValueError(f"{segment.name} has counts that do not fit")
    if tombstones and tombstones.size != 4 * segment.dead:
        raise ValueError(f"{segment.name} has tombstones of another number than dead documents")
    return segment


def file_of(record: Any) -> FileFacts:
    """What a manifest says of a file.

    Raises:
        ValueError: it is not what it must be.
    """
    _check_keys(record, "name size sha256")
    name, sha256 = record["name"], record["sha256"]
    if not isinstance(name, str) or not FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a file")
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is no sha256")
    return FileFacts(name, _number(record["size"]), sha256)


def _number(value: Any, least: int = 0) -> int:
    if type(value) is not int or not least <= value < 1 << 62:
        raise ValueError(f"{value!r} is no possible number")
    return value


def _check_keys(record: Any, names: str) -> None:
    if not isinstance(record, dict) or record.keys() != set(names.split()):
        raise ValueError(f"expected the facts {names}")


def file_record(file: FileFacts | None) -> dict[str, Any] | None:
    """What a manifest says of a file, to be written; None where there is none."""
    return None if file is None else file._asdict()


def canonical(record: Any) -> bytes:
    """A line of JSON, as there is one way to write it."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8") + b"\n"


def checksum_line(line: bytes) -> bytes:
    """The line that follows it: its sha256."""
    return canonical({"sha256": hashlib.sha256(line).hexdigest()})
