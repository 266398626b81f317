"""Exact shards answer as the exact engine does over the same segments: the same documents and scores, bit for bit."""

from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import unit_rows
from tests.search.test_contract import IMPUTATIONS, NARROW
from xtrkit import XTR
from xtrkit.cluster import exact_engine
from xtrkit.cluster.engine import InProcess
from xtrkit.cluster.exact_engine import BestOfAll, ExactShardedEngine, best_of_all
from xtrkit.cluster.exact_shard import ExactShard
from xtrkit.cluster.messages import Retrieve, ScoreBest, Scoring
from xtrkit.cluster.shard import LostLookError
from xtrkit.scoring.ranking import best_first
from xtrkit.search.engine import Ranked
from xtrkit.search.exact import ExactEngine
from xtrkit.token_retrieval import exact as retrieval
from xtrkit.values import Ragged, Segment, TokenVectors, offsets_of

DIM = 6
SMALL = {"BLOCK_TOKENS": 64, "BUFFER_ENTRIES": 1000}
"""So that small segments have several blocks, and queries are not all multiplied together."""
WAYS = [
    *({"imputation": name} for name in IMPUTATIONS),
    *({"imputation": name, "k_prime": 5} for name in IMPUTATIONS),
    {"reduction": "sum", "k_prime": 20},
    {"reduction": "sum", "imputation": "none"},
    {"rerank": 20, "k_prime": 5},
    {"rerank": 9, "reduction": "sum", "imputation": "none"},
    {"scoring": "maxsim"},
    {"scoring": "maxsim", "reduction": "mean"},
]


def rows(random, count, ties):
    """Token vectors: unit ones, or some of few small whole numbers, whose products are exact and often equal."""
    if ties:
        return random.integers(-1, 2, (count, DIM)).astype(np.float32)
    return unit_rows(random, count, DIM)


def segments_of(random, sizes, *, ties, dead=0.2):
    """Segments of so many documents; all of one in four are dead."""
    made = []
    for size in sizes:
        lengths = random.integers(1, 9, size)
        offsets = offsets_of(lengths)
        vectors = rows(random, int(offsets[-1]), ties).astype(np.float16)
        live = random.random(size) >= (1 if dead and random.random() < 0.25 else dead)
        made.append(Segment(TokenVectors(vectors, offsets), live))
    return made


def queries_of(random, count, *, ties):
    every = [rows(random, int(n), ties) for n in random.integers(1, 7, count)]
    return Ragged.from_arrays(every)


def split(segments, ends):
    """An engine over shards of some segments, cut at some places."""
    shards = [ExactShard(segments[first:last]) for first, last in pairwise((0, *ends, len(segments)))]
    return ExactShardedEngine(DIM, InProcess(shards), [shard.facts() for shard in shards])


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.documents.tolist() == other.documents.tolist()
        assert one.scores.tobytes() == other.scores.tobytes()
        assert (one.recipe, one.k_prime) == (other.recipe, other.k_prime)


@pytest.fixture(params=[False, True], ids=["unit vectors", "ties"])
def case(request):
    """Five segments, the fourth of them dead, and queries."""
    random = np.random.default_rng(7)
    segments = segments_of(random, (40, 1, 34, 9, 36), ties=request.param, dead=0)
    for segment in segments:
        segment.live.flat[1::7] = False
    segments[3].live[:] = False
    with mock.patch.multiple(retrieval, **SMALL):
        yield segments, queries_of(random, 5, ties=request.param)


@pytest.mark.parametrize("choices", WAYS, ids=str)
def test_every_way_of_searching(case, choices):
    segments, queries = case
    whole, sharded, recipe = ExactEngine(segments), split(segments, (1, 3, 4)), XTR.but(**choices)
    nothing, last, third = np.zeros(120, dtype=bool), np.arange(120) > 85, np.arange(120) % 3 == 0
    for k, subset in ((7, None), (100, None), (5, third), (30, last), (3, nothing)):
        assert_same(sharded.search(queries, k, recipe, subset), whole.search(queries, k, recipe, subset))


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.sampled_from([0, 1, 3, 20, 60]), min_size=1, max_size=5).filter(any),
    ends=st.lists(st.integers(1, 4), unique=True, max_size=3).map(sorted),
    way=st.sampled_from(WAYS),
    ties=st.booleans(),
)
def test_random_searches(seed, sizes, ends, way, ties):
    random = np.random.default_rng(seed)
    segments = segments_of(random, sizes, ties=ties)
    n, k = sum(sizes), int(random.integers(1, 2 * sum(sizes) + 1))
    subset = None if seed % 3 else random.random(n) < random.random()
    queries, recipe = (
        queries_of(random, int(random.integers(1, 9)), ties=ties),
        XTR.but(**{"k_prime": int(random.integers(1, 99)), **way}),
    )
    with mock.patch.multiple(retrieval, **SMALL):
        expected = ExactEngine(segments).search(queries, k, recipe, subset)
        found = split(segments, [end for end in ends if end < len(sizes)]).search(queries, k, recipe, subset)
    assert_same(found, expected)


@pytest.mark.parametrize(
    "choices", [{}, NARROW, {"imputation": "none"}, {"imputation": "t9"}, {"scoring": "maxsim"}, {"rerank": 9}], ids=str
)
def test_explanations(case, choices):
    segments, queries = case
    whole, sharded, recipe = ExactEngine(segments), split(segments, (1, 3)), XTR.but(**choices)
    for query in queries:
        (found,) = sharded.search(Ragged.from_arrays([query]), 12, recipe, np.arange(120) % 2 == 0)
        for document in found.documents.tolist():
            for most in (None, np.full(len(query), 0.25)):
                one, other = (engine.best_similarities(query, document, most) for engine in (sharded, whole))
                assert one.similarities.tobytes() == other.similarities.tobytes()
                assert one.tokens.tolist() == other.tokens.tolist()
            assert sharded.vectors(document).tobytes() == whole.vectors(document).tobytes()
        if recipe.scoring == "xtr":
            same_evidence(sharded, whole, query, found)
        assert sharded.similarity_error_bounds(query).tolist() == [0] * len(query)
    assert (sharded.n_tokens, sharded.dim, sharded.storage) == (whole.n_tokens, whole.dim, whole.storage)
    assert sharded.document_offsets.tolist() == whole.document_offsets.tolist()


def same_evidence(sharded, whole, query, found):
    (every, missing), (of_whole, expected) = (engine.evidence(query, found) for engine in (sharded, whole))
    assert (missing is None) == (expected is None)
    assert missing is None or missing.tobytes() == expected.tobytes()
    some, _ = sharded.evidence(query, found, found.documents.tolist())
    of_some = of_whole.those(np.isin(of_whole.documents, found.documents))
    for one, other in ((every, of_whole), (some, of_some)):
        for name in ("rows", "documents", "scores", "offsets"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_an_index_in_other_blocks_is_the_same_but_for_last_bits():
    """Products depend on what they are multiplied together with, by a last bit at most; small whole numbers' don't."""
    for ties in (False, True):
        random = np.random.default_rng(3)
        segments = segments_of(random, (40, 30, 50), ties=ties, dead=0)
        tokens = [segment.tokens for segment in segments]
        offsets = offsets_of(np.concatenate([np.diff(one.document_offsets) for one in tokens]))
        one = ExactEngine([Segment(TokenVectors(np.concatenate([part.halves for part in tokens]), offsets))])
        queries = queries_of(random, 20, ties=ties)
        for expected, found in zip(
            one.search(queries, 10, XTR), split(segments, (1, 2)).search(queries, 10, XTR), strict=True
        ):
            assert found.documents.tolist() == expected.documents.tolist()
            np.testing.assert_allclose(found.scores, expected.scores, rtol=0 if ties else 1e-6)


def differing(expected, found):
    pairs = zip(expected, found, strict=True)
    return sum(
        a.documents.tolist() != b.documents.tolist() or a.scores.tobytes() != b.scores.tobytes() for a, b in pairs
    )


def test_shards_that_impute_alone_rank_otherwise():
    """The control: the tests above can fail."""
    random, recipe = np.random.default_rng(3), XTR.but(k_prime=20)
    segments, queries = segments_of(random, (60, 60), ties=False, dead=0), queries_of(random, 40, ties=False)
    expected = ExactEngine(segments).search(queries, 10, recipe)
    assert differing(expected, split(segments, (1,)).search(queries, 10, recipe)) == 0
    alone = []
    for one, other in zip(*(ExactEngine([part]).search(queries, 10, recipe) for part in segments), strict=True):
        documents, scores = np.append(one.documents, other.documents + 60), np.append(one.scores, other.scores)
        alone.append(Ranked(*best_first(documents, scores, 10)))
    assert differing(expected, alone) > 20


def test_shards_that_keep_all_equals_rank_otherwise(monkeypatch):
    """Another. With "min" an equal adds the same to a score whether it counts or not; with a number it doesn't."""
    random, recipe = np.random.default_rng(3), XTR.but(k_prime=20, imputation="0.2")
    segments, queries = segments_of(random, (60, 60), ties=True, dead=0), queries_of(random, 40, ties=True)
    expected = ExactEngine(segments).search(queries, 10, recipe)
    assert differing(expected, split(segments, (1,)).search(queries, 10, recipe)) == 0

    def all_equals(parts, k_prime):
        kth, _ = best_of_all(parts, k_prime)
        return BestOfAll(kth, [np.count_nonzero(part >= kth[:, np.newaxis], axis=1) for part in parts])

    monkeypatch.setattr(exact_engine, "best_of_all", all_equals)
    assert differing(expected, split(segments, (1,)).search(queries, 10, recipe)) > 20


SHARES = [
    (1, 5, [0, 1, 0, 0]),
    (3, 2, [2, 1, 0, 0]),
    (5, 2, [2, 3, 0, 0]),
    (6, 2, [2, 3, 0, 1]),
    (7, 1, [3, 3, 0, 1]),
    (99, 1, [3, 3, 0, 1]),
]


@pytest.mark.parametrize(("k_prime", "kth", "counts"), SHARES)
def test_equals_go_to_the_shard_that_comes_first(k_prime, kth, counts):
    parts = [np.float32([values]).reshape(1, -1) for values in ([3, 1, 2], [2, 2, 5], [], [2])]
    best = best_of_all(parts, k_prime)
    assert best.kth.tolist() == [kth]
    assert [count.tolist() for count in best.counts] == [[count] for count in counts]


def test_where_no_shard_has_a_token():
    best = best_of_all([np.zeros((2, 0), np.float32)] * 3, 5)
    assert (best.kth.tolist(), [count.tolist() for count in best.counts]) == ([0, 0], [[0, 0]] * 3)


def test_what_a_shard_does_not_know_any_more(case):
    segments, queries = case
    shard = ExactShard(segments)
    scoring = Scoring([XTR.impute(mock.Mock(kth_expected=lambda: np.zeros(len(queries[0]), np.float32)))], True, 5)
    ask = ScoreBest("look", scoring, [np.full(len(queries[0]), 3)])
    with pytest.raises(LostLookError, match="doesn't know the look"):
        shard.score(ask)
    with pytest.raises(LostLookError, match="doesn't know the filter"):
        shard.retrieve(Retrieve("look", [queries[0]], 9, "filter"))
    shard.retrieve(Retrieve("look", [queries[0]], 9, None))
    assert shard.score(ask)[0].n
    with pytest.raises(LostLookError, match="has scored the look already"):
        shard.score(ask)
