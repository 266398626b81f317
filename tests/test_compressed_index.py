"""The compressed engine behind the same Index and Retriever as the exact one."""

import numpy as np
import pytest

from tests.conftest import unit_rows
from xtrkit.collection import Passage
from xtrkit.errors import IndexFormatError, InputError
from xtrkit.index import Index
from xtrkit.recipes import COLBERT, XTR
from xtrkit.retriever import Retriever, index_collection

RANDOM = np.random.default_rng(6)
DOCUMENTS = [unit_rows(RANDOM, n, 16) for n in RANDOM.integers(1, 9, size=60)]
IDS = [f"d{i}" for i in range(len(DOCUMENTS))]


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return Index.create(tmp_path_factory.mktemp("exact") / "idx", [DOCUMENTS], ids=IDS)


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
    assert compressed.storage in ("1 bits", "2 bits", "4 bits", "8 bits")


def test_vectors_come_back_nearly(compressed):
    bits = int(compressed.storage.split()[0])
    for number, document in enumerate(DOCUMENTS):
        cosine = (compressed.vectors(number) * document).sum(axis=1) / np.linalg.norm(
            compressed.vectors(number), axis=1
        )
        assert cosine.min() > {1: 0.5, 2: 0.8, 4: 0.97, 8: 0.9998}[bits]


@pytest.mark.parametrize("codec", ["grid", "buckets"])
@pytest.mark.parametrize("recipe", [XTR, COLBERT], ids=["xtr", "maxsim"])
def test_with_eight_bits_and_everything_opened_scores_are_those_of_the_exact_engine(exact, tmp_path, recipe, codec):
    index = Index.create(tmp_path / "idx", [DOCUMENTS], ids=IDS, nbits=8, codec=codec)
    everything = {"nprobe": 10_000, "k_prime": index.n_tokens, "candidates": 60}
    for document in DOCUMENTS[:5]:
        query = unit_rows(RANDOM, 4, 16) + document[:1]
        expected = dict(exact.search(query, k=60, recipe=recipe, k_prime=exact.n_tokens))
        found = dict(index.search(query, k=60, recipe=recipe, **everything))
        assert found == pytest.approx(expected, abs=0.02 * len(query))


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


def test_the_number_of_threads_changes_nothing(compressed):
    queries = [unit_rows(RANDOM, 3, 16) for _ in range(9)]
    one, three = (compressed.search_batch(queries, k=7, threads=threads) for threads in (1, 3))
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
    with pytest.raises(InputError, match=r"needs vectors of 8, 16, 24, … 4096 dimensions, got 12"):
        Index.create(tmp_path / "idx", [[unit_rows(RANDOM, 3, 12)]], nbits=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["codes.bin", "documents.bin", "compressed.json", "rotation.bin"])
def test_damage_is_told_with_the_file(tmp_path, name):
    Index.create(tmp_path / "idx", [DOCUMENTS], nbits=4).close()
    path = tmp_path / "idx" / name
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(IndexFormatError, match=rf"{name} is damaged \(it has"):
        Index.open(tmp_path / "idx")


@pytest.mark.parametrize("choices", [{}, {"imputation": "0.2"}, {"imputation": "none"}, {"scoring": "maxsim"}])
def test_text_is_found_and_explanations_add_up(tmp_path, encoders, choices):
    passages = [
        Passage("paris", "Paris is the capital of France."),
        Passage("berlin", "Berlin is the capital of Germany."),
        Passage("bread", "Knead flour, water and salt, then bake the bread."),
    ]
    index_collection(passages, tmp_path / "idx", encoders["default"], nbits=4)
    retriever = Retriever(Index.open(tmp_path / "idx"), encoders["default"])
    hits = retriever.search("What is the capital of France?", k=3, explain=True, **choices)
    assert hits[0].id == "paris"
    for hit in hits:
        similarities = [match.similarity for match in hit.matches if match.similarity is not None]
        expected = np.sum(similarities) if choices.get("scoring") == "maxsim" else np.mean(similarities)
        assert hit.score == pytest.approx(expected, abs=2e-2)
