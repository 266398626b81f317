"""An opened index: one generation, its segments viewed in place.

What lies on disk is the storage layer's business (:mod:`xtrkit.storage`); here its arrays become token vectors. The
documents of all segments are numbered through, dead ones included, in the order of the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xtrkit.errors import InputError
from xtrkit.indexing.codec import BITS, CODECS
from xtrkit.indexing.compressed_format import Quantiser, open_quantiser, open_tokens
from xtrkit.indexing.passages import Passages
from xtrkit.lexical.bm25 import SegmentWords, WordIndex
from xtrkit.lexical.postings import Words, open_words
from xtrkit.storage.arrays import open_arrays
from xtrkit.storage.files import check_content, damaged
from xtrkit.storage.generations import Pin
from xtrkit.storage.manifest import Manifest, SegmentFacts, manifest_name
from xtrkit.storage.passage_file import PassageFile
from xtrkit.storage.shards import ClusterPin, pin_any
from xtrkit.storage.tombstones import read_tombstones
from xtrkit.values import (
    EVERYONE,
    EncoderIdentity,
    Mask,
    Pooling,
    Segment,
    Splitting,
    TokenStore,
    TokenVectors,
    full_mask,
    offsets_of,
)

OPTIONAL = ("pooling", "code_dim", "encoded_by", "nprobe")
"""Properties that a manifest names only where they are there."""

if TYPE_CHECKING:
    from xtrkit.storage.transport.remote_cluster import RemotePin

EXACT_BITS = 16
DEFAULT_BITS = 4
"""Bits a dimension where nothing else is said: a sixth of the size, and searched some fifty times faster than 16."""


@dataclass(frozen=True)
class Properties:
    """What holds for all segments of an index, as its manifest says.

    Attributes:
        dim: dimensions of a token vector.
        bits: 16 for an exact index, else bits a dimension of a code.
        codec: name of the codec; None for an exact index.
        encoder: which encoder made the vectors, if one did.
        trained_tokens: how many tokens the centroids were made for; 0 for an exact index.
        trained_error: mean energy of their residuals, ‖x − c‖².
        added_tokens: how many tokens were added since.
        added_error: mean energy of their residuals.
        splitting: how long documents were cut into passages; None where they were not.
        pooling: how token vectors that are alike were put together; None where they were not.
        code_dim: how many dimensions codes keep of the vectors; None where they keep all.
        encoded_by: libraries, devices and precisions that the documents were encoded by, as far as it is known.
        nprobe: how many clusters XTR opens for a query token where the caller doesn't say; None: as many as usual.
    """

    dim: int
    bits: int
    codec: str | None = None
    encoder: EncoderIdentity | None = None
    trained_tokens: int = 0
    trained_error: float = 0.0
    added_tokens: int = 0
    added_error: float = 0.0
    splitting: Splitting | None = None
    pooling: Pooling | None = None
    code_dim: int | None = None
    encoded_by: tuple[str, ...] = ()
    nprobe: int | None = None

    def record(self) -> dict[str, Any]:
        """As a manifest holds it: what only some indexes have is named where they do."""
        values = {"encoder": self.encoder, "splitting": self.splitting, "pooling": self.pooling}
        record = {**vars(self), **{name: None if value is None else vars(value) for name, value in values.items()}}
        record["encoded_by"] = list(self.encoded_by) or None
        return {name: value for name, value in record.items() if value is not None or name not in OPTIONAL}

    def also_by(self, encoded_by: str | None) -> Properties:
        """These, after documents were added that something encoded; None where nobody knows what."""
        if encoded_by is None or encoded_by in self.encoded_by:
            return self
        return replace(self, encoded_by=tuple(sorted({*self.encoded_by, encoded_by})))

    @classmethod
    def of(cls, manifest: Manifest, path: Path) -> Properties:
        """Read them.

        Raises:
            IndexDamagedError: they are not what they must be.
        """
        record = dict(manifest.properties)
        try:
            encoder, splitting, pooling = record.pop("encoder"), record.pop("splitting"), record.pop("pooling", None)
            properties = cls(
                encoder=None if encoder is None else _encoder(encoder),
                splitting=None if splitting is None else Splitting(**splitting),
                pooling=None if pooling is None else Pooling(**pooling),
                encoded_by=_names(record.pop("encoded_by", [])),
                **record,
            )
            _check(properties, manifest)
        except (TypeError, ValueError, KeyError, AttributeError, InputError) as error:
            raise damaged(path / manifest_name(manifest.generation), str(error)) from error
        return properties

    @classmethod
    def together(cls, shards: Sequence[Properties]) -> Properties:
        """Those of shards that share a codec, as if they were one index."""
        added = sum(one.added_tokens for one in shards)
        error = sum(one.added_tokens * one.added_error for one in shards)
        names = tuple(sorted({name for one in shards for name in one.encoded_by}))
        return replace(shards[0], added_tokens=added, added_error=error / added if added else 0.0, encoded_by=names)


def properties_of(pinned: Pin | ClusterPin | RemotePin) -> Properties:
    """What holds for all segments of a generation.

    Raises:
        IndexDamagedError: it is not what it must be.
    """
    if isinstance(pinned, Pin):
        return Properties.of(pinned.manifest, pinned.directory)
    return Properties.together([Properties.of(pin.manifest, pin.directory) for pin in pinned.pins])


def _encoder(record: Mapping[str, Any]) -> EncoderIdentity:
    identity = EncoderIdentity(**record)
    for name, kind in {"name": str, "layout": str, "fingerprint": str}.items():
        if type(getattr(identity, name)) is not kind:
            raise ValueError(f"the encoder's {name} is no text")
    for name in ("dim", "query_length", "document_length"):
        if type(getattr(identity, name)) is not int:
            raise ValueError(f"the encoder's {name} is no number")
    return identity


def _names(record: Any) -> tuple[str, ...]:
    if not isinstance(record, list) or not all(type(name) is str for name in record):
        raise ValueError("what encoded its documents is no list of names")
    return tuple(record)


def _check(properties: Properties, manifest: Manifest) -> None:
    if type(properties.dim) is not int or not 1 <= properties.dim < 1 << 20:
        raise ValueError(f"{properties.dim!r} dimensions are impossible")
    exact = properties.bits == EXACT_BITS
    if type(properties.bits) is not int or properties.bits not in (*BITS, EXACT_BITS):
        raise ValueError(f"{properties.bits!r} bits are impossible")
    if exact != (manifest.codec is None) or exact != (properties.codec is None):
        raise ValueError("only a compressed index has a codec")
    if not exact and properties.codec not in CODECS:
        raise ValueError(f"the codec {properties.codec!r} is unknown")
    if type(properties.trained_error) is not float or type(properties.added_error) is not float:
        raise ValueError("errors are no numbers")
    if not manifest.segments:
        raise ValueError("it has no segments")
    _check_counts(properties)
    kept = properties.code_dim
    if kept is not None and (exact or type(kept) is not int or not 1 <= kept < properties.dim):
        raise ValueError(f"codes can't keep {kept!r} of {properties.dim} dimensions")
    if properties.splitting and not all(type(number) is int for number in vars(properties.splitting).values()):
        raise ValueError("how documents were cut is no pair of numbers")


def _check_counts(properties: Properties) -> None:
    if type(properties.trained_tokens) is not int or type(properties.added_tokens) is not int:
        raise ValueError("counts of tokens are no numbers")
    if properties.nprobe is not None and (type(properties.nprobe) is not int or properties.nprobe < 1):
        raise ValueError(f"{properties.nprobe!r} clusters can't be opened")


@dataclass(frozen=True, eq=False)
class OpenedSegment:
    """A segment, viewed.

    Attributes:
        directory: where its files lie.
        facts: what the manifest says of it.
        tokens: its token vectors.
        passages: its passages.
        words: its words; None where no document has a text.
        live: (N,) which documents are alive; empty where all are, as kernels want it.
    """

    directory: Path
    facts: SegmentFacts
    tokens: TokenStore
    passages: PassageFile
    words: Words | None
    live: Mask

    @property
    def living(self) -> Mask:
        """(N,) which documents are alive, with an entry for each."""
        return full_mask(self.live, self.facts.documents)


@dataclass(frozen=True, eq=False)
class Store:
    """An opened generation of an index.

    Attributes:
        path: the index's directory.
        pin: keeps the generation's files on disk.
        properties: what holds for all segments.
        quantiser: what all segments of a compressed index share; None for an exact one.
        segments: its segments.
        passages: ids, texts and metadata.
        words: the words of all texts.
    """

    path: Path
    pin: Pin | ClusterPin
    properties: Properties
    quantiser: Quantiser | None
    segments: tuple[OpenedSegment, ...]
    passages: Passages
    words: WordIndex

    @classmethod
    def open(cls, path: Path, generation: int | None = None, before: Store | None = None) -> Store:
        """View a generation, after checking that its files are those that its manifest names.

        Args:
            path: the index's directory.
            generation: its number; the newest where it is left out.
            before: an opened generation of the same index, whose segments need not be opened again.

        Raises:
            IndexFormatError: there is no index, it is damaged, or a newer xtrkit wrote it.
            InputError: there is no such generation.
            StorageError: it can't be read.
        """
        pinned = pin_any(path, generation)
        try:
            return cls._of(path, pinned, before)
        except BaseException:
            pinned.close()
            raise

    @classmethod
    def _of(cls, path: Path, pinned: Pin | ClusterPin, before: Store | None) -> Store:
        manifest, places = pinned.manifest, pinned.directories()
        properties = properties_of(pinned)
        if before and before.pin.manifest.codec == manifest.codec:
            quantiser = before.quantiser
        else:
            quantiser = opened_quantiser(places[0], manifest, properties)
        known = (
            {}
            if before is None
            else {
                (place, segment.facts.name): segment
                for place, segment in zip(before.pin.directories(), before.segments, strict=True)
            }
        )
        segments = tuple(
            open_segment(place, facts, properties, quantiser, known.get((place, facts.name)))
            for place, facts in zip(places, manifest.segments, strict=True)
        )
        passages = Passages([segment.passages for segment in segments], [segment.live for segment in segments])
        words = WordIndex(
            [SegmentWords(one.words, one.facts.analyser, one.live, one.facts.documents) for one in segments]
        )
        return cls(path, pinned, properties, quantiser, segments, passages, words)

    @property
    def generation(self) -> int:
        """Which generation it is."""
        return self.pin.manifest.generation

    @property
    def size(self) -> int:
        """Bytes that the generation takes on disk."""
        return self.pin.size

    def corpus(self) -> list[Segment[Any]]:
        """The segments as engines read them."""
        return [Segment(segment.tokens, segment.live) for segment in self.segments]

    def close(self) -> None:
        """Close the files."""
        self.passages.close()
        self.pin.close()


def opened_quantiser(path: Path, manifest: Manifest, properties: Properties) -> Quantiser | None:
    """What all segments of a compressed index share: small, and every score depends on it, so its hash is checked.

    Raises:
        IndexDamagedError: the file is not what was written.
        StorageError: it can't be read.
    """
    if manifest.codec is None or properties.codec is None:
        return None
    check_content(path, manifest.codec)
    quantiser = open_quantiser(path / manifest.codec.name, properties.codec, properties.bits)
    found, expected = quantiser.rotation.shape, (properties.dim, properties.code_dim or properties.dim)
    if found != expected:
        raise damaged(path / manifest.codec.name, f"it makes {found[1]} dimensions of {found[0]}, not {expected}")
    return quantiser


def open_segment(
    path: Path,
    facts: SegmentFacts,
    properties: Properties,
    quantiser: Quantiser | None,
    known: OpenedSegment | None = None,
) -> OpenedSegment:
    """View a segment; of one that is ``known`` only the tombstones are read again.

    Raises:
        IndexDamagedError: a file is not what was written.
        StorageError: a file can't be read.
    """
    if known and known.facts == replace(facts, dead=known.facts.dead, tombstones=known.facts.tombstones):
        tokens, passages, words = known.tokens, known.passages, known.words
    else:
        words = open_words(path / facts.words.name, facts.documents) if facts.words else None
        passages = PassageFile(path / facts.passages.name, facts.documents)
        if quantiser:
            tokens = open_tokens(path / facts.vectors.name, quantiser, facts.documents, facts.tokens)
        else:
            tokens = _open_exact(path / facts.vectors.name, facts, properties.dim)
    live = EVERYONE
    if facts.tombstones:
        live = np.ones(facts.documents, dtype=np.bool_)
        live[read_tombstones(path, facts.tombstones, facts.documents)] = False
    return OpenedSegment(path, facts, tokens, passages, words, live)


def _open_exact(path: Path, facts: SegmentFacts, dim: int) -> TokenVectors:
    arrays = open_arrays(path)
    expected = {"lengths": ("<i4", (facts.documents,)), "vectors": ("<f2", (facts.tokens, dim))}
    found = {name: (values.dtype.str, values.shape) for name, values in arrays.items()}
    if found != expected:
        raise damaged(path, f"its arrays are {found} instead of {expected}")
    lengths = arrays["lengths"]
    offsets = offsets_of(lengths)
    if offsets[-1] != facts.tokens or (len(lengths) and lengths.min() < 1):
        raise damaged(path, "document lengths do not add up to the tokens")
    return TokenVectors(arrays["vectors"], offsets)
