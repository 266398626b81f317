"""Which layout a test collection has: one path, one collection or several, each with the rules of who published it."""

from __future__ import annotations

from pathlib import Path

from xtrkit.errors import CollectionError
from xtrkit.evaluation import beir, irds, lotte, miracl, msmarco, open_qa, trec
from xtrkit.evaluation.collection import TestCollection
from xtrkit.evaluation.topics import FIELD
from xtrkit.texts.reading import IRDS

EXPECTED = (
    "a BEIR folder (queries.jsonl, qrels/SPLIT.tsv) or a folder of such, MS MARCO's files (queries.dev.small.tsv, "
    "qrels.dev.small.tsv), LoTTE's (TOPIC/test/qas.search.jsonl), MIRACL's (topics.miracl-v1.0-LANG-dev.tsv), "
    "questions with answers (NAME.qa.csv), a file of judgements (TREC's qrels), or irds:NAME of ir_datasets"
)


def open_tests(
    path: str | Path, split: str | None = None, *, topics: Path | None = None, field: str = FIELD
) -> list[TestCollection]:
    """The test collections at a path: one, or one for each forum, topic, language or relation.

    Args:
        path: as published (:data:`EXPECTED`), or ``irds:`` and a name of ir_datasets.
        split: which queries; by default those that published figures are of.
        topics: of a file of judgements, the file of its queries.
        field: of these, which field is asked, as in :func:`xtrkit.evaluation.topics.read_topics`.

    Raises:
        CollectionError: nothing of the kind is there, or it can't be read.
    """
    if topics is not None and (str(path).startswith(IRDS) or Path(path).is_dir()):
        raise CollectionError(f"Topics belong to a file of judgements, such as qrels.txt, which {path} is not.")
    if str(path).startswith(IRDS):
        return [irds.read_irds(f"{path}/{split}" if split else str(path))]
    path = Path(path)
    if not path.exists():
        raise CollectionError(f"There is no test collection at {path}: expected {EXPECTED}.")
    if path.is_dir():
        return _of_folder(path, split)
    if split is not None:
        raise CollectionError(f"{path} is one file, which has no split {split!r}: leave the split out.")
    if topics is None and open_qa.is_open_qa(path):
        return open_qa.read_open_qa(path)
    return [trec.read_trec(path, topics, field)]


def _of_folder(path: Path, split: str | None) -> list[TestCollection]:
    if lotte.is_lotte(path):
        return lotte.read_lotte(path, split)
    if miracl.is_miracl(path):
        return miracl.read_miracl(path, split)
    if msmarco.splits_of(path):
        return [msmarco.read_msmarco(path, split)]
    inside = sorted(folder for folder in path.iterdir() if folder.is_dir() and beir.is_beir(folder))
    if inside and not beir.is_beir(path):
        return [beir.read_test_collection(folder, split) for folder in inside]
    if not (path / "qrels").is_dir() and open_qa.files_of(path, split):
        return open_qa.read_open_qa(path, split)
    return [beir.read_test_collection(path, split)]
