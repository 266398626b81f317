"""Collections of ir_datasets: by name, or as ``ir_datasets.load`` gives them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xtrkit.errors import CollectionError, missing_extra
from xtrkit.texts.document import Document, Fields, Problem, ReadingReport
from xtrkit.texts.records import LEFT_OUT, TEXT_NAMES, TITLE_NAMES, Records, plain

ID = "doc_id"


class Collection:
    """The documents of a dataset of ir_datasets.

    Which of their fields are the text, the dataset says (``default_text``): often title and text. Fields that name
    others go before that.

    Attributes:
        report: what was noted the last time.
    """

    def __init__(self, dataset: Any, fields: Fields) -> None:
        self._dataset, self._fields, self.report = dataset, fields, ReadingReport()

    def __iter__(self) -> Iterator[Document | Problem]:
        self.report = report = ReadingReport()
        records = Records("", self._fields, what="a document")
        said = self._fields.text is None and self._fields.title is None
        place = 0
        left_out: dict[str, int] = {}
        for place, document in enumerate(_documents(self._dataset), start=1):
            where = f"Passage {place - 1}"
            record = document._asdict()
            if said and hasattr(document, "default_text"):
                text = document.default_text()
                record = {"_id": record.get(ID), "text": text, **_beside(record, text)}
            for name in [name for name, value in record.items() if plain(value, lenient=True) is LEFT_OUT]:
                left_out[name] = left_out.get(name, 0) + 1
                record[name] = None
            yield records.document(record, where, str(place - 1))
        for name, times in left_out.items():
            report.notes.append(f"The field {name!r} of {times:,} documents holds objects, or bytes, and was left out.")
        yield from records.end(report)


def collection(name: str, fields: Fields) -> Collection:
    """A collection by its name, such as ``beir/scifact``.

    Raises:
        CollectionError: ir_datasets has none, or it has no documents.
        MissingExtraError: ir_datasets isn't installed.
    """
    return collection_of(loaded(name), fields)


def loaded(name: str) -> Any:
    """A dataset by its name; nothing of it is downloaded before it is read.

    Raises:
        CollectionError: ir_datasets has none of this name.
        MissingExtraError: ir_datasets isn't installed.
    """
    try:
        import ir_datasets
    except ImportError as error:
        raise missing_extra("Reading a collection of ir_datasets", "irds") from error
    try:
        return ir_datasets.load(name)
    except KeyError as error:
        raise CollectionError(
            f"ir_datasets has no collection {name!r}: expected a name such as irds:beir/scifact."
        ) from error


def collection_of(dataset: Any, fields: Fields) -> Collection:
    """A dataset that was loaded.

    Raises:
        CollectionError: it has no documents.
    """
    if not dataset.has_docs():
        raise CollectionError(f"{dataset!r} has no documents: give the dataset that its queries are about.")
    return Collection(dataset, fields)


def _beside(record: dict[str, Any], text: str) -> dict[str, Any]:
    """The fields of a document that its text was not made of."""
    made_of = {*TEXT_NAMES, *TITLE_NAMES}
    return {
        name: value
        for name, value in record.items()
        if name not in (ID, "text") and not (name in made_of and isinstance(value, str) and value in text)
    }


def _documents(dataset: Any) -> Iterator[Any]:
    """The documents themselves, which are downloaded when they are first read."""
    with given_by(dataset, "documents"):
        yield from dataset.docs_iter()


@contextmanager
def given_by(dataset: Any, what: str) -> Iterator[None]:
    """Say what a dataset can't give.

    Raises:
        CollectionError: something went wrong below.
    """
    try:
        yield
    except Exception as error:  # of the network, of licences that must be agreed to, of files
        told = " ".join(str(error).split())[:300]
        raise CollectionError(f"ir_datasets can't give the {what} of {dataset!r}: {told}") from error
