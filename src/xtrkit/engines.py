"""The two engines behind one contract: exact on float16 vectors, approximate on compressed ones.

An engine knows token vectors and document numbers; ids and texts are the index's business. Both are given the same
:class:`~xtrkit.recipes.Recipe` and use of it what is theirs.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit import search as exact_search
from xtrkit import search_compressed
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.indexing.store import Store
from xtrkit.recipes import Recipe
from xtrkit.scoring.estimation import estimate_named
from xtrkit.scoring.imputation import imputation_named
from xtrkit.search import Found
from xtrkit.token_retrieval.centroid import decompressed
from xtrkit.token_retrieval.exact import retrieve_tokens
from xtrkit.values import FloatArray, Ragged, TokenHits, TokenVectors


class Evidence(NamedTuple):
    """What XTR scores were made of.

    Attributes:
        hits: the retrieved tokens.
        missing: (n,) m_i of each query token; None where nothing is imputed.
    """

    hits: TokenHits
    missing: npt.NDArray[np.float64] | None


class Engine(Protocol):
    """Searches the token vectors of an index."""

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""

    @property
    def storage(self) -> str:
        """How vectors are kept, such as "float16" or "4 bits"."""

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, counted document after document."""

    def search(self, queries: Ragged, k: int, recipe: Recipe, threads: int) -> list[Found]:
        """The k best documents of each query."""

    def evidence(self, query: FloatArray, found: Found, recipe: Recipe) -> Evidence:
        """What the XTR scores of a search were made of."""

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, as well as they are known."""


def engine_of(store: Store) -> Engine:
    """The engine that reads what the store holds."""
    if isinstance(store.tokens, TokenVectors):
        return ExactEngine(store.tokens)
    return CompressedEngine(store.tokens)


class ExactEngine:
    """Looks at every token vector of the corpus: the oracle."""

    storage = "float16"

    def __init__(self, vectors: TokenVectors) -> None:
        self._vectors = vectors

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return len(self._vectors.halves)

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return int(self._vectors.halves.shape[1])

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end."""
        return self._vectors.offsets

    def search(self, queries: Ragged, k: int, recipe: Recipe, threads: int) -> list[Found]:
        """The k best documents of each query; BLAS uses the threads that it was started with."""
        return exact_search.search(self._vectors, queries, k, recipe)

    def evidence(self, query: FloatArray, found: Found, recipe: Recipe) -> Evidence:
        """What the XTR scores of a search were made of."""
        (hits,) = retrieve_tokens(self._vectors, Ragged.from_arrays([query]), found.k_prime or recipe.k_prime)
        return Evidence(hits, imputation_named(recipe.imputation)(hits))

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, float16."""
        offsets = self._vectors.offsets
        return np.asarray(self._vectors.halves[offsets[document] : offsets[document + 1]])


class CompressedEngine:
    """Opens the clusters nearest to each query token, and scores the codes in them."""

    def __init__(self, index: CompressedTokens) -> None:
        self._index = index
        self.storage = f"{index.bits} bits"

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return self._index.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._index.dim

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, counted document after document."""
        return self._index.document_offsets

    def search(self, queries: Ragged, k: int, recipe: Recipe, threads: int) -> list[Found]:
        """The k best documents of each query, some queries at a time."""
        effort = _effort(recipe)
        results = search_compressed.search_batch(self._index, list(queries), k, recipe.scoring, effort, threads=threads)
        return [
            Found(documents, scores, effort.k_prime if recipe.scoring == "xtr" else None)
            for documents, scores in results
        ]

    def evidence(self, query: FloatArray, found: Found, recipe: Recipe) -> Evidence:
        """What the XTR scores of a search were made of."""
        hits, missing = search_compressed.evidence(self._index, query, _effort(recipe))
        return Evidence(hits, None if recipe.imputation == "none" else missing)

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, decompressed."""
        return decompressed(self._index, document)


def _effort(recipe: Recipe) -> search_compressed.Effort:
    return search_compressed.Effort(
        nprobe=recipe.nprobe,
        k_prime=recipe.k_prime,
        imputation=estimate_named(recipe.imputation),
        candidates=recipe.candidates,
        reduction=recipe.reduction,
    )
