"""Shards answer as one index does: the same documents, and the same scores to the last bit."""

from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import unit_rows
from tests.search.test_contract import NARROW, WAYS, documents
from xtrkit import XTR, Index
from xtrkit.cluster.engine import InProcess, ShardedEngine
from xtrkit.cluster.shard import Shard
from xtrkit.indexing import writer as writers
from xtrkit.search.compressed import CompressedEngine
from xtrkit.values import Ragged

DIM = 16
PARTS = (0, 40, 41, 75, 75, 110, 120)
"""Where segments begin: of 40, 1, 34, 0 (left out), 35 and 10 documents."""


@pytest.fixture(scope="module", params=[("grid", 4), ("buckets", 2)], ids=str)
def store(request, tmp_path_factory):
    """An index of five segments with dead documents, one of them dead altogether."""
    codec, nbits = request.param
    path, vectors = tmp_path_factory.mktemp("shards") / "idx", documents()
    ids = [f"d{number}" for number in range(len(vectors))]
    Index.create(path, [vectors[:40]], ids=ids[:40], codec=codec, nbits=nbits).close()
    for first, last in pairwise(PARTS[1:]):
        if first < last:
            with apart(), Index.open(path) as opened, opened.writer() as writer:
                writer.add(ids[first:last], vectors[first:last])
    with apart(), Index.open(path) as opened, opened.writer() as writer:
        writer.delete([f"d{number}" for number in range(3, 120, 11)])
    with Index.open(path) as opened:
        assert len(opened._store.segments) == 5
        yield opened._store


def apart():
    """Segments stay as they were written."""
    return mock.patch.object(writers, "MOST_CHANGED", 1e9)


def split(store, ends):
    """An engine over shards of the store's segments, cut at some places."""
    corpus = store.corpus()
    shards = [Shard(corpus[first:last]) for first, last in zip((0, *ends), (*ends, len(corpus)), strict=True)]
    return ShardedEngine(store.quantiser, InProcess(shards), [shard.facts() for shard in shards])


def queries(random, count):
    return Ragged.from_arrays([unit_rows(random, int(n), DIM) for n in random.integers(1, 9, count)])


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.documents.tolist() == other.documents.tolist()
        assert one.scores.tobytes() == other.scores.tobytes()
        assert (one.recipe, one.k_prime) == (other.recipe, other.k_prime)


@pytest.mark.parametrize("choices", WAYS, ids=str)
@pytest.mark.parametrize("ends", [(2,), (1, 2, 3, 4)], ids=str)
def test_every_way_of_searching(store, choices, ends):
    whole, sharded = CompressedEngine(store.corpus()), split(store, ends)
    asked, recipe = queries(np.random.default_rng(1), 5), XTR.but(**choices)
    for k, subset in ((7, None), (100, None), (5, np.arange(120) % 3 == 0), (30, np.arange(120) > 95)):
        assert_same(sharded.search(asked, k, recipe, subset), whole.search(asked, k, recipe, subset))


ENDS = st.lists(st.integers(1, 4), unique=True, max_size=3).map(sorted)


@given(seed=st.integers(0, 2**32 - 1), ends=ENDS, way=st.sampled_from(WAYS))
def test_random_searches(store, seed, ends, way):
    random = np.random.default_rng(seed)
    asked, k = queries(random, int(random.integers(1, 20))), int(random.integers(1, 130))
    subset = None if seed % 3 else random.random(120) < random.random()
    recipe = XTR.but(**{"nprobe": int(random.integers(1, 12)), "k_prime": int(random.integers(1, 300)), **way})
    expected = CompressedEngine(store.corpus()).search(asked, k, recipe, subset)
    assert_same(split(store, tuple(ends)).search(asked, k, recipe, subset), expected)


@pytest.mark.parametrize("choices", [{}, NARROW, {"imputation": "none"}, {"scoring": "maxsim"}, {"rerank": 9}], ids=str)
def test_explanations(store, choices):
    whole, sharded = CompressedEngine(store.corpus()), split(store, (1, 3))
    query, recipe = queries(np.random.default_rng(2), 1), XTR.but(**choices)
    (found,) = sharded.search(query, 12, recipe)
    for document in found.documents.tolist():
        one, other = (engine.best_similarities(query[0], document) for engine in (sharded, whole))
        assert one.similarities.tobytes() == other.similarities.tobytes()
        assert sharded.vectors(document).tobytes() == whole.vectors(document).tobytes()
    if recipe.scoring == "xtr":
        (hits, missing), (of_whole, expected) = (
            engine.evidence(query[0], found, found.documents.tolist()) for engine in (sharded, whole)
        )
        assert (missing is None) == (expected is None)
        assert missing is None or missing.tobytes() == expected.tobytes()
        for name in ("rows", "documents", "scores", "offsets"):
            assert getattr(hits, name).tolist() == getattr(of_whole, name).tolist()
    assert sharded.similarity_error_bounds(query[0]).tolist() == whole.similarity_error_bounds(query[0]).tolist()


def test_shards_that_impute_alone_rank_otherwise(store):
    """The control: the test above can fail."""
    whole, corpus = CompressedEngine(store.corpus()), store.corpus()
    asked, recipe = queries(np.random.default_rng(3), 40), XTR.but(nprobe=2, k_prime=20)
    alone = [CompressedEngine(corpus[first:last]) for first, last in ((0, 2), (2, 5))]
    first = alone[0].document_offsets
    differing = 0
    for expected, *parts in zip(*(engine.search(asked, 20, recipe) for engine in (whole, *alone)), strict=True):
        documents = np.concatenate([parts[0].documents, parts[1].documents + len(first) - 1])
        order = np.lexsort((documents, -np.concatenate([part.scores for part in parts])))[:20]
        differing += documents[order].tolist() != expected.documents.tolist()
    assert differing > 30
