"""LoTTE as published (Santhanam et al., NAACL 2022): ``TOPIC/SPLIT/qas.search.jsonl``, ``…/qas.forum.jsonl``.

Success@5: a query counts where one of its five best passages is among its ``answer_pids``, and every line of the
``qas`` file counts in the mean, answered or not. "Pooled" is a collection of its own (all topics' passages), not a
mean; search and forum queries are averaged apart. Passages are numbered within each collection, queries within each
file: equal numbers mean nothing.
"""

from __future__ import annotations

from pathlib import Path

from xtrkit.errors import CollectionError
from xtrkit.evaluation.collection import Protocol, TestCollection, beside
from xtrkit.evaluation.ids import trimmed
from xtrkit.evaluation.notes import Note
from xtrkit.evaluation.qrels import Qrels
from xtrkit.evaluation.topics import came_twice
from xtrkit.texts.reading import read_json_objects

TOPICS = ("writing", "recreation", "science", "technology", "lifestyle", "pooled")
KINDS = ("search", "forum")
SPLITS = ("test", "dev")
SUCCESS = Protocol("LoTTE", ("Success@5",))


def folders_of(path: Path, split: str | None) -> dict[str, Path]:
    """{topic: folder of the split} below a folder: LoTTE's own, one topic's, or one split's of a topic.

    Args:
        path: the folder.
        split: "test" or "dev"; by default "test", or the one that the folder is.
    """
    if any(beside(path, f"qas.{kind}.jsonl") for kind in KINDS):
        return {path.resolve().parent.name: path} if split in (None, path.resolve().name) else {}
    below = [(topic, path / topic / (split or "test")) for topic in TOPICS]
    below.append((path.resolve().name, path / (split or "test")))  # the folder of a topic
    return {topic: folder for topic, folder in below if any(beside(folder, f"qas.{kind}.jsonl") for kind in KINDS)}


def is_lotte(path: Path) -> bool:
    """Whether there is something of LoTTE's, of either split."""
    return any(folders_of(path, split) for split in (None, *SPLITS))


def read_lotte(path: Path, split: str | None = None) -> list[TestCollection]:
    """Read the search and the forum queries of each topic that is there.

    Raises:
        CollectionError: the split isn't there, or a line can't be read.
    """
    folders = folders_of(path, split)
    if not folders:
        raise CollectionError(
            f"{path} has nothing of LoTTE's split {split!r}: expected TOPIC/{split}/qas.search.jsonl."
        )
    return [
        _read(topic, kind, folder, qas)
        for topic, folder in folders.items()
        for kind in KINDS
        if (qas := beside(folder, f"qas.{kind}.jsonl"))
    ]


def _read(topic: str, kind: str, folder: Path, path: Path) -> TestCollection:
    texts, qrels = dict[str, list[str]](), Qrels()
    for number, record in read_json_objects(path):
        query, text, answers = record.get("qid"), record.get("query"), record.get("answer_pids")
        if query is None or not isinstance(text, str) or not isinstance(answers, list):
            raise CollectionError(
                f'{path}, line {number}: expected {{"qid": 0, "query": "…", "answer_pids": [1, 2]}}, got '
                f"{sorted(record)}."
            )
        if not text.strip():
            raise CollectionError(f"{path}, line {number}: the query {query!r} is empty.")
        texts.setdefault(trimmed(str(query)), []).append(text)
        qrels.setdefault(trimmed(str(query)), {}).update((trimmed(str(answer)), 1) for answer in answers)
    if not texts:
        raise CollectionError(f"{path} has no queries.")
    notes: list[Note] = came_twice(texts, path)
    return TestCollection(
        folder,
        {query: given[0] for query, given in texts.items()},
        qrels,
        tuple(notes),
        SUCCESS,
        f"{topic} {kind}",
        corpus=beside(folder, "collection.tsv"),
        index_name=topic,
        group=kind,
    )
