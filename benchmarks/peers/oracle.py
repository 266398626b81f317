"""The exact rankings that recall is measured against, in plain NumPy: MaxSim, and XTR with k' = 1,000."""

import numpy as np
from contract import K_PRIME

ROWS = 131_072
QUERIES_AT_A_TIME = 16


def exact_rankings(data, k, numbers):
    """``{"XTR": (queries, k), "MaxSim": (queries, k)}`` document numbers, kept; -1 but for the queries ``numbers``."""
    kept = data.folder / f"exact-{k}.npz"
    nothing = np.full((len(data.queries), k), -1)
    found = dict(np.load(kept)) if kept.exists() else {"XTR": nothing.copy(), "MaxSim": nothing.copy()}
    missing = [number for number in numbers if found["XTR"][number, 0] < 0]
    for first in range(0, len(missing), QUERIES_AT_A_TIME):
        part = missing[first : first + QUERIES_AT_A_TIME]
        for name, rankings in rank(data, [data.queries[number] for number in part], k).items():
            found[name][part] = rankings
        print(f"exact rankings: {first:,} of {len(missing):,}", end="\r", flush=True)
        np.savez(kept, **found)
    return found


def rank(data, queries, k):
    stacked = np.concatenate(queries)
    cuts = np.cumsum([len(query) for query in queries])[:-1]
    best = np.empty((len(data.lengths), len(stacked)), dtype=np.float32)  # of each document for each query token
    top_rows = [np.empty(0, dtype=np.int64)] * len(stacked)
    top = [np.empty(0, dtype=np.float32)] * len(stacked)
    for first, stop in blocks(data):
        begin, end = data.offsets[first], data.offsets[stop]
        similarities = data.documents[begin:end].astype(np.float32) @ stacked.T
        best[first:stop] = np.maximum.reduceat(similarities, data.offsets[first:stop] - begin, axis=0)
        for token, column in enumerate(np.ascontiguousarray(similarities.T)):
            floor = top[token].min() if len(top[token]) == K_PRIME else -np.inf
            new = np.flatnonzero(column > floor)
            rows, values = np.append(top_rows[token], begin + new), np.append(top[token], column[new])
            if len(values) > K_PRIME:
                keep = np.argpartition(-values, K_PRIME - 1)[:K_PRIME]
                rows, values = rows[keep], values[keep]
            top_rows[token], top[token] = rows, values
    document_of = np.repeat(np.arange(len(data.lengths)), data.lengths)
    found = {"XTR": [], "MaxSim": []}
    for tokens, sums in zip(np.split(np.arange(len(stacked)), cuts), np.split(best, cuts, axis=1), strict=True):
        found["MaxSim"].append(ranked(sums.sum(axis=1, dtype=np.float64), k))
        found["XTR"].append(ranked(xtr_scores(best, top_rows, top, tokens, document_of), k))
    return found


def xtr_scores(best, top_rows, top, tokens, document_of):
    """Equation 4, times the number of query tokens: the best retrieved similarity, or else the k'-th."""
    scores = np.zeros(len(best))
    for token in tokens:
        gained = np.full(len(best), top[token].min(), dtype=np.float64)
        documents = document_of[top_rows[token]]
        gained[documents] = best[documents, token]
        scores += gained
    return scores


def ranked(scores, k):
    return np.argsort(-scores, kind="stable")[:k].tolist()


def blocks(data):
    """Runs of whole documents with about ``ROWS`` tokens."""
    first, count = 0, len(data.lengths)
    while first < count:
        stop = min(max(int(np.searchsorted(data.offsets, data.offsets[first] + ROWS)), first + 1), count)
        yield first, stop
        first = stop
