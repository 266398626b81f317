"""A cluster asked shard by shard: text, metadata, words, filters and explanations as of one index."""

from functools import partial

import pytest

from tests.cluster.hosts import hosts_here
from tests.cluster.test_splitting import QUERIES, TEXTS
from xtrkit import COLBERT, COLXTR, XTR, Retriever
from xtrkit.cluster.index import ClusterIndex
from xtrkit.cluster.places import Here
from xtrkit.cluster.splitting import split_index
from xtrkit.encoding import load_encoder
from xtrkit.errors import InputError
from xtrkit.index import Index


@pytest.fixture(scope="module", params=[4, 16], ids=["4 bits", "exact"])
def index(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster") / "idx"
    passages = [{"id": name, "text": text, "length": len(name)} for name, text in TEXTS.items()]
    with Retriever.create(path, passages, nbits=request.param) as retriever:
        retriever.delete(["rain"])
        retriever.add([{"id": "snow", "text": "Snow covers the hills in winter.", "cold": True}])
    split_index(path, path.parent / "shards", 3)
    return path


@pytest.fixture(scope="module")
def whole(index):
    """The one index; of exact vectors the shards' segments, which BLAS multiplies in the same blocks as shards do."""
    exact = Index.open(index).storage == "float16"
    with Retriever.open(index.parent / "shards" if exact else index) as opened:
        yield opened


@pytest.fixture(scope="module")
def sharded(index):
    path = index.parent / "shards"
    with Retriever(ClusterIndex(Here(path), partial(hosts_here, path)), load_encoder()) as opened:
        yield opened


def told(hits):
    return [(hit.id, hit.score, hit.text, hit.metadata, hit.part, hit.matches, hit.scores) for hit in hits]


@pytest.mark.parametrize(
    "choices",
    [
        {"explain": True},
        {"recipe": COLBERT, "explain": True},
        {"recipe": COLXTR},
        {"recipe": XTR.but(k_prime=5, nprobe=1), "explain": True},
        {"recipe": XTR.but(imputation="none"), "explain": True},
        {"where": {"length": {"$gte": 4}}, "explain": True},
        {"where": {"cold": True}},
        {"where": {"$document": "log"}, "group_by_document": False},
        {"subset": ["emma", "log", "snow"], "where": {"length": {"$lt": 9}}},
        {"fusion": "rrf"},
        {"fusion": "relative", "where": {"length": 4}},
        {"facets": ["length"], "group_by_document": False},
    ],
    ids=str,
)
def test_the_same_answers_as_the_index(whole, sharded, choices):
    for query in QUERIES:
        expected, found = whole.search(query, 6, **choices), sharded.search(query, 6, **choices)
        assert told(found) == told(expected)
        assert (found.k_prime, found.facets) == (expected.k_prime, expected.facets)
    batch = sharded.search_batch(QUERIES, 3, **choices)
    assert [told(hits) for hits in batch] == [told(hits) for hits in whole.search_batch(QUERIES, 3, **choices)]


def test_what_it_knows(whole, sharded):
    one, other = whole.index, sharded.index
    assert list(other.ids()) == list(one.ids())
    assert [p.id for p in other.passages()] == [p.id for p in one.passages()]
    assert other.metadata_fields() == one.metadata_fields()
    assert (len(other), other.n_tokens, other.storage, other.encoder) == (
        len(one), one.n_tokens, one.storage, one.encoder,
    )  # fmt: skip
    assert other.search_words("honey from flowers") == one.search_words("honey from flowers")
    assert other.get(["emma"], documents=["log"])[1:] == one.get(["emma"], documents=["log"])[1:]
    assert other.n_segments == 3


@pytest.mark.parametrize(
    "choices",
    [
        {"where": {"lenght": 4}},
        {"where": {"length": "four"}},
        {"where": {"$id": "nobody"}},
        {"subset": ["nobody"]},
        {"facets": ["lenght"]},
    ],
    ids=str,
)
def test_what_an_index_refuses_a_cluster_refuses_in_the_same_words(whole, sharded, choices):
    with pytest.raises(InputError) as expected:
        whole.search("q", **choices)
    with pytest.raises(InputError) as found:
        sharded.search("q", **choices)
    assert str(found.value) == str(expected.value)


def test_the_documents_of_the_one_index(index, sharded):
    with Retriever.open(index) as one:
        assert sharded.index.n_clusters == one.index.n_clusters
        for query in QUERIES:
            for recipe in (XTR, COLBERT, XTR.but(k_prime=5, imputation="0.2"), XTR.but(rerank=4)):
                expected, found = one.search(query, 6, recipe=recipe), sharded.search(query, 6, recipe=recipe)
                assert [hit.id for hit in found] == [hit.id for hit in expected]
                assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], rel=1e-6)
