"""Queries of any scale: scores are linear in the query, so one that is far from length 1 is searched as if it were not.

Kernels reckon in float32 with limits that are made for similarities near 1. A query whose longest token vector is not
between ½ and 2 long is multiplied by a power of two, which rounds nothing, and so are the scores, by its inverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.recipes import Recipe
from xtrkit.search.engine import Contribution, Engine, Evidence, Found, Scores
from xtrkit.values import FloatArray, Mask, Ragged

SURELY_NEAR = (0.2501, 3.999)
"""Squared lengths between which there is nothing to look at more closely."""


class Scaled(NamedTuple):
    """A query near length 1, and the power of two, ``exponent``, that it was divided by."""

    query: npt.NDArray[np.float32]
    exponent: int


def scaled(query: FloatArray) -> Scaled:
    """An (n, d) query without a token vector of zeros, near length 1."""
    doubles = np.asarray(query, dtype=np.float64)
    if SURELY_NEAR[0] < np.einsum("ij,ij->i", doubles, doubles).max() < SURELY_NEAR[1]:
        return Scaled(np.asarray(query, dtype=np.float32), 0)
    exponent = int(np.frexp(np.abs(doubles).max())[1])
    longest = float(np.linalg.norm(np.ldexp(doubles, -exponent), axis=1).max())
    exponent += int(np.frexp(longest)[1])
    if exponent in (0, 1):  # ½ to 2
        return Scaled(np.asarray(query, dtype=np.float32), 0)
    return Scaled(np.ldexp(doubles, -exponent).astype(np.float32), exponent)


def _recipe(recipe: Recipe, exponent: int) -> Recipe:
    """A recipe for a query that was divided; one that imputes a number imputes it divided."""
    with suppress(ValueError):
        return replace(recipe, imputation=repr(float(np.ldexp(float(recipe.imputation), -exponent))))
    return recipe


def _unscaled(found: Found, asked: Recipe, exponent: int) -> Found:
    if not exponent:
        return found
    recipe = found.recipe if found.recipe.imputation == "found" else replace(found.recipe, imputation=asked.imputation)
    return replace(found, scores=np.ldexp(found.scores, exponent), recipe=recipe)


class AnyScale:
    """An engine that takes queries of any scale."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def n_tokens(self) -> int:
        """Number of token vectors of living documents, M."""
        return self._engine.n_tokens

    @property
    def dim(self) -> int:
        """Dimensions of a token vector, d."""
        return self._engine.dim

    @property
    def storage(self) -> str:
        """How vectors are kept, such as "float16" or "4 bits, grid"."""
        return self._engine.storage

    @property
    def document_offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,) where each document's token vectors begin and end, counted document after document."""
        return self._engine.document_offsets

    def search(
        self, queries: Ragged, k: int, recipe: Recipe, subset: Mask | None = None, threads: int | None = None
    ) -> list[Found]:
        """The k best documents of each query; queries of one scale are searched together."""
        every, found = [scaled(query) for query in queries], dict[int, Found]()
        if not any(one.exponent for one in every):
            return self._engine.search(queries, k, recipe, subset, threads)
        for exponent in sorted({one.exponent for one in every}):
            places = [place for place, one in enumerate(every) if one.exponent == exponent]
            batch = Ragged.from_arrays([every[place].query for place in places])
            asked = _recipe(recipe, exponent) if exponent else recipe
            answers = self._engine.search(batch, k, asked, subset, threads)
            found |= zip(places, (_unscaled(answer, recipe, exponent) for answer in answers), strict=True)
        return [found[place] for place in range(len(every))]

    def evidence(self, query: FloatArray, found: Found, of: Sequence[int] | None = None) -> Evidence:
        """What the XTR scores of a search were made of."""
        near, exponent = scaled(query)
        if not exponent:
            return self._engine.evidence(near, found, of)
        hits, missing = self._engine.evidence(near, replace(found, recipe=_recipe(found.recipe, exponent)), of)
        scores = np.ldexp(hits.scores, exponent).astype(np.float32)
        return Evidence(replace(hits, scores=scores), None if missing is None else np.ldexp(missing, exponent))

    def best_similarities(self, query: FloatArray, document: int, most: Scores | None = None) -> Contribution:
        """min(most_i, max_j q_i · d_j) over all tokens of a document."""
        near, exponent = scaled(query)
        limits = None if most is None else np.ldexp(most, -exponent)
        found = self._engine.best_similarities(near, document, limits)
        return found._replace(similarities=np.ldexp(found.similarities, exponent))

    def vectors(self, document: int) -> FloatArray:
        """A document's (m, d) token vectors, as well as they are known."""
        return self._engine.vectors(document)

    def similarity_error_bounds(self, query: FloatArray) -> npt.NDArray[np.float64]:
        """(n,) how far similarities of each query token can be from those with the vectors that were indexed."""
        near, exponent = scaled(query)
        return np.ldexp(self._engine.similarity_error_bounds(near), exponent)
