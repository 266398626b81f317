"""Many named queries at once, as benchmarks ask them: what PyTerrier, MTEB and BEIR share."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from xtrkit.asking import check_query, request_of
from xtrkit.content import has_content
from xtrkit.errors import InputError, XtrkitWarning
from xtrkit.evaluation.notes import counted, quoted
from xtrkit.evaluation.runs import falling
from xtrkit.hits import Hits
from xtrkit.retriever import Retriever

SETTLED = {
    "subset": "comes with each query where there is one",
    "group_by_document": "is settled: each document is found once",
    "explain": "has no use: no framework passes explanations on",
    "facets": "has no use: no framework passes counts on",
}
"""Arguments of a search that can't be chosen, and why."""


Ranked = list[tuple[str, float]]
"""Ids of documents with scores that fall strictly, best first."""


def check_choices(choices: Mapping[str, Any]) -> None:
    """Refuse keyword arguments that no search takes, before anything is encoded for them.

    Raises:
        InputError: one is unknown, can't be used, or is the framework's to give.
    """
    for name, why in SETTLED.items():
        if name in choices:
            raise InputError(f"The argument {name!r} of a search {why}: leave it out.")
    request_of(choices)


def answers(
    retriever: Retriever,
    queries: Sequence[tuple[str, str]],
    k: int,
    choices: Mapping[str, Any],
    subsets: Mapping[str, Sequence[str]] | None = None,
) -> list[Hits]:
    """The k best documents for each query.

    A query with nothing in it to be looked for gets none, and a warning names it: a run of thousands should not end
    for it.

    Args:
        retriever: an index with its encoder.
        queries: names and texts.
        k: as in :meth:`xtrkit.Retriever.search`.
        choices: keyword arguments of :meth:`xtrkit.Retriever.search`.
        subsets: {name: ids of the documents that alone may be found}; a query without an entry gets none.

    Raises:
        InputError: a query isn't a text.
    """
    asked, found = _asked(queries), [Hits((), str(text)) for _, text in queries]
    if subsets is None:
        texts = [queries[place][1] for place in asked]
        for place, hits in zip(asked, retriever.search_batch(texts, k, **choices), strict=True):
            found[place] = hits
        return found
    for place in asked:
        name, text = queries[place]
        if among := list(subsets.get(name, ())):
            found[place] = retriever.search(text, min(k, len(among)), subset=among, **choices)
    return found


def rankings(
    retriever: Retriever,
    queries: Sequence[tuple[str, str]],
    k: int,
    choices: Mapping[str, Any],
    subsets: Mapping[str, Sequence[str]] | None = None,
) -> list[Ranked]:
    """As :func:`answers`, as ids and scores alone: of a thousand documents a query, texts take longest to read."""
    index, request = retriever.index, request_of(choices)
    if subsets is not None or request.fusion or retriever.reranker or index.splitting is not None:
        return [ranked(hits) for hits in answers(retriever, queries, k, choices, subsets)]
    asked, found = _asked(queries), [Ranked() for _ in queries]
    embeddings = retriever.encode_queries([queries[place][1] for place in asked])
    for place, ranking in zip(asked, index.search_batch(embeddings, k, **request.of_index), strict=True):
        found[place] = list(falling(ranking))
    return found


def ranked(hits: Hits) -> Ranked:
    """The documents of an answer with scores that fall strictly, as ``trec_eval`` needs them to rank alike."""
    return list(falling((hit.document, hit.score) for hit in hits))


def _asked(queries: Sequence[tuple[str, str]]) -> list[int]:
    """The places of the queries that ask something; a warning names the others."""
    asked = [place for place, (name, text) in enumerate(queries) if _asks(name, text)]
    if len(asked) < len(queries):
        silent = [queries[place][0] for place in sorted(set(range(len(queries))) - set(asked))]
        warnings.warn(
            f"{counted(len(silent), 'query')} {quoted(silent)} with nothing to look for: no document is found there.",
            XtrkitWarning,
            stacklevel=4,
        )
    return asked


def _asks(name: str, text: object) -> bool:
    if isinstance(text, str) and not has_content(text):
        return False
    try:
        check_query(text)  # type: ignore[arg-type]  # which it refuses
    except InputError as error:
        raise InputError(f"Query {name!r}: {error}") from error
    return True
