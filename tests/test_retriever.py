"""Text in, ranking out, with a real model: the facade and its explanations."""

import shutil

import numpy as np
import pytest

from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError, InputError, ModelError
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.reranking import load_reranker
from xtrkit.retriever import Retriever

PASSAGES = [
    Passage("paris", "Paris is the capital of France, on the river Seine."),
    Passage("berlin", "Berlin is the capital of Germany. It lies on the river Spree."),
    Passage("mitochondria", "Mitochondria are the powerhouse of the cell."),
    Passage("bread", "Knead flour, water, salt and yeast, let it rise, then bake the bread."),
    Passage("emoji", "🙂🙃"),
    Passage("long", "The whale swam on and on. " * 200),
]


@pytest.fixture(scope="module")
def default_encoder(encoders):
    return encoders["default"]


@pytest.fixture(scope="module")
def index_path(tmp_path_factory, default_encoder):
    path = tmp_path_factory.mktemp("retriever") / "idx"
    summary = Retriever.create(path, PASSAGES, model=default_encoder, nbits=16, split=False, batch_size=3).indexed
    assert summary.passages == len(PASSAGES)
    assert summary.truncated == 1
    return path


@pytest.fixture
def retriever(index_path, default_encoder):
    return Retriever(Index.open(index_path), default_encoder)


@pytest.mark.parametrize("scoring", ["xtr", "maxsim"])
@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("What is the capital of France?", "paris"),
        ("which town is on the Spree", "berlin"),
        ("energy of a cell", "mitochondria"),
        ("how to bake", "bread"),
    ],
)
def test_questions_find_their_passage(retriever, query, best, scoring):
    hits = retriever.search(query, k=3, scoring=scoring)
    assert hits[0].id == best
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].text == {passage.id: passage.text for passage in PASSAGES}[best]
    assert hits[0].matches is None


def test_every_passage_comes_back_where_all_are_asked_for(retriever):
    assert {hit.id for hit in retriever.search("🙃", k=100, k_prime=1)} == {passage.id for passage in PASSAGES}


def test_open_loads_the_encoder_that_the_index_names(index_path):
    hits = Retriever.open(index_path).search("capital of France", k=1)
    assert [hit.id for hit in hits] == ["paris"]


def test_a_batch_ranks_as_its_queries_one_by_one(retriever):
    queries = ["capital of France", "bread"]
    for query, ranking in zip(queries, retriever.search_batch(queries, k=7), strict=True):
        assert [hit.id for hit in retriever.search(query, k=7)] == list(ranking.ids)


@pytest.mark.parametrize(
    "choices",
    [{"k_prime": 5}, {"k_prime": 5, "imputation": "0.2"}, {"k_prime": 5, "imputation": "none"}, {"scoring": "maxsim"}],
)
def test_an_explanation_adds_up_to_the_score(retriever, choices):
    query = "What is the capital of France?"
    for hit in retriever.search(query, k=3, explain=True, **choices):
        similarities = [match.similarity for match in hit.matches if match.similarity is not None]
        expected = np.sum(similarities) if choices.get("scoring") == "maxsim" else np.mean(similarities)
        assert hit.score == pytest.approx(expected, abs=1e-5)
        assert [match.query_token for match in hit.matches] == retriever.encoder.query_tokens(query)


def test_an_explanation_points_into_the_text(retriever):
    (hit,) = retriever.search("capital of france", k=1, explain=True)
    matched = {match.query_token.piece: match.document_token for match in hit.matches}
    assert hit.text[matched["capital"].start : matched["capital"].end] == "capital"
    assert hit.text[matched["france"].start : matched["france"].end] == "France"
    assert not any(match.imputed for match in hit.matches)


def test_what_was_not_retrieved_is_marked_as_imputed(retriever):
    hits = retriever.search("capital of france bread", k=4, k_prime=2, explain=True)
    imputed = [match for hit in hits for match in hit.matches if match.imputed]
    assert imputed
    assert all(match.document_token is None and match.similarity is not None for match in imputed)


def test_an_index_of_another_model_is_refused_by_both_names(index_path, encoders, checkpoints):
    with pytest.raises(ModelError, match=r"made with the model 'xtrkit-mini' .*, not with '.*xtr'"):
        Retriever(Index.open(index_path), encoders["xtr"])


def test_lengths_that_were_chosen_are_those_of_the_queries_later(tmp_path, checkpoints):
    encoder = load_encoder(checkpoints["xtr"], query_length=7, document_length=9)
    assert Retriever.create(tmp_path / "idx", PASSAGES[:4], model=encoder, split=False).indexed.truncated == 4
    again = Retriever.open(tmp_path / "idx").encoder
    assert (again.identity.query_length, again.identity.document_length) == (7, 9)


def test_an_index_of_embeddings_takes_any_encoder_of_its_dimension(tmp_path, default_encoder):
    index = Index.create(tmp_path / "a", [[np.ones((1, 128), np.float32)]], nbits=16)
    assert Retriever(index, default_encoder).search("x", k=1)[0].text is None
    with pytest.raises(InputError, match="has no texts"):
        Retriever(index, default_encoder).search("x", k=1, explain=True)
    with pytest.raises(ModelError, match="without an encoder"):
        Retriever.open(tmp_path / "a")
    other = Index.create(tmp_path / "b", [[np.ones((1, 8), np.float32)]], nbits=16)
    with pytest.raises(ModelError, match="has vectors of 8 dimensions, the model 'xtrkit-mini' makes 128"):
        Retriever(other, default_encoder)


@pytest.mark.parametrize("query", ["", "  \n", None, 5])
def test_a_query_that_asks_nothing(retriever, query):
    with pytest.raises(InputError, match="A query must be a text with something in it"):
        retriever.search(query)


def test_passages_that_can_be_read_only_once(tmp_path, default_encoder):
    retriever = Retriever.create(tmp_path / "idx", iter(PASSAGES), model=default_encoder, split=False)
    assert retriever.get([passage.id for passage in PASSAGES]) == PASSAGES


def test_a_model_that_has_gone_is_told_with_what_to_do(tmp_path, checkpoints):
    model = tmp_path / "model"
    shutil.copytree(checkpoints["xtr"], model)
    Retriever.create(tmp_path / "idx", PASSAGES[:1], model=load_encoder(model))
    model.rename(tmp_path / "moved")
    with pytest.raises(ModelError, match=r"The index was made with that model: say where it is with --model"):
        Retriever.open(tmp_path / "idx")
    assert Retriever.open(tmp_path / "idx", model=str(tmp_path / "moved")).search("Paris", k=1)[0].id == "paris"


def test_a_collection_that_cannot_be_read_leaves_no_index(tmp_path, default_encoder):
    with pytest.raises(CollectionError, match="comes twice"):
        Retriever.create(tmp_path / "idx", [PASSAGES[0], PASSAGES[0]], model=default_encoder)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def monot5(rerankers):
    return load_reranker(rerankers["monot5"])


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_reranking_orders_the_best_by_the_rerankers_score(index_path, default_encoder, retriever, monot5, depth):
    query, texts = "the late document", {passage.id: passage.text for passage in PASSAGES}
    first = [hit.id for hit in retriever.search(query, 7)]
    reranked = Retriever(Index.open(index_path), default_encoder, reranker=monot5)
    hits = reranked.search(query, 2, rerank_depth=depth)
    scored = first[: max(2, depth)]  # no passage comes back that the reranker didn't score
    scores = dict(zip(scored, monot5.score(query, [texts[name] for name in scored]), strict=True))
    assert [hit.id for hit in hits] == sorted(scores, key=lambda name: -scores[name])[:2]
    np.testing.assert_allclose([hit.score for hit in hits], sorted(scores.values(), reverse=True)[:2], atol=1e-5)
    assert [hit.rank for hit in hits] == [1, 2]
    (alike,) = reranked.search_batch([query], 2, rerank_depth=depth)
    assert alike.ids == hits.ids
    np.testing.assert_allclose([hit.score for hit in alike], [hit.score for hit in hits], atol=1e-5)
    assert reranked.search(query, 2, rerank_depth=0) == retriever.search(query, 2)


def test_reranking_explains_the_retrieval(index_path, default_encoder, monot5):
    retriever = Retriever(Index.open(index_path), default_encoder, reranker=monot5)
    (hit,) = retriever.search("capital of France", 1, explain=True)
    assert len(hit.matches) == len(default_encoder.query_tokens("capital of France"))


def test_a_reranker_by_its_name(index_path, rerankers):
    with Retriever.open(index_path, reranker=rerankers["cross-encoder"]) as retriever:
        assert len(retriever.search("capital", 3)) == 3
    with pytest.raises(ModelError, match="neither a directory nor a model"):
        Retriever.open(index_path, reranker="no-such-model")


def test_reranking_needs_texts_and_a_depth(tmp_path, default_encoder, monot5, index_path):
    vectors = default_encoder.encode_documents(["a", "b"])
    Index.create(tmp_path / "idx", [vectors], encoder=default_encoder.identity, nbits=16).close()
    with pytest.raises(InputError, match="has no texts, so nothing can be reranked"):
        Retriever(Index.open(tmp_path / "idx"), default_encoder, reranker=monot5).search("a")
    with pytest.raises(InputError, match="rerank_depth must be a whole number of at least 1, got -1"):
        Retriever(Index.open(index_path), default_encoder, reranker=monot5).search("a", rerank_depth=-1)
