"""With k' = all tokens XTR must rank as ColBERT does: every query of a test collection, every document of the index.

    python benchmarks/agreement.py INDEX DATASET

Searching with k' = all tokens holds every similarity of a query in memory (12 bytes each) and takes seconds a query.
"""

import argparse

import numpy as np

from xtrkit.evaluation.beir import read_test_collection
from xtrkit.recipes import COLBERT, XTR
from xtrkit.retriever import Retriever


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index")
    parser.add_argument("dataset")
    arguments = parser.parse_args()
    retriever = Retriever.open(arguments.index)
    index, test = retriever.index, read_test_collection(arguments.dataset)
    embeddings = retriever.encode_queries(list(test.queries.values()))
    same_order = same_scores = 0
    for query in embeddings:
        (all_tokens,) = index.search_batch([query], len(index), recipe=XTR, k_prime=index.n_tokens, reduction="sum")
        (maxsim,) = index.search_batch([query], len(index), recipe=COLBERT)
        same_order += np.array_equal(all_tokens.documents, maxsim.documents)
        same_scores += np.array_equal(all_tokens.scores, maxsim.scores)
    n = len(embeddings)
    print(
        f"{n} queries, {len(index):,} documents each: the same order in {same_order}, the same scores in {same_scores}."
    )


if __name__ == "__main__":
    main()
