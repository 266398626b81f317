"""An exact shard: retrieves the best tokens of its own segments, and scores its own documents from those that count.

Which of them count, the coordinator says, who has seen the similarities of all shards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xtrkit.cluster.messages import Best, Reached, Retrieve, ScoreBest
from xtrkit.cluster.shard import AnyShard
from xtrkit.scoring.imputation import Floats, Imputed
from xtrkit.search.engine import Documents, Ranked, Scores
from xtrkit.search.exact import ExactEngine, best_by_maxsim, by_all_tokens, xtr_scores
from xtrkit.token_retrieval.exact import best_hits, retrieve_tokens
from xtrkit.values import FloatArray, Mask, Ragged, Segment, TokenHits, TokenVectors


class ExactShard(AnyShard):
    """Segments of exact vectors."""

    def __init__(self, segments: Sequence[Segment[TokenVectors]]) -> None:
        engine = ExactEngine(segments)
        super().__init__(engine)
        self._corpus = engine._corpus

    def retrieve(self, ask: Retrieve) -> list[Floats]:
        """Retrieve tokens; tell their similarities, in no order: of each query (n, k'), or as many as there are."""
        hits = retrieve_tokens(self._corpus, Ragged.from_arrays(ask.queries), ask.k_prime)
        self._open(ask.name, ask.queries, hits, ask.allowed)
        most = min(ask.k_prime, self._corpus.n_tokens)
        return [one.scores.reshape(one.n_query_tokens, most) for one in hits]

    def score(self, ask: ScoreBest) -> list[Reached]:
        """Score what was retrieved, as far as it is among the best of all shards.

        Raises:
            LostLookError: the retrieval is not known (any more).
        """
        opened = self._known(ask.name)
        opened.tokens[:] = [best_hits(hits, count) for hits, count in zip(opened.tokens, ask.counts, strict=False)]
        return self._scored(opened, ask.scoring)

    def best(self, ask: Best) -> list[Ranked]:
        """The best documents by all tokens."""
        wanted = self._matching(self.allowed(ask.allowed))
        return best_by_maxsim(self._corpus, Ragged.from_arrays(ask.queries), ask.k, wanted, mean=ask.mean)

    def hits(
        self, query: FloatArray, k_prime: int, count: npt.NDArray[np.int64], lowest: Floats, documents: Sequence[int]
    ) -> TokenHits:
        """The retrieved tokens of some documents, as far as they are among the best of all shards."""
        (hits,) = retrieve_tokens(self._corpus, Ragged.from_arrays([query]), k_prime)
        counted = best_hits(hits, count).at_least(lowest)
        return counted.those(np.isin(counted.documents, documents))

    def _tokens(self) -> tuple[npt.NDArray[np.int64], np.float16]:
        return np.array([self._corpus.n_tokens]), np.float16(0)

    def _xtr_scores(self, tokens: TokenHits, imputed: Imputed, allowed: Mask, *, mean: bool) -> Ranked:
        return xtr_scores(self._corpus, tokens, imputed, self._matching(allowed), mean=mean)

    def _by_all_tokens(self, query: FloatArray, documents: Documents, most: Scores | None, *, mean: bool) -> Scores:
        return by_all_tokens(self._corpus, query, documents, most, mean=mean)
