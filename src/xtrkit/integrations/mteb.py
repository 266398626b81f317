"""xtrkit in MTEB: its retrieval and reranking tasks measure the index that users search, not a brute-force product.

::

    model = XtrkitSearch(nbits=4, scoring="maxsim")  # or XtrkitSearch.of("idx"), an index that is there already
    mteb.evaluate(model, mteb.get_tasks(["NFCorpus"]))

:class:`XtrkitSearch` is a ``SearchProtocol``: MTEB gives it a corpus, which it indexes, and then all queries. Scores
fall strictly within a query, as 32-bit floats: MTEB ranks by them, and would put equals in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from xtrkit.asking import Request, request_of
from xtrkit.errors import InputError, missing_extra
from xtrkit.evaluation.beir import open_corpus, read_test_collection
from xtrkit.integrations.answering import rankings
from xtrkit.integrations.corpus_index import CorpusIndex, CorpusSearch

try:
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta, ScoringFunction
except ImportError as error:
    raise missing_extra("xtrkit in MTEB", "mteb") from error


def beir_task(path: str | Path, name: str, *, split: str = "test", language: str = "eng-Latn") -> AbsTaskRetrieval:
    """A task of MTEB's own kind of a BEIR folder on this machine: the same figures for a collection of one's own.

    MTEB leaves out queries without a judgement; those without a relevant document count as 0, as in trec_eval.

    Args:
        path: the folder, with corpus, queries and qrels.
        name: what MTEB calls the task.
        split: which judgements.
        language: of the texts, as MTEB writes it.

    Raises:
        CollectionError: a file is missing or can't be read.
    """
    test = read_test_collection(path, split)
    corpus = [
        {"id": passage.id, "title": "", "text": passage.text or ""} for passage in open_corpus(Path(path).absolute())
    ]
    described = TaskMetadata(
        name=name, description=f"The collection {name}, from a BEIR folder.", type="Retrieval", category="t2t",
        main_score="ndcg_at_10", eval_splits=[split], eval_langs=[language],
        dataset={"path": str(path), "revision": "local"},
    )  # fmt: skip

    class BeirTask(AbsTaskRetrieval):
        metadata = described

        def load_data(self, *_: Any, **__: Any) -> None:
            queries = [{"id": query, "text": text} for query, text in test.queries.items()]
            of_split = {
                "corpus": Dataset.from_list(corpus),
                "queries": Dataset.from_list(queries),
                "relevant_docs": {query: dict(judged) for query, judged in test.qrels.items()},
                "top_ranked": None,
            }
            self.dataset, self.data_loaded = {"default": {split: of_split}}, True

    return BeirTask()


class XtrkitSearch(CorpusSearch):
    """Indexes MTEB's corpora and searches them."""

    @cached_property
    def mteb_model_meta(self) -> ModelMeta:
        """What MTEB files results under: the model by name and fingerprint, and how it was indexed and searched.

        The latter are the experiment's arguments, so that no result of other settings is taken from MTEB's cache.
        """
        return _meta(self._corpus, self._choices)

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        **not_needed: Any,
    ) -> None:
        """Index a task's corpus.

        Args:
            corpus: dataset with id, text and, as it may be, title.
            task_metadata: the task's.
            hf_split: names the index, with the task and the subset.
            hf_subset: names it, too.
            encode_kwargs: ``batch_size`` and ``show_progress_bar`` are used.
            **not_needed: how many processes load data, and what MTEB may add.

        Raises:
            InputError: the task is of pictures or sounds, or the index that is there is of another corpus.
        """
        if list(task_metadata.modalities) != ["text"]:
            raise InputError(f"The task {task_metadata.name} is of {task_metadata.modalities}: xtrkit searches texts.")
        self._corpus.take(
            corpus,
            f"{task_metadata.name}-{hf_subset}-{hf_split}",
            batch_size=encode_kwargs.get("batch_size") or 32,
            progress=bool(encode_kwargs.get("show_progress_bar")),
        )

    def search(
        self,
        queries: Any,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **not_needed: Any,
    ) -> dict[str, dict[str, float]]:
        """Search for a task's queries.

        Args:
            queries: dataset with id and text; conversations and instructions become one text, as with MTEB's models.
            top_k: how many documents for each query.
            top_ranked: of a reranking task, {query: documents that alone may be found}.
            **not_needed: the task, its split and subset, and how its own models encode.

        Returns:
            {query: {document: score}}.

        Raises:
            InputError: no corpus was given before, or a query isn't a text.
        """
        retriever = self._corpus.retriever
        if retriever is None:
            raise InputError("There is no corpus to search yet: call index(corpus, …) before search(…).")
        pairs = list(_texts(queries))
        found = rankings(retriever, pairs, top_k, self._choices, self._corpus.known(top_ranked))
        return {query: dict(ranking) for (query, _), ranking in zip(pairs, found, strict=True)}


def _texts(queries: Any) -> Iterator[tuple[str, str]]:
    """(id, text) of each query, as MTEB's own models read it."""
    for row in queries:
        if "id" not in row or "text" not in row:
            raise InputError(f'MTEB\'s queries have "id" and "text", got {row!r:.80}.')
        text, instruction = row["text"], row.get("instruction")
        if isinstance(text, list):
            turns = [turn if isinstance(turn, str) else f"{turn['role']}: {turn['content']}" for turn in text]
            yield row["id"], " ".join([*([instruction] if instruction else []), "; ".join(turns)])
        else:
            yield row["id"], f"{text} {instruction}" if instruction else text


def _meta(corpus: CorpusIndex, choices: Mapping[str, Any]) -> ModelMeta:
    """What MTEB is told of a model."""
    identity = corpus.encoder.identity
    name = identity.name if identity.name.count("/") == 1 else f"xtrkit/{Path(identity.name).name}"
    return ModelMeta.create_empty(
        {
            "name": name,
            "revision": identity.fingerprint[:12],
            "embed_dim": identity.dim,
            "max_tokens": identity.document_length,
            "similarity_fn_name": ScoringFunction.MAX_SIM,
            "model_type": ["late-interaction"],
            "experiment_kwargs": {"engine": "xtrkit", **corpus.making, **_settings(request_of(choices))},
        }
    )


def _settings(request: Request) -> dict[str, Any]:
    """What differs from a search without any choice."""
    plain = Request()
    settings = {name: getattr(request, name) for name in vars(plain) if name not in ("recipe", "subset")}
    settings |= asdict(request.recipe)
    usual = vars(plain) | asdict(plain.recipe)
    return {name: value for name, value in settings.items() if value != usual[name]}
