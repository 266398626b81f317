"""Ten rounds of adding 10 %, updating 5 % and deleting 5 % against a rebuild; commits, opening, verifying, filters.

    .venv/bin/python benchmarks/updates.py EMBEDDINGS

EMBEDDINGS is a folder that ``benchmarks/peers/prepare.py`` made. All times are CPU seconds of one thread unless they
say otherwise.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from xtrkit.index import Index
from xtrkit.indexing import writer as writers
from xtrkit.indexing.checking import verify
from xtrkit.indexing.writer import compact
from xtrkit.passage import Passage
from xtrkit.values import Ragged


def read(folder):
    def ragged(rows, lengths):
        return Ragged(np.load(folder / rows, mmap_mode="r"), np.load(folder / lengths))

    meta = json.loads((folder / "meta.json").read_text())
    return ragged("documents.npy", "lengths.npy"), ragged("queries.npy", "query_lengths.npy"), meta


def quality(index, queries, meta, k=100):
    """nDCG@10 and R@100 over the judged queries whose relevant documents are all alive, and CPU ms a query."""
    alive, gains = set(index.ids()), []
    index.search_batch(list(queries)[:5], k)
    begin = time.process_time()
    rankings = index.search_batch(list(queries), k)
    spent = (time.process_time() - begin) / len(queries)
    for identifier, ranking in zip(meta["query_ids"], rankings, strict=True):
        relevant = {document for document, grade in meta["qrels"].get(identifier, {}).items() if grade > 0} & alive
        if not relevant:
            continue
        places = [place for place, document in enumerate(ranking.ids) if document in relevant]
        ideal = sum(1 / np.log2(place + 2) for place in range(min(10, len(relevant))))
        gains.append((sum(1 / np.log2(p + 2) for p in places if p < 10) / ideal, len(places) / len(relevant)))
    ndcg, recall = np.mean(gains, axis=0)
    return float(ndcg), float(recall), 1000 * spent


def show(name, index, queries, meta):
    ndcg, recall, ms = quality(index, queries, meta)
    print(f"{name:34} nDCG@10 {ndcg:.4f}  R@100 {recall:.4f}  {ms:6.2f} ms  {index.n_segments} segments", flush=True)
    return ndcg, recall, ms


def against_one_segment(index, directory, queries):
    """CPU time of the queries, over that of a copy that was compacted; the less of three measurements each."""

    def spent(searched):
        begin = time.process_time()
        searched.search_batch(list(queries), 10)
        return time.process_time() - begin

    copy = directory / "copy"
    shutil.copytree(index.path, copy)
    compact(copy, retrain=False)
    with Index.open(copy) as whole:
        pairs = [(spent(index), spent(whole)) for _ in range(3)]
    shutil.rmtree(copy)
    return min(first for first, _ in pairs) / min(second for _, second in pairs)


def rounds(directory, documents, queries, meta, nbits):
    """Start with half of the documents; ten rounds later all but the deleted have been there."""
    ids, n = np.array(meta["ids"]), len(documents)
    random = np.random.default_rng(0)
    order = random.permutation(n)
    start, waiting = order[: n // 2], list(order[n // 2 :])
    path = directory / f"rounds{nbits}"
    Index.create(path, [[documents[i] for i in start]], ids=ids[start], nbits=nbits).close()
    index, living, slower = Index.open(path), {int(i) for i in start}, []
    for _ in range(10):
        size = len(living)
        new = [int(waiting.pop()) for _ in range(min(len(waiting), size // 10))]
        updated = random.choice(sorted(living), size // 20, replace=False)
        deleted = random.choice(sorted(living - set(updated.tolist())), size // 20, replace=False)
        with index.writer() as writer:
            writer.update(ids[updated], [documents[i] for i in updated])
            writer.delete(ids[deleted])
            if new:
                writer.add(ids[new], [documents[i] for i in new])
        living |= set(new)
        living -= set(deleted.tolist())
        waiting = [int(i) for i in deleted] + waiting
        index.refresh()
        slower.append(against_one_segment(index, directory, queries))
    summary = writer.summary
    print(
        "latency after each round, against the same in one segment: " + " ".join(f"×{factor:.2f}" for factor in slower)
    )
    print(f"{nbits} bits, {len(living)} documents: drift {summary.drift:.3f}, growth {summary.growth:.2f}")
    kept = sorted(living)
    rebuilt = directory / f"rebuilt{nbits}"
    Index.create(rebuilt, [[documents[i] for i in kept]], ids=ids[kept], nbits=nbits).close()
    with Index.open(rebuilt) as whole:
        reference = show("rebuilt", whole, queries, meta)
        after = show("after ten rounds", index, queries, meta)
        done = compact(path)
        index.refresh()
        compacted = show(f"after compact ({'new' if done.retrained else 'same'} centroids)", index, queries, meta)
        again = show("rebuilt, again", whole, queries, meta)
    base = min(reference[2], again[2])
    print(f"latency against the rebuild: ×{after[2] / base:.2f} before, ×{compacted[2] / base:.2f} after compact")
    index.close()
    return path


def commits(directory, documents, meta, nbits, merging):
    """A commit of 1,000 encoded passages of 20 tokens, in ms; opening with 20 segments, wall-clock."""
    path, before = directory / f"commits{nbits}{merging}", writers.MOST_CHANGED
    writers.MOST_CHANGED = before if merging else np.inf
    short = [np.asarray(document[:20]) for document in documents]
    Index.create(path, [short], ids=meta["ids"], nbits=nbits).close()
    spent, busy = [], []
    with Index.open(path) as index:
        for number in range(19):
            batch = short[1000 * (number % 5) : 1000 * (number % 5) + 1000]
            begin, begin_busy = time.perf_counter(), time.process_time()
            with index.writer() as writer:
                writer.add([Passage(f"{number} {i}", "A passage of some words.") for i in range(1000)], batch)
            spent.append(1000 * (time.perf_counter() - begin))
            busy.append(1000 * (time.process_time() - begin_busy))
    opening = []
    for _ in range(9):
        begin = time.perf_counter()
        opened = Index.open(path)
        opening.append(1000 * (time.perf_counter() - begin))
    writers.MOST_CHANGED = before
    print(
        f"{nbits} bits, {'merging' if merging else 'never merging'}: commit of 1,000 passages p50 "
        f"{np.median(busy):.0f} ms CPU (max {max(busy):.0f}), {np.median(spent):.0f} ms wall; "
        f"open with {opened.n_segments} segments p50 {np.median(opening):.1f} ms",
        flush=True,
    )
    opened.close()


def filters(directory, documents, queries, meta, nbits):
    """A filter that keeps one document in a hundred, against none."""
    path = directory / f"filters{nbits}"
    metadata = [{"hundredth": i % 100, "year": 1990 + i % 30} for i in range(len(documents))]
    Index.create(path, [documents], ids=meta["ids"], metadata=metadata, nbits=nbits).close()
    with Index.open(path) as index:
        where = {"hundredth": 7}
        index.search_batch(list(queries)[:5], 10, where=where)
        for k in (10, 100):
            for name, choices in (("no filter", {}), ("1 % filter", {"where": where})) * 2:
                begin = time.process_time()
                index.search_batch(list(queries), k, **choices)
                spent = 1000 * (time.process_time() - begin) / len(queries)
                print(f"{nbits} bits, {name}, k = {k}: {spent:.2f} ms a query", flush=True)


def verifying(path):
    report = verify(path, full=True)
    print(f"verify --full: {report.bytes_read / 1e9:.2f} GB in {report.seconds:.2f} s, ok: {report.ok}")


def main():
    documents, queries, meta = read(Path(sys.argv[1]))
    directory = Path(tempfile.mkdtemp(prefix="xtrkit-updates-"))
    try:
        for nbits in (4, 16):
            path = rounds(
                directory,
                documents,
                queries if nbits == 4 else Ragged.from_arrays(list(queries)[:60]),
                meta if nbits == 4 else {**meta, "query_ids": meta["query_ids"][:60]},
                nbits,
            )
            verifying(path)
            for merging in (True, False):
                commits(directory, documents, meta, nbits, merging)
            filters(
                directory, documents, queries if nbits == 4 else Ragged.from_arrays(list(queries)[:60]), meta, nbits
            )
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
