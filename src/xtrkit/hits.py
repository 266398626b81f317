"""What a search of text gives: passages in order, with what is to be told of the search."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

from xtrkit.errors import InputError
from xtrkit.explain import Match
from xtrkit.explained_html import hit_output, hits_output
from xtrkit.passage import Part, Passage, Scalar

CUT = "…"
"""Stands where a text goes on."""


class Snippet(NamedTuple):
    """The part of a passage that tells most of why it was found.

    Attributes:
        text: the part, with … where it was cut.
        first: where it begins in the passage's text, in characters.
        last: where it ends there.
        matched: (begin, end) in ``text`` of each word that matched a query token; none where nothing is known.
    """

    text: str
    first: int
    last: int
    matched: tuple[tuple[int, int], ...] = ()


class Scores(NamedTuple):
    """What a hit of a fused ranking scored in each of the two; None where that one did not find it.

    Attributes:
        tokens: by token vectors.
        words: by words (BM25).
    """

    tokens: float | None
    words: float | None


@dataclass(frozen=True)
class FacetCount:
    """How many hits have a value in a metadata field.

    Attributes:
        value: the value.
        count: how many hits.
    """

    value: Scalar
    count: int


@dataclass(frozen=True)
class Hit:
    """One found passage.

    Attributes:
        id: the caller's id.
        score: higher is better; only scores of one query compare. The reranker's, where there is one; else the fused
            one, where two rankings were fused.
        text: the passage; None where the index has no texts.
        rank: 1 for the best.
        metadata: what the passage was indexed with; empty where that was nothing.
        part: (document, first, last) where the passage was cut out of a longer document: its id, and the characters.
        matches: why it was found, one entry for each query token; None unless asked for. Of a hit that words alone
            found, what its tokens would have added.
        scores: what it scored by token vectors and by words, where these were fused; None where they were not.
    """

    id: str
    score: float
    text: str | None
    rank: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    part: Part | None = None
    matches: Sequence[Match] | None = None
    scores: Scores | None = None

    @property
    def document(self) -> str:
        """The id of the document that the passage was cut out of, or its own."""
        return self.id if self.part is None else self.part.document

    def snippet(self, length: int = 220) -> Snippet | None:
        """The part of the text with the highest sum of similarities; its beginning where there are no matches.

        Where matches are too far apart for one part, the best of them are in it. It is cut between words, where there
        are any; of equals the first is taken. None where the index has no texts.

        Args:
            length: characters of the text, at most, but for a matched token that is longer.

        Raises:
            InputError: the length is not a positive whole number.
        """
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise InputError(f"The length of a snippet must be a whole number of at least 1, got {length!r}.")
        if self.text is None:
            return None
        weights = _matched_spans(self.matches or (), len(self.text))
        first, last = _cut_between_words(self.text, *_best_window(weights, len(self.text), length), length)
        before = CUT if first else ""
        words = {_word_around(self.text, *span) for span in weights if first <= span[0] and span[1] <= last}
        shift = len(before) - first
        matched = sorted((max(begin, first) + shift, min(end, last) + shift) for begin, end in words)
        return Snippet(
            before + self.text[first:last] + (CUT if last < len(self.text) else ""), first, last, tuple(matched)
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return hit_output(self)


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
        generation: the generation of the index that was searched; None where there was no index.
        fusion: how token vectors and words were fused (:mod:`xtrkit.fusion`); None where token vectors alone counted.
        facets: {metadata field: how many of these hits have each value, the most frequent first}; None unless asked
            for.
    """

    hits: tuple[Hit, ...]
    query: str
    k_prime: int | None = None
    truncated: bool = False
    unknown: int = 0
    pieces: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    generation: int | None = None
    fusion: str | None = None
    facets: Mapping[str, tuple[FacetCount, ...]] | None = None

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

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return hits_output(self)


def hit_of(
    passage: Passage,
    score: float,
    rank: int,
    matches: Sequence[Match] | None = None,
    scores: Scores | None = None,
) -> Hit:
    """A passage as a hit."""
    return Hit(passage.id, score, passage.text, rank, passage.metadata or {}, passage.part, matches, scores)


def facets_of(hits: Sequence[Hit], fields: Sequence[str]) -> dict[str, tuple[FacetCount, ...]]:
    """How many hits have each value of some metadata fields: of a list each value, of None nothing."""
    return {field: _counted([hit.metadata.get(field) for hit in hits]) for field in fields}


def _counted(given: Sequence[Any]) -> tuple[FacetCount, ...]:
    values: dict[tuple[bool, Scalar], Scalar] = {}
    counts = Counter[tuple[bool, Scalar]]()
    for one in given:
        of_hit = one if isinstance(one, list | tuple) else [one]
        keys = {(isinstance(value, bool), value): value for value in of_hit if value is not None}  # 1 is not True
        values = {**keys, **values}
        counts.update(keys.keys())
    ordered = sorted(counts, key=lambda key: (-counts[key], str(values[key])))
    return tuple(FacetCount(values[key], counts[key]) for key in ordered)


Span = tuple[int, int]


def _matched_spans(matches: Sequence[Match], length: int) -> dict[Span, float]:
    """{(begin, end): sum of similarities} of the document tokens that stand for characters, in order."""
    sums: dict[Span, float] = {}
    for match in matches:
        token, similarity = match.document_token, match.similarity
        if token is not None and similarity is not None and similarity > 0 and token.start < token.end <= length:
            sums[token.start, token.end] = sums.get((token.start, token.end), 0.0) + similarity
    return dict(sorted(sums.items()))


def _best_window(weights: Mapping[Span, float], size: int, length: int) -> Span:
    """From the first to the last of the spans, at most ``length`` characters apart, that weigh most together."""
    spans, best, heaviest = list(weights), (0, 0), 0.0
    for place, (begin, end) in enumerate(spans):
        weight, last = 0.0, end
        for other in spans[place:]:
            if max(last, other[1]) - begin > max(length, end - begin):
                break
            weight, last = weight + weights[other], max(last, other[1])
        if weight > heaviest + 1e-9:
            best, heaviest = (begin, last), weight
    return best


def _cut_between_words(text: str, begin: int, end: int, length: int) -> Span:
    """As much of a text around ``text[begin:end]`` as ``length`` allows, cut where there is white space."""
    if len(text) <= length:
        return 0, len(text)
    spare = max(0, length - (end - begin))
    first = max(0, min(begin - spare // 2, len(text) - length))
    if begin <= length // 4 and end <= length:
        first = 0  # the beginning is easier to read than what begins a few words later
    last = max(end, min(len(text), first + length))
    if first and (space := re.search(r"\s+", text[first - 1 : begin])):
        first += space.end() - 1
    if last < len(text) and (spaces := list(re.finditer(r"\s+", text[max(end, first) : last + 1]))):
        last = max(end, first) + spaces[-1].start()
    return first, max(last, end, first + 1)


def _word_around(text: str, begin: int, end: int) -> Span:
    """The word, or words, that hold some characters."""
    if text[begin:end].strip("_") and re.fullmatch(r"\w+", text[begin:end]):
        while begin and re.match(r"\w", text[begin - 1]) and text[begin - 1].isascii():
            begin -= 1
        while end < len(text) and re.match(r"\w", text[end]) and text[end].isascii():
            end += 1
    return begin, end
