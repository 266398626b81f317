"""What scoring costs by the XTR paper's reckoning (Table 1): floating-point operations and bytes of one query.

Token retrieval finds k' tokens for each of n query tokens, so there are at most n k' candidates; these forms take them
to be so many. What a search really does is counted in ``tests/test_oracles.py``.
"""

from __future__ import annotations


def colbert_flops(n: int, k_prime: int, tokens: float, dim: int) -> float:
    """n² k' (2 m̄ d + m̄ + 1): n k' candidates, each with n products with its m̄ tokens of d dimensions.

    Args:
        n: query tokens.
        k_prime: k'.
        tokens: m̄, mean number of tokens of a document.
        dim: d.
    """
    return n * n * k_prime * (2 * tokens * dim + tokens + 1)


def xtr_flops(n: int, k_prime: int, retrieved: float) -> float:
    """n² k' (r̄ + 1): the similarities of a candidate's r̄ retrieved tokens are known, so its maxima and sum are left.

    Args:
        n: query tokens.
        k_prime: k'.
        retrieved: r̄, mean number of retrieved tokens of a candidate.
    """
    return n * n * k_prime * (retrieved + 1)


def gathered_bytes(n: int, k_prime: int, tokens: float, dim: int, bytes_a_number: float = 4) -> float:
    """N k' m̄ d numbers: what ColBERT gathers of its candidates' vectors, and XTR doesn't.

    Args:
        n: query tokens.
        k_prime: k'.
        tokens: m̄.
        dim: d.
        bytes_a_number: 4 for float32.
    """
    return n * k_prime * tokens * dim * bytes_a_number
