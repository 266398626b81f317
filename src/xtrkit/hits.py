"""What a search of text gives: passages in order, with what is to be told of the search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from xtrkit.explain import Match
from xtrkit.passage import Part, Passage


@dataclass(frozen=True)
class Hit:
    """One found passage.

    Attributes:
        id: the caller's id.
        score: higher is better; only scores of one query compare. The reranker's, where there is one.
        text: the passage; None where the index has no texts.
        rank: 1 for the best.
        metadata: what the passage was indexed with; empty where that was nothing.
        part: (document, first, last) where the passage was cut out of a longer document: its id, and the characters.
        matches: why it was found, one entry for each query token; None unless asked for.
    """

    id: str
    score: float
    text: str | None
    rank: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    part: Part | None = None
    matches: Sequence[Match] | None = None

    @property
    def document(self) -> str:
        """The id of the document that the passage was cut out of, or its own."""
        return self.id if self.part is None else self.part.document


@dataclass(frozen=True, eq=False)
class Hits(Sequence[Hit]):
    """The hits of one query, best first. A sequence: ``hits[0]``, ``len(hits)``, ``for hit in hits``.

    Attributes:
        hits: the hits.
        query: what was asked.
        k_prime: how many tokens were retrieved for each query token to get here; None where that is not how it was.
        truncated: whether the query was longer than the model's window, so that its end was not searched for.
        unknown: how many pieces of the query the model has none for; all of these look alike to it.
        pieces: how many pieces the query has.
        seconds: what each stage took: "encode", the stages of the search (:mod:`xtrkit.stopwatch`), "rerank_texts"
            where there is a reranker, and "passages" for texts and explanations; of a batch, an even share.
    """

    hits: tuple[Hit, ...]
    query: str
    k_prime: int | None = None
    truncated: bool = False
    unknown: int = 0
    pieces: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, place: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[place]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    @property
    def ids(self) -> list[str]:
        """The ids, best first."""
        return [hit.id for hit in self.hits]


def hit_of(passage: Passage, score: float, rank: int, matches: Sequence[Match] | None = None) -> Hit:
    """A passage as a hit."""
    return Hit(passage.id, score, passage.text, rank, passage.metadata or {}, passage.part, matches)
