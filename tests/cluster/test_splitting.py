"""An index split into shards: what it finds, says and knows is what the index does."""

import shutil

import pytest

from tests.cli.test_bench import TEXTS as SHORT
from xtrkit import COLBERT, XTR, Retriever
from xtrkit.cluster.splitting import split_index
from xtrkit.errors import IndexDamagedError, IndexFormatError, InputError
from xtrkit.index import Index

TEXTS = SHORT | {
    "log": " ".join(f"On day {day} we sailed {day % 7 + 3} miles and saw nothing." for day in range(60)),
}
QUERIES = ["what do mice eat?", "who wrote Emma?", "how many miles on day 12?", "baking bread"]


@pytest.fixture(scope="module", params=[4, 16], ids=["4 bits", "exact"])
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("split") / "idx"
    passages = [{"id": name, "text": text, "length": len(name)} for name, text in TEXTS.items()]
    with Retriever.create(path, passages, nbits=request.param) as retriever:
        retriever.delete(["rain"])
        retriever.add([{"id": "snow", "text": "Snow covers the hills in winter.", "length": 4}])
    return path


@pytest.fixture(scope="module", params=[1, 3])
def cluster(request, whole):
    path = whole.parent / f"cluster-{request.param}"
    split_index(whole, path, request.param)
    return path


def told(hits, exact):
    """What is said of hits; of exact indexes scores depend, in their last bits, on what BLAS multiplies together."""
    if exact:
        return [(hit.id, round(hit.score, 5), hit.text, hit.metadata, hit.part) for hit in hits]
    return [(hit.id, hit.score, hit.text, hit.metadata, hit.part, hit.matches) for hit in hits]


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"recipe": COLBERT},
        {"recipe": XTR.but(k_prime=5, nprobe=1)},
        {"where": {"length": {"$gte": 4}}},
        {"subset": ["emma", "log", "snow"]},
        {"fusion": "rrf"},
        {"facets": ["length"], "group_by_document": False},
    ],
    ids=str,
)
def test_the_same_answers_as_the_index(whole, cluster, choices):
    with Retriever.open(whole) as one, Retriever.open(cluster) as sharded:
        assert len(sharded) == len(one)
        for query in QUERIES:
            expected = one.search(query, 6, explain=not choices.get("fusion"), **choices)
            found = sharded.search(query, 6, explain=not choices.get("fusion"), **choices)
            exact = one.index.storage == "float16"
            assert told(found, exact) == told(expected, exact)
            assert found.facets == expected.facets


def test_what_it_knows_is_what_the_index_knows(whole, cluster):
    with Index.open(whole) as one, Index.open(cluster) as sharded:
        assert list(sharded.ids()) == list(one.ids())
        assert (sharded.n_tokens, sharded.dim, sharded.storage) == (one.n_tokens, one.dim, one.storage)
        assert (sharded.encoder, sharded.splitting) == (one.encoder, one.splitting)
        assert sharded.metadata_fields() == one.metadata_fields()
        assert sharded.search_words("honey from flowers") == one.search_words("honey from flowers")
        assert [p.text for p in sharded.get(documents=["log"])] == [p.text for p in one.get(documents=["log"])]
        assert sharded.size > 0
        assert not sharded.refresh()


def test_a_cluster_is_split_again(whole, cluster, tmp_path):
    split_index(cluster, tmp_path / "again", 2)
    with Retriever.open(whole) as one, Retriever.open(tmp_path / "again") as again:
        assert again.index.n_segments == 2
        exact = one.index.storage == "float16"
        assert told(again.search(QUERIES[0]), exact) == told(one.search(QUERIES[0]), exact)


def test_what_is_refused(whole, tmp_path):
    with pytest.raises(InputError, match="whole number of at least 1, got 0"):
        split_index(whole, tmp_path / "x", 0)
    with pytest.raises(InputError, match="too few for 500 shards"):
        split_index(whole, tmp_path / "x", 500)
    with pytest.raises(InputError, match="exists already"):
        split_index(whole, tmp_path, 2)
    with pytest.raises(IndexFormatError, match="There is nothing at"):
        split_index(tmp_path / "none", tmp_path / "x", 2)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def copy(whole, tmp_path):
    split_index(whole, tmp_path / "c", 3)
    return tmp_path / "c"


def test_a_missing_shard(copy):
    shutil.rmtree(copy / "shard-0001")
    with pytest.raises(IndexDamagedError, match=r"The shard .*shard-0001 is missing: bring it back"):
        Index.open(copy)


def test_a_shard_of_another_generation(copy, tmp_path):
    shutil.move(copy / "shard-0002", tmp_path / "alone")  # where it is no shard, and can be changed
    with Index.open(tmp_path / "alone") as shard:
        shard.delete([next(shard.ids())])
        shard.compact()
    shutil.move(tmp_path / "alone", copy / "shard-0002")
    with pytest.raises(IndexDamagedError, match=r"shard-0002 has no generation 1 \(any more\)"):
        Index.open(copy)


def test_a_shard_of_another_cluster(whole, copy, tmp_path):
    split_index(whole, tmp_path / "other", 2)
    shutil.rmtree(copy / "shard-0000")
    shutil.copytree(tmp_path / "other" / "shard-0000", copy / "shard-0000")
    with pytest.raises(IndexDamagedError, match="is not the one that the cluster was made of"):
        Index.open(copy)


def test_a_damaged_cluster_manifest(copy):
    (manifest,) = copy.glob("cluster-*.json")
    manifest.write_bytes(manifest.read_bytes().replace(b"shard-0001", b"shard-0002"))
    with pytest.raises(IndexDamagedError, match="another sha256"):
        Index.open(copy)
