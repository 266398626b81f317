"""PyLate's quick starts with our import line, and what of its arguments is honoured, said or refused."""

import warnings

import numpy as np
import pytest
import torch

from xtrkit import Index, load_encoder
from xtrkit.compat.pylate import indexes, models, rank, retrieve
from xtrkit.compat.saying import say_once
from xtrkit.errors import IndexExistsError, InputError, XtrkitWarning
from xtrkit.recipes import COLBERT, XTR

IDS = ["1", "2", "3"]
TEXTS = [
    "Late interaction keeps a vector for each token, and compares them when a query is asked.",
    "An engine that compresses token vectors looks at the nearest clusters first.",
    "A library for training late-interaction models stands on Sentence Transformers.",
]
QUERIES = ["which library trains such models?", "what is kept for each token?"]


@pytest.fixture(scope="module")
def model():
    return models.ColBERT()


@pytest.fixture(autouse=True)
def nothing_was_said():
    say_once.cache_clear()


@pytest.fixture
def index(model, tmp_path):
    made = indexes.PLAID(index_folder=str(tmp_path / "pylate-index"), index_name="index", override=True)
    return made.add_documents(documents_ids=IDS, documents_embeddings=model.encode(TEXTS, is_query=False))


def test_the_quick_start_of_retrieval(tmp_path, monkeypatch):
    """As PyLate's page on retrieval goes, step by step."""
    monkeypatch.chdir(tmp_path)
    model = models.ColBERT(model_name_or_path="default")
    index = indexes.PLAID(index_folder="pylate-index", index_name="index", override=True)
    retriever = retrieve.ColBERT(index=index)
    documents_embeddings = model.encode(TEXTS, batch_size=32, is_query=False, show_progress_bar=True)
    index.add_documents(documents_ids=IDS, documents_embeddings=documents_embeddings)
    queries_embeddings = model.encode(QUERIES, batch_size=32, is_query=True, show_progress_bar=True)
    scores = retriever.retrieve(queries_embeddings=queries_embeddings, k=10)
    assert [of_query[0]["id"] for of_query in scores] == ["3", "1"]
    assert [len(of_query) for of_query in scores] == [3, 3]
    assert all(type(one["score"]) is float and set(one) == {"id", "score"} for of_query in scores for one in of_query)
    best = load_encoder().encode_queries(QUERIES[:1])[0] @ load_encoder().encode_documents(TEXTS[2:])[0].T
    assert scores[0][0]["score"] == pytest.approx(float(best.max(axis=1).sum()), abs=0.1)  # of four bits
    again = indexes.PLAID(index_folder="pylate-index", index_name="index")
    assert retrieve.ColBERT(index=again).retrieve(queries_embeddings=queries_embeddings, k=10) == scores


def test_the_quick_start_of_reranking():
    model = models.ColBERT(model_name_or_path="default")
    queries = ["query A", "query B"]
    documents = [["document A", "document B"], ["document 1", "document C", "document B"]]
    documents_ids = [[1, 2], [1, 3, 2]]
    queries_embeddings = model.encode(queries, is_query=True)
    documents_embeddings = model.encode(documents, is_query=False)
    reranked = rank.rerank(
        documents_ids=documents_ids, queries_embeddings=queries_embeddings, documents_embeddings=documents_embeddings
    )
    assert [sorted(one["id"] for one in of_query) for of_query in reranked] == [[1, 2], [1, 2, 3]]
    assert reranked[0][0]["id"] == 1
    assert reranked[1][0]["id"] == 2
    assert all(of[0]["score"] >= of[-1]["score"] for of in reranked)


def test_vectors_are_those_of_the_encoder(model):
    ours = load_encoder()
    assert np.array_equal(model.encode("a query"), ours.encode_queries(["a query"])[0])
    assert np.array_equal(model.encode(["a text"], is_query=False)[0], ours.encode_documents(["a text"])[0])
    tensors = model.encode(["a query"], convert_to_tensor=True)
    assert isinstance(tensors[0], torch.Tensor)
    assert model.encode([]) == []
    assert models.ColBERT(document_length=16).encode(TEXTS[0] * 9, is_query=False).shape[0] <= 16


def test_tensors_arrays_and_one_query_are_taken_alike(model, index):
    wanted = index(model.encode(QUERIES[:1]), k=2)
    one = model.encode(QUERIES[0])
    for given in (one, torch.from_numpy(one), [one.tolist()], one[None], torch.from_numpy(one)[None].bfloat16()):
        found = index(given, k=2)
        assert [hit["id"] for hit in found[0]] == [hit["id"] for hit in wanted[0]]
        assert len(found) == 1


def test_subsets_flat_and_for_each_query(model, index):
    queries, retriever = model.encode(QUERIES), retrieve.ColBERT(index)
    flat = retriever.retrieve(queries, k=10, subset=["1", "2"])
    assert [sorted(one["id"] for one in of_query) for of_query in flat] == [["1", "2"], ["1", "2"]]
    each = retriever.retrieve(queries, k=10, subset=[["2"], ["1", "3"]])
    assert [sorted(one["id"] for one in of_query) for of_query in each] == [["2"], ["1", "3"]]
    assert retriever.retrieve(queries, subset=[]) == [[], []]
    assert [len(of_query) for of_query in retriever.retrieve(queries, subset=[[], ["1"]])] == [0, 1]
    with pytest.raises(InputError, match="'9'"):
        retriever.retrieve(queries, subset=["9"])
    with pytest.raises(InputError, match="must have 2 lists of ids, got 1"):
        retriever.retrieve(queries, subset=[["1"]])


def test_documents_are_added_replaced_and_removed(model, index):
    index.add_documents("4", model.encode(["Bread rises."], is_query=False))
    index.add_documents(["1"], model.encode(["Boats float."], is_query=False))
    found = index(model.encode(["boats", "bread"]), k=1)
    assert [of_query[0]["id"] for of_query in found] == ["1", "4"]
    assert index.remove_documents(["1", "4"]) is index
    assert {one["id"] for one in index(model.encode(["boats"]), k=10)[0]} == {"2", "3"}
    with pytest.raises(InputError, match="'1'"):
        index.remove_documents(["2", "1"])
    (vectors,), both = index.get_documents_embeddings([["2"], ["3", "2"]])
    exact = model.encode(TEXTS[1], is_query=False)
    assert vectors.shape == exact.shape
    assert np.abs(vectors - exact).max() < 0.1
    assert len(both) == 2


def test_xtr_scores_by_retrieved_tokens_in_sums(model, index):
    queries = model.encode(QUERIES)
    found = retrieve.XTR(index=index).retrieve(queries, k=3, k_token=9, subset=["1", "3"])
    with Index.open(index.path) as opened:
        wanted = opened.search_batch(queries, 3, recipe=XTR, k_prime=9, reduction="sum", subset=["1", "3"])
    assert [[(one["id"], one["score"]) for one in of_query] for of_query in found] == [list(one) for one in wanted]


def test_effort_is_honoured(model, index):
    given = indexes.PLAID(index.path.parent, index.path.name, n_ivf_probe=2, n_full_scores=100)
    assert given.recipe == COLBERT.but(nprobe=2, candidates=100)
    with pytest.warns(XtrkitWarning, match="use_fast has no meaning in xtrkit"):
        assert indexes.PLAID(index.path.parent, index.path.name, use_fast=False, ncells=4).recipe.nprobe == 4


def test_override_replaces_when_documents_come(model, index):
    folder, name = index.path.parent, index.path.name
    empty = indexes.Voyager(folder, name, override=True)
    with pytest.raises(InputError, match="The index is empty: add documents"):
        empty(model.encode(QUERIES))
    assert len(index(model.encode(QUERIES[:1]), k=9)[0]) == 3
    empty.add_documents(["a"], model.encode(["Boats float."], is_query=False))
    assert indexes.PLAID(folder, name)(model.encode(QUERIES[:1]), k=9)[0][0]["id"] == "a"
    (folder / "other").mkdir()
    with pytest.raises(IndexExistsError, match="is no index of xtrkit's"):
        indexes.PLAID(folder, "other", override=True)


def test_what_has_no_meaning_is_said_once(tmp_path, model):
    with pytest.warns(XtrkitWarning) as said:
        index = indexes.PLAID(tmp_path, "i", kmeans_niters=8, use_triton=False, embedding_size=128)
    assert [str(one.message).split()[0] for one in said] == ["kmeans_niters", "use_triton", "embedding_size"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        indexes.PLAID(tmp_path, "j", kmeans_niters=8, show_progress=False, use_fast=True)
    with pytest.warns(XtrkitWarning, match="pool_factor has no meaning in xtrkit"):
        model.encode(TEXTS, is_query=False, pool_factor=2)
    with pytest.warns(XtrkitWarning, match="query_prefix has no meaning .* the checkpoint says it"):
        models.ColBERT(query_prefix="[Q] ")
    with pytest.warns(XtrkitWarning, match="Ids are texts in xtrkit"):
        index.add_documents(range(3), model.encode(TEXTS, is_query=False))
    assert index(model.encode(QUERIES[:1]), k=1)[0][0]["id"] == "2"
    with pytest.warns(XtrkitWarning, match="k_token has no meaning"):
        retrieve.ColBERT(index).retrieve(model.encode(QUERIES), k_token=50)


def test_refusals(model, index, tmp_path):
    rows = model.encode(TEXTS, is_query=False)
    for wrong, said in [
        (lambda: indexes.PLAID(tmp_path, "x", kmeans=3), r"Unknown argument 'kmeans' of PLAID\(…\)"),
        (lambda: index.add_documents(["a"], rows), "There are 1 ids for 3 documents"),
        (lambda: index.add_documents([], []), "There are no documents to add"),
        (lambda: index.add_documents(["a", "a"], rows[:2]), "'a'"),
        (lambda: index.add_documents(["a"], ["text"]), "Token vectors must be numbers"),
        (lambda: index("a query"), "Embeddings come as a list of arrays"),
        (lambda: index(model.encode(QUERIES), k=0), "k must be a whole number"),
        (lambda: index(np.zeros((3, 5, 7)), k=1), "7 dimensions"),
        (lambda: model.encode(" "), "A query must be a text"),
        (lambda: model.encode([3], is_query=False), "of type int|got 3"),
        (lambda: rank.rerank([[1]], model.encode(QUERIES), [rows[:1]]), "There are 2 queries"),
        (lambda: rank.rerank([[1]], model.encode(QUERIES[:1]), [rows[:2]]), "1 ids for 2 documents"),
        (lambda: rank.rerank([[1]], [np.ones((2, 3))], [rows[:1]]), "of one dimension"),
    ]:
        with pytest.raises(InputError, match=said):
            wrong()
    assert len(index(model.encode(QUERIES[:1]), k=9)[0]) == 3


def test_texts_in_other_containers(model):
    wanted = model.encode(TEXTS, is_query=False)
    for given in (tuple(TEXTS), np.array(TEXTS), iter(TEXTS)):
        found = model.encode(given, is_query=False)
        assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_what_is_no_text_no_index_and_no_number(model, index):
    vectors = model.encode(TEXTS, is_query=False)
    for given in (None, 3):
        with pytest.raises(InputError, match="Texts come as a text, a list of texts"):
            model.encode(given)
    with pytest.raises(InputError, match=r"document_length must be from 3 .* got '9'"):
        models.ColBERT(document_length="9")
    with pytest.raises(InputError, match="Ids come as a list, got None"):
        index.add_documents(None, vectors)
    for given in (None, "pylate-index/index"):
        with pytest.raises(InputError, match=r"An index is one of xtrkit\.compat\.pylate\.indexes"):
            retrieve.ColBERT(given)
    with pytest.raises(InputError, match="NaN or infinity"):
        rank.rerank([["a"]], vectors[:1], [[np.full_like(vectors[1], np.nan)]])
