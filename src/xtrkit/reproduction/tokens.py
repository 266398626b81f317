"""What query tokens retrieve: where it comes from, what it says, and how similar it is (§5 of the XTR paper)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.base import Token
from xtrkit.errors import InputError
from xtrkit.evaluation.collection import TestCollection
from xtrkit.indexing.store import Store
from xtrkit.retriever import Retriever
from xtrkit.token_retrieval.corpus import ExactCorpus
from xtrkit.token_retrieval.exact import retrieve_tokens
from xtrkit.values import Ragged, TokenHits

QUERIES_AT_A_TIME = 32


@dataclass(frozen=True)
class Retrieved:
    """The best tokens of one query token, best first.

    Attributes:
        query: the query's id.
        place: which of its tokens.
        token: that token.
        rows: (k,) rows in the index.
        documents: (k,) the documents' numbers.
        scores: (k,) similarities.
    """

    query: str
    place: int
    token: Token
    rows: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]


class TokenView:
    """The tokens of an exact index with the pieces of text they stand for.

    Raises:
        InputError: the index pools, and its vectors stand for several tokens.
    """

    def __init__(self, retriever: Retriever, test: TestCollection, embeddings: Ragged) -> None:
        if retriever.index.pooling is not None:
            raise InputError(
                f"The index at {retriever.index.path} pools token vectors, and tokens are looked at one by one here: "
                "build it without --pool-factor."
            )
        self._retriever, self._test, self._embeddings = retriever, test, embeddings
        store = Store.open(retriever.index.path)
        self._corpus = ExactCorpus(store.corpus())
        self.offsets = retriever.index.document_offsets
        self.ids = list(retriever.index.ids())
        self._numbers = {identifier: number for number, identifier in enumerate(self.ids)}

    def hits(self, k_prime: int) -> Iterator[tuple[str, TokenHits]]:
        """For each query, the k' best document tokens of each of its tokens."""
        queries = list(self._test.queries)
        for first in range(0, len(queries), QUERIES_AT_A_TIME):
            names = queries[first : first + QUERIES_AT_A_TIME]
            part = Ragged.from_arrays([self._embeddings[first + n] for n in range(len(names))])
            yield from zip(names, retrieve_tokens(self._corpus, part, k_prime), strict=True)

    def retrieved(self, k: int) -> Iterator[Retrieved]:
        """The k best tokens of every query token."""
        for query, hits in self.hits(k):
            tokens = self._retriever.encoder.query_tokens(self._test.queries[query])
            for place, token in enumerate(tokens):
                part = hits.of(place)
                order = np.argsort(-hits.scores[part], kind="stable")
                rows, documents = hits.rows[part][order], hits.documents[part][order]
                yield Retrieved(query, place, token, rows, documents, hits.scores[part][order])

    def relevant(self, query: str) -> npt.NDArray[np.bool_]:
        """(N,) which documents are relevant to a query."""
        marks = np.zeros(len(self.ids), dtype=np.bool_)
        for document, relevance in self._test.qrels[query].items():
            if relevance > 0 and document in self._numbers:
                marks[self._numbers[document]] = True
        return marks

    @cached_property
    def pieces(self) -> npt.NDArray[np.int32]:
        """(M,) a number for the piece that each token of the index stands for."""
        found = [self.piece_number(token.piece) for n in range(len(self.ids)) for token in self.tokens_of(n)]
        return np.array(found, dtype=np.int32)

    @cached_property
    def _piece_numbers(self) -> dict[str, int]:
        return {}

    def piece_number(self, piece: str) -> int:
        """The number of a piece in :attr:`pieces`."""
        return self._piece_numbers.setdefault(piece, len(self._piece_numbers))

    def tokens_of(self, document: int) -> list[Token]:
        """A document's tokens, in the order of its vectors."""
        return self._retriever.encoder.document_tokens(self.text(document))

    def text(self, document: int) -> str:
        """A document's text."""
        return self._retriever.index.passage(document)[1] or ""

    def in_context(self, row: int, width: int = 30) -> str:
        """A retrieved token between the characters around it, in brackets."""
        document = int(np.searchsorted(self.offsets, row, side="right")) - 1
        token, text = self.tokens_of(document)[row - int(self.offsets[document])], self.text(document)
        before, after = text[max(0, token.start - width) : token.start], text[token.end : token.end + width]
        return f"…{before}[{text[token.start : token.end] or token.piece}]{after}…".replace("\n", " ").replace("|", "/")


def gold_and_lexical(view: TokenView, ranks: int) -> npt.NDArray[np.float64]:
    """(2, ranks) how often the token at a rank is of a relevant document, and how often it is the query token's piece.

    Figure 4. Tokens that stand for no characters, such as [CLS], are no words and are left out as query tokens.
    """
    counts, total = np.zeros((2, ranks)), 0
    for found in view.retrieved(ranks):
        if found.token.start == found.token.end or len(found.rows) < ranks:
            continue
        same = view.pieces[found.rows] == view.piece_number(found.token.piece)
        counts += np.stack([view.relevant(found.query)[found.documents], same])
        total += 1
    return counts / max(1, total)


def tokens_per_candidate(view: TokenView, k_prime: int) -> tuple[float, float, float]:
    """Means over queries: retrieved tokens a candidate (r̄ of Table 1, footnote 2), candidates, and their tokens (m̄)."""
    sizes = np.diff(view.offsets)
    found = []
    for _, hits in view.hits(k_prime):
        candidates = np.unique(hits.documents)
        found.append((len(hits.rows) / len(candidates), len(candidates), sizes[candidates].mean()))
    rate, count, length = np.mean(found, axis=0)
    return float(rate), float(count), float(length)
