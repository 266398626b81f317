"""What adapters open: an index that is searched, and what ranks given texts; and what they pass on of a hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xtrkit.asking import check_query, maxsim_order, request_of, with_content
from xtrkit.client import Client
from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import load_encoder
from xtrkit.errors import InputError
from xtrkit.hits import Hit
from xtrkit.index import Where
from xtrkit.passage import Passage
from xtrkit.recipes import check_k
from xtrkit.reranking.base import Reranker, rerank
from xtrkit.reranking.load import load_reranker
from xtrkit.retriever import Retriever
from xtrkit.storage.generations import generations

Source = str | Path | Retriever | Client
"""An index: its path, the address of a server, an opened retriever, or a server's client."""

Model = str | Path | Encoder | Retriever | Client
"""Whose MaxSim ranks texts: an encoder's, by name, by path or loaded; or that of an index, as ``Source`` names one."""

SCHEMES = ("http://", "https://")


def opened(source: Source) -> Retriever | Client:
    """What searches an index; what is opened already is given back.

    Raises:
        InputError: it is none of what ``Source`` names.
        IndexFormatError: there is no index at the path, or it is damaged.
        ModelError: its encoder can't be loaded.
    """
    if isinstance(source, Retriever | Client):
        return source
    if isinstance(source, str) and source.startswith(SCHEMES):
        return Client(source)
    if isinstance(source, str | Path):
        return Retriever.open(source)
    raise InputError(
        "An index is given as its path, as a server's address, as an opened xtrkit.Retriever or as an "
        f"xtrkit.client.Client, got {source!r:.60} of type {type(source).__name__}."
    )


def opened_here(source: str | Path | Retriever) -> Retriever:
    """As :func:`opened`, for what needs the index itself, as benchmarks do.

    Raises:
        InputError: it is neither a path nor a retriever.
    """
    if isinstance(source, Client) or (isinstance(source, str) and source.startswith(SCHEMES)):
        raise InputError("A server's index can't be measured so: give the path of one, or an opened xtrkit.Retriever.")
    return opened(source)  # type: ignore[return-value]  # clients are refused


def choices_of(given: Mapping[str, Any] | None, *, own: Sequence[str] = (), **named: str) -> dict[str, Any]:
    """Other arguments of a search, checked when an adapter is made, as those at a call are.

    Args:
        given: {argument of :meth:`xtrkit.Retriever.search`: value}; None for none.
        own: more names that an adapter knows; their values are not looked at.
        **named: what an adapter calls those that can't be given so.

    Raises:
        InputError: one is unknown, has a value that can't be used, or has a name of its own.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"Choices of a search come as a dict such as {{'fusion': 'rrf'}}, got {given!r:.60}.")
    choices = dict(given or {})
    for name, instead in named.items():
        if name in choices:
            raise InputError(f"{name!r} is not among the other choices of a search: give it as {instead}.")
    request_of({name: value for name, value in choices.items() if name not in own})
    return choices


def chosen_filter(where: Where | None, also: Where | None, name: str = "filter") -> Where | None:
    """The condition that was given under xtrkit's name for it, or under a framework's.

    Raises:
        InputError: it was given under both.
    """
    if where is not None and also is not None:
        raise InputError(f"where and {name} are two names for one condition: give one of them.")
    return also if where is None else where


def text_of(hit: Hit) -> str:
    """The text of a hit, which frameworks pass on.

    Raises:
        InputError: the index has none.
    """
    if hit.text is None:
        raise InputError("This index has no texts, and texts are what is passed on: build it with texts.")
    return hit.text


def told_of(hit: Hit) -> dict[str, Any]:
    """A hit's metadata, and what the search says of it, under names that no passage's metadata can have.

    These are "$score", "$rank" (1 for the best) and "$document"; of a passage that was cut out of a longer document
    "$first" and "$last", too, where it begins and ends there, in characters.
    """
    part = {} if hit.part is None else {"$first": hit.part.first, "$last": hit.part.last}
    return {**hit.metadata, "$score": hit.score, "$rank": hit.rank, "$document": hit.document, **part}


class Placed(NamedTuple):
    """A text in a ranking: its place among those that were given, and its score."""

    place: int
    score: float


@dataclass(frozen=True)
class TextRanker:
    """Ranks given texts for a query: by MaxSim (ColBERT's eq. 3, a sum), or by a reranker.

    Attributes:
        judge: whose MaxSim it is, or the reranker.
    """

    judge: Encoder | Retriever | Client | Reranker

    @classmethod
    def of(cls, model: Model | None = None, reranker: str | Path | Reranker | None = None) -> TextRanker:
        """One with a model, the default one unless said otherwise, or with a reranker.

        Args:
            model: whose MaxSim it is.
            reranker: a name or a path, as :func:`xtrkit.reranking.load_reranker` takes them, or a loaded one.

        Raises:
            InputError: both are given, or something that is neither.
            ModelError: it can't be loaded.
        """
        if reranker is not None:
            if model is not None:
                raise InputError("Texts are ranked by a model's MaxSim or by a reranker: give one of the two.")
            reranker = load_reranker(reranker) if isinstance(reranker, str | Path) else reranker
            if not isinstance(reranker, Reranker):
                raise InputError(
                    f"A reranker is given as its name, its path or loaded, got {reranker!r:.60} of type "
                    f"{type(reranker).__name__}."
                )
            return cls(reranker)
        return cls(_judge(model))

    def ranked(self, query: str, texts: Sequence[str], k: int | None = None) -> list[Placed]:
        """The k best texts, all where k is left out; a warning tells of those that have nothing in them.

        Raises:
            InputError: the query is empty, or k is not a positive whole number.
        """
        check_query(query)
        if k is not None:
            check_k(k)
        passages = [Passage(str(place), text) for place, text in enumerate(texts)]
        if not passages:
            return []
        if isinstance(self.judge, Reranker):
            given = with_content(passages)
            best = rerank(self.judge, query, [passage.text or "" for passage in given])[:k]
            return [Placed(int(given[place].id), score) for place, score in best]
        if isinstance(self.judge, Retriever | Client):
            hits = self.judge.rerank(query, passages, k)
        else:
            hits = maxsim_order(self.judge, query, passages, k)
        return [Placed(int(hit.id), hit.score) for hit in hits]


def _judge(model: Model | None) -> Encoder | Retriever | Client:
    if model is None:
        return load_encoder()
    if isinstance(model, str) and model.startswith(SCHEMES):
        return Client(model)
    if isinstance(model, str | Path):
        if not is_index(model):
            return load_encoder(model)
        with Retriever.open(model) as retriever:
            return retriever.encoder
    if isinstance(model, Retriever | Client | Encoder):
        return model
    raise InputError(
        "A model is given as its name or path, as the path of an index, as a server's address, or loaded, got "
        f"{model!r:.60} of type {type(model).__name__}."
    )


def is_index(path: str | Path) -> bool:
    """Whether a directory is that of an index."""
    return Path(path).is_dir() and bool(generations(Path(path)))
