"""Haystack: an index as a retriever, and MaxSim or a reranker as a ranker; both go through a pipeline's YAML.

>>> from xtrkit.integrations.haystack import XtrkitRetriever
>>> documents = XtrkitRetriever("idx", top_k=5).run("who wrote it?")["documents"]  # doctest: +SKIP

Haystack loads no classes but those of modules that it was told of. Importing this one tells it; where a pipeline is
loaded without that, ``Pipeline.load(…, allowed_modules=["xtrkit.integrations.haystack"])`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from xtrkit.client import Client
from xtrkit.errors import InputError, missing_extra
from xtrkit.hits import Hit
from xtrkit.index import Where
from xtrkit.indexing.filters import compiled
from xtrkit.integrations.opening import SCHEMES, Model, Source, TextRanker, choices_of, opened, text_of, told_of
from xtrkit.recipes import check_k
from xtrkit.reranking.base import Reranker
from xtrkit.retriever import Retriever

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.core.serialization import allow_deserialization_module
    from haystack.document_stores.types import FilterPolicy, apply_filter_policy
    from haystack.errors import FilterError
    from haystack.utils import Secret
except ImportError as error:
    raise missing_extra("The adapter for Haystack", "haystack") from error

allow_deserialization_module(__name__)

Filters = Mapping[str, Any]
"""A comparison, or several that are joined, as Haystack writes them."""

T = TypeVar("T")

_OPENING = Lock()
"""Held while something is opened, so that threads that run first together open it once; components are pickled."""

COMPARED = {"==": "$eq", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte", "in": "$in", "not in": "$nin"}
ORDERED = (">", ">=", "<", "<=")
JOINED: dict[str, Callable[[list[Where]], Where]] = {
    "AND": lambda parts: {"$and": parts},
    "OR": lambda parts: {"$or": parts},
    "NOT": lambda parts: {"$not": {"$and": parts}},
}
NEVER: Where = {"$id": {"$in": []}}
"""A condition that no passage meets."""


class FilterRefusedError(InputError, FilterError):
    """Filters that Haystack's protocol does not allow, or that have no counterpart here."""


@component
class XtrkitRetriever:
    """The passages of an index as Haystack's documents, best first.

    A document's meta are the passage's metadata, and "$rank", "$document", and where it was cut out of a longer
    document "$first" and "$last" (:func:`xtrkit.integrations.opening.told_of`); its score stands beside them. The index
    is opened by :meth:`warm_up`, or at the first run. Written as YAML it is its path, or its server's address.
    """

    def __init__(
        self,
        index: Source,
        top_k: int = 10,
        filters: Filters | None = None,
        filter_policy: FilterPolicy | str = FilterPolicy.REPLACE,
        search: Mapping[str, Any] | None = None,
        key: Secret | None = None,
    ) -> None:
        """Note what will be opened.

        Args:
            index: the index's path, a server's address, an opened retriever, or a server's client.
            top_k: how many documents.
            filters: Haystack's filters (:func:`where_of`).
            filter_policy: whether filters at a run replace these, or are joined with them.
            search: other arguments of :meth:`xtrkit.Retriever.search`, such as ``{"fusion": "rrf"}``. A ``where`` among
                them holds beside the filters.
            key: the key of the server at an address, such as ``Secret.from_env_var("XTRKIT_KEY")``.

        Raises:
            InputError: top_k is not a positive whole number, the filters or a choice can't be used, or there is a key
                and no address, or one that is no Secret.
        """
        check_k(top_k)
        where_of(filters)
        if key is not None and not isinstance(key, Secret):
            raise InputError('A key is given as a Secret of Haystack, such as Secret.from_env_var("XTRKIT_KEY").')
        if key is not None and not _is_address(index):
            raise InputError(f"A key is for the server at an address such as http://127.0.0.1:8000, got {index!r:.60}.")
        self.index, self.top_k, self.filters, self.key = index, top_k, filters, key
        self.filter_policy = FilterPolicy.from_str(str(filter_policy))
        self.search = choices_of(search, k="top_k")
        self._opened: Retriever | Client | None = None

    def warm_up(self) -> None:
        """Open the index.

        Raises:
            IndexFormatError: there is none at the path, or it is damaged.
        """
        with _OPENING:
            if self._opened is None:
                key = None if self.key is None else self.key.resolve_value()
                self._opened = Client(str(self.index), key=key) if key is not None else opened(self.index)

    def to_dict(self) -> dict[str, Any]:
        """What YAML keeps.

        Raises:
            InputError: an opened retriever with a reranker, or a client, was given: nothing written stands for it.
        """
        return default_to_dict(
            self,
            index=_written(self.index),
            top_k=self.top_k,
            filters=self.filters,
            filter_policy=self.filter_policy.value,
            search=self.search,
            key=None if self.key is None else self.key.to_dict(),
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> XtrkitRetriever:
        """The component that was written."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None) -> dict[str, Any]:
        """Search.

        Args:
            query: any text but an empty one.
            filters: Haystack's filters; they replace those of the component, or join them.
            top_k: how many documents, where it shall differ.

        Raises:
            InputError: the query is empty, top_k is not a positive whole number, or the filters can't be used.
        """
        self.warm_up()
        assert self._opened is not None
        where, own = where_of(apply_filter_policy(self.filter_policy, self.filters, filters)), self.search.get("where")
        where = {"$and": [own, where]} if own and where else where or own
        k = self.top_k if top_k is None else top_k
        hits = self._opened.search(query, k, **{**self.search, "where": where})
        return {"documents": [_document(hit) for hit in hits]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """As :meth:`run`, in a thread."""
        return await asyncio.to_thread(self.run, query, filters, top_k)


@component
class XtrkitRanker:
    """Ranks documents by MaxSim with the query, or by a reranker, and keeps the best.

    Their scores are the new ones: MaxSim is a sum over the query's tokens. Documents with nothing in them are left
    out, with a warning. The model is opened by :meth:`warm_up`, or at the first run.
    """

    def __init__(
        self,
        model: Model | None = None,
        reranker: str | Path | Reranker | None = None,
        top_k: int | None = None,
    ) -> None:
        """Note what will be opened.

        Args:
            model: whose MaxSim ranks: an encoder's, by name, by path or loaded; that of an index, by its path, opened,
                or on a server. The default model's where nothing is given.
            reranker: ranks instead: a name or a path, as :func:`xtrkit.reranking.load_reranker` takes them, or a
                loaded one.
            top_k: how many documents are kept; all where it is left out.

        Raises:
            InputError: top_k is not a positive whole number.
        """
        if top_k is not None:
            check_k(top_k)
        self.model, self.reranker, self.top_k = model, reranker, top_k
        self._ranker: TextRanker | None = None

    def warm_up(self) -> None:
        """Open the model.

        Raises:
            InputError: model and reranker are both given.
            ModelError: it can't be loaded.
        """
        with _OPENING:
            if self._ranker is None:
                self._ranker = TextRanker.of(self.model, self.reranker)

    def to_dict(self) -> dict[str, Any]:
        """What YAML keeps.

        Raises:
            InputError: a loaded model or reranker was given.
        """
        return default_to_dict(self, model=_written(self.model), reranker=_written(self.reranker), top_k=self.top_k)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> XtrkitRanker:
        """The component that was written."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """Rank documents.

        Args:
            query: any text but an empty one.
            documents: what is ranked.
            top_k: how many are kept, where it shall differ.

        Raises:
            InputError: the query is empty, or top_k is not a positive whole number.
        """
        self.warm_up()
        assert self._ranker is not None
        texts = [document.content or "" for document in documents]
        ranked = self._ranker.ranked(query, texts, self.top_k if top_k is None else top_k)
        return {"documents": [replace(documents[place], score=score) for place, score in ranked]}

    @component.output_types(documents=list[Document])
    async def run_async(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """As :meth:`run`, in a thread."""
        return await asyncio.to_thread(self.run, query, documents, top_k)


def where_of(filters: Filters | None) -> Where | None:
    """Haystack's filters as a condition of xtrkit's.

    Fields are ``meta.NAME``, or the name alone; ``id`` is the passage's, ``meta.$document`` that of the document it is
    part of. A field of a list meets a comparison where one of its values does. Dates are compared as the ISO texts
    that they are kept as.

    Raises:
        FilterRefusedError: they are not as Haystack's protocol has them, or ask for what is not metadata.
    """
    if not filters:
        return None
    where = _condition(filters)
    try:
        compiled(where)
    except InputError as error:
        raise FilterRefusedError(str(error)) from error
    return where


def _condition(filters: Any) -> Where:
    if not isinstance(filters, Mapping):
        raise FilterRefusedError(f"Haystack's filters are dicts, got {filters!r:.60} of type {type(filters).__name__}.")
    if "field" in filters:
        return _comparison(*_parts(filters, "field", "operator", "value"))
    operator, conditions = _parts(filters, "operator", "conditions")
    if not isinstance(operator, str) or operator not in JOINED or not isinstance(conditions, list) or not conditions:
        raise FilterRefusedError(
            f"Filters are joined by {', '.join(JOINED)} with a list of conditions, got {operator!r} with "
            f"{conditions!r:.60}."
        )
    return JOINED[operator]([_condition(one) for one in conditions])


def _comparison(field: Any, operator: Any, value: Any) -> Where:
    if not isinstance(operator, str) or operator not in COMPARED:
        raise FilterRefusedError(f"Unknown operator {operator!r} in Haystack's filters: use {', '.join(COMPARED)}.")
    if operator in ORDERED:
        if value is None:
            return NEVER  # Haystack's protocol: nothing is more or less than None
        if isinstance(value, str) and not _is_date(value):
            raise FilterRefusedError(f"{operator} compares numbers and ISO dates, got the text {value!r:.60}.")
    if operator in ("in", "not in") and not isinstance(value, list):
        raise FilterRefusedError(f"{operator!r} takes a list of values, got {value!r:.60}.")
    return {_name(field): {COMPARED[operator]: value}}


def _parts(filters: Filters, *names: str) -> list[Any]:
    missing = [name for name in names if name not in filters]
    if missing:
        raise FilterRefusedError(f"There is no {missing[0]!r} in the filters {dict(filters)!r:.80}: they need {names}.")
    return [filters[name] for name in names]


def _name(field: Any) -> str:
    """What xtrkit calls a field."""
    if field == "id":
        return "$id"
    if not isinstance(field, str) or field in ("content", "score", "embedding", "blob", "sparse_embedding"):
        raise FilterRefusedError(f"Filters are on metadata, as 'meta.NAME', or on 'id', got the field {field!r}.")
    return field.removeprefix("meta.")


def _is_date(value: str) -> bool:
    try:
        return isinstance(datetime.fromisoformat(value), date)
    except ValueError:
        return False


def _is_address(given: Any) -> bool:
    return isinstance(given, str) and given.startswith(SCHEMES)


def _written(given: Any) -> str | None:
    """What stands for an index or a model in YAML."""
    if given is None or isinstance(given, str | Path):
        return None if given is None else str(given)
    if isinstance(given, Retriever) and given.reranker is None:
        return str(given.index.path)
    raise InputError(
        f"{type(given).__name__} was opened outside, and a pipeline's YAML can't keep it: give a path, a name, or a "
        "server's address."
    )


def _document(hit: Hit) -> Document:
    told = told_of(hit)
    return Document(id=hit.id, content=text_of(hit), score=told.pop("$score"), meta=told)
