"""Why a document was found: Table 6 and Figure 3 of the XTR paper for the user's own query.

For each query token: the document token that it matched, where that stands in the text, how similar the two are, or
that nothing of this document was retrieved for it and m_i was imputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xtrkit.encoding.base import Token
from xtrkit.search.engine import Contribution


@dataclass(frozen=True)
class Match:
    """What one query token contributed to a document's score.

    Attributes:
        query_token: the query token.
        similarity: its similarity to the matched document token; where that is missing, the imputed m_i, or None
            where nothing is imputed. The mean (or sum) over the query tokens is the document's score.
        document_token: the document token with the highest retrieved similarity; None where none was retrieved.
    """

    query_token: Token
    similarity: float | None
    document_token: Token | None

    @property
    def imputed(self) -> bool:
        """Whether no token of the document was retrieved for this query token."""
        return self.document_token is None


def matches(contribution: Contribution, query_tokens: Sequence[Token], document_tokens: Sequence[Token]) -> list[Match]:
    """What each query token contributed, in tokens of the texts.

    Args:
        contribution: similarities, and the numbers of tokens.
        query_tokens: the n query tokens.
        document_tokens: the document's m tokens.
    """
    found = zip(query_tokens, contribution.similarities.tolist(), contribution.tokens.tolist(), strict=True)
    return [
        Match(query_token, None if np.isnan(similarity) else similarity, None if token < 0 else document_tokens[token])
        for query_token, similarity, token in found
    ]
