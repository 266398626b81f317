"""Token vectors of real text for run.py: encoded by all-MiniLM-L6-v2, reduced to fewer dimensions.

    python benchmarks/peers/prepare.py OUT scifact [nfcorpus …] --dim 128 --length 128
    python benchmarks/peers/prepare.py OUT --splice FROM --tokens 10000000

Folders are BEIR's; their passages share one set, and the test queries of those that --queries names are kept. What is
encoded stays in OUT/parts, so that an interrupted run goes on there. Dimensions are reduced by an uncentred PCA (the
eigenvectors of the second moments keep inner products best), and vectors normalised again. --splice makes a larger
set of the tokens of a smaller one: passages of runs of 32 consecutive tokens of its passages, never random vectors.
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


def encode_part(folder, part, length, most):
    """Encode a BEIR folder, until ``most`` tokens are reached, into ``part``."""
    from xtrkit.encoding import load_encoder
    from xtrkit.evaluation.beir import read_test_collection
    from xtrkit.texts.reading import open_source
    from xtrkit.texts.whole import whole_passages

    encoder, test = load_encoder("all-MiniLM-L6-v2", document_length=length), read_test_collection(folder)
    tokenizer = encoder.model.tokenizer
    queries = encoder.encode_queries(list(test.queries.values()))
    ids, lengths, words, count = [], [], [], 0
    shutil.rmtree(part, ignore_errors=True)  # what an interrupted run left
    part.mkdir(parents=True)
    with (part / "documents.raw").open("wb") as vectors:
        for passage in whole_passages(open_source(folder)):
            ids.append(passage.id)
            words.append(passage.text)
            if len(words) == 256:
                count += append(encoder, tokenizer, words, lengths, vectors, part)
                words = []
                print(f"{folder.name}: {len(ids):,} passages, {count:,} tokens", flush=True)
                if count >= most:
                    break
        if words:
            append(encoder, tokenizer, words, lengths, vectors, part)
    np.save(part / "lengths.npy", np.array(lengths))
    np.save(part / "queries.npy", queries.rows)
    np.save(part / "query_lengths.npy", queries.lengths)
    known = set(ids)
    qrels = {query: {doc: grade for doc, grade in found.items() if doc in known} for query, found in test.qrels.items()}
    meta = {"ids": ids, "query_ids": list(test.queries), "qrels": qrels}
    (part / "meta.json").write_text(json.dumps(meta), encoding="utf-8")  # the last file: the part is complete


def append(encoder, tokenizer, texts, lengths, vectors, part):
    encoded = encoder.encode_documents(texts)
    lengths.extend(encoded.lengths.tolist())
    vectors.write(encoded.rows.astype(np.float16).tobytes())
    with (part / "vocabulary.raw").open("ab") as vocabulary:
        for text in texts:
            pieces = [token.piece for token in encoder.document_tokens(text)]
            vocabulary.write(np.array(tokenizer.convert_tokens_to_ids(pieces), dtype=np.int32).tobytes())
    return len(encoded.rows)


def reduce_parts(out, parts, query_parts, dim):
    sources = [np.fromfile(part / "documents.raw", dtype=np.float16) for part in parts]
    lengths = [np.load(part / "lengths.npy") for part in parts]
    sources = [source.reshape(sum_, -1) for source, sum_ in zip(sources, map(np.sum, lengths), strict=True)]
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(sources[0]), min(SAMPLE, len(sources[0])), replace=False)
    sample = normalised(sources[0][chosen]).astype(np.float64)  # of the first folder
    basis = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :dim].astype(np.float32)
    shape = (sum(map(len, sources)), dim)
    documents = np.lib.format.open_memmap(out / "documents.npy", "w+", dtype=np.float16, shape=shape)
    row = 0
    for source in sources:
        for first in range(0, len(source), BLOCK):
            block = normalised(source[first : first + BLOCK]) @ basis
            documents[row : row + len(block)] = normalised(block)
            row += len(block)
    np.save(out / "lengths.npy", np.concatenate(lengths))
    vocabulary = [np.fromfile(part / "vocabulary.raw", dtype=np.int32) for part in parts]
    np.save(out / "vocabulary.npy", np.concatenate(vocabulary))
    queries = np.concatenate([np.load(part / "queries.npy") for part in query_parts])
    np.save(out / "queries.npy", normalised(normalised(queries) @ basis))
    np.save(out / "query_lengths.npy", np.concatenate([np.load(part / "query_lengths.npy") for part in query_parts]))
    write_meta(out, parts, query_parts)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--queries", nargs="*", help="names of the folders whose queries are kept; all by default")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--length", type=int, default=128, help="most tokens of a passage")
    parser.add_argument("--tokens", type=int, default=10**9, help="most tokens of a folder, or of the spliced set")
    parser.add_argument("--splice", type=Path, metavar="FROM", help="a prepared set to splice passages from")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.splice:
        splice(arguments.out, arguments.splice, arguments.tokens)
        return
    parts = [arguments.out / "parts" / folder.name for folder in arguments.folders]
    for folder, part in zip(arguments.folders, parts, strict=True):
        if not (part / "meta.json").exists():
            encode_part(folder, part, arguments.length, arguments.tokens)
    wanted = arguments.queries or [part.name for part in parts]
    reduce_parts(arguments.out, parts, [part for part in parts if part.name in wanted], arguments.dim)


if __name__ == "__main__":
    main()
