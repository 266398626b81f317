"""RAGatouille's ``RAGPretrainedModel`` on xtrkit: its methods, arguments and results (as of RAGatouille 0.0.9).

>>> from xtrkit.compat.ragatouille import RAGPretrainedModel
>>> RAG = RAGPretrainedModel.from_pretrained("default")  # doctest: +SKIP
>>> path = RAG.index(index_name="my_index", collection=["a text", "another"])  # doctest: +SKIP
>>> results = RAG.search("who wrote it?", k=3)  # doctest: +SKIP

Scores are ColBERT's sums. What works otherwise here is told in ``docs/moving.md``; arguments that have no meaning here
are taken, and a warning says so once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xtrkit.asking import check_query
from xtrkit.compat.chunks import Preprocessing, Splitter, Texts, check_texts, of_each
from xtrkit.compat.saying import say_once, without_meaning
from xtrkit.encoding.base import Encoder
from xtrkit.encoding.load import load_encoder, loaded_encoder
from xtrkit.errors import IndexExistsError, InputError
from xtrkit.hits import Hit
from xtrkit.passage import Metadata
from xtrkit.recipes import COLBERT, XTR, check_k
from xtrkit.retriever import Retriever, free_numbers
from xtrkit.scoring.maxsim import maxsim_ranking
from xtrkit.values import FloatArray

if TYPE_CHECKING:
    from xtrkit.integrations.langchain import XtrkitCompressor, XtrkitRetriever

Result = dict[str, Any]
Results = list[Result] | list[list[Result]]
"""Of one query a list of results, of several a list of such lists."""

BatchSize = int | Literal["auto"]
USUAL_BATCH = 32

INDEX_ROOT = ".ragatouille/"
NEW_INDEX = "new_index"
"""What an index is called that was given no name."""

REPLACING = (True, "force_silent_overwrite")
KEEPING = (False, "resume")


@dataclass(frozen=True)
class Encoded:
    """A text that is searched in memory."""

    text: str
    metadata: Mapping[str, Any] | None
    rows: FloatArray


class RAGPretrainedModel:
    """A model, an index of it, and texts that it has encoded in memory.

    Attributes:
        index_name: the index that is searched, unless another is named.
    """

    def __init__(self, model: str | Path | Encoder, folder: Path, *, verbose: int = 1) -> None:
        """Keep what :meth:`from_pretrained` and :meth:`from_index` were given.

        Args:
            model: the encoder, or where it is.
            folder: where indexes are found by name.
            verbose: 0 shows no progress.
        """
        self.index_name: str | None = None
        self._model, self._folder, self._progress = model, folder, verbose != 0
        self._encoder: Encoder | None = None if isinstance(model, str | Path) else model
        self._retriever: Retriever | None = None
        self._in_memory: list[Encoded] = []

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        n_gpu: int = -1,
        verbose: int = 1,
        index_root: str | None = None,
    ) -> RAGPretrainedModel:
        """A model by its name or directory, as :func:`xtrkit.load_encoder` takes them; it is loaded when it is used.

        Args:
            pretrained_model_name_or_path: the model.
            n_gpu: has no meaning here.
            verbose: 0 shows no progress.
            index_root: indexes are in ``colbert/indexes`` below it; ``.ragatouille/`` unless said otherwise.
        """
        without_meaning("n_gpu", n_gpu, -1, "models use the device that torch finds, exported ones the CPU")
        folder = Path(INDEX_ROOT if index_root is None else index_root) / "colbert" / "indexes"
        return cls(pretrained_model_name_or_path, folder, verbose=verbose)

    @classmethod
    def from_index(cls, index_path: str | Path, n_gpu: int = -1, verbose: int = 1) -> RAGPretrainedModel:
        """An index by its path, with the model that made it.

        Args:
            index_path: an index that xtrkit made.
            n_gpu: has no meaning here.
            verbose: 0 shows no progress.

        Raises:
            InputError: RAGatouille made it.
            IndexFormatError: there is no index, or it is damaged.
        """
        without_meaning("n_gpu", n_gpu, -1, "models use the device that torch finds, exported ones the CPU")
        path = Path(index_path)
        if (path / "pid_docid_map.json").is_file():
            raise InputError(
                f"{path} is an index that RAGatouille made: make one of xtrkit's of it, as docs/moving.md shows, or "
                "index the texts in its collection.json again."
            )
        retriever = Retriever.open(path)
        opened = cls(retriever.encoder, path.parent, verbose=verbose)
        opened.index_name, opened._retriever = path.name, retriever
        return opened

    @property
    def encoder(self) -> Encoder:
        """The model."""
        if self._encoder is None:
            self._encoder = loaded_encoder(self._model)
        return self._encoder

    def index(
        self,
        collection: list[str],
        document_ids: list[str] | None = None,
        document_metadatas: Sequence[Metadata | None] | None = None,
        index_name: str | None = None,
        overwrite_index: bool | str = True,
        max_document_length: int = 256,
        split_documents: bool = True,
        document_splitter_fn: Splitter | None = None,
        preprocessing_fn: Preprocessing | list[Preprocessing] | None = None,
        bsize: int = USUAL_BATCH,
        use_faiss: bool = False,
    ) -> str:
        """Index texts, and search that index from now on.

        Args:
            collection: the texts.
            document_ids: their ids; their places where they are left out.
            document_metadatas: metadata of each, values as :class:`xtrkit.Passage` has them.
            index_name: the index's name.
            overwrite_index: True or "force_silent_overwrite" replace an index of that name, False and "resume" do not
                (a build that was stopped goes on either way), and "reuse" opens it.
            max_document_length: most tokens of a passage, and at most what the model can take.
            split_documents: cut longer texts into passages; without it they are cut off.
            document_splitter_fn: cuts them instead of xtrkit: called with the texts, their ids and ``chunk_size``.
            preprocessing_fn: one function after the other, called with ``[{"document_id", "content"}]`` and the ids.
            bsize: texts encoded together.
            use_faiss: has no meaning here.

        Returns:
            the path of the index.

        Raises:
            InputError: something is no text, or the lists are not of one length; nothing is left behind.
            IndexExistsError: there is an index of that name, and it shall stay.
        """
        without_meaning("use_faiss", use_faiss, False, "clusters are found by xtrkit itself")
        if overwrite_index not in (*REPLACING, *KEEPING, "reuse"):
            raise InputError(f"overwrite_index is True, False, 'reuse' or 'resume', got {overwrite_index!r}.")
        name = NEW_INDEX if index_name is None else index_name
        path = self._folder / name
        if overwrite_index == "reuse" and path.exists():
            self._open(name)
            return str(path)
        if overwrite_index in KEEPING and path.exists():
            raise IndexExistsError(f"There is something at {path}: name another index, or pass overwrite_index=True.")
        texts = Texts.given(collection, document_ids, document_metadatas, count())
        splitter = document_splitter_fn if split_documents else None
        passages = texts.passages(splitter, preprocessing_fn, max_document_length)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._retriever = Retriever.create(
            path,
            passages,
            model=self._shortened(max_document_length),
            split=split_documents,
            overwrite=True,
            batch_size=bsize,
            progress=self._progress,
        )
        self.index_name = name
        return str(path)

    def add_to_index(
        self,
        new_collection: list[str],
        new_document_ids: list[str] | None = None,
        new_document_metadatas: Sequence[Metadata | None] | None = None,
        index_name: str | None = None,
        split_documents: bool = True,
        document_splitter_fn: Splitter | None = None,
        preprocessing_fn: Preprocessing | list[Preprocessing] | None = None,
        bsize: int = USUAL_BATCH,
        use_faiss: bool = False,
    ) -> None:
        """Add texts in one commit; those whose ids are there already are replaced.

        Args:
            new_collection: as in :meth:`index`.
            new_document_ids: their ids; numbers that no text has where they are left out.
            new_document_metadatas: as in :meth:`index`.
            index_name: which index; the present one where it is left out.
            split_documents: as in :meth:`index`; texts are cut as those of the index were.
            document_splitter_fn: as in :meth:`index`.
            preprocessing_fn: as in :meth:`index`.
            bsize: as in :meth:`index`.
            use_faiss: has no meaning here.

        Raises:
            InputError: as in :meth:`index`; nothing was added.
        """
        without_meaning("use_faiss", use_faiss, False, "clusters are found by xtrkit itself")
        retriever = self._of(index_name)
        if split_documents != (retriever.index.splitting is not None) and document_splitter_fn is None:
            say_once(
                f"split_documents={split_documents} is not how this index was made: texts that are added are cut as "
                "those of the index were."
            )
        texts = Texts.given(new_collection, new_document_ids, new_document_metadatas, free_numbers(retriever.index))
        length = self.encoder.identity.document_length
        splitter = document_splitter_fn if split_documents else None
        passages = texts.passages(splitter, preprocessing_fn, length)
        retriever.add(passages, batch_size=bsize, progress=self._progress)

    def delete_from_index(self, document_ids: str | list[str], index_name: str | None = None) -> None:
        """Delete documents, all passages of them, in one commit.

        Args:
            document_ids: an id, or several.
            index_name: which index; the present one where it is left out.

        Raises:
            InputError: one is not there; nothing was deleted.
        """
        names = [document_ids] if isinstance(document_ids, str) else document_ids
        self._of(index_name).delete(documents=names)

    def search(
        self,
        query: str | list[str],
        index_name: str | None = None,
        k: int = 10,
        force_fast: bool = False,
        zero_index_ranks: bool = False,
        doc_ids: list[str] | None = None,
        **more: Any,
    ) -> Results:
        """The k best passages, best first.

        Each is a dict of ``content``, ``score``, ``rank``, ``document_id``, ``passage_id``, and ``document_metadata``
        where it has some.

        Args:
            query: a text, or several.
            index_name: which index; the present one where it is left out.
            k: how many passages.
            force_fast: score by the retrieved tokens alone (XTR), without looking at whole passages.
            zero_index_ranks: the best one's rank is 0 instead of 1.
            doc_ids: the documents that may be found.
            **more: other arguments of :meth:`xtrkit.Retriever.search`, such as ``where`` and ``fusion``.

        Raises:
            InputError: a query is empty, or k or a choice can't be used; there is no index yet.
        """
        retriever, choices = self._of(index_name), _choices(force_fast, doc_ids) | more
        first = 0 if zero_index_ranks else 1
        if isinstance(query, str):
            return [_result(hit, first) for hit in retriever.search(query, k, **choices)]
        answers = retriever.search_batch(query, k, **choices)
        return [[_result(hit, first) for hit in hits] for hits in answers]

    def rerank(
        self,
        query: str | list[str],
        documents: list[str],
        k: int = 10,
        zero_index_ranks: bool = False,
        bsize: BatchSize = "auto",
    ) -> Results:
        """The k best of given texts: ``content``, ``score``, ``rank``, and ``result_index``, the text's place.

        Args:
            query: a text, or several.
            documents: the texts; they need not be in an index.
            k: how many; all where there are fewer.
            zero_index_ranks: the best one's rank is 0 instead of 1.
            bsize: texts encoded together.

        Raises:
            InputError: a query is empty, or k is not a positive whole number.
        """
        encoded = self._encoded(documents, None, bsize, "auto", progress=False)
        return self._ranked(query, encoded, k, 0 if zero_index_ranks else 1)

    def encode(
        self,
        documents: list[str],
        bsize: BatchSize = "auto",
        document_metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        verbose: bool = True,
        max_document_length: BatchSize = "auto",
    ) -> None:
        """Encode texts and keep them in memory, beside those that are there.

        Args:
            documents: the texts.
            bsize: texts encoded together.
            document_metadatas: anything, one dict a text, that comes back with it.
            verbose: show progress.
            max_document_length: most tokens of a text.

        Raises:
            InputError: something is no text, or the lists are not of one length.
        """
        self._in_memory += self._encoded(
            documents, document_metadatas, bsize, max_document_length, progress=verbose and self._progress
        )

    def search_encoded_docs(self, query: str | list[str], k: int = 10, bsize: int = USUAL_BATCH) -> Results:
        """The k best of the texts in memory, as :meth:`rerank` gives them, and ``document_metadata``.

        Args:
            query: a text, or several.
            k: how many; all where there are fewer.
            bsize: queries encoded together.

        Raises:
            InputError: nothing is encoded, a query is empty, or k is not a positive whole number.
        """
        if not self._in_memory:
            raise InputError("There are no texts in memory: encode some first.")
        return self._ranked(query, self._in_memory, k, 1, bsize)

    def clear_encoded_docs(self, force: bool = False) -> None:
        """Forget the texts in memory, at once.

        Args:
            force: RAGatouille waits for ten seconds without it; here nothing waits.
        """
        self._in_memory = []

    def as_langchain_retriever(self, **as_in_search: Any) -> XtrkitRetriever:
        """The present index as a retriever of LangChain, with metadata, scores and ranks.

        Args:
            **as_in_search: arguments of :meth:`search`, but the query and ``zero_index_ranks``.

        Raises:
            InputError: there is no index yet.
            MissingExtraError: LangChain isn't installed.
        """
        from xtrkit.integrations.langchain import XtrkitRetriever

        if "zero_index_ranks" in as_in_search:
            raise InputError('Documents of LangChain have no such rank: "$rank" in their metadata is 1 for the best.')
        retriever = self._of(as_in_search.pop("index_name", None))
        k, where = as_in_search.pop("k", 10), as_in_search.pop("where", None)
        choices = _choices(as_in_search.pop("force_fast", False), as_in_search.pop("doc_ids", None))
        return XtrkitRetriever(retriever, k=k, where=where, search_kwargs=choices | as_in_search)

    def as_langchain_document_compressor(self, k: int = 5, **as_in_rerank: Any) -> XtrkitCompressor:
        """The model as a document compressor of LangChain.

        Args:
            k: how many documents are kept.
            **as_in_rerank: ``bsize`` and ``zero_index_ranks`` of :meth:`rerank`, which have no meaning for it.

        Raises:
            InputError: k is not a positive whole number, or an argument is none of :meth:`rerank`.
            MissingExtraError: LangChain isn't installed.
        """
        from xtrkit.integrations.langchain import XtrkitCompressor

        for name, value in as_in_rerank.items():
            if name not in ("bsize", "zero_index_ranks"):
                raise InputError(f"Unknown argument {name!r}: a compressor takes k.")
            without_meaning(name, value, None, "LangChain's documents have neither ranks nor batches")
        return XtrkitCompressor(self.encoder, k=k)

    def _of(self, name: str | None) -> Retriever:
        """The index of a name, or the present one."""
        if name is not None and (name != self.index_name or self._retriever is None):
            self._open(name)
        if self._retriever is None:
            raise InputError("There is no index yet: make one with index(), or name one with index_name.")
        return self._retriever

    def _open(self, name: str) -> None:
        model = self._model if isinstance(self._model, str | Path) else self._model.identity.name
        self._retriever, self.index_name = Retriever.open(self._folder / name, model=str(model)), name

    def _shortened(self, length: int) -> Encoder:
        """The model, with a window of so many tokens, where it can have that."""
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise InputError(f"max_document_length must be a whole number of at least 1, got {length!r}.")
        identity = self.encoder.identity
        if identity.document_length == length:
            return self.encoder
        try:
            self._encoder = load_encoder(identity.name, document_length=length)
        except InputError:
            self._encoder = load_encoder(identity.name)
            longest = self._encoder.identity.document_length
            if length <= longest:
                raise
            say_once(f"max_document_length={length} is more than the model can take: passages have up to {longest}.")
        return self.encoder

    def _encoded(
        self,
        documents: list[str],
        metadatas: Sequence[Mapping[str, Any] | None] | None,
        bsize: BatchSize,
        length: BatchSize,
        *,
        progress: bool,
    ) -> list[Encoded]:
        check_texts(documents)
        facts = of_each(documents, metadatas, "document_metadatas")
        encoder = self.encoder if length == "auto" else self._shortened(length)
        rows = encoder.encode_documents(documents, batch_size=_batch_size(bsize), progress=progress)
        return [Encoded(*one) for one in zip(documents, facts, list(rows), strict=True)]

    def _ranked(
        self, query: str | list[str], given: list[Encoded], k: int, first: int, bsize: BatchSize = "auto"
    ) -> Results:
        check_k(k)
        queries = [query] if isinstance(query, str) or not isinstance(query, Sequence) else list(query)
        for one in queries:
            check_query(one)
        embeddings = self.encoder.encode_queries(queries, batch_size=_batch_size(bsize))
        answers = [_best(embedding, given, k, first) for embedding in embeddings]
        return answers[0] if isinstance(query, str) else answers


def _batch_size(given: BatchSize) -> int:
    if given == "auto":
        return USUAL_BATCH
    if isinstance(given, bool) or not isinstance(given, int):
        raise InputError(f'bsize is a whole number or "auto", got {given!r}.')
    return given


def _choices(force_fast: bool, doc_ids: list[str] | None) -> dict[str, Any]:
    """What a search is asked for, beside query and k."""
    recipe = XTR.but(reduction="sum") if force_fast else COLBERT
    return {"recipe": recipe, "subset": doc_ids, "group_by_document": False}


def _result(hit: Hit, first: int) -> Result:
    metadata = {"document_metadata": dict(hit.metadata)} if hit.metadata else {}
    return {
        "content": hit.text,
        "score": hit.score,
        "rank": hit.rank - 1 + first,
        "document_id": hit.document,
        "passage_id": hit.id,
        **metadata,
    }


def _best(query: FloatArray, given: list[Encoded], k: int, first: int) -> list[Result]:
    places, scores = maxsim_ranking(query, [one.rows for one in given], min(k, len(given)))
    results = []
    for rank, (place, score) in enumerate(zip(places.tolist(), scores.tolist(), strict=True), first):
        one = given[place]
        metadata = {} if one.metadata is None else {"document_metadata": one.metadata}
        results.append({"content": one.text, "score": score, "rank": rank, "result_index": place, **metadata})
    return results
