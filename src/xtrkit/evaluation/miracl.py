"""MIRACL as published (Zhang et al., TACL 2023): ``topics.miracl-v1.0-LANG-dev.tsv``, ``qrels.…``.

nDCG@10 and R@100 on the development queries of each language; the mean is over languages. Sixteen were known
beforehand, de and yo came as surprises: which ones stand in a mean must be said. Ids are ``PAGE#PASSAGE``; the texts
are passages already, and are indexed whole (``--no-split``). The splits "test-a" and "test-b" have no public
judgements.
"""

from __future__ import annotations

import re
from pathlib import Path

from xtrkit.errors import CollectionError
from xtrkit.evaluation.collection import Protocol, TestCollection, asked, beside
from xtrkit.evaluation.qrels import read_judgements
from xtrkit.evaluation.topics import read_topics

LANGUAGES = (
    "ar", "bn", "en", "es", "fa", "fi", "fr", "hi", "id", "ja", "ko", "ru", "sw", "te", "th", "zh", "de", "yo",
)  # fmt: skip
"""As mXTR's table has them: the surprise languages last."""
RULES = Protocol("MIRACL", ("nDCG@10", "R@100"))
_TOPICS = re.compile(r"topics\.miracl-v1\.0-([a-z]{2})-([A-Za-z-]+)\.tsv(?:\.gz)?")
_WHERE = ("", "topics", "*", "*/topics")


def topics_of(path: Path, split: str | None) -> dict[str, Path]:
    """{language: file of queries} below a folder, in the order of :data:`LANGUAGES`."""
    found = {
        match[1]: file
        for where in _WHERE
        for file in sorted(path.glob(f"{where}/topics.miracl-v1.0-*" if where else "topics.miracl-v1.0-*"))
        if (match := _TOPICS.fullmatch(file.name)) and match[2] == (split or "dev")
    }
    return {
        language: found[language]
        for language in [*LANGUAGES, *sorted(found.keys() - {*LANGUAGES})]
        if language in found
    }


def is_miracl(path: Path) -> bool:
    """Whether there are MIRACL's queries, of any split."""
    return any(
        next(path.glob(f"{where}/topics.miracl-v1.0-*" if where else "topics.miracl-v1.0-*"), None) for where in _WHERE
    )


def read_miracl(path: Path, split: str | None = None) -> list[TestCollection]:
    """Read the queries and judgements of each language that is there.

    Args:
        path: a folder with the files, MIRACL's own (``miracl-v1.0-LANG/topics/…``), or one language's.
        split: "dev", or "train".

    Raises:
        CollectionError: the split isn't there, or judgements are missing.
    """
    topics = topics_of(path, split)
    if not topics:
        raise CollectionError(f"{path} has no topics.miracl-v1.0-LANG-{split or 'dev'}.tsv.")
    return [_read(language, file, split or "dev") for language, file in topics.items()]


def _read(language: str, topics_path: Path, split: str) -> TestCollection:
    name = f"qrels.miracl-v1.0-{language}-{split}.tsv"
    places = topics_path.parent, topics_path.parent.parent / "qrels"
    qrels_path = next(filter(None, (beside(place, name) for place in places)), None)
    if qrels_path is None:
        raise CollectionError(
            f"There is no {places[0] / name}, nor {places[1] / name}: MIRACL's judgements belong to its topics."
        )
    topics, judged = read_topics(topics_path), read_judgements(qrels_path)
    queries, notes = asked(topics.queries, judged, topics_path, qrels_path)
    return TestCollection(
        topics_path.parent, queries, judged.qrels, (*topics.notes, *notes), RULES, language, index_name=language
    )
