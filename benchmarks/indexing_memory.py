"""Peak memory of indexing a collection, and of one ten times larger: the same, if nothing grows with the collection.

    python benchmarks/indexing_memory.py [--passages 5000] [--model default]

The passages are spliced from the demo's: real words, about 300 of them a passage, so that the model's window is
filled. Each size is indexed in a process of its own, whose peak resident memory the operating system tells.
"""

import argparse
import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from xtrkit.demo import standard_library_passages

WORDS = 300
CHILD = """
import json, resource, sys
from xtrkit.encoding import load_encoder
from xtrkit.retriever import Retriever
collection, index, model, length = sys.argv[1:]
encoder = load_encoder(model, document_length=int(length) or None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
summary = Retriever.create(index, Path(collection), model=encoder, nbits=16, progress=True).indexed
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
facts = {"passages": summary.passages, "tokens": summary.tokens, "loaded_mb": before / 1024, "peak_mb": peak / 1024}
print(json.dumps(facts))
"""


def write_collection(path, n_passages):
    words = itertools.cycle(" ".join(passage.text for passage in standard_library_passages()).split())
    lengths = random.Random(0)
    with path.open("w", encoding="utf-8") as lines:
        for number in range(n_passages):
            text = " ".join(itertools.islice(words, lengths.randint(WORDS // 2, WORDS * 3 // 2)))
            lines.write(json.dumps({"_id": str(number), "text": text}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=5_000)
    parser.add_argument("--model", default="default")
    parser.add_argument("--document-length", type=int, default=0, help="shorter passages, for a quicker run")
    arguments = parser.parse_args()
    peaks = []
    for n_passages in (arguments.passages, 10 * arguments.passages):
        with tempfile.TemporaryDirectory() as directory:
            collection = Path(directory) / "collection.jsonl"
            write_collection(collection, n_passages)
            begin = time.perf_counter()
            command = [sys.executable, "-c", CHILD, collection, Path(directory) / "idx", arguments.model]
            told = subprocess.run(
                [*command, str(arguments.document_length)], check=True, stdout=subprocess.PIPE, text=True
            )
            facts = json.loads(told.stdout)
            peaks.append(facts["peak_mb"])
            print(
                f"{facts['passages']:>8,} passages {facts['tokens']:>12,} tokens: peak {facts['peak_mb']:,.0f} MB, "
                f"{facts['loaded_mb']:,.0f} MB before the first passage; {time.perf_counter() - begin:.0f} s"
            )
    print(f"ratio of the peaks: {peaks[1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
