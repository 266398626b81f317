"""MS MARCO's passages as published: ``queries.dev.small.tsv`` and ``qrels.dev.small.tsv``, and TREC-DL's two years.

The traps: numbers of queries and of passages are counted apart, so that a passage with the query's number is no copy of
it, and stays; the mean is over the 6,980 judged queries, answered or not; of TREC-DL's 200 queries a year 43 and 54 are
judged, in four grades, of which nDCG@10 takes all, and measures of relevance those from 2 up.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from xtrkit.errors import CollectionError
from xtrkit.evaluation.collection import Protocol, TestCollection, asked, beside
from xtrkit.evaluation.qrels import read_judgements
from xtrkit.evaluation.topics import read_topics

DEV = Protocol("MS MARCO", ("RR@10", "nDCG@10", "R@50", "R@1000"))
TREC_DL = Protocol("TREC-DL", ("nDCG@10", "RR(rel=2)@10", "R(rel=2)@1000", "AP(rel=2)@1000"))


class _Split(NamedTuple):
    queries: tuple[str, ...]
    qrels: tuple[str, ...]
    protocol: Protocol


SPLITS = {
    "dev": _Split(
        ("queries.dev.small.tsv", "topics.msmarco-passage.dev-subset.txt", "queries.dev.tsv"),
        ("qrels.dev.small.tsv", "qrels.msmarco-passage.dev-subset.txt", "qrels.dev.tsv"),
        DEV,
    ),
    "dl19": _Split(
        ("msmarco-test2019-queries.tsv", "topics.dl19-passage.txt"),
        ("2019qrels-pass.txt", "qrels.dl19-passage.txt"),
        TREC_DL,
    ),
    "dl20": _Split(
        ("msmarco-test2020-queries.tsv", "topics.dl20.txt"),
        ("2020qrels-pass.txt", "qrels.dl20-passage.txt"),
        TREC_DL,
    ),
}
"""{split: names under which its files are published, by Microsoft, TREC and Anserini, and its rules}"""


def splits_of(folder: Path) -> list[str]:
    """Which splits a folder has the judgements of."""
    return [name for name, split in SPLITS.items() if beside(folder, *split.qrels)]


def read_msmarco(folder: Path, split: str | None = None) -> TestCollection:
    """Read queries and judgements.

    Args:
        folder: has the files of :data:`SPLITS`.
        split: "dev", "dl19" or "dl20"; by default the first of them that is there.

    Raises:
        CollectionError: there is no such split, a file is missing, or can't be read.
    """
    there = splits_of(folder)
    split = split or (there[0] if there else "dev")
    if split not in SPLITS:
        raise CollectionError(f"MS MARCO has no split {split!r}: expected one of {', '.join(SPLITS)}.")
    names = SPLITS[split]
    queries_path, qrels_path = beside(folder, *names.queries), beside(folder, *names.qrels)
    if queries_path is None or qrels_path is None:
        missing = names.queries if queries_path is None else names.qrels
        raise CollectionError(
            f"There is no {folder / missing[0]}, which MS MARCO's split {split!r} needs (splits with judgements there: "
            f"{', '.join(there) or 'none'})."
        )
    topics, judged = read_topics(queries_path), read_judgements(qrels_path)
    queries, notes = asked(topics.queries, judged, queries_path, qrels_path)
    return TestCollection(
        folder,
        queries,
        judged.qrels,
        (*topics.notes, *notes),
        names.protocol,
        f"msmarco {split}",
        corpus=beside(folder, "collection.tsv"),
        index_name="msmarco",
    )
