"""xtrkit as an evaluator of sentence-transformers: a model in training is measured by the index that will be searched.

::

    evaluator = XtrkitEvaluator(queries, corpus, relevant_docs, name="dev", recipe=XTR)
    MultiVectorEncoderTrainer(model, args, train_dataset, loss=loss, evaluator=evaluator)

The evaluators that sentence-transformers brings compare every query with every document in full precision, and refuse
XTR's scoring; what a model loses by compression, or by k', shows only in a real index.
"""

from __future__ import annotations

import csv
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from xtrkit.asking import check_query
from xtrkit.errors import InputError, XtrkitWarning, missing_extra
from xtrkit.evaluation.measures import depth_of, evaluate, parse_measures
from xtrkit.evaluation.notes import quoted
from xtrkit.index import Index
from xtrkit.indexing.store import DEFAULT_BITS
from xtrkit.recipes import XTR, Recipe
from xtrkit.values import FloatArray

try:
    from sentence_transformers.base.evaluation import BaseEvaluator
except ImportError as error:
    raise missing_extra("xtrkit in sentence-transformers", "torch") from error

AT_A_TIME = 1024
"""Documents whose token vectors are in memory together."""


class XtrkitEvaluator(BaseEvaluator):
    """Indexes a corpus with the vectors of a ``MultiVectorEncoder``, searches it, and measures the rankings.

    It is called as sentence-transformers calls all evaluators, and may be part of a ``SequentialEvaluator``. The index
    lies in a temporary folder while it is searched. Texts are cut off at the model's window, as in training.
    """

    def __init__(
        self,
        queries: Mapping[str, str],
        corpus: Mapping[str, str],
        relevant_docs: Mapping[str, Iterable[str] | Mapping[str, int]],
        *,
        name: str = "",
        measures: Sequence[str] = ("nDCG@10",),
        recipe: Recipe = XTR,
        nbits: int = DEFAULT_BITS,
        batch_size: int = 32,
    ) -> None:
        """Take a test collection.

        Args:
            queries: {id: text}; those that ``relevant_docs`` does not have are not asked.
            corpus: {id: text}.
            relevant_docs: {query: ids of relevant documents}, or {query: {document: grade}}.
            name: what stands before the measures' names, as with other evaluators: "dev_nDCG@10".
            measures: as ir-measures writes them; the first one is the primary metric.
            recipe: how to score.
            nbits: as in :meth:`xtrkit.Index.create`.
            batch_size: texts encoded together.

        Raises:
            InputError: a query, a judgement or a measure can't be used.
        """
        super().__init__()
        self.name, self.recipe, self.nbits, self.batch_size = name, recipe, nbits, batch_size
        self.measures = parse_measures(" ".join(measures))
        self.primary_metric = self.measures[0]
        self.corpus = dict(corpus)
        self.qrels = {
            query: dict(of) if isinstance(of, Mapping) else dict.fromkeys(of, 1) for query, of in relevant_docs.items()
        }
        _check(self.qrels, queries, self.corpus)
        self.queries = {query: queries[query] for query in self.qrels}

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Measure a model.

        Args:
            model: a ``MultiVectorEncoder``.
            output_path: a folder, to which a line of a CSV file is added.
            epoch: of the training, for that line.
            steps: of the epoch, for that line.

        Returns:
            {measure: value}; zeros, and a warning, where the model gives numbers that are not finite.
        """
        figures = self._figures(model)
        metrics = self.prefix_name_to_metrics(figures, self.name)
        self.store_metrics_in_model_card_data(model, metrics, epoch, steps)
        if output_path is not None:
            self._write(Path(output_path), [epoch, steps, *figures.values()])
        return dict(metrics)

    def get_config_dict(self) -> dict[str, Any]:
        """What the model's card says of it."""
        return {"nbits": self.nbits, "scoring": self.recipe.scoring, "k_prime": self.recipe.k_prime}

    def _figures(self, model: Any) -> dict[str, float]:
        options = {"batch_size": self.batch_size, "convert_to_numpy": True, "show_progress_bar": False}
        documents = (_finite(model.encode_document(texts, **options)) for texts in _parts(self.corpus.values()))
        try:
            asked = _finite(model.encode_query(list(self.queries.values()), **options))
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "index")
                with Index.create(path, documents, ids=list(self.corpus), nbits=self.nbits) as index:
                    rankings = index.search_batch(asked, depth_of(self.measures), recipe=self.recipe)
        except _NotFiniteError:
            told = "The model gives numbers that are not finite: every measure is 0. Look at the learning rate."
            warnings.warn(told, XtrkitWarning, stacklevel=3)
            return dict.fromkeys(self.measures, 0.0)
        run = {query: list(ranking) for query, ranking in zip(self.queries, rankings, strict=True)}
        return dict(evaluate(run, self.qrels, self.measures))

    def _write(self, folder: Path, values: Sequence[float]) -> None:
        """Add a line to the file of results, below its header."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"xtrkit_evaluation{'_' * bool(self.name)}{self.name}_results.csv"
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["epoch", "steps", *self.measures])
            writer.writerow(values)


class _NotFiniteError(Exception):
    """A model's vectors have NaN or infinity in them."""


def _finite(vectors: Sequence[Any]) -> list[FloatArray]:
    """Token vectors as float32.

    Raises:
        _NotFiniteError: they have NaN or infinity in them.
    """
    rows = [np.asarray(of_text, dtype=np.float32) for of_text in vectors]
    if not all(np.isfinite(of_text).all() for of_text in rows):
        raise _NotFiniteError
    return rows


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    left = iter(texts)
    while part := list(islice(left, AT_A_TIME)):
        yield part


def _check(qrels: Mapping[str, Mapping[str, int]], queries: Mapping[str, str], corpus: Mapping[str, str]) -> None:
    """Refuse judgements of what is not there, and queries that ask nothing."""
    unknown = [query for query in qrels if query not in queries]
    if not qrels or unknown:
        told = f"judges queries that are not there {quoted(unknown)}" if unknown else "has no judgements"
        raise InputError(f"relevant_docs {told}: expected {{query: ids of its relevant documents}}.")
    missing = sorted({document for judged in qrels.values() for document in judged} - set(corpus))
    if missing:
        raise InputError(f"relevant_docs names documents that the corpus does not have {quoted(missing)}.")
    for query in qrels:
        try:
            check_query(queries[query])
        except InputError as error:
            raise InputError(f"Query {query!r}: {error}") from error
