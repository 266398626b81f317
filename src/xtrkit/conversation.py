"""What is said to a server of xtrkit, and how its answers are read: all of the client but sending.

Each thing that can be asked is a generator: it yields requests, is sent the JSON of their answers, and returns the
result. :mod:`xtrkit.client` sends them, and waits or awaits.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from itertools import repeat
from typing import Any, TypeVar

import numpy as np

from xtrkit.answers import answer_of_json, passage_of_json
from xtrkit.asking import check_query, with_content
from xtrkit.errors import IndexLockedError, InputError, ServerError, XtrkitWarning
from xtrkit.hits import Hits, hit_of
from xtrkit.index import Where
from xtrkit.passage import Passage, plain_value
from xtrkit.recipes import RECIPES, XTR, Recipe, check_k
from xtrkit.subsets import Subset
from xtrkit.texts.document import PLAIN_FIELDS, Document, Fields, Problem
from xtrkit.texts.given import Given, source_of
from xtrkit.texts.whole import refusal, whole_passages

T = TypeVar("T")

AT_A_TIME = 64
"""Queries, or ids to read, in one request: what a server takes, and what fits into a request's line."""

NO_NAME = "\0"
"""No passage can have this id."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two looks at how a job goes on."""

BY_NAME = ("scoring", "k_prime", "imputation", "reduction", "nprobe", "candidates", "shared")
"""What a request can say of a recipe."""


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        method: GET, POST or DELETE.
        path: below the server's address.
        params: of the query, in order.
        json: the body; None for none.
    """

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    json: Any = None


@dataclass(frozen=True)
class Pause:
    """Some seconds to wait."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """An answer as it came.

    Attributes:
        status: of HTTP.
        told: its JSON; None where it is none.
        retry_after: the header of that name.
    """

    status: int
    told: Any
    retry_after: str | None = None


Talk = Generator[Ask | Pause, Any, T]
"""Yields requests and is sent the JSON of their answers; is sent nothing after a pause."""

RETRIES = 3
"""How often a request is made again that the server had no room for (503)."""

LONGEST_WAIT = 10.0
"""Seconds to wait before that, at most, whatever the server says."""


def persistent(talk: Talk[T], server: str) -> Generator[Ask | Pause, Any, T]:
    """A talk that is sent answers as they come: asks again where the server had no room, and raises what it refuses.

    Args:
        talk: what is asked.
        server: the server's address, for messages.
    """
    told: Any = None
    while True:
        try:
            said = talk.send(told)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        told = None
        if isinstance(said, Pause):
            yield said
            continue
        for left in range(RETRIES, -1, -1):
            reply = yield said
            if reply.status != 503 or reply.retry_after is None or not left:
                break
            yield Pause(_seconds(reply.retry_after))
        if not 200 <= reply.status < 300 or not isinstance(reply.told, Mapping):
            raise problem_of(reply, server)
        told = reply.told


@dataclass(frozen=True)
class Written:
    """What a commit did for one call of :meth:`Conversation.add` or :meth:`Conversation.delete`.

    Attributes:
        generation: the generation that it made.
        added: passages with new ids.
        updated: passages that replaced one of the same id.
        deleted: passages that were deleted.
        documents: living passages now.
        advice: what to do about centroids that no longer fit; None where they do.
        read: how many documents were sent.
        passages: how many passages they became.
        truncated: how many of these were cut off at the end of the model's window.
        unreadable: of how many the model does not know most pieces.
        ids: the documents' ids.
    """

    generation: int
    added: int
    updated: int
    deleted: int
    documents: int
    advice: str | None = None
    read: int = 0
    passages: int = 0
    truncated: int = 0
    unreadable: int = 0
    ids: Sequence[str] = ()


class _Nameless(int):
    """Stands for the id of a text that has none: the server gives it one."""

    def __str__(self) -> str:
        return NO_NAME


@dataclass(frozen=True)
class Conversation:
    """What can be asked of one index of a server.

    Attributes:
        index: its name; None for the only one that the server has.
    """

    index: str | None = None

    def indexes(self) -> Talk[list[dict[str, Any]]]:
        """What the server has: for each index its name, how many documents and tokens, its generation and more."""
        told = yield Ask("GET", "/v1/indexes")
        return list(told["indexes"])

    def search(
        self,
        /,
        query: str,
        k: int = 10,
        *,
        subset: Subset | None = None,
        where: Where | None = None,
        recipe: Recipe = XTR,
        explain: bool = False,
        rerank_depth: int = 0,
        **more: Any,
    ) -> Talk[Hits]:
        """The k best passages for a query, as :meth:`xtrkit.Retriever.search` finds them.

        Args:
            query: any text but an empty one.
            k: how many passages.
            subset: ids of the passages or documents that may be found.
            where: a condition on the passages' metadata.
            recipe: how to score.
            explain: also tell for each passage which of its tokens matched.
            rerank_depth: how many passages the server's reranker scores, where it has one; 0 for retrieval alone.
            **more: ``group_by_document``, ``fusion``, ``alpha``, ``facets``, and fields of
                :class:`~xtrkit.recipes.Recipe` that shall differ, such as ``k_prime``.

        Raises:
            InputError: the query is empty, or k or a choice can't be used.
            ServerError: the server refuses, or fails, or can't be reached.
        """
        check_query(query)
        asked = _asked(k, subset, where, recipe, explain, rerank_depth, more)
        told = yield Ask("POST", "/v1/search", json=self._of_index({"query": query, **asked}))
        _warn(told)
        return answer_of_json(told)

    def search_batch(self, /, queries: Sequence[str], k: int = 10, **as_in_search: Any) -> Talk[list[Hits]]:
        """The k best passages for each query; faster than one query after the other.

        Args:
            queries: texts, none empty.
            k: as in :meth:`search`.
            **as_in_search: the other arguments of :meth:`search`.

        Raises:
            InputError: as in :meth:`search`.
            ServerError: as in :meth:`search`.
        """
        if isinstance(queries, str):
            raise InputError(f"Queries come as a list, got the text {queries!r:.40}: use search, or put it in a list.")
        for query in queries:
            check_query(query)
        names = {"subset": None, "where": None, "recipe": XTR, "explain": False, "rerank_depth": 0}
        chosen = {name: as_in_search.pop(name, default) for name, default in names.items()}
        asked = _asked(k, more=as_in_search, **chosen)
        answers: list[Hits] = []
        for some in _parts(list(queries), AT_A_TIME):
            told = yield Ask("POST", "/v1/search", json=self._of_index({"queries": some, **asked}))
            _warn(told)
            answers += map(answer_of_json, told["results"])
        return answers

    def rerank(self, query: str, passages: Given, k: int | None = None) -> Talk[Hits]:
        """Given texts in the order of their MaxSim with a query, as :meth:`xtrkit.Retriever.rerank` has them.

        Args:
            query: any text but an empty one.
            passages: texts, dicts, pairs (id, text), Passages or a path, as :meth:`xtrkit.Retriever.create` takes them.
                Only their texts are sent.
            k: how many are wanted; all where it is left out.

        Raises:
            InputError: the query is empty, or something is no passage.
            ServerError: the server refuses, or fails, or can't be reached.
        """
        check_query(query)
        if k is not None:
            check_k(k)
        given = with_content(whole_passages(source_of(passages)))
        body = {"query": query, "documents": [passage.text for passage in given], "top_n": k}
        told = yield Ask("POST", "/v1/rerank", json=self._of_index(body))
        hits = (hit_of(given[one["index"]], one["score"], rank) for rank, one in enumerate(told["results"], 1))
        return Hits(tuple(hits), query, **told["query"])

    def get(self, ids: Iterable[str] = (), *, documents: Iterable[str] = ()) -> Talk[list[Passage]]:
        """Passages by id, or by the document that they were cut out of, as :meth:`xtrkit.Retriever.get` gives them.

        Args:
            ids: ids of passages.
            documents: ids of documents.

        Raises:
            InputError: one is not there.
            ServerError: the server refuses, or fails, or can't be reached.
        """
        named = [("id", one) for one in _names(ids)] + [("document", one) for one in _names(documents)]
        found: list[Passage] = []
        for some in _parts(named, AT_A_TIME):
            told = yield Ask("GET", "/v1/documents", params=[*some, *self._params])
            found += map(passage_of_json, told["passages"])
        return found

    def add(self, passages: Given, *, fields: Fields = PLAIN_FIELDS) -> Talk[Written]:
        """Have the server encode passages and add them in one commit; those whose ids are there already are replaced.

        They are sent in one request, so that they are added all or not at all; where that is too large the server
        refuses: add some at a time. Texts alone are sent, with ids and metadata, and cut as those of the index were; a
        file's headings and pages are not told. The server must have a write key, and the client must bring it.

        Args:
            passages: as in :meth:`xtrkit.Retriever.create`; texts without an id get numbers that no passage has.
            fields: where records keep id, text, title and metadata.

        Raises:
            InputError: something is no passage, or can't be stored, or is too much; nothing was added.
            IndexLockedError: another writer is at work.
            ServerError: the server refuses, or fails, or can't be reached.
        """
        source = source_of(passages, fields, lambda: repeat(_Nameless()))
        body = {"documents": [_document(document) for document in source]}
        return (yield from self._written(Ask("POST", "/v1/documents", json=self._of_index(body))))

    def delete(
        self, ids: Iterable[str] = (), *, documents: Iterable[str] = (), missing_ok: bool = False
    ) -> Talk[Written]:
        """Have the server delete passages by id, or all those of some documents, in one commit. It needs a write key.

        Args:
            ids: ids of passages.
            documents: ids of documents.
            missing_ok: pass over ids that are not there.

        Raises:
            InputError: an id is not there, or none was given; nothing was deleted.
            IndexLockedError: another writer is at work.
            ServerError: the server refuses, or fails, or can't be reached.
        """
        body = {"ids": _names(ids), "documents": _names(documents), "missing_ok": missing_ok}
        return (yield from self._written(Ask("DELETE", "/v1/documents", json=self._of_index(body))))

    def _written(self, ask: Ask) -> Talk[Written]:
        """What a commit did; where the server does it later, wait for that."""
        told = yield ask
        pause = SHORTEST_PAUSE
        while (job := told.get("job")) is not None:
            if job["status"] == "failed":
                raise problem_of(Reply(500, job["error"]), "The server")
            if job["status"] == "done":
                told = job["result"]
                break
            yield Pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            told = {"job": (yield Ask("GET", job["url"]))}
        _warn(told)
        return Written(**{field.name: told[field.name] for field in dataclass_fields(Written) if field.name in told})

    def _of_index(self, body: dict[str, Any]) -> dict[str, Any]:
        """A body for this index, without what was left out."""
        every = {"index": self.index, **body}
        return {name: value for name, value in every.items() if value is not None}

    @property
    def _params(self) -> list[tuple[str, str]]:
        return [] if self.index is None else [("index", self.index)]


def problem_of(reply: Reply, server: str) -> Exception:
    """What is raised where a server answers with an error.

    Args:
        reply: the answer.
        server: the server's address.
    """
    error = reply.told.get("error") if isinstance(reply.told, Mapping) else None
    if not isinstance(error, Mapping):
        return ServerError(
            f"{server} answered with the status {reply.status}, and not as a server of xtrkit does: check the address.",
            status=reply.status,
        )
    kind, message = str(error.get("type")), str(error.get("message"))
    if kind in ("invalid_request", "not_found", "too_large"):
        return InputError(message)
    if kind == "conflict":
        return IndexLockedError(message)
    return ServerError(message, status=reply.status, kind=kind)


def _seconds(told: str) -> float:
    """What Retry-After says, within reason."""
    try:
        return min(max(float(told), 0.0), LONGEST_WAIT)
    except ValueError:  # a date
        return 1.0


def _asked(
    k: int,
    subset: Subset | None,
    where: Where | None,
    recipe: Recipe,
    explain: bool,
    rerank_depth: int,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The fields of a search beside what is searched for. Snippets are cut here, from texts."""
    check_k(k)
    own = {name: more[name] for name in more if name not in Recipe.__dataclass_fields__}
    choices = {name: more[name] for name in more if name in Recipe.__dataclass_fields__}
    told = {
        **own,
        **_recipe_asked(recipe.but(**choices)),
        "k": int(k),
        "subset": None if subset is None else _ids(subset),
        "where": _plain(where),
        "explain": bool(explain) or None,
        "rerank": rerank_depth or None,
        "snippet": 1,
    }
    return {name: value for name, value in told.items() if value is not None}


def _recipe_asked(recipe: Recipe) -> dict[str, Any]:
    """A recipe by its name and what differs; without either for the usual one."""
    if recipe.rerank is not None:
        raise InputError("A server does not rerank by MaxSim inside a search: use scoring='maxsim', or rerank_depth.")
    for name, base in RECIPES.items():
        differing = {
            field: getattr(recipe, field) for field in BY_NAME if getattr(recipe, field) != getattr(base, field)
        }
        if None not in differing.values():
            return {**({} if base == XTR else {"recipe": name}), **differing}
    raise InputError(f"The recipe {recipe} can't be said to a server: give its fields by name.")


def _ids(subset: Subset) -> list[str]:
    if isinstance(subset, np.ndarray | str):
        raise InputError(f"A server takes a subset as a list of ids, got {type(subset).__name__}.")
    return _names(subset)


def _names(given: Iterable[str]) -> list[str]:
    if isinstance(given, str):
        raise InputError(f"Ids come as a list, got the text {given!r:.40}: put it in a list.")
    names = list(given)
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"Ids must be strings, got {name!r} of type {type(name).__name__}.")
    return names


def _parts(items: list[T], size: int) -> Iterator[list[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))


def _document(document: Document | Problem) -> dict[str, Any]:
    """A document as the server takes it.

    Raises:
        CollectionError: it can't be read.
        InputError: it is a part of another.
    """
    if isinstance(document, Problem):
        raise refusal([document])
    if document.part is not None:
        raise InputError(
            f"{document.id!r} is a part of {document.part[0]!r}: send documents whole, the server cuts them."
        )
    name = {} if document.id == NO_NAME else {"id": document.id}
    metadata = {name: _plain(value) for name, value in (document.metadata or {}).items()}
    return {**name, "text": document.text, **({"metadata": metadata} if metadata else {})}


def _plain(value: Any) -> Any:
    """A condition, or a value of metadata, as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return plain_value(value)
    return [_plain(one) for one in value]


def _warn(told: Mapping[str, Any]) -> None:
    for sentence in told.get("warnings", ()):
        warnings.warn(sentence, XtrkitWarning, stacklevel=4)
