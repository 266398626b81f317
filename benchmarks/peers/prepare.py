"""Token vectors of real text for run.py: encoded by a model, and reduced to fewer dimensions where it has more.

    python benchmarks/peers/prepare.py OUT scifact [nfcorpus …] --model all-MiniLM-L6-v2 --dim 128 --length 128
    python benchmarks/peers/prepare.py OUT --splice FROM --tokens 10000000
    python benchmarks/peers/prepare.py OUT --gather FROM --close .9 [--tokens 200000]

Folders are BEIR's; their passages share one set, and the test queries of those that --queries names are kept. What is
encoded stays in OUT/parts, so that an interrupted run goes on there. Dimensions are reduced by an uncentred PCA (the
eigenvectors of the second moments keep inner products best), and vectors normalised again. --splice makes a larger
set of the tokens of a smaller one: passages of runs of 32 consecutive tokens of its passages, never random vectors.
--gather adds one vector to all of a set's, documents and queries alike, and normalises again, so that any two tokens of
its documents have the cosine --close in the mean, as of models whose vectors lie close together; with --close 0 they
stay where they are. --tokens keeps the first passages alone.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy as np

SAMPLE = 50_000
RUN, RUNS_A_PASSAGE = 32, 4
BLOCK = 65_536


def normalised(vectors):
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def encode_part(folder, part, model, length, most):
    """Encode a BEIR folder by a model, until ``most`` tokens are reached, into ``part``."""
    from xtrkit.encoding import load_encoder
    from xtrkit.evaluation.beir import read_test_collection
    from xtrkit.texts.reading import open_source
    from xtrkit.texts.whole import whole_passages

    encoder, test = load_encoder(model, document_length=length), read_test_collection(folder)
    queries = encoder.encode_queries(list(test.queries.values()))
    ids, lengths, words, count, pieces = [], [], [], 0, {}
    shutil.rmtree(part, ignore_errors=True)  # what an interrupted run left
    part.mkdir(parents=True)
    with (part / "documents.raw").open("wb") as vectors:
        for passage in whole_passages(open_source(folder)):
            ids.append(passage.id)
            words.append(passage.text)
            if len(words) == 256:
                count += append(encoder, words, lengths, vectors, part, pieces)
                words = []
                print(f"{folder.name}: {len(ids):,} passages, {count:,} tokens", flush=True)
                if count >= most:
                    break
        if words:
            append(encoder, words, lengths, vectors, part, pieces)
    (part / "pieces.json").write_text(json.dumps(list(pieces)), encoding="utf-8")
    np.save(part / "lengths.npy", np.array(lengths))
    np.save(part / "queries.npy", queries.rows)
    np.save(part / "query_lengths.npy", queries.lengths)
    meta = {"ids": ids, "query_ids": list(test.queries), "qrels": judged(test.qrels, ids)}
    (part / "meta.json").write_text(json.dumps(meta), encoding="utf-8")  # the last file: the part is complete


def append(encoder, texts, lengths, vectors, part, pieces):
    encoded = encoder.encode_documents(texts)
    lengths.extend(encoded.lengths.tolist())
    vectors.write(encoded.rows.astype(np.float16).tobytes())
    with (part / "vocabulary.raw").open("ab") as vocabulary:
        for text in texts:
            numbers = [pieces.setdefault(token.piece, len(pieces)) for token in encoder.document_tokens(text)]
            vocabulary.write(np.array(numbers, dtype=np.int32).tobytes())
    return len(encoded.rows)


def reduce_parts(out, parts, query_parts, dim):
    sources = [np.fromfile(part / "documents.raw", dtype=np.float16) for part in parts]
    lengths = [np.load(part / "lengths.npy") for part in parts]
    sources = [source.reshape(sum_, -1) for source, sum_ in zip(sources, map(np.sum, lengths), strict=True)]
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(sources[0]), min(SAMPLE, len(sources[0])), replace=False)
    sample = normalised(sources[0][chosen]).astype(np.float64)  # of the first folder
    basis = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :dim].astype(np.float32)
    if dim >= len(basis):
        basis = np.eye(len(basis), dtype=np.float32)  # there is nothing to reduce
    shape = (sum(map(len, sources)), basis.shape[1])
    documents = np.lib.format.open_memmap(out / "documents.npy", "w+", dtype=np.float16, shape=shape)
    row = 0
    for source in sources:
        for first in range(0, len(source), BLOCK):
            block = normalised(source[first : first + BLOCK]) @ basis
            documents[row : row + len(block)] = normalised(block)
            row += len(block)
    np.save(out / "lengths.npy", np.concatenate(lengths))
    np.save(out / "vocabulary.npy", numbered_pieces(parts))
    queries = np.concatenate([np.load(part / "queries.npy") for part in query_parts])
    np.save(out / "queries.npy", normalised(normalised(queries) @ basis))
    np.save(out / "query_lengths.npy", np.concatenate([np.load(part / "query_lengths.npy") for part in query_parts]))
    write_meta(out, parts, query_parts)


def numbered_pieces(parts):
    """The number of each token's piece, which each part has numbered for itself."""
    numbers, tokens = {}, []
    for part in parts:
        pieces = json.loads((part / "pieces.json").read_text(encoding="utf-8"))
        shared = np.array([numbers.setdefault(piece, len(numbers)) for piece in pieces], dtype=np.int32)
        tokens.append(shared[np.fromfile(part / "vocabulary.raw", dtype=np.int32)])
    return np.concatenate(tokens)


def write_meta(out, parts, query_parts):
    meta = {"ids": [], "query_ids": [], "qrels": {}}
    for part in parts:
        own, name = json.loads((part / "meta.json").read_text(encoding="utf-8")), part.name
        meta["ids"] += [f"{name}/{doc}" for doc in own["ids"]]
        if part in query_parts:
            meta["query_ids"] += [f"{name}/{query}" for query in own["query_ids"]]
            for query, found in own["qrels"].items():
                meta["qrels"][f"{name}/{query}"] = {f"{name}/{doc}": grade for doc, grade in found.items()}
    (out / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def splice(out, source, tokens):
    """New passages of runs of consecutive tokens that lie within one passage of ``source``."""
    lengths = np.load(source / "lengths.npy")
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    long = np.flatnonzero(lengths >= RUN)
    rng = np.random.default_rng(0)
    n_passages = tokens // (RUN * RUNS_A_PASSAGE)
    passage = rng.choice(long, n_passages * RUNS_A_PASSAGE, p=lengths[long] / lengths[long].sum())
    starts = offsets[passage] + (rng.random(len(passage)) * (lengths[passage] - RUN + 1)).astype(np.int64)
    rows = (starts[:, None] + np.arange(RUN)).ravel()
    vectors, vocabulary = np.load(source / "documents.npy", mmap_mode="r"), np.load(source / "vocabulary.npy")
    documents = np.lib.format.open_memmap(
        out / "documents.npy", "w+", dtype=np.float16, shape=(len(rows), vectors.shape[1])
    )
    for first in range(0, len(rows), BLOCK):
        documents[first : first + BLOCK] = vectors[rows[first : first + BLOCK]]
    np.save(out / "vocabulary.npy", vocabulary[rows])
    np.save(out / "lengths.npy", np.full(n_passages, RUN * RUNS_A_PASSAGE))
    for name in ("queries.npy", "query_lengths.npy"):
        np.save(out / name, np.load(source / name))
    meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
    meta = {"ids": [f"spliced/{n}" for n in range(n_passages)], "query_ids": meta["query_ids"], "qrels": {}}
    (out / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def gather(out, source, cosine, tokens):
    """The same passages, the first that have so many tokens, their vectors moved towards one direction."""
    rng = np.random.default_rng(0)
    lengths = np.load(source / "lengths.npy")
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), tokens) + 1]
    vectors = np.load(source / "documents.npy", mmap_mode="r")[: lengths.sum()]
    direction = normalised(rng.normal(size=(1, vectors.shape[1])))
    sample = normalised(vectors[np.sort(rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False))])
    low, high = 0.0, 100.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if mean_cosine(sample + middle * direction) < cosine else (low, middle)
    documents = np.lib.format.open_memmap(out / "documents.npy", "w+", dtype=np.float16, shape=vectors.shape)
    for first in range(0, len(vectors), BLOCK):
        documents[first : first + BLOCK] = normalised(normalised(vectors[first : first + BLOCK]) + low * direction)
    np.save(out / "queries.npy", normalised(normalised(np.load(source / "queries.npy")) + low * direction))
    np.save(out / "lengths.npy", lengths)
    np.save(out / "vocabulary.npy", np.load(source / "vocabulary.npy")[: len(vectors)])
    shutil.copyfile(source / "query_lengths.npy", out / "query_lengths.npy")
    meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
    ids = meta["ids"][: len(lengths)]
    meta = {"ids": ids, "query_ids": meta["query_ids"], "qrels": judged(meta["qrels"], ids)}
    (out / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    print(f"{low:.4g} of one direction: the mean cosine of two tokens is {mean_cosine(documents[:SAMPLE]):.4f}")


def judged(qrels, ids):
    """The grades of the documents that are there."""
    known = set(ids)
    return {query: {doc: grade for doc, grade in found.items() if doc in known} for query, found in qrels.items()}


def mean_cosine(vectors):
    """Of any two different vectors, once normalised: by the length of their sum."""
    count, whole = len(vectors), normalised(vectors).sum(axis=0, dtype=np.float64)
    return (whole @ whole - count) / (count * (count - 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--queries", nargs="*", help="names of the folders whose queries are kept; all by default")
    parser.add_argument("--model", default="all-MiniLM-L6-v2", help="of xtrkit's names, or a folder")
    parser.add_argument("--dim", type=int, default=128, help="where the model has more")
    parser.add_argument("--length", type=int, default=128, help="most tokens of a passage")
    parser.add_argument("--tokens", type=int, default=10**9, help="most tokens of a folder, or of a derived set")
    parser.add_argument("--splice", type=Path, metavar="FROM", help="a prepared set to splice passages from")
    parser.add_argument("--gather", type=Path, metavar="FROM", help="a prepared set to move closer together")
    parser.add_argument("--close", type=float, default=0.9, help="mean cosine of two tokens of a gathered set")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.splice:
        splice(arguments.out, arguments.splice, arguments.tokens)
        return
    if arguments.gather:
        gather(arguments.out, arguments.gather, arguments.close, arguments.tokens)
        return
    parts = [arguments.out / "parts" / folder.name for folder in arguments.folders]
    for folder, part in zip(arguments.folders, parts, strict=True):
        if not (part / "meta.json").exists():
            encode_part(folder, part, arguments.model, arguments.length, arguments.tokens)
    wanted = arguments.queries or [part.name for part in parts]
    reduce_parts(arguments.out, parts, [part for part in parts if part.name in wanted], arguments.dim)


if __name__ == "__main__":
    main()
