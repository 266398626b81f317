"""The dev set: held-out queries, and how well a model in training finds their documents, through a real index."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator
from torch import nn

from xtrkit.encoding.modules import quiet
from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.beir import open_corpus, read_test_collection
from xtrkit.evaluation.ids import trimmed
from xtrkit.evaluation.measures import evaluate
from xtrkit.index import Index
from xtrkit.recipes import COLBERT, XTR, Recipe
from xtrkit.training.card import MEASURE
from xtrkit.training.data import TrainingData
from xtrkit.training.inputs import Inputs
from xtrkit.values import FloatArray

_ROWS = 64


@dataclass(frozen=True)
class DevSet:
    """Queries, documents, and which are relevant, by their places.

    Attributes:
        queries: texts.
        documents: texts: the relevant ones, and others that they must be found among.
        relevant: {query: {document: relevance}}.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    relevant: dict[int, dict[int, int]]


def read_dev_set(path: str, *, most_queries: int, most_documents: int, seed: int) -> DevSet:
    """A BEIR folder's judgements (``qrels/dev.tsv``, or ``FOLDER:SPLIT``), with a sample of its corpus.

    Raises:
        CollectionError: files are missing, or nothing is judged relevant.
    """
    folder, colon, split = path.rpartition(":")
    if not (colon and Path(folder).is_dir()):
        folder, split = path, "dev"
    test = read_test_collection(folder, split)
    random = np.random.default_rng(seed)
    judged = {query: {d: r for d, r in found.items() if r > 0} for query, found in test.qrels.items()}
    names = [query for query, found in judged.items() if found]
    if not names:
        raise CollectionError(f"The dev set {path} is empty: no query has a relevant document in qrels/{split}.tsv.")
    names = [names[n] for n in _sample(len(names), most_queries, random)]
    needed = {document for name in names for document in judged[name]}
    passages = [passage._replace(id=trimmed(passage.id)) for passage in open_corpus(Path(folder))]
    others = [n for n, passage in enumerate(passages) if passage.id not in needed]
    n_others = max(0, most_documents - (len(passages) - len(others)))
    chosen = {others[n] for n in _sample(len(others), n_others, random)}
    kept = [passage for n, passage in enumerate(passages) if passage.id in needed or n in chosen]
    place = {passage.id: n for n, passage in enumerate(kept)}
    if missing := sorted(needed - set(place)):
        raise CollectionError(f"qrels/{split}.tsv of {folder} names {missing[0]!r}, which its corpus does not have.")
    relevant = {n: {place[d]: r for d, r in judged[name].items()} for n, name in enumerate(names)}
    return DevSet([test.queries[name] for name in names], [passage.text or "" for passage in kept], relevant)


def hold_out(data: TrainingData, *, most_queries: int, most_documents: int, seed: int) -> tuple[TrainingData, DevSet]:
    """Take a tenth of the training queries, at most ``most_queries``, out of the training data, for a dev set.

    Raises:
        InputError: there are too few queries.
    """
    names = sorted({example.query for example in data.examples})
    n_held = min(most_queries, len(names) // 10)
    if n_held < 1:
        raise InputError(
            f"The dev set is empty: {len(names)} training queries are too few to hold a tenth of them out. Name a BEIR "
            "folder with --dev, or train without looking with --dev none."
        )
    random = np.random.default_rng(seed)
    held = [names[n] for n in _sample(len(names), n_held, random)]
    needed = {document for query in held for document in data.positives[query]}
    others = [n for n in range(len(data.documents)) if n not in needed]
    chosen = {others[n] for n in _sample(len(others), max(0, most_documents - len(needed)), random)}
    kept = sorted(needed | chosen)
    place = {document: n for n, document in enumerate(kept)}
    relevant = {n: {place[d]: 1 for d in data.positives[query]} for n, query in enumerate(held)}
    left = [n for n, example in enumerate(data.examples) if example.query not in set(held)]
    dev = DevSet([data.queries[query] for query in held], [data.documents[document] for document in kept], relevant)
    return data.keeping(left), dev


def _sample(n: int, most: int, random: np.random.Generator) -> list[int]:
    chosen: list[int] = sorted(random.choice(n, size=min(n, most), replace=False).tolist())
    return chosen


class DevEvaluator(BaseEvaluator):  # type: ignore[misc]
    """nDCG@10 of a model in training: its embeddings go into an :class:`~xtrkit.Index`, which is searched.

    Args:
        dev: the dev set.
        embedder: what makes token embeddings: the model, or its upper layers.
        queries: the dev queries as the embedder takes them.
        documents: the dev documents as the embedder takes them.
        scores: "xtr" or "maxsim".
        nbits: as in :meth:`xtrkit.Index.create`.
    """

    def __init__(
        self, dev: DevSet, embedder: nn.Module, queries: Inputs, documents: Inputs, *, scores: str, nbits: int = 16
    ) -> None:
        super().__init__()
        self.primary_metric = MEASURE
        self._dev, self._embedder, self._queries, self._documents = dev, embedder, queries, documents
        self._recipe: Recipe = XTR if scores == "xtr" else COLBERT
        self._nbits = nbits

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Index the dev documents, search the dev queries, and measure."""
        training = model.training
        model.eval()
        try:
            queries = embed(self._embedder, self._queries, "query", len(self._dev.queries), model.device)
            documents = embed(self._embedder, self._documents, "document", len(self._dev.documents), model.device)
        finally:
            model.train(training)
        if not all(np.isfinite(rows).all() for rows in (*queries, *documents)):
            return {MEASURE: 0.0}  # the next step's loss says it
        with (
            tempfile.TemporaryDirectory() as folder,
            Index.create(Path(folder) / "dev", [documents], nbits=self._nbits) as index,
        ):
            rankings = index.search_batch(queries, 10, recipe=self._recipe)
        run = {str(n): list(ranking) for n, ranking in enumerate(rankings)}
        qrels = {str(n): {str(d): r for d, r in found.items()} for n, found in self._dev.relevant.items()}
        return {MEASURE: evaluate(run, qrels, [MEASURE])[MEASURE]}


def embed(embedder: nn.Module, inputs: Inputs, task: str, n: int, device: torch.device) -> list[FloatArray]:
    """Token embeddings of the first ``n`` texts: one (tokens, d) array a text."""
    found: list[FloatArray] = []
    for first in range(0, n, _ROWS):
        with quiet(), torch.inference_mode():
            features = inputs.features(task, range(first, min(first + _ROWS, n)))
            features = {key: value.to(device) for key, value in features.items()}
            tokens = features["attention_mask"].bool()
            outputs = embedder(features, task=task)
        kept = outputs["attention_mask"].bool()
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, tokens)
        vectors = outputs["token_embeddings"].float()
        found += [rows[mask].cpu().numpy() for rows, mask in zip(vectors, kept, strict=True)]
    return found
