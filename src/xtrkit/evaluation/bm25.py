"""The lexical baseline: BM25 by ``bm25s``, so that every table can say what words alone would have found.

k1 = 0.9 and b = 0.4 are Anserini's, with which the published BEIR figures were made; English stop words are dropped and
words are stemmed (Snowball), which is worth two points of nDCG@10 on SciFact: a baseline should be a good one. Scripts
without spaces between words are cut into bigrams (:mod:`xtrkit.lexical.words`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from xtrkit.errors import InputError, missing_extra
from xtrkit.evaluation.ids import Trimming
from xtrkit.evaluation.notes import Note, counted, examples_of, quoted
from xtrkit.lexical.words import WordFacts, facts_of, words
from xtrkit.passage import Passage

K1, B = 0.9, 0.4
LOOKED_AT = 500
"""Texts, from all over the corpus, that tell its language."""


class BM25:
    """BM25 over some passages, in memory.

    Attributes:
        ids: of the passages, in their order, without white space around them.
        notes: how words were made, and what must be known of the ids.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._bm25s, self._stemmer = libraries()
        collected = list(passages)
        trim = Trimming()
        self.ids = [trim(passage.id) for passage in collected]
        self._index = self._bm25s.BM25(k1=K1, b=B)
        texts = [passage.text or "" for passage in collected]
        tokens = self._tokens(texts)
        if not any(tokens.vocab):
            raise InputError("BM25 finds no words in the corpus: leave it out with --baseline none.")
        self._index.index(tokens, show_progress=False)
        self._texts = dict(zip(self.ids, texts, strict=True))
        self.notes = (
            _of_words(facts_of(texts[:: max(1, len(texts) // LOOKED_AT)])),
            *trim.notes("corpus", "of documents in the corpus"),
            *_came_twice(passage.id for passage in collected),
        )

    def search(self, queries: Mapping[str, str], k: int) -> dict[str, list[tuple[str, float]]]:
        """The k best passages for each query, best first; passages without any word of the query are left out."""
        rows, scores = self._index.retrieve(
            self._tokens(list(queries.values())), k=min(k, len(self.ids)), show_progress=False
        )
        return {
            query: [(self.ids[row], float(score)) for row, score in zip(*found, strict=True) if score > 0]
            for query, *found in zip(queries, rows.tolist(), scores.tolist(), strict=True)
        }

    def texts_of(self, ids: Collection[str]) -> dict[str, str]:
        """{id: text} of some passages."""
        return {identifier: self._texts[identifier] for identifier in ids}

    def _tokens(self, texts: list[str]) -> Any:
        apart = [" ".join(words(text)) for text in texts]
        return self._bm25s.tokenize(
            apart, lower=False, token_pattern=r"\S+", stopwords="en", stemmer=self._stemmer, show_progress=False
        )


def _of_words(facts: WordFacts) -> Note:
    sentence = "BM25 dropped English stop words and stemmed words as English"
    if facts.unspaced >= 0.01:
        sentence += f"; {facts.unspaced:.0%} of the corpus's letters, in scripts without spaces, became bigrams"
    if facts.latin < 0.5:
        sentence += f". {1 - facts.latin:.0%} of the letters are not Latin"
    elif not facts.looks_english:
        sentence += f". The corpus does not look English ({facts.english:.1%} of its words are the, of, and, …)"
    if not facts.looks_english:
        sentence += ": a BM25 made for its language may be better than this row"
    told = {
        "stop_words": "English",
        "stemming": "English",
        "bigrams": round(facts.unspaced, 4),
        "latin": round(facts.latin, 4),
        "english_words": round(facts.english, 4),
        "looks_english": facts.looks_english,
    }
    return Note("bm25_words", told, f"{sentence}.")


def _came_twice(ids: Iterable[str]) -> list[Note]:
    twice = [identifier for identifier, n in Counter(ids).items() if n > 1]
    if not twice:
        return []
    sentence = f"{counted(len(twice), 'id')} came twice or more in the corpus {quoted(twice)}: the better text counts."
    return [Note("corpus_ids_twice", {"ids": len(twice), "examples": examples_of(twice)}, sentence)]


def libraries() -> tuple[Any, Any]:
    """What makes words and searches them: ``bm25s``, and an English stemmer.

    Raises:
        MissingExtraError: one isn't installed.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise missing_extra("BM25", "eval") from error
    return bm25s, Stemmer.Stemmer("english")
