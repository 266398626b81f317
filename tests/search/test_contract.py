"""What every engine keeps: one suite for the exact engine, the compressed one, and the one on a device."""

import numpy as np
import pytest

from tests.conftest import unit_rows
from tests.indexing.world import merging_late
from xtrkit import COLBERT, COLXTR, XTR, Index
from xtrkit.errors import InputError
from xtrkit.recipes import Recipe

N, DIM = 120, 16
IMPUTATIONS = ["min", "found", "retrieved", "centroid", "t40", "none", "0.2", "0"]
ENGINES = {
    "exact": ({"nbits": 16}, None),
    "4 bits": ({"nbits": 4}, None),
    "buckets": ({"nbits": 2, "codec": "buckets"}, None),
    "device": ({"nbits": 4}, "cpu"),
}
NARROW = {"nprobe": 1, "k_prime": 5}
DEAD = range(3, N, 11)


def documents():
    random = np.random.default_rng(5)
    topics = unit_rows(random, 12, DIM)
    rows = [topics[random.integers(12, size=m)] + 0.5 * unit_rows(random, m, DIM) for m in random.integers(1, 12, N)]
    return [(part / np.linalg.norm(part, axis=1, keepdims=True)).astype(np.float32) for part in rows]


def queries():
    return [unit_rows(np.random.default_rng(seed), n, DIM) for seed, n in ((1, 1), (2, 4), (3, 7))]


@pytest.fixture(scope="module", params=["one segment", "segments with dead documents"])
def layout(request):
    return request.param


@pytest.fixture(scope="module", params=ENGINES)
def index(request, layout, tmp_path_factory):
    choices, device = ENGINES[request.param]
    path, vectors = tmp_path_factory.mktemp("contract") / "idx", documents()
    ids, metadata = [f"d{number}" for number in range(N)], [{"even": number % 2 == 0} for number in range(N)]
    if layout == "one segment":
        Index.create(path, [vectors], ids=ids, metadata=metadata, **choices).close()
    else:
        Index.create(path, [vectors[:70]], ids=ids[:70], metadata=metadata[:70], **choices).close()
        with Index.open(path) as opened, merging_late(), opened.writer() as writer:
            writer.add(ids[70:], vectors[70:])
        with Index.open(path) as opened, merging_late(), opened.writer() as writer:
            writer.delete([f"d{number}" for number in DEAD])
        assert Index.open(path).n_segments == 2
    return Index.open(path, device=device)


def score_of(contribution, recipe):
    """What the explanation says that the score is."""
    known = contribution.similarities[~np.isnan(contribution.similarities)]
    return known.mean() if recipe.mean else known.sum()


WAYS = [
    *({"imputation": name} for name in IMPUTATIONS),
    *({"imputation": name, "reduction": "sum"} for name in ("min", "none")),
    *({"imputation": name, **NARROW} for name in IMPUTATIONS),
    *({"imputation": name, "shared": True, "nprobe": 2, "k_prime": 9} for name in IMPUTATIONS),
    {"nprobe": "all", "k_prime": 40},
    {"rerank": 20, **NARROW},
    {"rerank": 20, "reduction": "sum", "nprobe": 2},
    {"scoring": "maxsim"},
    {"scoring": "maxsim", "nprobe": 1, "candidates": 3},
    {"scoring": "maxsim", "reduction": "mean", "nprobe": "all"},
]


@pytest.mark.parametrize("choices", WAYS, ids=str)
def test_an_explanation_adds_up_to_the_score_of_every_hit(index, choices):
    """Σ (similarity or m_i) / n: also after a search that was widened, and where a subset was filled up."""
    for query, subset in zip(queries(), (None, np.arange(N) % 3 == 0, None), strict=True):
        ranking = index.search(query, 100, subset=subset, **choices)
        assert len(ranking) >= 30
        for contribution, (name, score) in zip(index.explain(query, ranking), ranking, strict=True):
            assert score_of(contribution, ranking.recipe) == pytest.approx(score, abs=2e-6), name
            assert (contribution.tokens >= 0).any()
            document = index.vectors(index.number(name))
            for i in np.flatnonzero(contribution.tokens >= 0):
                similarity = query[i] @ document[contribution.tokens[i]].astype(np.float32)
                assert contribution.similarities[i] <= similarity + 0.02


@pytest.mark.parametrize("imputation", IMPUTATIONS)
def test_what_is_imputed_is_no_similarity_of_a_token_that_was_seen(index, imputation):
    query = queries()[2]
    ranking = index.search(query, 40, imputation=imputation, **NARROW)
    hits, missing = index.evidence(query, ranking)
    assert (missing is None) == (imputation == "none")
    for contribution, number in zip(index.explain(query, ranking), ranking.documents, strict=True):
        seen = np.zeros(len(query), dtype=bool)
        for i in range(len(query)):
            seen[i] = (hits.documents[hits.of(i)] == number).any()
        assert ((contribution.tokens >= 0) == seen).all()


def test_k_prime_is_the_one_that_was_used(index):
    query = queries()[1]
    assert index.search(query, 5, k_prime=7, nprobe="all").k_prime == 7
    assert index.search(query, 5, k_prime=10**9).k_prime == index.n_tokens
    widened = index.search(query, 100, k_prime=5, nprobe=1)
    assert widened.k_prime > 5
    assert widened.recipe.k_prime >= widened.k_prime
    assert index.search(query, 5, scoring="maxsim").k_prime is None


def test_the_recipe_that_was_used_is_told_and_finds_the_same_again(index):
    query = queries()[1]
    for choices in ({}, NARROW, {"shared": True}, {"scoring": "maxsim"}, {"imputation": "t40"}, {"rerank": 9}):
        ranking = index.search(query, 90, **choices)
        used = ranking.recipe
        assert isinstance(used.nprobe, int)
        assert used.reduction in ("mean", "sum")
        again = index.search(query, 90, recipe=used)
        assert list(again) == list(ranking)
        assert again.recipe == used


@pytest.mark.parametrize("recipe", [XTR, COLXTR, COLBERT, XTR.but(**NARROW), COLXTR.but(k_prime=5)], ids=str)
def test_k_documents_come_back_where_there_are_k(index, recipe):
    for query in queries():
        for k in (1, 10, 10**6):
            ranking = index.search(query, k, recipe=recipe)
            assert len(ranking) == min(k, len(index))
            assert len(set(ranking.ids)) == len(ranking)
            ranked = list(zip(-ranking.scores, ranking.documents, strict=True))
            assert ranked == sorted(ranked)


def test_no_dead_document_is_found(index, layout):
    dead = set() if layout == "one segment" else {f"d{number}" for number in DEAD}
    for recipe in (XTR, COLXTR, COLBERT):
        assert dead.isdisjoint(index.search(queries()[1], 10**6, recipe=recipe).ids)
        assert index.evidence(queries()[1], index.search(queries()[1])).hits.rows.max() < index.document_offsets[-1]


@pytest.mark.parametrize("imputation", ["min", "found", "0.2", "none"])
def test_a_subset_is_a_filter(index, imputation):
    """Documents that tokens led to have the scores that they have without it; only such as are in it come back."""
    subset, query = np.arange(N) % 4 == 1, queries()[1]
    choices = {"imputation": imputation, "nprobe": 6, "k_prime": 60}
    everyone = dict(index.search(query, 20, **choices))
    ranking = index.search(query, 10**6, subset=subset, **choices)
    assert {index.number(name) % 4 for name in ranking.ids} == {1}
    inside = {name: score for name, score in everyone.items() if name in ranking.ids}
    assert inside
    found = dict(ranking)
    for name, score in inside.items():
        assert found[name] == pytest.approx(score, abs=1e-6)


def test_a_condition_is_a_subset(index):
    ranking = index.search(queries()[1], 10**6, where={"even": True})
    assert ranking.ids
    assert all(index.number(name) % 2 == 0 for name in ranking.ids)


def test_a_batch_is_its_queries_whatever_the_threads(index):
    for choices in ({}, NARROW, {"scoring": "maxsim"}):
        together = index.search_batch(queries(), 30, **choices)
        for threads in (1, 3):
            for one, other in zip(index.search_batch(queries(), 30, threads=threads, **choices), together, strict=True):
                assert list(one) == list(other)
        for query, ranking in zip(queries(), together, strict=True):
            alone = index.search(query, 30, **choices)
            np.testing.assert_allclose(alone.scores, ranking.scores, atol=1e-6)


def test_a_search_changes_nothing_for_the_next(index):
    before = list(index.search(queries()[1], 30, **NARROW))
    index.search(queries()[2], 100, imputation="none", nprobe="all")
    index.search(queries()[0], 5, scoring="maxsim", subset=np.arange(N) < 9)
    assert list(index.search(queries()[1], 30, **NARROW)) == before


def test_with_everything_looked_at_no_imputation_matters(index):
    """k' of all tokens: nothing is missing, so each policy gives MaxSim."""
    query = queries()[1]
    everything = {"nprobe": "all", "k_prime": index.n_tokens}
    expected = dict(index.search(query, N, scoring="maxsim", reduction="mean", nprobe="all"))
    for imputation in IMPUTATIONS:
        found = dict(index.search(query, N, imputation=imputation, **everything))
        assert found == pytest.approx(expected, abs=2e-3)


def test_clusters_that_are_shared_tell_nothing_of_the_others_so_min_is_found(index):
    query = queries()[2]
    recipe = Recipe(shared=True, nprobe=2, k_prime=9)
    found, expected = (index.search(query, 20, recipe=r) for r in (recipe, recipe.but(imputation="found")))
    assert found.recipe.imputation == "found"
    assert list(found) == list(expected)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"imputation": "most"}, "Unknown imputation 'most'"),
        ({"scoring": "bm25"}, "Unknown scoring 'bm25'"),
        ({"reduction": "max"}, "Unknown reduction 'max'"),
        ({"nprobe": 0}, "nprobe must be a whole number of at least 1 or 'all', got 0"),
        ({"nprobe": True}, "nprobe must be"),
        ({"k_prime": 2.5}, "k' must be"),
        ({"candidates": -1}, "candidates must be"),
        ({"rerank": 5, "scoring": "maxsim"}, "rerank is XTR's"),
        ({"shared": "yes"}, "shared must be True or False"),
        ({"n_probe": 4}, "Unknown search choice 'n_probe'"),
        ({"k": 0}, "k must be a whole number"),
        ({"threads": 0}, "threads must be a whole number"),
    ],
)
def test_what_can_not_be_asked_for_is_refused_by_every_engine(index, choices, sentence):
    with pytest.raises(InputError, match=sentence):
        index.search(queries()[0], **choices)


def test_numpys_numbers_are_numbers(index):
    ranking = index.search(queries()[0], np.int64(3), k_prime=np.int32(50), nprobe=np.int16(2), shared=np.bool_(False))
    assert len(ranking) == 3
    assert type(ranking.recipe.k_prime) is int
