"""Hits as JSON: one shape for the command line, the server, its clients, agents and the page.

An answer::

    {"query": "…", "generation": 3, "k_prime": 1000, "truncated": false, "unknown": 0, "pieces": 5, "seconds": {…},
     "fusion": null, "facets": {"lang": [{"value": "en", "count": 3}]} or null,
     "hits": [{"rank": 1, "id": "…", "score": 0.81, "text": "…", "snippet": {"text": "…", "first": 0, "last": 80,
               "matched": [[0, 5]]}, "metadata": {…}, "part": {"document": "…", "first": 0, "last": 900} or null,
               "scores": {"tokens": 0.81, "words": null} or null,
               "matches": [{"query_token": {"piece": "…", "start": 0, "end": 3}, "similarity": 0.9, "imputed": false,
                            "document_token": {"piece": "…", "start": 0, "end": 5} or null, "others": []}] or null}]}

Places in texts are counted in characters (code points). ``snippet`` is null where the index has no texts, and
``matches`` and ``facets`` where nobody asked for them. Where token vectors and words were fused, ``fusion`` says how,
and ``scores`` what a hit scored in each: null where that one did not find it. ``others`` are the tokens that share the
document token's vector, where the index pools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xtrkit.encoding.base import Token
from xtrkit.explain import Match
from xtrkit.hits import FacetCount, Hit, Hits, Scores
from xtrkit.passage import Part, Passage

SNIPPET = 220
"""Characters shown of a passage."""


def answer_as_json(answer: Hits, *, offset: int = 0, explained: bool = True, snippet: int = SNIPPET) -> dict[str, Any]:
    """What was found of one query, from rank ``offset`` + 1 on."""
    return {
        "query": answer.query,
        "generation": answer.generation,
        "k_prime": answer.k_prime,
        "truncated": answer.truncated,
        "unknown": answer.unknown,
        "pieces": answer.pieces,
        "seconds": dict(answer.seconds),
        "fusion": answer.fusion,
        "facets": None if answer.facets is None else _facets_as_json(answer.facets),
        "hits": hits_as_json(answer[offset:], explained=explained, snippet=snippet),
    }


def answer_of_json(told: Mapping[str, Any]) -> Hits:
    """What :func:`answer_as_json` was given."""
    names = ("query", "k_prime", "truncated", "unknown", "pieces", "seconds", "generation", "fusion")
    hits, facets = tuple(hit_of_json(one) for one in told["hits"]), told["facets"]
    counted = {field: tuple(FacetCount(**one) for one in counts) for field, counts in (facets or {}).items()}
    return Hits(hits, **{name: told[name] for name in names}, facets=None if facets is None else counted)


def _facets_as_json(facets: Mapping[str, Sequence[FacetCount]]) -> dict[str, list[dict[str, Any]]]:
    return {field: [vars(one) for one in counts] for field, counts in facets.items()}


def hits_as_json(hits: Sequence[Hit], *, explained: bool = True, snippet: int = SNIPPET) -> list[dict[str, Any]]:
    """Hits as JSON holds them; ``matches`` only where they are to be shown."""
    return [_hit_as_json(hit, explained, snippet) for hit in hits]


def _hit_as_json(hit: Hit, explained: bool, length: int) -> dict[str, Any]:
    cut = hit.snippet(length)
    return {
        "rank": hit.rank,
        "id": hit.id,
        "score": hit.score,
        "text": hit.text,
        "snippet": None if cut is None else {**cut._asdict(), "matched": [list(span) for span in cut.matched]},
        "metadata": dict(hit.metadata),
        "part": None if hit.part is None else hit.part._asdict(),
        "scores": None if hit.scores is None else hit.scores._asdict(),
        "matches": None if hit.matches is None or not explained else [_match_as_json(one) for one in hit.matches],
    }


def hit_of_json(told: Mapping[str, Any]) -> Hit:
    """What :func:`hits_as_json` was given one of."""
    part, scores, matches = told["part"], told["scores"], told["matches"]
    return Hit(
        id=told["id"],
        score=told["score"],
        text=told["text"],
        rank=told["rank"],
        metadata=told["metadata"],
        part=None if part is None else Part(**part),
        matches=None if matches is None else [_match_of_json(match) for match in matches],
        scores=None if scores is None else Scores(**scores),
    )


def passage_as_json(passage: Passage) -> dict[str, Any]:
    """A passage: its id, text, metadata and part, as a hit has them."""
    return {
        "id": passage.id,
        "text": passage.text,
        "metadata": dict(passage.metadata or {}),
        "part": None if passage.part is None else passage.part._asdict(),
    }


def passage_of_json(told: Mapping[str, Any]) -> Passage:
    """What :func:`passage_as_json` was given."""
    part = told["part"]
    return Passage(told["id"], told["text"], told["metadata"] or None, None if part is None else Part(**part))


def _match_as_json(match: Match) -> dict[str, Any]:
    return {
        "query_token": match.query_token._asdict(),
        "document_token": None if match.document_token is None else match.document_token._asdict(),
        "others": [token._asdict() for token in match.others],
        "similarity": match.similarity,
        "imputed": match.imputed,
    }


def _match_of_json(told: Mapping[str, Any]) -> Match:
    token, others = told["document_token"], tuple(Token(**one) for one in told["others"])
    return Match(Token(**told["query_token"]), told["similarity"], None if token is None else Token(**token), others)
