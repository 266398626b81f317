"""XTR in one page: the whole method in NumPy, exactly as the paper writes it (Lee et al. 2023, §2.1 and §3.2).

    python examples/xtr_in_one_page.py

Slow and obvious on purpose: xtrkit's tests use it as an oracle. Letters: n query tokens, M document tokens of all N
documents together, d dimensions. Every row of ``queries`` and ``tokens`` is a unit vector.
"""

import numpy as np


def retrieve_tokens(query, tokens, k_prime):
    """Eq. 3: for each of the n query tokens, the rows of its k' most similar document tokens: (n, k')."""
    similarities = query @ tokens.T
    return np.argsort(-similarities, axis=1, kind="stable")[:, :k_prime], similarities


def xtr(query, tokens, document_of, k_prime, impute="min"):
    """Eq. 4: {document: f_XTR'(Q, D)} for every document that has at least one retrieved token."""
    retrieved, similarities = retrieve_tokens(query, tokens, k_prime)
    candidates = sorted({int(document_of[row]) for row in retrieved.ravel()})
    scores = {}
    for document in candidates:
        contributions = []
        for i in range(len(query)):
            found = [similarities[i, row] for row in retrieved[i] if document_of[row] == document]
            if found:
                contributions.append(max(found))  # A_ij q_i · d_j: what token retrieval computed already
            elif impute == "min":
                contributions.append(similarities[i, retrieved[i, -1]])  # m_i: the top-k' score bounds what is missing
            elif impute != "none":
                contributions.append(float(impute))  # m_i: a constant
        scores[document] = float(np.mean(contributions))
    return scores


def colbert(query, tokens, document_of):
    """Eq. 1: {document: f_ColBERT(Q, D)}, the mean over query tokens of the best similarity in the document."""
    similarities = query @ tokens.T
    return {
        int(document): float(similarities[:, document_of == document].max(axis=1).mean())
        for document in np.unique(document_of)
    }


def main():
    """Rank five documents of random tokens, one of which holds the query's own tokens."""
    unit = lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True)  # noqa: E731
    random = np.random.default_rng(0)
    tokens, document_of = unit(random.normal(size=(40, 16))), np.repeat(np.arange(5), 8)
    query = unit(tokens[document_of == 3][:4] + 0.1 * random.normal(size=(4, 16)))
    for name, scores in {
        "XTR, k' = 5": xtr(query, tokens, document_of, k_prime=5),
        "XTR, k' = all": xtr(query, tokens, document_of, k_prime=len(tokens)),
        "ColBERT": colbert(query, tokens, document_of),
    }.items():
        best = sorted(scores, key=scores.get, reverse=True)
        print(f"{name:14}", "  ".join(f"document {document}: {scores[document]:.3f}" for document in best))


if __name__ == "__main__":
    main()
