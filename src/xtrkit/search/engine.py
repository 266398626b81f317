"""What an engine takes and gives.

An engine knows token vectors and document numbers; ids and texts are the index's business. It reads segments, whose
documents are numbered through in their order, and finds no document that is dead. Every engine is given the same
:class:`~xtrkit.recipes.Recipe`, and passes the same tests (``tests/search/test_contract.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit.recipes import Recipe
from xtrkit.values import FloatArray, Mask, Ragged, TokenHits

Documents = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


class Ranked(NamedTuple):
    """Some documents with their scores.

    Attributes:
        documents: (k,) document numbers.
        scores: (k,) their scores.
    """

    documents: Documents
    scores: Scores


@dataclass(frozen=True, eq=False)
class Found:
    """The best documents of one query, and how they were found.

    Attributes:
        documents: (k,) document numbers in descending order of score; equals in the order in which they were indexed.
        scores: (k,) their scores.
        recipe: the recipe as it was used: resolved for this index, and widened where too few documents were found.
        k_prime: k' as it was used, no more than the index has tokens; None with MaxSim.
        seconds: what each stage took (:mod:`xtrkit.stopwatch`); of queries that were answered together, an even share.
    """

    documents: Documents
    scores: Scores
    recipe: Recipe
    k_prime: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Ranking(Found):
    """:class:`Found` with the ids of the documents; iterating gives (id, score) pairs, the best first.

    Attributes:
        ids: the caller's ids of the documents, in the same order.
    """

    ids: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.documents)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return zip(self.ids, (float(score) for score in self.scores), strict=True)


class Evidence(NamedTuple):
    """What XTR scores were made of.

    Attributes:
        hits: the retrieved tokens.
        missing: (n,) m_i of each query token; None where nothing is imputed.
    """

    hits: TokenHits
    missing: Scores | None


class Contribution(NamedTuple):
    """What each of n query tokens added to the score of one document, before the sum was divided.

    Attributes:
        similarities: (n,) the highest similarity to a token of the document; where none was retrieved, m_i, or NaN
            where nothing is imputed. Their sum, or their mean, is the document's score.
        tokens: (n,) which token of the document that is, counted from 0; -1 where none was retrieved.
    """

    similarities: Scores
    tokens: npt.NDArray[np.int64]


class Engine(Protocol):
    """Searches the token vectors of an index."""

    @property
    def n_tokens(self) -> int:
        """Number of token vectors of living documents, M."""

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""

    @property
    def storage(self) -> str:
        """How vectors are kept, such as "float16" or "4 bits, grid"."""

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, documents one after the other, dead ones too."""

    def search(self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None, threads: int | None) -> list[Found]:
        """The k best documents of each query: of all that are alive, or of those that (N,) ``subset`` marks.

        A subset is a filter: each of its documents gets the score that a search of all documents with the same effort
        gives it, m_i included. Where k asks for documents of it that no retrieved token led to, XTR scores them by
        (1/n) Σ_i min(m_i, max_j q_i · d_j): no more than a document that was reached can get by "min".
        """

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of: retrieval with the effort that found the documents.

        Where documents are named by ``of``, the hits of others may be left out.
        """

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None = None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document, as scores by all tokens count them."""

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, as well as they are known."""

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) how far similarities of each query token can be from those with the vectors that were indexed."""


def contributions(engine: Engine, query: FloatArray, found: Found, documents: Sequence[int]) -> Iterator[Contribution]:
    """What each query token added to the scores of some of the documents that were found.

    Args:
        engine: the engine that found them.
        query: (n, d) the query that found them.
        found: the result.
        documents: numbers of documents in it.
    """
    if found.recipe.scoring == "maxsim" or found.recipe.rerank is not None:
        yield from (engine.best_similarities(query, document) for document in documents)
        return
    hits, missing = engine.evidence(query, found, documents)
    most = np.zeros(len(query)) if missing is None else missing
    for document in documents:
        of_document = np.flatnonzero(hits.documents == document)
        if len(of_document):
            first = int(engine.document_offsets[document])
            yield _retrieved(hits, missing, of_document, first)
        else:  # of a subset, and no retrieved token led to it
            yield engine.best_similarities(query, document, most)


def _retrieved(
    hits: TokenHits, missing: Scores | None, of_document: npt.NDArray[np.int64], first_row: int
) -> Contribution:
    """The best of a document's hits for each query token, and m_i where it has none."""
    n = hits.n_query_tokens
    similarities = np.full(n, np.nan) if missing is None else missing.copy()
    tokens = np.full(n, -1, dtype=np.int64)
    for i in range(n):
        of = hits.of(i)
        own = of_document[(of_document >= of.start) & (of_document < of.stop)]
        if len(own):
            best = own[np.argmax(hits.scores[own])]
            similarities[i], tokens[i] = float(hits.scores[best]), int(hits.rows[best]) - first_row
    return Contribution(similarities, tokens)
