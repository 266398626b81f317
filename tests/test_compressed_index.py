"""The compressed engine behind the same Index and Retriever as the exact one."""

import numpy as np
import pytest

from tests.conftest import unit_rows
from xtrkit.errors import IndexFormatError, InputError
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.recipes import COLBERT, COLBERTV2, COLXTR, XTR
from xtrkit.retriever import Retriever

RANDOM = np.random.default_rng(6)
DOCUMENTS = [unit_rows(RANDOM, n, 16) for n in RANDOM.integers(1, 9, size=60)]
IDS = [f"d{i}" for i in range(len(DOCUMENTS))]


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return Index.create(tmp_path_factory.mktemp("exact") / "idx", [DOCUMENTS], ids=IDS, nbits=16)


@pytest.fixture(scope="module", params=[("grid", 1), ("grid", 2), ("grid", 4), ("grid", 8), ("buckets", 4)])
def compressed(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("compressed") / "idx"
    codec, bits = request.param
    return Index.create(path, [DOCUMENTS[:20], DOCUMENTS[20:]], ids=IDS, nbits=bits, codec=codec)


def test_what_goes_in_comes_out(compressed):
    assert len(compressed) == 60
    assert compressed.dim == 16
    assert compressed.n_tokens == sum(map(len, DOCUMENTS))
    assert list(compressed.ids()) == IDS
    assert compressed.storage in {f"{bits} bits, grid" for bits in (1, 2, 4, 8)} | {"4 bits, buckets"}


def test_vectors_come_back_nearly(compressed):
    bits = int(compressed.storage.split()[0])
    for number, document in enumerate(DOCUMENTS):
        cosine = (compressed.vectors(number) * document).sum(axis=1) / np.linalg.norm(
            compressed.vectors(number), axis=1
        )
        least = {1: 0.5, 2: 0.8, 4: 0.97, 8: 0.9998}[bits]
        assert cosine.min() > (least if "grid" in compressed.storage else 0.9)


@pytest.mark.parametrize("codec", ["grid", "buckets"])
@pytest.mark.parametrize("recipe", [XTR, COLBERT], ids=["xtr", "maxsim"])
def test_with_eight_bits_and_everything_opened_scores_are_those_of_the_exact_engine(exact, tmp_path, recipe, codec):
    random = np.random.default_rng(151)
    index = Index.create(tmp_path / "idx", [DOCUMENTS], ids=IDS, nbits=8, codec=codec)
    everything = {"nprobe": 10_000, "k_prime": index.n_tokens, "candidates": 60}
    for document in DOCUMENTS[:5]:
        query = unit_rows(random, 4, 16) + document[:1]
        expected = dict(exact.search(query, k=60, recipe=recipe, k_prime=exact.n_tokens))
        found = dict(index.search(query, k=60, recipe=recipe, **everything))
        error = 0.02 if codec == "grid" else 0.05  # of buckets, the outermost are wide
        assert found == pytest.approx(expected, abs=error * len(query))


@pytest.mark.parametrize("recipe", [XTR, COLBERT], ids=["xtr", "maxsim"])
def test_as_many_as_are_asked_for_come_back(compressed, recipe):
    for k in (1, 10, 60, 100):
        ranking = compressed.search(DOCUMENTS[3][:1], k=k, recipe=recipe, nprobe=1, candidates=1)
        assert len(set(ranking.ids)) == min(k, 60)
        assert (np.diff(ranking.scores) <= 0).all()


def test_mean_and_sum(compressed):
    query = DOCUMENTS[3][:3]
    for imputation in ("min", "0.2"):
        mean = compressed.search(query, k=5, imputation=imputation)
        total = compressed.search(query, k=5, imputation=imputation, reduction="sum")
        np.testing.assert_allclose(total.scores, mean.scores * len(query))
    np.testing.assert_allclose(
        compressed.search(query, k=5, recipe=COLBERT).scores,
        compressed.search(query, k=5, recipe=COLBERT, reduction="mean").scores * len(query),
    )


def test_the_number_of_threads_changes_nothing(exact, compressed):
    random = np.random.default_rng(182)
    queries = [unit_rows(random, 3, 16) for _ in range(9)]
    one, three = (compressed.search_batch(queries, k=7, threads=threads) for threads in (1, 3))
    assert [list(ranking) for ranking in exact.search_batch(queries, k=7, threads=1)] == [
        list(ranking) for ranking in exact.search_batch(queries, k=7, threads=5)
    ]
    for alone, together in zip(one, three, strict=True):
        np.testing.assert_array_equal(alone.documents, together.documents)
        np.testing.assert_array_equal(alone.scores, together.scores)


@pytest.mark.parametrize(
    ("nbits", "message"), [(3, "nbits must be 1, 2, 4 or 8, or 16 for an exact index, got 3"), ("4", "got '4'")]
)
def test_bits_that_there_are_not(tmp_path, nbits, message):
    with pytest.raises(InputError, match=message):
        Index.create(tmp_path / "idx", [DOCUMENTS], nbits=nbits)
    assert list(tmp_path.iterdir()) == []


def test_dimensions_that_do_not_fill_bytes(tmp_path):
    random = np.random.default_rng(113)
    with pytest.raises(InputError, match=r"needs vectors of 8, 16, 24, … 4096 dimensions, got 12"):
        Index.create(tmp_path / "idx", [[unit_rows(random, 3, 12)]], nbits=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["s*.vectors.safetensors", "codec-*.safetensors"])
def test_damage_is_told_with_the_file(tmp_path, name):
    Index.create(tmp_path / "idx", [DOCUMENTS], nbits=4).close()
    (path,) = (tmp_path / "idx").glob(name)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IndexFormatError, match=rf"{path.name} is damaged \(it has"):
        Index.open(tmp_path / "idx")


@pytest.mark.parametrize("choices", [{}, {"imputation": "0.2"}, {"imputation": "none"}, {"scoring": "maxsim"}])
def test_text_is_found_and_explanations_add_up(tmp_path, encoders, choices):
    passages = [
        Passage("paris", "Paris is the capital of France."),
        Passage("berlin", "Berlin is the capital of Germany."),
        Passage("bread", "Knead flour, water and salt, then bake the bread."),
    ]
    Retriever.create(tmp_path / "idx", passages, model=encoders["default"], nbits=4)
    retriever = Retriever(Index.open(tmp_path / "idx"), encoders["default"])
    hits = retriever.search("What is the capital of France?", k=3, explain=True, **choices)
    assert hits[0].id == "paris"
    for hit in hits:
        similarities = [match.similarity for match in hit.matches if match.similarity is not None]
        expected = np.sum(similarities) if choices.get("scoring") == "maxsim" else np.mean(similarities)
        assert hit.score == pytest.approx(expected, abs=2e-2)


@pytest.mark.parametrize("recipe", [XTR, COLBERT], ids=["xtr", "maxsim"])
def test_a_subset_by_ids_numbers_or_marks(exact, compressed, recipe):
    numbers = np.array([41, 3, 17, 3])
    marks = np.isin(np.arange(60), numbers)
    for index in (exact, compressed):
        rankings = [
            index.search(DOCUMENTS[5], k=10, recipe=recipe, subset=subset)
            for subset in (numbers, marks, [IDS[number] for number in numbers], (f"d{number}" for number in numbers))
        ]
        assert sorted(rankings[0].ids) == ["d17", "d3", "d41"]
        for ranking in rankings:
            assert list(ranking) == list(rankings[0])
        assert len(index.search(DOCUMENTS[5], recipe=recipe, subset=[])) == 0
        (ranking,) = index.search_batch([DOCUMENTS[5]], k=1, recipe=recipe, subset=["d17"])
        assert ranking.ids == ["d17"]


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (["d1", "zz"], "No document of this index has the id 'zz'"),
        ([1, 2], r"A subset's ids must be strings, got 1 of type int: give numbers of documents as a NumPy array"),
        ("d1", "A subset must be ids, a boolean array .* got str"),
        (7, "got int"),
        (np.ones(59, bool), r"one entry for each of the 60, got shape \(59,\)"),
        (np.array([3, 60]), "must hold numbers from 0 to 59, got 3 to 60"),
        (np.array([-1]), "got -1 to -1"),
        (np.ones(60), "got ndarray"),
    ],
)
def test_subsets_that_cannot_be(compressed, subset, message):
    with pytest.raises(InputError, match=message):
        compressed.search(DOCUMENTS[0], subset=subset)


@pytest.mark.parametrize("recipe", [XTR, COLBERT], ids=["xtr", "maxsim"])
def test_all_clusters_by_name(compressed, recipe):
    named = compressed.search(DOCUMENTS[0], recipe=recipe, nprobe="all")
    counted = compressed.search(DOCUMENTS[0], recipe=recipe, nprobe=10_000, candidates=60)
    assert list(named) == list(counted)


@pytest.mark.parametrize("threads", [0, 1.5, True])
def test_threads_that_there_cannot_be(compressed, threads):
    with pytest.raises(InputError, match="threads must be a whole number of at least 1"):
        compressed.search_batch([DOCUMENTS[0]], threads=threads)


def test_stages_are_told_with_every_ranking(exact, compressed):
    assert list(exact.search(DOCUMENTS[0]).seconds) == ["tokens", "documents"]
    told = compressed.search(DOCUMENTS[0]).seconds
    assert list(told) == ["quantise", "centroids", "codes", "imputation", "documents"]
    assert all(seconds > 0 for seconds in told.values())


def test_with_everything_opened_the_ten_best_are_the_exact_engines_within_the_bound(exact, compressed):
    random = np.random.default_rng(111)
    for document in DOCUMENTS[:10]:
        query = unit_rows(random, 2, 16) + document[:1]
        assert not exact.similarity_error_bounds(query).any()
        bound = compressed.similarity_error_bounds(query).mean()
        assert np.isfinite(bound) == (compressed.storage in ("4 bits, grid", "8 bits, grid"))
        expected = exact.search(query, recipe=COLBERT, reduction="mean")
        found = compressed.search(query, nprobe="all", k_prime=compressed.n_tokens)
        assert np.abs(found.scores - expected.scores).max() <= bound
        truth = dict(exact.search(query, k=60, recipe=COLBERT, reduction="mean"))
        assert max(abs(score - truth[identifier]) for identifier, score in found) <= bound


def test_every_systems_recipe_finds_the_document(exact, compressed):
    for recipe in (XTR, COLXTR, COLXTR.but(rerank=20), XTR.but(rerank=20), COLBERT, COLBERTV2):
        for index in (exact, compressed):
            assert index.search(DOCUMENTS[7], k=3, recipe=recipe).ids[0] == "d7"
    with pytest.raises(InputError, match="rerank is XTR's"):
        COLBERT.but(rerank=3)
