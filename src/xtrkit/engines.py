"""The two engines behind one contract: exact on float16 vectors, approximate on compressed ones.

An engine knows token vectors and document numbers; ids and texts are the index's business. It reads segments, whose
documents are numbered through in their order, and finds no document that is dead. Both engines are given the same
:class:`~xtrkit.recipes.Recipe` and use of it what is theirs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xtrkit import search as exact_search
from xtrkit import search_compressed
from xtrkit.errors import InputError, MissingExtraError
from xtrkit.indexing.codec import name_of
from xtrkit.indexing.compressed_format import CompressedTokens
from xtrkit.indexing.store import Store
from xtrkit.recipes import Recipe
from xtrkit.scoring.estimation import estimate_named
from xtrkit.scoring.imputation import imputation_named
from xtrkit.search import Found
from xtrkit.token_retrieval.corpus import ClusteredCorpus, ExactCorpus
from xtrkit.token_retrieval.error import similarity_error_bounds
from xtrkit.token_retrieval.exact import retrieve_tokens
from xtrkit.values import FloatArray, Mask, Ragged, Segment, TokenHits, TokenVectors


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
        """The k best documents of each query: of all that are alive, or of those that (N,) ``subset`` marks."""

    def evidence(self, query: FloatArray, found: Found, recipe: Recipe) -> Evidence:
        """What the XTR scores of a search were made of."""

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, as well as they are known."""

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) how far similarities of each query token can be from those with the vectors that were indexed."""


def engine_of(store: Store, device: str | None = None) -> Engine:
    """The engine that reads what the store holds; of a compressed one on a device, where one is named.

    Raises:
        InputError: there is no such device, or the index is exact.
        MissingExtraError: torch isn't installed.
    """
    if store.quantiser is None:
        if device is not None:
            raise InputError(
                f"Only a compressed index is searched on a device, got {device!r} and one of float16 vectors: build it "
                "with nbits=4 (--nbits 4), or leave the device out."
            )
        return ExactEngine(store.corpus())
    return CompressedEngine(store.corpus()) if device is None else DeviceEngine(store.corpus(), device)


class ExactEngine:
    """Looks at every token vector of the corpus: the oracle."""

    storage = "float16"

    def __init__(self, segments: Sequence[Segment[TokenVectors]]) -> None:
        self._corpus = ExactCorpus(segments)

    @property
    def n_tokens(self) -> int:
        """Number of token vectors of living documents, M."""
        return self._corpus.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._corpus.segments[0].tokens.dim

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end."""
        return self._corpus.document_offsets

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query; ``threads`` blocks of the corpus are multiplied at a time."""
        return exact_search.search(self._corpus, queries, k, recipe, subset, threads)

    def evidence(self, query: FloatArray, found: Found, recipe: Recipe) -> Evidence:
        """What the XTR scores of a search were made of."""
        (hits,) = retrieve_tokens(self._corpus, Ragged.from_arrays([query]), found.k_prime or recipe.k_prime)
        return Evidence(hits, imputation_named(recipe.imputation)(hits))

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, float16."""
        return self._corpus.vectors(document)

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) zeros: these are the vectors that were indexed."""
        return np.zeros(len(query))


class CompressedEngine:
    """Opens the clusters nearest to each query token, and scores the codes in them."""

    def __init__(self, segments: Sequence[Segment[CompressedTokens]]) -> None:
        self._corpus = ClusteredCorpus(segments)
        codec = self._corpus.quantiser.codec
        self.storage = f"{codec.bits} bits, {name_of(codec)}"

    @property
    def n_tokens(self) -> int:
        """Number of token vectors of living documents, M."""
        return self._corpus.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._corpus.quantiser.dim

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, counted document after document."""
        return self._corpus.document_offsets

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query, ``threads`` queries at a time."""
        effort = self._effort(recipe)
        results = search_compressed.search_batch(
            self._corpus, list(queries), k, recipe.scoring, effort, subset, threads or 1
        )
        k_prime = effort.k_prime if recipe.scoring == "xtr" else None
        return [Found(documents, scores, k_prime, seconds) for documents, scores, seconds in results]

    def evidence(self, query: FloatArray, found: Found, recipe: Recipe) -> Evidence:
        """What the XTR scores of a search were made of."""
        hits, missing = search_compressed.evidence(self._corpus, query, self._effort(recipe))
        return Evidence(hits, None if recipe.imputation == "none" else missing)

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, decompressed."""
        return self._corpus.vectors(document)

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) how far similarities of each query token can be from those with the vectors that were indexed."""
        return similarity_error_bounds(self._corpus, query)

    def _effort(self, recipe: Recipe) -> search_compressed.Effort:
        candidates = self._corpus.n_documents if recipe.nprobe == "all" else recipe.candidates
        return search_compressed.Effort(
            nprobe=self._corpus.n_clusters if recipe.nprobe == "all" else int(recipe.nprobe),
            k_prime=int(recipe.k_prime),
            imputation=estimate_named(recipe.imputation),
            candidates=None if candidates is None else int(candidates),
            reduction=recipe.reduction,
            shared=recipe.shared,
            rerank=None if recipe.rerank is None else int(recipe.rerank),
        )


class DeviceEngine(CompressedEngine):
    """Searches a copy of the living tokens on a device of torch's; all else is the compressed engine's."""

    def __init__(self, segments: Sequence[Segment[CompressedTokens]], device: str) -> None:
        super().__init__(segments)
        try:
            from xtrkit import search_torch
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingExtraError('Searching on a device needs torch: run pip install "xtrkit[torch]".') from error
        self._search = search_torch.search_batch
        self._tokens = search_torch.DeviceTokens.of(self._corpus, device)

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query, many side by side; ``threads`` are left to the device."""
        begin = time.perf_counter()
        results = self._search(self._tokens, list(queries), k, recipe.scoring, self._effort(recipe), subset)
        seconds = {"device": (time.perf_counter() - begin) / max(1, len(results))}
        k_prime = int(recipe.k_prime) if recipe.scoring == "xtr" else None
        return [Found(documents, scores, k_prime, seconds) for documents, scores in results]
