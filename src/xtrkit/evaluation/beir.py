"""Test collections in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xtrkit.errors import CollectionError
from xtrkit.texts.reading import id_and_text, read_json_objects, read_lines

BEIR_HEADER = ["query-id", "corpus-id", "score"]
Qrels = dict[str, dict[str, int]]
"""{query id: {document id: relevance}}"""


@dataclass(frozen=True)
class TestCollection:
    """Queries with judgements.

    Attributes:
        path: the folder.
        queries: {id: text} of the judged queries, in the order of ``queries.jsonl``.
        qrels: their judgements.
    """

    __test__ = False  # the name is the field's term, not a test for pytest

    path: Path
    queries: dict[str, str]
    qrels: Qrels


def read_test_collection(path: str | Path, split: str = "test") -> TestCollection:
    """Read queries and judgements of a BEIR folder.

    Raises:
        CollectionError: a file is missing or can't be read, or a judged query has no text.
    """
    path = Path(path)
    qrels_path = path / "qrels" / f"{split}.tsv"
    for needed in (path / "queries.jsonl", qrels_path):
        if not needed.is_file():
            there = ", ".join(sorted(file.stem for file in path.glob("qrels/*.tsv"))) or "none"
            raise CollectionError(
                f"There is no {needed}: expected a BEIR folder with queries.jsonl and qrels/{split}.tsv "
                f"(splits found: {there})."
            )
    qrels = read_qrels(qrels_path)
    queries_path, texts = path / "queries.jsonl", read_queries(path)
    without_text = sorted(set(qrels) - set(texts))
    if without_text:
        raise CollectionError(f"{qrels_path} judges the query {without_text[0]!r}, which queries.jsonl does not have.")
    empty = [query for query in qrels if not texts[query].strip()]
    if empty:
        raise CollectionError(
            f"{queries_path}: the judged query {empty[0]!r} is empty: give it a text, or no judgements."
        )
    return TestCollection(path, {query: text for query, text in texts.items() if query in qrels}, qrels)


def read_queries(path: Path) -> dict[str, str]:
    """The queries of a BEIR folder: {id: text}.

    Raises:
        CollectionError: they can't be read.
    """
    file = path / "queries.jsonl"
    return dict(id_and_text(file, number, record) for number, record in read_json_objects(file))


def read_qrels(path: Path) -> Qrels:
    """Read judgements: BEIR's ``query<TAB>document<TAB>relevance`` with a header, or TREC's four columns without.

    Raises:
        CollectionError: a line is neither, or there is no judgement at all.
    """
    qrels: Qrels = {}
    for number, line in read_lines(path):
        fields = line.split("\t") if "\t" in line else line.split()
        if number == 1 and fields == BEIR_HEADER:
            continue
        if len(fields) == 4:
            del fields[1]  # TREC's unused second column
        try:
            query, document, relevance = fields
            qrels.setdefault(query, {})[document] = int(relevance)
        except ValueError as error:
            raise CollectionError(
                f"{path}, line {number}: expected query, document and whole-number relevance, got {line!r}."
            ) from error
    if not qrels:
        raise CollectionError(f"{path} has no judgements.")
    return qrels
