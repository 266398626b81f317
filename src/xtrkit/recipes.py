"""The systems' ways of searching, side by side, as frozen values.

=============  =======  =====  ==========  =========  ===========================================================
recipe         scoring  k'     imputation  reduction  source
=============  =======  =====  ==========  =========  ===========================================================
``XTR``        xtr      1,000  min         mean       Lee et al. 2023, eq. 4; k' of its evaluation notebook
``COLXTR``     xtr      1,000  retrieved   sum        Bhat & Sen 2025: all query tokens look into the 10 clusters
                                                      of each; no rerank, as in its paper
``COLBERT``    maxsim   –      –           sum        Khattab & Zaharia 2020, eq. 3
``COLBERTV2``  maxsim   –      –           sum        Santhanam et al. 2022: scores as ``COLBERT``; what differs is
                                                      how vectors are kept
=============  =======  =====  ==========  =========  ===========================================================

A recipe with another choice is another value: ``XTR.but(k_prime=100)``. It is checked when it is made, and resolved
once for an index (:meth:`Recipe.resolved`); engines read resolved ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from xtrkit.errors import InputError
from xtrkit.scoring.imputation import Imputation, imputation_named
from xtrkit.values import Pooling, Reduction

Scoring = Literal["xtr", "maxsim"]

# On SciFact, 4 bits: 64 candidates hold .999 of the exact ten best, 300 hold .988 of the hundred best.
CANDIDATES_PER_RESULT = 3
FEWEST_CANDIDATES = 64
NPROBE = 32
"""Clusters that are opened for a query token where neither the caller nor the index says how many."""


def check_k(k: int) -> None:
    """Refuse a number of documents that can't be asked for.

    Raises:
        InputError: it isn't a whole number of at least 1.
    """
    _check_count("k", k)


def chosen(recipe: Recipe, choices: Mapping[str, Any]) -> Recipe:
    """A recipe as it was given to a search, with the fields that shall differ.

    Raises:
        InputError: it is no recipe, a name is not a field, or a value can't be used.
    """
    if not isinstance(recipe, Recipe):
        raise InputError(f"A recipe is given as one of xtrkit.recipes, such as XTR or COLBERT, got {recipe!r:.60}.")
    return recipe.but(**choices)


def check_threads(threads: int | None) -> None:
    """Refuse a number of threads that there can't be; None leaves the choice to the engine.

    Raises:
        InputError: it isn't a whole number of at least 1.
    """
    if threads is not None:
        _check_count("threads", threads)


def _check_count(name: str, value: Any, *, or_else: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        alternative = f" or {or_else}" if or_else else ""
        raise InputError(f"{name} must be a whole number of at least 1{alternative}, got {value!r}.")


@dataclass(frozen=True)
class Recipe:
    """How a search scores documents, and how thoroughly it looks.

    Attributes:
        scoring: "xtr" scores documents from the retrieved tokens alone (eq. 4); "maxsim" is ColBERT's sum-of-max over
            all tokens (eq. 1), on a compressed index of the most promising documents.
        k_prime: k', how many document tokens are retrieved for each query token; XTR only. Of an index that pools
            tokens, as many vectors as stand for so many.
        imputation: m_i, what stands in for a similarity that was not retrieved; XTR only. "min" is the lowest
            similarity that the query token did retrieve (the paper's top-k' score; a compressed index, which does not
            look at all tokens, takes what that score must be expected to be), "retrieved" is the lowest that was
            retrieved in the clusters that were opened, "none" leaves the query token out of the mean, a number such as
            "0.2" is that constant. "found", "centroid" and "t5000" are told in :mod:`xtrkit.scoring.imputation`.
        reduction: "mean" divides the sum over query tokens by their number, "sum" doesn't; None is the system's own,
            mean for XTR and sum for MaxSim. With every imputation but "none" it changes no ranking.
        nprobe: compressed indexes only: how many clusters are opened for each query token: about as many tokens as so
            many clusters of mean size hold, where they promise most among those of all query tokens together; with
            ``shared`` exactly so many of the nearest. "all" looks at every token, with MaxSim of every document. None
            is 32, and with XTR what the model that made the index asks for (:attr:`xtrkit.Index.nprobe`).
        candidates: compressed indexes and "maxsim" only: documents whose sum-of-max is computed; None is three for
            each that is asked for, and 64 at least.
        shared: compressed indexes and "xtr" only: every query token looks into the clusters of all query tokens, as in
            ColXTR, instead of its own. "min" is then estimated as "found", since of other clusters nothing is known.
        rerank: "xtr" only: this many of the best documents, and k at least, are scored again by all their tokens, as
            MaxSim; None is none. On a compressed index their vectors are decompressed.
    """

    scoring: Scoring = "xtr"
    k_prime: int = 1000
    imputation: str = "min"
    reduction: Reduction | None = None
    nprobe: int | Literal["all"] | None = None
    candidates: int | None = None
    shared: bool = False
    rerank: int | None = None

    def __post_init__(self) -> None:
        if self.scoring not in get_args(Scoring):
            raise InputError(f"Unknown scoring {self.scoring!r}: use 'xtr' or 'maxsim'.")
        if self.reduction not in (None, *get_args(Reduction)):
            raise InputError(f"Unknown reduction {self.reduction!r}: use 'mean' or 'sum'.")
        if not isinstance(self.shared, bool | np.bool_):
            raise InputError(f"shared must be True or False, got {self.shared!r}.")
        imputation_named(self.imputation)
        _check_count("k'", self.k_prime)
        if self.nprobe not in (None, "all"):
            _check_count("nprobe", self.nprobe, or_else="'all'")
        for name in ("candidates", "rerank"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name))
        if self.rerank is not None and self.scoring == "maxsim":
            raise InputError("rerank is XTR's: MaxSim scores by all tokens anyway; give candidates instead.")
        for name in ("k_prime", "nprobe", "candidates", "rerank"):  # NumPy's numbers are no JSON
            if isinstance(getattr(self, name), np.integer):
                object.__setattr__(self, name, int(getattr(self, name)))
        object.__setattr__(self, "shared", bool(self.shared))
        object.__setattr__(self, "imputation", str(self.imputation))

    @property
    def impute(self) -> Imputation:
        """The imputation as a function."""
        return imputation_named(self.imputation)

    @property
    def mean(self) -> bool:
        """Whether sums over query tokens are divided by their number."""
        return (self.reduction or ("mean" if self.scoring == "xtr" else "sum")) == "mean"

    @property
    def clusters(self) -> int:
        """``nprobe`` of a recipe in which it is a number, or left out."""
        return NPROBE if self.nprobe is None else int(self.nprobe)

    def but(self, **choices: Any) -> Recipe:
        """This recipe with some fields changed.

        Raises:
            InputError: a name is not a field, or a value can't be used.
        """
        if not choices:
            return self
        unknown = sorted(set(choices) - set(Recipe.__dataclass_fields__))
        if unknown:
            raise InputError(
                f"Unknown search choice {unknown[0]!r}: there are {', '.join(Recipe.__dataclass_fields__)}."
            )
        return replace(self, **choices)

    def resolved(self, k: int, n_documents: int, n_clusters: int = 1) -> Recipe:
        """This recipe for k documents of one index: what it leaves to the system or to the index is said in numbers.

        Args:
            k: documents asked for.
            n_documents: N.
            n_clusters: C; an exact index is one cluster that is always open.
        """
        return _resolved(self, k, n_documents, n_clusters)

    def at(self, pooling: Pooling | None, nprobe: int | None) -> Recipe:
        """This recipe for one index.

        Of an index that pools, each vector stands for several of the tokens that k' counts: on Cranfield, pooled by 2,
        XTR's nDCG@10 is .533 where 1,000 vectors are retrieved, .543 where 500 are, and .546 without pooling.

        Args:
            pooling: how the index pools.
            nprobe: how many clusters its model asks for.
        """
        own = nprobe if self.scoring == "xtr" else None
        return replace(
            self,
            k_prime=max(1, self.k_prime // pooling.factor) if pooling else self.k_prime,
            nprobe=self.nprobe or own or NPROBE,
        )

    def widened(self) -> Recipe:
        """A resolved recipe with twice the clusters and twice the k'."""
        return replace(self, nprobe=2 * self.clusters, k_prime=2 * self.k_prime)


@lru_cache(maxsize=256)
def _resolved(recipe: Recipe, k: int, n_documents: int, n_clusters: int) -> Recipe:
    everything = recipe.nprobe == "all"
    candidates = recipe.candidates or max(FEWEST_CANDIDATES, CANDIDATES_PER_RESULT * k)
    return replace(
        recipe,
        imputation="found" if recipe.shared and recipe.imputation == "min" else recipe.imputation,
        reduction="mean" if recipe.mean else "sum",
        nprobe=n_clusters if everything else recipe.clusters,
        candidates=max(1, n_documents) if everything else max(k, candidates),
        rerank=None if recipe.rerank is None else max(k, recipe.rerank),
    )


XTR = Recipe()
COLXTR = Recipe(imputation="retrieved", reduction="sum", nprobe=10, shared=True)
COLBERT = Recipe(scoring="maxsim")
COLBERTV2 = COLBERT

RECIPES = {"xtr": XTR, "colxtr": COLXTR, "colbert": COLBERT, "colbertv2": COLBERTV2}
"""By name, as the command line has them."""


def recipe_named(name: str) -> Recipe:
    """The recipe of a name, in capitals or not.

    Raises:
        InputError: there is none.
    """
    if name.lower() not in RECIPES:
        raise InputError(f"Unknown recipe {name!r}: there are {', '.join(RECIPES)}.")
    return RECIPES[name.lower()]
