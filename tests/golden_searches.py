"""Searches whose rankings and scores are kept, bit for bit: every way of searching on indexes of every kind.

``python -m tests.golden_searches`` compares this machine's with ``tests/golden/searches.json``, ``--write`` writes it.
Only a machine that builds the same bits, and multiplies to the same bits, can be compared (``facts``).
"""

import hashlib
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np

import xtrkit

FILE = Path(__file__).parent / "golden" / "searches.json"
DIM = 32
STORAGES = [("grid", 16), ("grid", 1), ("grid", 2), ("grid", 4), ("grid", 8), ("buckets", 2), ("buckets", 4)]
EVERYWHERE = ("min", "retrieved", "none", "0.2")
OF_CLUSTERS = ("found", "centroid", "t300")


def world():
    """400 documents around 30 directions, and 5 queries of 1 to 9 tokens."""
    random = np.random.default_rng(11)
    topics = random.normal(size=(30, DIM))

    def vectors(count):
        rows = topics[random.integers(0, len(topics), size=count)] + 0.7 * random.normal(size=(count, DIM))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    return [vectors(count) for count in random.integers(3, 24, size=400)], [vectors(count) for count in (1, 3, 5, 7, 9)]


def built(directory, documents, codec, nbits, *, segments):
    """An index of one segment, or of three with dead documents in each."""
    path = Path(directory) / f"{codec}-{nbits}-{segments}"
    first = 200 if segments else len(documents)
    ids, metadata = [f"d{number}" for number in range(400)], [{"third": number % 3} for number in range(400)]
    index = xtrkit.Index.create(
        path, [documents[:first]], ids=ids[:first], metadata=metadata[:first], codec=codec, nbits=nbits
    )
    if not segments:
        return index
    from xtrkit.indexing import writer as writing

    before, writing.MOST_CHANGED = writing.MOST_CHANGED, 1e9  # segments stay apart
    for begin, end in ((200, 320), (320, 400)):
        with index.writer() as writer:
            writer.add(ids[begin:end], documents[begin:end])
            writer.delete([f"d{number}" for number in range(begin - 100, begin, 7)])
        index.refresh()
    writing.MOST_CHANGED = before
    return index


def ways(index):
    """{name: arguments of ``Index.search_batch``}."""
    exact = index.storage == "float16"
    few = dict.fromkeys(np.random.default_rng(3).integers(300, size=40).tolist())
    numbers = np.array(sorted(few))
    for imputation in (*EVERYWHERE, *(() if exact else OF_CLUSTERS)):
        for reduction in (None, "sum"):
            yield (
                f"xtr {imputation} {reduction}",
                {"imputation": imputation, "reduction": reduction, "k_prime": 60, "nprobe": 4},
            )
        yield f"everything {imputation}", {"imputation": imputation, "nprobe": "all", "k_prime": 200}
        yield f"widening {imputation}", {"imputation": imputation, "nprobe": 1, "k_prime": 5, "k": 100}
        yield f"subset {imputation}", {"imputation": imputation, "k_prime": 60, "nprobe": 2, "subset": numbers, "k": 30}
        yield f"shared {imputation}", {"imputation": imputation, "k_prime": 60, "nprobe": 2, "shared": True}
    yield "default", {}
    yield "where", {"where": {"third": 1}, "nprobe": 2, "k_prime": 30, "k": 40}
    yield "rerank", {"rerank": 30, "nprobe": 2, "k_prime": 60}
    yield "rerank sum", {"rerank": 5, "nprobe": 2, "k_prime": 60, "reduction": "sum"}
    yield "maxsim", {"scoring": "maxsim"}
    yield "maxsim mean", {"scoring": "maxsim", "reduction": "mean", "nprobe": 3}
    yield "maxsim few", {"scoring": "maxsim", "candidates": 12, "nprobe": 2}
    yield "maxsim all", {"scoring": "maxsim", "nprobe": "all"}
    yield "maxsim subset", {"scoring": "maxsim", "subset": numbers, "k": 60}
    yield "maxsim where", {"scoring": "maxsim", "where": {"third": 2}, "candidates": 20, "nprobe": 2}


def measured(storages=STORAGES):
    """{"facts": digests that decide whether figures compare, "searches": {index and way: digest}}."""
    documents, queries = world()
    facts, searches = {}, {}
    with tempfile.TemporaryDirectory() as directory:
        for (codec, nbits), segments in product(storages, (False, True)):
            name = f"{codec}-{nbits}{' segments' if segments else ''}"
            with built(directory, documents, codec, nbits, segments=segments) as index:
                held = [index.vectors(number).tobytes() for number in range(len(index.document_offsets) - 1)]
                facts[name] = _digest(held)
                for way, arguments in ways(index):
                    rankings = index.search_batch(queries, **{"k": 10, **arguments})
                    parts = [part.tobytes() for ranking in rankings for part in (ranking.documents, ranking.scores)]
                    searches[f"{name}: {way}"] = _digest(parts)
    rows = np.concatenate(documents)
    facts["products"] = _digest([(query @ rows.T).tobytes() for query in queries])
    return {"facts": facts, "searches": searches}


def _digest(parts):
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    found = measured()
    if "--write" in sys.argv:
        FILE.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    same = [name for name in kept["searches"] if kept["searches"][name] == found["searches"].get(name)]
    say = sys.stdout.write
    say(f"the same index and products: {kept['facts'] == found['facts']}\n")
    say(f"bit-identical: {len(same)} of {len(kept['searches'])} searches\n")
    sys.stdout.writelines(f"{name}\n" for name in sorted(set(kept["searches"]) - set(same)))
