"""The lexical baseline: BM25 by ``bm25s``, so that every table can say what words alone would have found.

k1 = 0.9 and b = 0.4 are Anserini's, with which the published BEIR figures were made; English stop words are dropped and
words are stemmed (Snowball), which is worth two points of nDCG@10 on SciFact: a baseline should be a good one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from xtrkit.errors import InputError, missing_extra
from xtrkit.passage import Passage

K1, B = 0.9, 0.4


class BM25:
    """BM25 over some passages, in memory."""

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._bm25s, self._stemmer = _libraries()
        collected = list(passages)
        self._ids = [passage.id for passage in collected]
        self._index = self._bm25s.BM25(k1=K1, b=B)
        tokens = self._tokens([passage.text or "" for passage in collected])
        if not tokens.vocab:
            raise InputError("BM25 finds no words in the corpus: leave it out with --baseline none.")
        self._index.index(tokens, show_progress=False)

    def search(self, queries: Mapping[str, str], k: int) -> dict[str, list[tuple[str, float]]]:
        """The k best passages for each query, best first; passages without any word of the query are left out."""
        rows, scores = self._index.retrieve(
            self._tokens(list(queries.values())), k=min(k, len(self._ids)), show_progress=False
        )
        return {
            query: [(self._ids[row], float(score)) for row, score in zip(*found, strict=True) if score > 0]
            for query, *found in zip(queries, rows.tolist(), scores.tolist(), strict=True)
        }

    def _tokens(self, texts: list[str]) -> Any:
        return self._bm25s.tokenize(texts, stopwords="en", stemmer=self._stemmer, show_progress=False)


def _libraries() -> tuple[Any, Any]:
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise missing_extra("The BM25 baseline", "eval") from error
    return bm25s, Stemmer.Stemmer("english")
