"""xtrkit in PyTerrier's pipelines: a retriever, an indexer and a reranker. No Java is started.

::

    retriever = XtrkitRetriever(XtrkitIndexer("idx").index(documents))  # an iterator of {"docno", "text", …}
    pt.Experiment([retriever, bm25 >> XtrkitReranker()], topics, qrels, ["nDCG@10"])

Ranks begin at 0 here, as PyTerrier's do. Scores fall strictly within a query: PyTerrier's measures rank by score, as
32-bit floats, and would put equals in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xtrkit.content import has_content
from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import loaded_encoder
from xtrkit.errors import InputError, missing_extra
from xtrkit.evaluation.runs import falling
from xtrkit.hits import Hit
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.integrations.answering import answers, check_choices, ranked, rankings
from xtrkit.integrations.opening import opened_here
from xtrkit.recipes import check_k
from xtrkit.retriever import Retriever
from xtrkit.scoring.maxsim import maxsim_ranking
from xtrkit.texts.document import Fields
from xtrkit.values import FloatArray

try:
    import pandas as pd
    import pyterrier as pt
except ImportError as error:
    raise missing_extra("xtrkit in PyTerrier", "pyterrier") from error

DEFAULT_K = 1000
"""How many documents PyTerrier's own retrievers give."""
RANKED = ("docno", "score", "rank")
SCHEMATIC = {"help_url": None}
"""Of our classes PyTerrier's documentation has no page; to look for one, it would download its table of contents."""
TEXT = "text"


class XtrkitRetriever(pt.Transformer):
    """Searches an index. A frame of queries (qid, query) becomes one of results: docno, score, rank.

    A frame of results (qid, query, docno) is ranked anew by the index: of each query those documents alone are scored,
    from their vectors, without encoding them again.
    """

    def __init__(
        self,
        index: str | Path | Retriever,
        *,
        k: int = DEFAULT_K,
        columns: Sequence[str] = (),
        **choices: Any,
    ) -> None:
        """Open an index, or take one that is open.

        Args:
            index: its path, or a retriever.
            k: how many documents for each query. A search that must find many looks wider, which can change the
                places of the first: ``XtrkitRetriever(index, k=10)`` need not be ``XtrkitRetriever(index) % 10``.
            columns: what else of each document: "text", or names of metadata fields. Of a document that was cut into
                passages, what its best passage has.
            **choices: keyword arguments of :meth:`xtrkit.Retriever.search`: ``recipe``, ``where``, ``fusion``, …

        Raises:
            InputError: k, a column or a choice can't be used.
            IndexFormatError: there is no index.
        """
        check_k(k)
        check_choices(choices)
        self.index, self.k, self.choices = opened_here(index), k, choices
        _check_columns(self.index, columns)
        self.columns = tuple(columns)

    schematic = SCHEMATIC

    def __repr__(self) -> str:
        return f"XtrkitRetriever({str(self.index.index.path)!r})"

    def subtransformers(self) -> dict[str, Any]:
        """None; PyTerrier would take an empty tuple of columns for a list of some."""
        return {}

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Search for each query of a frame.

        Args:
            inp: with qid and query, and with docno where documents are to be ranked anew.

        Raises:
            InputError: a query isn't a text, or a document isn't in the index.
        """
        with pt.validate.any(inp, context=self) as frame:
            frame.query_frame(["query"], mode="queries")
            frame.result_frame(["query"], mode="results")
        subsets = None
        queries = inp
        if frame.mode == "results":
            subsets = {qid: docnos.tolist() for qid, docnos in inp.groupby("qid", sort=False)["docno"]}
            queries = inp[pt.model.query_columns(inp)].drop_duplicates("qid")
        queries = queries.drop(columns=[*RANKED, *self.columns], errors="ignore")
        pairs = list(zip(queries["qid"], queries["query"], strict=True))
        asked = (self.index, pairs, self.k, self.choices, subsets)
        hits = answers(*asked) if self.columns else []
        found = [ranked(of_query) for of_query in hits] if self.columns else rankings(*asked)
        places = [place for place, ranking in enumerate(found) for _ in ranking]
        flat = [hit for of_query in hits for hit in of_query]
        return (
            queries.iloc[places]
            .reset_index(drop=True)
            .assign(
                docno=pd.Series([document for ranking in found for document, _ in ranking], dtype=object),
                score=pd.Series([score for ranking in found for _, score in ranking], dtype=float),
                rank=pd.Series([rank for ranking in found for rank in range(len(ranking))], dtype=int),
                **{name: pd.Series([_value(hit, name) for hit in flat], dtype=object) for name in self.columns},
            )
        )


class XtrkitReranker(pt.Transformer):
    """Scores the texts of a frame of results by MaxSim with their queries (ColBERT's sum over query tokens)."""

    def __init__(self, model: str | Path | Encoder = "default", *, text: str = TEXT, batch_size: int = 32) -> None:
        """Load the encoder.

        Args:
            model: as :func:`xtrkit.load_encoder` takes it, or a loaded one.
            text: the column with the documents' texts.
            batch_size: texts encoded together.

        Raises:
            ModelError: the model can't be loaded.
        """
        self.model = loaded_encoder(model)
        self.text, self.batch_size = text, batch_size

    schematic = SCHEMATIC

    def __repr__(self) -> str:
        return f"XtrkitReranker({self.model.identity.name!r})"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Score each row, and rank the rows of each query.

        Rows stay, in the order of their new ranks; a text, or a query, with nothing in it has the score 0 and comes
        last.

        Args:
            inp: with qid, query, docno and the column of texts.

        Raises:
            InputError: a query or a text isn't one.
        """
        pt.validate.result_frame(inp, extra_columns=["query", self.text], context=self)
        frame = inp.drop(columns=["score", "rank"], errors="ignore").reset_index(drop=True)
        for name in ("query", self.text):
            for qid, given in zip(frame["qid"], frame[name], strict=True):
                if not isinstance(given, str):
                    raise InputError(
                        f"The column {name!r} must have texts, got {given!r} of type {type(given).__name__} for the "
                        f"query {qid!r}: load texts before, with columns=['text'] or pt.text.get_text."
                    )
        places = self._ranked(frame)
        scores = pd.Series([score for _, score in places], dtype=float)
        ranked = frame.loc[[place for place, _ in places]].reset_index(drop=True).assign(score=scores)
        return ranked.assign(rank=ranked.groupby("qid", sort=False).cumcount())

    def _ranked(self, frame: pd.DataFrame) -> list[tuple[int, float]]:
        """The places of the rows with their scores, query after query and best first.

        The texts of one query are encoded together, and then forgotten: a thousand have some 100 MB of token vectors.
        """
        queries = self._vectors(frame["query"], self.model.encode_queries)
        ranked: list[tuple[int, float]] = []
        for _, group in frame.groupby("qid", sort=False):
            query, best = queries.get(group["query"].iloc[0]), []
            if query is not None:
                texts = dict(zip(group.index, group[self.text], strict=True))
                documents = self._vectors(texts.values(), self.model.encode_documents)
                there = [place for place, text in texts.items() if text in documents]
                order, scores = maxsim_ranking(query, [documents[texts[place]] for place in there])
                best = [(there[one], score) for one, score in zip(order.tolist(), scores.tolist(), strict=True)]
            left = sorted(set(group.index) - {place for place, _ in best})
            ranked += falling([*best, *((place, 0.0) for place in left)])
        return ranked

    def _vectors(self, texts: Iterable[str], encode: Any) -> dict[str, FloatArray]:
        """{text: token vectors} of the texts that have something in them; each is encoded once."""
        different = [text for text in dict.fromkeys(texts) if has_content(text)]
        return dict(zip(different, encode(different, batch_size=self.batch_size), strict=True))


class XtrkitIndexer(pt.Indexer):
    """Makes an index of an iterator of {docno, text, …}; all other keys become metadata."""

    def __init__(
        self,
        path: str | Path,
        *,
        model: str | Path | Encoder = "default",
        nbits: int = DEFAULT_BITS,
        codec: str = "grid",
        split: bool = True,
        overwrite: bool = False,
        batch_size: int = 32,
        text: str = TEXT,
    ) -> None:
        """Say where the index goes and how it is made.

        Args:
            path: directory to make.
            model: as in :meth:`xtrkit.Retriever.create`.
            nbits: as there.
            codec: as there.
            split: as there; with it a document is found by its best passage, once.
            overwrite: as there.
            batch_size: as there.
            text: the key of the texts.
        """
        self.path, self.text = Path(path), text
        self.making: dict[str, Any] = {
            "model": model, "nbits": nbits, "codec": codec, "split": split, "overwrite": overwrite,
            "batch_size": batch_size,
        }  # fmt: skip

    def index(self, iter: Iterable[Mapping[str, Any]], **kwargs: Any) -> Retriever:  # noqa: A002  # PyTerrier's name
        """Encode documents and index them.

        Args:
            iter: the documents; gone through once.
            **kwargs: none.

        Raises:
            InputError: a document lacks docno or text, or can't be stored; nothing is left behind.
            IndexExistsError: something is at the path already.
        """
        if kwargs:
            raise InputError(f"Unknown argument {min(kwargs)!r}: say how to index when the indexer is made.")
        return Retriever.create(self.path, iter, fields=Fields(id="docno", text=self.text), **self.making)


def _value(hit: Hit, name: str) -> Any:
    return hit.text if name == TEXT else hit.metadata.get(name)


def _check_columns(retriever: Retriever, columns: Sequence[str]) -> None:
    """Refuse columns that documents don't have, or that PyTerrier has for something else."""
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise InputError(f"Columns come as a list of names, got {columns!r:.60}: put it in a list.")
    taken = sorted({"qid", "query", *RANKED} & set(columns))
    if taken:
        raise InputError(f"The column {taken[0]!r} is PyTerrier's own: name metadata fields of other names, or 'text'.")
    if TEXT in columns and not retriever.index.has_words:
        raise InputError("This index has no texts: leave out 'text', or build it with texts.")
    retriever.index.check_fields([name for name in columns if name != TEXT])
