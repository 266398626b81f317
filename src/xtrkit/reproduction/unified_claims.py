"""UR²N's tables and figure (Bhat et al. 2025): Tables 1 to 4 and Figure 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np

from xtrkit.encoding.default import MINI
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.measures import of_each_query
from xtrkit.evaluation.runs import Run
from xtrkit.index import Index
from xtrkit.indexing.store import Store
from xtrkit.reproduction.laboratory import Objective
from xtrkit.reproduction.outcome import Cell, Outcome, Plot, Table, Verdict
from xtrkit.reproduction.significance import Values, compared
from xtrkit.reproduction.unified_laboratory import UnifiedLaboratory
from xtrkit.reranking.base import DEPTH

DEPTHS = tuple(range(0, DEPTH + 1, 10))
HNSW_LINKS = 32
"""M of faiss's HNSW, its usual value."""
SHRUNK = 0.97
"""What Table 4 finds on NQ; 98 % on average, by the paper's own text."""
BM25, RETRIEVER, RERANKED = "BM25", "BM25 + monoT5", "UR²N"
ALONE = "UR²N's retrieval"
MEAN = "mean"

Figures = Mapping[str, Sequence[Values]]
"""{system: (Q,) nDCG@10 of each query, for each test collection}"""


def table_1(laboratory: UnifiedLaboratory) -> Outcome:
    """nDCG@10 of BM25 and of UR²N's retrieval, and of the best 100 of each, reranked by the same model."""
    found: dict[str, list[Values]] = {BM25: [], RETRIEVER: [], ALONE: [], RERANKED: []}
    for test in laboratory.tests:
        words, own = laboratory.words(test), laboratory.retrieved(laboratory.ours, test)
        scores = laboratory.scores([words, own], test)
        for name, run in ((BM25, words), (ALONE, own)):
            found[name].append(gains(run, test))
        for name, run in ((RETRIEVER, words), (RERANKED, own)):
            found[name].append(gains(reranked(run, scores, DEPTH), test))
    pairs = [(BM25, RETRIEVER), (BM25, ALONE), (BM25, RERANKED), (RETRIEVER, RERANKED)]
    return _compared(laboratory, found, pairs)


def table_3(laboratory: UnifiedLaboratory) -> Outcome:
    """UR²N, which retrieves and reranks, beside systems that retrieve."""
    found: dict[str, list[Values]] = {BM25: [gains(laboratory.words(test), test) for test in laboratory.tests]}
    names: dict[Objective, str] = {"colbert": "ColBERT", "xtr": "XTR"}
    for objective, name in names.items():
        system = laboratory.trained(objective)
        found[name] = [gains(laboratory.retrieved(system, test), test) for test in laboratory.tests]
    own = [laboratory.retrieved(laboratory.ours, test) for test in laboratory.tests]
    best = [
        gains(reranked(run, laboratory.scores([run], test), DEPTH), test)
        for run, test in zip(own, laboratory.tests, strict=True)
    ]
    # Last of what is computed, since a GPU, where there is one, has no part in it.
    found[MINI] = [gains(laboratory.retrieved(laboratory.mini, test), test) for test in laboratory.tests]
    found[RERANKED] = best
    return _compared(laboratory, found, [(name, RERANKED) for name in found if name != RERANKED])


def figure_2(laboratory: UnifiedLaboratory) -> Outcome:
    """nDCG@10 against how many are reranked: BM25 + monoT5 and UR²N; beside them what only retrieves."""
    lines: dict[str, list[list[float]]] = {RETRIEVER: [], RERANKED: []}  # collection by collection
    for test in laboratory.tests:
        words, own = laboratory.words(test), laboratory.retrieved(laboratory.ours, test)
        scores = laboratory.scores([words, own], test)
        for name, run in ((RETRIEVER, words), (RERANKED, own)):
            lines[name].append([float(gains(reranked(run, scores, depth), test).mean()) for depth in DEPTHS])
    flat = [float(gains(laboratory.retrieved(laboratory.mini, test), test).mean()) for test in laboratory.tests]
    parts = [(test.path.name, n) for n, test in enumerate(laboratory.tests)]
    places: list[tuple[str, Sequence[int]]] = [(name, [n]) for name, n in parts]
    if len(parts) > 1:
        places.append((MEAN, range(len(parts))))
    tables, plots, verdicts, figures = list[Table](), list[Plot](), list[Verdict](), dict[str, float]()
    for name, chosen in places:
        curves = {system: np.mean([lines[system][n] for n in chosen], axis=0) for system in lines}
        mini = float(np.mean([flat[n] for n in chosen]))
        rows: list[list[Cell]] = [[system, *map(float, curve)] for system, curve in curves.items()]
        tables.append(Table(f"nDCG@10, {name}; {MINI}'s retrieval has {mini:.4f}",
                            ["reranked", *map(str, DEPTHS)], rows))  # fmt: skip
        constant = {BM25: curves[RETRIEVER][0], MINI: mini}
        plots.append(Plot(name, "reranked", "nDCG@10", {
            **{system: (DEPTHS, list(curve)) for system, curve in curves.items()},
            **{system: ((DEPTHS[0], DEPTHS[-1]), (value, value)) for system, value in constant.items()},
        }))  # fmt: skip
        for system, curve in curves.items():
            verdicts.append(Verdict(f"{name}: {system} rises with how many are reranked, 10 to 100",
                                    bool(curve[-1] > curve[1]), f"{curve[1]:.4f} → {curve[-1]:.4f}"))  # fmt: skip
            figures |= {f"{name} {system} {depth}": float(curve[i]) for i, depth in enumerate(DEPTHS)}
    return Outcome(tables, verdicts, figures, plots)


def table_4(laboratory: UnifiedLaboratory) -> Outcome:
    """Bytes of an index: a flat HNSW of float32 vectors, float16 vectors alone, and the compressed index on disk."""
    width = laboratory.unified.reranker.model.config.d_model
    rows: list[list[Cell]] = []
    shrunk: list[float] = []
    figures: dict[str, float] = {}
    for test in laboratory.tests:
        with laboratory.index(laboratory.ours, test) as index:
            n_vectors, n_documents, dim = int(index.document_offsets[-1]), len(index), index.dim
            compressed = vector_bytes(index)
        hnsw, exact = hnsw_bytes(n_vectors, dim), exact_bytes(n_vectors, n_documents, dim)
        shrunk.append(1 - compressed / hnsw)
        wide = 1 - compressed / hnsw_bytes(n_vectors, width)
        rows.append(
            [test.path.name, n_vectors, *(value / 1e6 for value in (hnsw, exact, compressed)), shrunk[-1], wide]
        )
        figures |= {f"{test.path.name} bytes a vector": compressed / n_vectors, f"{test.path.name} shrunk": shrunk[-1]}
    mean = float(np.mean(shrunk))
    head = ["", "vectors", f"HNSW of {dim} float32, MB", "float16 alone, MB", "compressed, MB", "smaller than HNSW",
            f"than HNSW of the encoder's {width}"]  # fmt: skip
    because = f"by {mean:.1%} on average with {laboratory.setting.nbits} bits"
    return Outcome(
        tables=[Table("", head, rows)],
        verdicts=[Verdict("compression makes the index 97 % smaller, or more", mean >= SHRUNK, because)],
        figures={**figures, "mean shrunk": mean},
    )


def gains(run: Run, test: TestCollection) -> Values:
    """(Q,) nDCG@10 of each query."""
    values = of_each_query(run, test.qrels, ("nDCG@10",))["nDCG@10"]
    return np.array([values[query] for query in test.qrels])


def reranked(run: Run, scores: Mapping[str, Mapping[str, float]], depth: int) -> Run:
    """The first ``depth`` documents of each ranking by their scores, equal ones as they were, then the others."""
    found = {}
    for query, ranking in run.items():
        names = [document for document, _ in ranking]
        first = sorted(names[:depth], key=lambda document: -scores[query][document])
        found[query] = [(document, -float(rank)) for rank, document in enumerate(first + names[depth:])]
    return found


def hnsw_bytes(n_vectors: int, dim: int, links: int = HNSW_LINKS) -> float:
    """What faiss's HNSWFlat takes: float32 vectors, and M links on each level, 2 M on the lowest.

    A vector is on level l with a chance of M⁻ˡ. A link is an int32; beside it each vector has its level (4 bytes) and
    the place of its links (8).
    """
    return n_vectors * (4 * dim + 4 * (2 * links + links / (links - 1)) + 12)


def vector_bytes(index: Index) -> int:
    """What an index has on disk for its vectors: codes, centroids, and where both lie; no texts and no words."""
    with closing(Store.open(index.path)) as store:
        manifest = store.pin.manifest
    return sum(segment.vectors.size for segment in manifest.segments) + (manifest.codec.size if manifest.codec else 0)


def exact_bytes(n_vectors: int, n_documents: int, dim: int) -> int:
    """What an index of float16 vectors takes: the vectors, and where each document's begin."""
    return 2 * dim * n_vectors + 8 * (n_documents + 1)


def _compared(laboratory: UnifiedLaboratory, found: Figures, pairs: Sequence[tuple[str, str]]) -> Outcome:
    """A row for each system, and a verdict for each pair: on every collection, and on the mean of all."""
    names = [test.path.name for test in laboratory.tests]
    means = {system: [float(values.mean()) for values in each] for system, each in found.items()}
    rows: list[list[Cell]] = [[system, *values, float(np.mean(values))] for system, values in means.items()]
    figures = {f"{name} {system}": values[n] for system, values in means.items() for n, name in enumerate(names)}
    weighted = {system: _alike(each) for system, each in found.items()}
    verdicts = [compared(f"mean: {low} < {high}", weighted[low], weighted[high]) for low, high in pairs]
    if len(names) > 1:
        verdicts += [
            compared(f"{name}: {low} < {high}", found[low][n], found[high][n])
            for n, name in enumerate(names) for low, high in pairs
        ]  # fmt: skip
    return Outcome([Table("nDCG@10", ["", *names, MEAN], rows)], verdicts, figures)


def _alike(each: Sequence[Values]) -> Values:
    """Figures of all queries, weighted so that their mean is that of the collections' means."""
    n_queries = sum(map(len, each))
    return np.concatenate([values * (n_queries / (len(each) * len(values))) for values in each])
