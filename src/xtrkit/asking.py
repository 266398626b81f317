"""What may be asked of a retriever, and what is told of a question."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xtrkit.content import has_content
from xtrkit.encoding.base import Encoder
from xtrkit.errors import InputError, XtrkitWarning
from xtrkit.fusion import ALPHA, check_fusion
from xtrkit.fusion import DEPTH as DEPTH_OF_FUSION
from xtrkit.hits import Hits, hit_of
from xtrkit.index import Where
from xtrkit.passage import Passage
from xtrkit.recipes import XTR, Recipe, check_k, chosen
from xtrkit.reranking.base import DEPTH, check_depth
from xtrkit.scoring.maxsim import maxsim_ranking
from xtrkit.subsets import Subset
from xtrkit.texts.given import Given, source_of
from xtrkit.texts.whole import whole_passages

SHOWN = 40
"""Characters of a query that an error shows."""


@dataclass(frozen=True)
class Request:
    """What a search asks for beside queries and k, as :meth:`xtrkit.Retriever.search` tells."""

    subset: Subset | None = None
    where: Where | None = None
    recipe: Recipe = XTR
    explain: bool = False
    threads: int | None = None
    rerank_depth: int = DEPTH
    group_by_document: bool | None = None
    fusion: str | None = None
    alpha: float | None = None
    facets: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_fusion(self.fusion, self.alpha)
        if isinstance(self.facets, str) or not all(isinstance(name, str) for name in self.facets):
            raise InputError(f"Facets are given as a list of names of metadata fields, got {self.facets!r}.")
        if isinstance(self.subset, Iterator):  # it is gone through at each widening of a search
            object.__setattr__(self, "subset", list(self.subset))
        if self.rerank_depth != 0:
            check_depth(self.rerank_depth)

    @property
    def share_of_tokens(self) -> float:
        """What the token vectors count in a fusion."""
        return ALPHA if self.alpha is None else self.alpha

    def retrieved(self, depth: int) -> int:
        """How many passages each way of searching gives where ``depth`` are wanted."""
        return depth if self.fusion is None else max(depth, DEPTH_OF_FUSION)

    @property
    def of_index(self) -> dict[str, Any]:
        """What of it :meth:`xtrkit.Index.search` is asked for."""
        return {name: getattr(self, name) for name in ("subset", "where", "recipe", "threads")}


def request_of(choices: Mapping[str, Any]) -> Request:
    """The request of the keyword arguments of a search but k: its own, and those that are choices of the recipe.

    Raises:
        InputError: one is neither, or has a value that can't be used.
    """
    fields = Request.__dataclass_fields__
    own = {name: value for name, value in choices.items() if name in fields}
    of_recipe = {name: value for name, value in choices.items() if name not in fields}
    unknown = sorted(set(of_recipe) - set(Recipe.__dataclass_fields__))
    if unknown:
        there = [*fields, *(name for name in Recipe.__dataclass_fields__ if name not in fields)]
        raise InputError(f"Unknown search choice {unknown[0]!r}: there are {', '.join(there)}.")
    return Request(recipe=chosen(own.pop("recipe", XTR), of_recipe), **own)


def maxsim_order(encoder: Encoder, query: str, passages: Given, k: int | None = None) -> Hits:
    """Given texts in the order of their MaxSim with a query; :meth:`xtrkit.Retriever.rerank` tells more."""
    check_query(query)
    if k is not None:
        check_k(k)
    given, embedding = with_content(whole_passages(source_of(passages))), encoder.encode_queries([query])[0]
    rows = encoder.encode_documents([passage.text or "" for passage in given])
    ranked = zip(*(column.tolist() for column in maxsim_ranking(embedding, list(rows), k)), strict=True)
    hits = tuple(hit_of(given[place], score, rank) for rank, (place, score) in enumerate(ranked, 1))
    return Hits(hits, query, **heard(encoder, query))


def with_content(passages: Iterable[Passage]) -> list[Passage]:
    """Those passages that have something in them to be found; a warning tells of the others."""
    every = list(passages)
    given = [passage for passage in every if has_content(passage.text or "")]
    if len(given) < len(every):
        warnings.warn(
            f"{len(every) - len(given):,} of {len(every):,} texts have nothing in them to be found: they are left out.",
            XtrkitWarning,
            stacklevel=3,
        )
    return given


def heard(encoder: Encoder, query: str) -> dict[str, Any]:
    """What :class:`~xtrkit.hits.Hits` tell of how much of a query the encoder could read."""
    pieces, unknown = encoder.readability([query], "query")
    return {"truncated": is_truncated(encoder, query), "pieces": pieces, "unknown": unknown}


def is_truncated(encoder: Encoder, query: str) -> bool:
    """Whether a query is longer than the encoder's window, so that its end counts for nothing."""
    return encoder.is_query_truncated(query)


def check_query(query: str) -> None:
    """Refuse a query that asks nothing.

    Raises:
        InputError: it isn't a text, or has nothing in it that could be looked for.
    """
    if not isinstance(query, str):
        raise InputError(f"A query must be a text with something in it, got {query!r}.")
    try:
        query.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("The query is not UTF-8: write it in UTF-8.") from error
    if not has_content(query):
        shown = ascii(query if len(query) <= SHOWN else query[:SHOWN] + "…")
        why = " with neither letters nor digits nor signs in it" if query.strip() else ""
        raise InputError(f"A query must be a text with something in it, got {shown}{why}: write what to look for.")


def texts_of(passages: Sequence[Passage]) -> list[str]:
    """The texts of passages, which rerankers and explanations can't do without.

    Raises:
        InputError: the index has none.
    """
    if any(passage.text is None for passage in passages):
        raise InputError(
            "This index has no texts, so nothing can be reranked, and there is nothing to explain with: build it with "
            "texts."
        )
    return [passage.text or "" for passage in passages]
