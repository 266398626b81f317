"""What coordinator and shards say to each other, as values that can be sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.indexing.filters import Condition
from xtrkit.kernels.bundles import ChosenClusters, QuantisedQuery
from xtrkit.lexical.bm25 import Totals
from xtrkit.scoring.imputation import Imputed
from xtrkit.search.engine import Documents, Scores
from xtrkit.values import FloatArray, Mask


class Ask(NamedTuple):
    """One query, and the clusters that it looks into.

    Attributes:
        query: the query, as kernels read it.
        chosen: the clusters; None for all of them, which a shard knows itself and which would be a megabyte to send.
    """

    query: QuantisedQuery
    chosen: ChosenClusters | None


class Scoring(NamedTuple):
    """How documents are scored, and which come back.

    Attributes:
        imputed: of each query, from which similarity up tokens count, and m_i.
        mean: whether sums are divided by the number of query tokens.
        k: how many documents come back at most.
    """

    imputed: Sequence[Imputed]
    mean: bool
    k: int


class Look(NamedTuple):
    """Open clusters for some queries.

    Attributes:
        name: of this look; what was opened is kept under it. None where nothing follows.
        asks: the queries.
        mean_square: of the clusters of the whole index (:class:`~xtrkit.kernels.bundles.Centroids`).
        counts: whether integers are wanted that tell the expected k'-th similarity.
        best: how many of the best similarities are wanted of each query token; 0 for none.
        scoring: where m_i depends on no token, how to score at once; None where it follows.
        allowed: the name of a filter; None where all may be found.
    """

    name: str | None
    asks: Sequence[Ask]
    mean_square: np.float32
    counts: bool
    best: int
    scoring: Scoring | None
    allowed: str | None


class Seen(NamedTuple):
    """What a shard tells of the tokens that it opened for one query.

    Attributes:
        squares: (n,) int64, as :func:`xtrkit.kernels.expectation.measure_opened` gives them; empty where not wanted.
        counts: (n, BORDERS) int32, as there.
        best: (n,) arrays of the best similarities, descending; empty where not wanted.
    """

    squares: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int32]
    best: Sequence[npt.NDArray[np.float32]]


class Reached(NamedTuple):
    """The documents of a shard that one query led to.

    Attributes:
        n: how many.
        documents: (≤ k,) numbers of the best of them, within the shard, the best first.
        scores: their scores.
    """

    n: int
    documents: Documents
    scores: Scores


class Answer(NamedTuple):
    """What a shard answers to a :class:`Look`: of each query what it saw, or, if it was to score, what it reached."""

    seen: Sequence[Seen]
    reached: Sequence[Reached]


class Score(NamedTuple):
    """Score what a look opened.

    Attributes:
        name: of the look.
        scoring: how.
    """

    name: str
    scoring: Scoring


class Fill(NamedTuple):
    """Score the documents that a look did not reach, by all their tokens.

    Attributes:
        name: of the look.
        place: which of its queries.
        most: (n,) what the similarity of a query token counts at most.
        mean: as in :class:`Scoring`.
    """

    name: str
    place: int
    most: Scores
    mean: bool


class Rerank(NamedTuple):
    """Score documents by all their tokens.

    Attributes:
        queries: the queries; of exact shards (n, d) token embeddings.
        documents: of each query, numbers within the shard; None for all that ``allowed`` lets through.
        allowed: the name of a filter.
        mean: as in :class:`Scoring`.
        k: how many come back at most.
    """

    queries: Sequence[QuantisedQuery] | Sequence[FloatArray]
    documents: Sequence[Documents | None]
    allowed: str | None
    mean: bool
    k: int


class Retrieve(NamedTuple):
    """Retrieve tokens of an exact shard for some queries, which are multiplied with it together.

    Attributes:
        name: what is retrieved is kept under it. None where nothing follows.
        queries: (n, d) token embeddings of each.
        k_prime: k'.
        allowed: the name of a filter, which counts when documents are scored; None where all may be found.
    """

    name: str | None
    queries: Sequence[FloatArray]
    k_prime: int
    allowed: str | None


class ScoreBest(NamedTuple):
    """Score what an exact shard retrieved, as far as it is among the best of all shards.

    Attributes:
        name: of the retrieval.
        scoring: how.
        counts: of each query (n,) how many of this shard's best tokens are among the k' best of all; of equals those
            that come first.
    """

    name: str
    scoring: Scoring
    counts: Sequence[npt.NDArray[np.int64]]


class Best(NamedTuple):
    """The best documents of an exact shard by all tokens, MaxSim, for queries that are multiplied with it together.

    Attributes:
        queries: (n, d) token embeddings of each.
        allowed: the name of a filter; None where all may be found.
        mean: as in :class:`Scoring`.
        k: how many come back at most.
    """

    queries: Sequence[FloatArray]
    allowed: str | None
    mean: bool
    k: int


class Allow(NamedTuple):
    """A filter, to be kept under a name.

    Attributes:
        name: its name.
        mask: (N,) the documents of the shard that may be found; None where all may.
        condition: what their metadata must meet besides; None for nothing.
    """

    name: str
    mask: Mask | None
    condition: Condition | None = None


class Held(NamedTuple):
    """A filter that the shards keep.

    Attributes:
        name: its name.
        n_matching: how many documents it lets through, in all shards.
    """

    name: str
    n_matching: int


class HostFacts(NamedTuple):
    """What a coordinator must know of the index of a shard.

    Attributes:
        shard: of its token vectors.
        living: documents that are alive.
        has_words: whether it has texts, and so words.
        totals: what is counted of its words.
    """

    shard: ShardFacts
    living: int
    has_words: bool
    totals: Totals


class ShardFacts(NamedTuple):
    """What a coordinator must know of a shard.

    Attributes:
        documents: N, dead ones included.
        findable: how many are alive and have tokens.
        sizes: (C,) living tokens of each cluster; an exact shard is one cluster.
        document_offsets: (N + 1,) where each document's tokens begin and end.
        largest_scale: float16, the largest scale of a residual; 0 for an exact shard.
    """

    documents: int
    findable: int
    sizes: npt.NDArray[np.int64]
    document_offsets: npt.NDArray[np.int64]
    largest_scale: np.float16
