"""Reading training data.

=========================  =======================================================================================
a BEIR folder              ``queries.jsonl``, ``corpus.jsonl``, ``qrels/train.tsv``; ``FOLDER:SPLIT`` for another
``.tsv``                   ``query<TAB>positive`` and any number of ``<TAB>negative``, texts
``.jsonl`` of lists        texts: ``[query, positive, negative, …]``
``FILE.jsonl@FOLDER``      ids of a BEIR folder: ``[query, positive, negative, …]`` (ColBERT's triples), or with a
                           teacher's scores ``[query, [document, score], …]`` (ColBERTv2's n-way)
``.jsonl`` of objects      sentence-transformers': ``query`` (or ``anchor``), ``positive``, ``negative``,
                           ``negative_1`` …, or ``document_1`` … with ``label`` (or ``scores``), the teacher's
a folder of ``datasets``   the same columns, as ``Dataset.save_to_disk`` wrote them
=========================  =======================================================================================

Files may be compressed (``.gz``). Of documents with a teacher's scores the first is the positive.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtrkit.errors import CollectionError, InputError, missing_extra
from xtrkit.evaluation.beir import read_qrels
from xtrkit.evaluation.ids import trimmed
from xtrkit.evaluation.qrels import Qrels
from xtrkit.texts.reading import id_and_text, read_json_objects, read_lines
from xtrkit.training.data import Gatherer, TrainingData, joined

FORMATS = (
    "a BEIR folder, a .tsv file of texts, a .jsonl file of lists or objects, FILE.jsonl@FOLDER for ids of a BEIR "
    "folder, or a folder that datasets saved"
)
_QUERY_COLUMNS = ("query", "anchor", "question")
_SCORE_COLUMNS = ("label", "labels", "scores", "score")


def read_training_data(data: Any) -> TrainingData:
    """Read one data set or several.

    Args:
        data: a path as the table above has it, a ``datasets.Dataset`` with sentence-transformers' columns, or a list
            of these.

    Raises:
        CollectionError: something can't be read, a query has no positive, an id isn't in the collection, or there are
            not as many teacher scores as documents; the message names the place.
    """
    if isinstance(data, list | tuple):
        if not data:
            raise InputError("No training data was given.")
        return joined([read_training_data(part) for part in data])
    if not isinstance(data, str | Path):
        return _from_rows("the dataset", enumerate(data, start=1))
    name, _, texts = str(data).partition("@")
    if texts and not Path(str(data)).exists():
        return _from_ids(Path(name), Path(texts))
    folder, colon, split = str(data).rpartition(":")
    if colon and Path(folder).is_dir() and not Path(str(data)).exists():
        return _from_beir(Path(folder), split)
    return _from_path(Path(data))


def _from_path(path: Path) -> TrainingData:
    if path.is_dir():
        if (path / "queries.jsonl").is_file():
            return _from_beir(path, "train")
        if (path / "state.json").is_file():
            return _from_rows(path.name, enumerate(_saved_dataset(path), start=1))
    elif path.is_file():
        kind = path.name.removesuffix(".gz")
        if kind.endswith(".tsv"):
            return _from_tsv(path)
        if kind.endswith(".jsonl"):
            return _from_jsonl(path)
    else:
        raise CollectionError(f"There are no training data at {path}: expected {FORMATS}.")
    raise CollectionError(f"{path} isn't training data: expected {FORMATS}.")


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a file that may be compressed."""
    if path.suffix != ".gz":
        yield from read_lines(path)
        return
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise CollectionError(f"{path} can't be read ({error}): expected gzipped UTF-8.") from error


def texts_of(path: Path, needed: Iterable[str], named_by: str) -> dict[str, str]:
    """{id: text} of some passages or queries; the rest of the file is passed over.

    Raises:
        CollectionError: an id isn't there; the message says where it was named.
    """
    wanted = set(needed)
    if not path.is_file():
        raise CollectionError(f"There is no {path}: expected a BEIR folder with queries.jsonl and corpus.jsonl.")
    records = (id_and_text(path, number, record) for number, record in read_json_objects(path))
    found: dict[str, str] = {}
    for identifier, text in records:
        for name in wanted.intersection((identifier, trimmed(identifier))):
            found.setdefault(name, text)
    if missing := sorted(wanted - set(found)):
        raise CollectionError(
            f"{named_by} names {missing[0]!r}{_and_more(missing)}, which {path} does not have: use the files of one "
            "collection."
        )
    return found


def _from_beir(folder: Path, split: str) -> TrainingData:
    judged = folder / "qrels" / f"{split}.tsv"
    if not judged.is_file():
        there = ", ".join(sorted(file.stem for file in folder.glob("qrels/*.tsv"))) or "none"
        raise CollectionError(f"There is no {judged}: expected judgements to train on (splits found: {there}).")
    qrels = read_qrels(judged)
    relevant = relevant_documents(qrels)
    if without := [query for query, documents in relevant.items() if not documents]:
        raise CollectionError(
            f"{judged}: the query {without[0]!r}{_and_more(without)} has no positive: judge a document relevant (1 or "
            "more), or leave the query out."
        )
    queries = texts_of(folder / "queries.jsonl", relevant, str(judged))
    documents = texts_of(
        folder / "corpus.jsonl", (document for found in relevant.values() for document in found), str(judged)
    )
    gathered = Gatherer()
    for query, found in relevant.items():
        texts = [documents[document] for document in found]
        for text in texts:
            gathered.add(queries[query], [text], relevant=texts)
    return gathered.data(folder.resolve().name)


def relevant_documents(qrels: Qrels) -> dict[str, list[str]]:
    """{query: the documents that are judged relevant to it}."""
    return {
        query: [document for document, relevance in judged.items() if relevance > 0] for query, judged in qrels.items()
    }


def read_id_lines(path: Path) -> Iterator[tuple[int, str, list[str], list[float] | None]]:
    """Line number, query, documents and teacher scores of a file of ids.

    Raises:
        CollectionError: a line is neither ``[query, positive, …]`` nor ``[query, [document, score], …]``.
    """
    for number, line in lines_of(path):
        entry = _json(path, number, line)
        if not isinstance(entry, list) or not entry:
            raise CollectionError(f'{path}, line {number}: expected a list such as ["q1", "d1", "d2"], got {line!r}.')
        query, *documents = entry
        if not documents:
            raise _no_positive(path, number, query)
        scores = None
        if any(isinstance(document, list) for document in documents):
            pairs = documents
            if not all(isinstance(pair, list) and len(pair) == 2 and _is_number(pair[1]) for pair in pairs):
                raise CollectionError(
                    f"{path}, line {number}: every document needs one teacher score, [document, score]; got {line!r}."
                )
            documents, scores = [pair[0] for pair in pairs], [float(pair[1]) for pair in pairs]
        yield number, str(query), [str(document) for document in documents], scores


def _from_ids(path: Path, folder: Path) -> TrainingData:
    """Ids in a file, texts in a BEIR folder; its training judgements, where there are any, say what is no negative."""
    if not path.is_file():
        raise CollectionError(f"There is no {path}: expected a file of ids, one list a line.")
    entries = list(read_id_lines(path))
    if len({scores is None for *_, scores in entries}) > 1:
        raise CollectionError(f"{path}: some lines have teacher scores and some don't: score all of them, or none.")
    judged = folder / "qrels" / "train.tsv"
    relevant = relevant_documents(read_qrels(judged)) if judged.is_file() else {}
    queries = texts_of(folder / "queries.jsonl", (query for _, query, _, _ in entries), str(path))
    documents = texts_of(folder / "corpus.jsonl", (name for *_, names, _ in entries for name in names), str(path))
    gathered = Gatherer()
    for _, query, names, scores in entries:
        also = [documents[name] for name in relevant.get(query, ()) if name in documents]
        gathered.add(queries[query], [documents[name] for name in names], scores, also)
    return gathered.data(f"{path.name}@{folder.resolve().name}")


def _from_tsv(path: Path) -> TrainingData:
    gathered = Gatherer()
    for number, line in lines_of(path):
        query, *documents = line.split("\t")
        _add_texts(gathered, path, number, query, documents)
    return gathered.data(path.name)


def _from_jsonl(path: Path) -> TrainingData:
    entries = [(number, _json(path, number, line)) for number, line in lines_of(path)]
    if entries and isinstance(entries[0][1], dict):
        return _from_rows(str(path), entries)
    gathered = Gatherer()
    for number, entry in entries:
        if not isinstance(entry, list) or not all(isinstance(text, str) for text in entry) or not entry:
            raise CollectionError(
                f"{path}, line {number}: expected a list of texts [query, positive, negative, …]; for a list of ids "
                f"say where their texts are, {path.name}@FOLDER."
            )
        query, *documents = entry
        _add_texts(gathered, path, number, query, documents)
    return gathered.data(path.name)


def _from_rows(name: str, rows: Iterable[tuple[int, Any]]) -> TrainingData:
    """Rows with sentence-transformers' columns."""
    gathered = Gatherer()
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise CollectionError(f"{name}, row {number}: expected an object with columns, got {type(row).__name__}.")
        query = next((row[column] for column in _QUERY_COLUMNS if column in row), None)
        if not isinstance(query, str):
            raise CollectionError(f"{name}, row {number}: no text in a column {' or '.join(_QUERY_COLUMNS)}.")
        columns = [key for key in row if key.startswith(("positive", "negative", "document"))]
        columns.sort(key=lambda column: (not column.startswith("positive"), _number_in(column)))
        documents = [row[column] for column in columns if row[column] is not None]
        scores = next((row[column] for column in _SCORE_COLUMNS if column in row), None)
        if scores is not None and (not isinstance(scores, Sequence) or len(scores) != len(documents)):
            got = len(scores) if isinstance(scores, Sequence) else f"{scores!r}"
            raise CollectionError(
                f"{name}, row {number}: {len(documents)} documents need as many teacher scores, got {got}."
            )
        _add_texts(gathered, name, number, query, documents, scores)
    return gathered.data(Path(name).name)


def _add_texts(
    gathered: Gatherer,
    path: Path | str,
    number: int,
    query: str,
    documents: Sequence[Any],
    scores: Sequence[Any] | None = None,
) -> None:
    if not query.strip() or not documents or not all(isinstance(text, str) for text in documents) or not documents[0]:
        raise _no_positive(path, number, query)
    if scores is not None and not all(_is_number(score) for score in scores):
        raise CollectionError(f"{path}, line {number}: teacher scores must be numbers, got {list(scores)!r}.")
    gathered.add(query, documents, scores)


def _no_positive(path: Path | str, number: int, query: Any) -> CollectionError:
    return CollectionError(
        f"{path}, line {number}: the query {query!r} has no positive: put a relevant document's text or id behind it, "
        "or leave the line out."
    )


def _json(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CollectionError(f"{path}, line {number}: not JSON ({error}).") from error


def _saved_dataset(path: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise missing_extra("Reading a saved dataset", "train") from error
    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # of many libraries
        raise CollectionError(f"{path} can't be read as a dataset ({error}).") from error


def _number_in(column: str) -> int:
    digits = "".join(character for character in column if character.isdigit())
    return int(digits or 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _and_more(names: Sequence[Any]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
