"""Why a document was found: Table 6 and Figure 3 of the XTR paper for the user's own query.

For each query token: the document token that it matched, where that stands in the text, how similar the two are, or
that nothing of this document was retrieved for it and m_i was imputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xtrkit.encoding.base import Token
from xtrkit.values import FloatArray, TokenHits


@dataclass(frozen=True)
class Match:
    """What one query token contributed to a document's score.

    Attributes:
        query_token: the query token.
        similarity: its similarity to the matched document token; where that is missing, the imputed m_i, or None
            where nothing is imputed.
        document_token: the document token with the highest retrieved similarity; None where none was retrieved.
    """

    query_token: Token
    similarity: float | None
    document_token: Token | None

    @property
    def imputed(self) -> bool:
        """Whether no token of the document was retrieved for this query token."""
        return self.document_token is None


def matches_from_hits(
    hits: TokenHits,
    missing: npt.NDArray[np.float64] | None,
    document: int,
    first_row: int,
    query_tokens: Sequence[Token],
    document_tokens: Sequence[Token],
) -> list[Match]:
    """The matches behind an XTR score.

    Args:
        hits: the token hits of the query.
        missing: (n,) m_i of each query token; None where nothing is imputed.
        document: number of the document to explain.
        first_row: row of its first token vector in the index.
        query_tokens: the n query tokens.
        document_tokens: the document's m tokens.
    """
    matches = []
    for i, query_token in enumerate(query_tokens):
        of = hits.of(i)
        of_document = np.flatnonzero(hits.documents[of] == document) + of.start
        if len(of_document):
            best = of_document[np.argmax(hits.scores[of_document])]
            token = document_tokens[int(hits.rows[best]) - first_row]
            matches.append(Match(query_token, float(hits.scores[best]), token))
        else:
            matches.append(Match(query_token, None if missing is None else float(missing[i]), None))
    return matches


def matches_from_vectors(
    query: FloatArray,
    document: FloatArray,
    query_tokens: Sequence[Token],
    document_tokens: Sequence[Token],
    most: npt.NDArray[np.float64] | None = None,
) -> list[Match]:
    """The matches behind a MaxSim score, which looks at every token: nothing is imputed.

    So are documents of a subset scored that no retrieved token led to, each similarity bounded by m_i.

    Args:
        query: (n, d) token embeddings.
        document: (m, d) token vectors.
        query_tokens: the n query tokens.
        document_tokens: the m document tokens.
        most: (n,) what the similarity of each query token counts at most; None sets no bounds.
    """
    similarities = query.astype(np.float32) @ document.astype(np.float32).T
    best = similarities.argmax(axis=1)
    counted = similarities.max(axis=1) if most is None else np.minimum(similarities.max(axis=1), most)
    return [
        Match(query_token, float(counted[i]), document_tokens[best[i]]) for i, query_token in enumerate(query_tokens)
    ]
