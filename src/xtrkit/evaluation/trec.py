"""A collection of TREC's: a file of judgements, and one of topics, which nothing but their numbers holds together.

Of runs alone the judgements are enough, as they are for ``trec_eval``.
"""

from __future__ import annotations

from pathlib import Path

from xtrkit.evaluation.collection import Protocol, TestCollection, asked
from xtrkit.evaluation.notes import Note
from xtrkit.evaluation.qrels import read_judgements
from xtrkit.evaluation.topics import FIELD, read_topics

RULES = Protocol("TREC", ("AP", "nDCG@10", "P@10"))


def read_trec(path: Path, topics: Path | None = None, field: str = FIELD) -> TestCollection:
    """Read judgements, and the queries that they judge.

    Args:
        path: the file of the judgements, in any form of :func:`xtrkit.evaluation.qrels.read_judgements`.
        topics: that of the queries, in any form of :func:`xtrkit.evaluation.topics.read_topics`; None leaves their
            texts empty.
        field: as in :func:`xtrkit.evaluation.topics.read_topics`.

    Raises:
        CollectionError: a file can't be read, or a judged query has no text.
    """
    judged = read_judgements(path)
    queries, notes = dict.fromkeys(judged.qrels, ""), list[Note](judged.notes)
    if topics is not None:
        read = read_topics(topics, field)
        queries, notes = asked(read.queries, judged, topics, path)
        notes = [*read.notes, *notes]
    name = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    return TestCollection(path, queries, judged.qrels, tuple(notes), RULES, name, index_name=name)
