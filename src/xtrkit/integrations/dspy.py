"""DSPy: an index in the place of ``dspy.Retrieve``, and in that of ``dspy.ColBERTv2`` as the ``rm`` of its settings.

>>> from xtrkit.integrations.dspy import XtrkitRetrieve
>>> passages = XtrkitRetrieve("idx", k=3)("who wrote it?").passages  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xtrkit.errors import missing_extra
from xtrkit.hits import Hit
from xtrkit.integrations.opening import Source, choices_of, opened, text_of, told_of
from xtrkit.recipes import COLBERT, Recipe, check_k

try:
    import dspy
    from dspy.dsp.utils import dotdict
except ImportError as error:
    raise missing_extra("The adapter for DSPy", "dspy") from error


class XtrkitRetrieve(dspy.Retrieve):
    """Retrieves passages, as ``dspy.Retrieve`` does, from an index of its own instead of the ``rm`` of the settings.

    A prediction has ``passages``, the texts, and beside them ``ids``, ``scores`` and ``metadatas``
    (:func:`xtrkit.integrations.opening.told_of`), best first. Copies search the same opened index; a program that is
    saved as a whole keeps the path of one, and its state k alone.

    Attributes:
        index: the opened retriever, or the client.
        k: how many passages.
        search: other arguments of :meth:`xtrkit.Retriever.search`.
    """

    def __init__(self, index: Source, k: int = 3, *, callbacks: list[Any] | None = None, **search: Any) -> None:
        """Open an index.

        Args:
            index: its path, a server's address, an opened retriever, or a server's client.
            k: how many passages.
            callbacks: as of every module of DSPy.
            **search: other arguments of :meth:`xtrkit.Retriever.search`, such as ``where`` and ``fusion``.

        Raises:
            InputError: k is not a positive whole number, or a choice can't be used.
            IndexFormatError: there is no index at the path, or it is damaged.
        """
        check_k(k)
        super().__init__(k=k, callbacks=callbacks)
        self.search = choices_of(search)
        self.index = opened(index)

    def forward(self, query: str, k: int | None = None, **search: Any) -> dspy.Prediction:
        """The k best passages for a query.

        Args:
            query: any text but an empty one.
            k: how many, where it shall differ.
            **search: other arguments of :meth:`xtrkit.Retriever.search`.

        Raises:
            InputError: the query is empty, or k or a choice can't be used.
        """
        hits = self.index.search(query, self.k if k is None else k, **{**self.search, **search})
        return dspy.Prediction(
            passages=[text_of(hit) for hit in hits],
            ids=[hit.id for hit in hits],
            scores=[hit.score for hit in hits],
            metadatas=[told_of(hit) for hit in hits],
        )

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """What a saved program keeps: k.

        Args:
            json_mode: what programs of DSPy 3.4 say, and ``dspy.Retrieve`` does not take; the state is JSON either way.
        """
        return {"k": self.k}

    def __deepcopy__(self, memo: dict[int, Any]) -> XtrkitRetrieve:
        copy = type(self)(self.index, self.k, callbacks=list(self.callbacks), **self.search)
        memo[id(self)] = copy
        return copy


class XtrkitRM:
    """Finds passages as ``dspy.ColBERTv2`` gives them, for ``dspy.configure(rm=…)``, without its server.

    Each has ``text`` and ``long_text``, ``pid`` (the passage's id), ``rank``, ``score``, ``prob`` (the softmax of the
    scores) and ``metadata``. Scores are ColBERT's sums, as those of a server's ``/api/search``, unless another recipe
    is given.
    """

    def __init__(self, index: Source, *, recipe: Recipe = COLBERT, **search: Any) -> None:
        """Open an index.

        Args:
            index: its path, a server's address, an opened retriever, or a server's client.
            recipe: how to score.
            **search: other arguments of :meth:`xtrkit.Retriever.search`, such as ``where``.

        Raises:
            InputError: a choice can't be used.
            IndexFormatError: there is no index at the path, or it is damaged.
        """
        self.search = choices_of({"recipe": recipe, **search})
        self.index = opened(index)

    def __call__(self, query: str, k: int = 10, simplify: bool = False, **search: Any) -> list[Any]:
        """The k best passages for a query.

        Args:
            query: any text but an empty one.
            k: how many.
            simplify: give their texts alone.
            **search: other arguments of :meth:`xtrkit.Retriever.search`.

        Raises:
            InputError: the query is empty, or k or a choice can't be used.
        """
        hits = list(self.index.search(query, k, **{**self.search, **search}))
        if simplify:
            return [text_of(hit) for hit in hits]
        scores = np.array([hit.score for hit in hits])
        weights = np.exp(scores - scores.max(initial=-np.inf))
        return [_passage(hit, float(weight / weights.sum())) for hit, weight in zip(hits, weights, strict=True)]


def _passage(hit: Hit, share: float) -> Any:
    text = text_of(hit)
    return dotdict(
        text=text, long_text=text, pid=hit.id, rank=hit.rank, score=hit.score, prob=share, metadata=told_of(hit)
    )
