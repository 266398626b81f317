"""Why a document was found: Table 6 and Figure 3 of the XTR paper for the user's own query.

For each query token: the document token that it matched, where that stands in the text, how similar the two are, or
that nothing of this document was retrieved for it and m_i was imputed.

Where an index pools token vectors, one that matched stands for several tokens. Which they are is not kept in the index,
which is pooled to be small; it is found out by encoding the text once more and pooling its vectors as they were. Of the
tokens that share a vector, the one nearest to the query token is told as the match.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.base import Token
from xtrkit.indexing.halves import to_halves
from xtrkit.indexing.pooling import groups_of
from xtrkit.search.engine import Contribution
from xtrkit.values import FloatArray, Pooling, Ragged


@dataclass(frozen=True)
class Match:
    """What one query token contributed to a document's score.

    Attributes:
        query_token: the query token.
        similarity: its similarity to the matched document token; where that is missing, the imputed m_i, or None
            where nothing is imputed. The mean (or sum) over the query tokens is the document's score.
        document_token: the document token with the highest retrieved similarity; None where none was retrieved.
        others: where the index pools, the document's other tokens that share this one's vector, in order of the text.
    """

    query_token: Token
    similarity: float | None
    document_token: Token | None
    others: tuple[Token, ...] = ()

    @property
    def imputed(self) -> bool:
        """Whether no token of the document was retrieved for this query token."""
        return self.document_token is None


class PooledText(NamedTuple):
    """What is known of a text whose vectors an index has pooled.

    Attributes:
        groups: (m,) which of the index's vectors each token of the text went into.
        similarities: (n, m) those of the query's tokens with the text's.
    """

    groups: npt.NDArray[np.int32]
    similarities: FloatArray

    def members(self, query_token: int, vector: int) -> list[int]:
        """The tokens that share a vector: the one nearest to a query token first, the others in order."""
        found = np.flatnonzero(self.groups == vector)
        nearest = int(found[self.similarities[query_token, found].argmax()])
        return [nearest, *(token for token in found.tolist() if token != nearest)]


def pooled_texts(documents: Ragged, query: FloatArray, pooling: Pooling) -> Iterator[PooledText]:
    """What is known of some texts from their (m, d) vectors, and a query's (n, d).

    Vectors are rounded as they were when they were indexed, so that the same groups come out.
    """
    for document in documents:
        yield PooledText(groups_of(to_halves(document), pooling), query @ document.T)


def matches(
    contribution: Contribution,
    query_tokens: Sequence[Token],
    document_tokens: Sequence[Token],
    pooled: PooledText | None = None,
) -> list[Match]:
    """What each query token contributed, in tokens of the texts.

    Args:
        contribution: similarities, and the numbers of the document's vectors.
        query_tokens: the n query tokens.
        document_tokens: the document's m tokens.
        pooled: where the index pools, what the vectors stand for; else each stands for the token of its number.
    """
    told = []
    found = zip(query_tokens, contribution.similarities.tolist(), contribution.tokens.tolist(), strict=True)
    for place, (query_token, similarity, vector) in enumerate(found):
        numbers = [] if vector < 0 else [vector] if pooled is None else pooled.members(place, vector)
        matched = [document_tokens[number] for number in numbers]
        contributed = None if np.isnan(similarity) else similarity
        told.append(Match(query_token, contributed, matched[0] if matched else None, tuple(matched[1:])))
    return told
