"""The index: what goes in comes out, what can't be used is refused, what is damaged is told."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from tests.conftest import unit_rows
from xtrkit.errors import IndexExistsError, IndexFormatError, InputError
from xtrkit.index import Index
from xtrkit.passage import Passage
from xtrkit.recipes import COLBERT, XTR
from xtrkit.values import Ragged

RANDOM = np.random.default_rng(5)
DOCUMENTS = [unit_rows(RANDOM, n, 8) for n in (3, 1, 4, 1, 5)]
IDS = ["a", "ü", "with space", "🙂", "../e"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "idx"


@pytest.fixture
def index(path):
    return Index.create(
        path,
        [DOCUMENTS[:2], Ragged.from_arrays(DOCUMENTS[2:])],
        ids=IDS,
        texts=[f"text {i}" for i in IDS],
        nbits=16,
    )


def digest(directory):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.iterdir()}


def test_what_goes_in_comes_out(index):
    assert len(index) == 5
    assert index.n_tokens == 14
    assert index.dim == 8
    assert list(index.ids()) == IDS
    assert index.encoder is None
    for number, identifier in enumerate(IDS):
        assert index.number(identifier) == number
        assert index.passage(number) == Passage(identifier, f"text {identifier}")
        np.testing.assert_array_equal(index.vectors(number), DOCUMENTS[number].astype(np.float16))


def test_a_document_finds_itself(index):
    for identifier, document in zip(IDS, DOCUMENTS, strict=True):
        for recipe in (XTR, COLBERT):
            best, score = next(iter(index.search(document, k=1, recipe=recipe)))
            assert best == identifier
            assert score == pytest.approx(1.0 if recipe is XTR else len(document), abs=2e-3)


def test_a_batch_is_its_queries_one_by_one(index):
    random = np.random.default_rng(157)
    queries = [unit_rows(random, n, 8) for n in (4, 1, 2)]
    for query, ranking in zip(queries, index.search_batch(queries, k=5, k_prime=3), strict=True):
        alone = index.search(query, k=5, k_prime=3)
        assert list(alone.ids) == list(ranking.ids)
        np.testing.assert_allclose(alone.scores, ranking.scores, atol=1e-6)
        assert alone.k_prime == ranking.k_prime


def test_no_queries_give_no_rankings(index):
    assert index.search_batch([], k=5) == []


def test_an_index_may_be_moved_and_is_not_touched_by_searching(index, path, tmp_path):
    expected = list(index.search(DOCUMENTS[0], k=3))
    index.close()
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(path, moved)
    before = digest(moved)
    with Index.open(moved) as again:
        assert list(again.search(DOCUMENTS[0], k=3)) == expected
    assert digest(moved) == before


def test_an_index_of_one_document_of_one_token(path):
    index = Index.create(path, [[np.float32([[1.0, 0.0]])]], nbits=16)
    assert list(index.search(np.float32([[0.6, 0.8]]), k=10)) == [("0", pytest.approx(0.6, abs=1e-6))]


def test_an_index_of_embeddings_alone_has_no_texts(path):
    index = Index.create(path, [DOCUMENTS], nbits=16)
    assert list(index.ids()) == ["0", "1", "2", "3", "4"]
    assert index.passage(0) == Passage("0")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_floating_point_is_taken(path, dtype):
    assert len(Index.create(path, [[document.astype(dtype) for document in DOCUMENTS]], nbits=16)) == 5


NAN = np.full((2, 8), np.nan, np.float32)


@pytest.mark.parametrize(
    ("documents", "more", "message"),
    [
        ([NAN], {}, r"Document '0' has NaN, infinity or a number beyond"),
        ([DOCUMENTS[0], np.full((1, 8), np.inf, np.float32)], {}, r"Document '1' has NaN, infinity"),
        ([np.full((1, 8), 1e6, np.float32)], {}, r"Document '0' has NaN, infinity or a number beyond ±65504"),
        ([np.ones((2, 8), np.int32)], {}, r"Document '0': expected an array of floating-point numbers, got int32"),
        ([[1.0, 2.0]], {}, r"Document '0': expected an array of floating-point numbers, got list"),
        (
            [DOCUMENTS[0], np.eye(3, 8, k=6, dtype=np.float32)],
            {},
            r"Document '1' has a token vector of zeros \(token 2\)",
        ),
        ([np.full((1, 8), 1e-9)], {}, r"a token vector of length 2.8e-09 \(token 0\), too small .* changes it by 100%"),
        ([np.ones(8, np.float32)], {}, r"expected token vectors of shape \(tokens, dimensions\).* got shape \(8,\)"),
        ([np.ones((0, 8), np.float32)], {}, r"with at least one token, got shape \(0, 8\)"),
        (
            [DOCUMENTS[0], np.ones((1, 9), np.float32)],
            {},
            r"Document '1' has vectors of 9 dimensions, those before had 8",
        ),
        ([], {}, r"There are no documents to index"),
        (DOCUMENTS[:2], {"ids": ["a", "a"]}, r"The id 'a' comes twice"),
        (DOCUMENTS[:2], {"ids": ["a", 7]}, r"Ids must be strings, got 7 of type int"),
        (DOCUMENTS[:2], {"ids": ["a"]}, r"There are 1 ids, but more documents"),
        (DOCUMENTS[:2], {"ids": ["a", "b", "c"]}, r"There are more ids than the 2 documents"),
        (DOCUMENTS[:2], {"texts": ["a"]}, r"There are 1 texts, but more documents"),
        (DOCUMENTS[:2], {"texts": ["a", "b", "c"]}, r"There are more texts than the 2 documents"),
        (DOCUMENTS[:2], {"texts": ["a", b"b"]}, r"Texts must be strings, got b'b' of type bytes for the id '1'"),
        (DOCUMENTS[:1], {"codec": "pq", "nbits": 4}, r"Unknown codec 'pq': use 'grid' or 'buckets'"),
        (DOCUMENTS[:1], {"texts": ["\ud83d"]}, r"The passage '0' holds half a surrogate pair"),
    ],
)
@pytest.mark.parametrize("nbits", [16, 4])
def test_what_cannot_be_indexed_is_refused_and_nothing_is_left(tmp_path, documents, more, message, nbits):
    with pytest.raises(InputError, match=message):
        Index.create(tmp_path / "idx", [documents], **({"nbits": nbits} | more))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_caller_leaves_nothing_either(tmp_path):
    def batches():
        yield DOCUMENTS
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="the caller's own"):
        Index.create(tmp_path / "idx", batches(), nbits=16)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused_before_any_work(index, path):
    before = digest(path)

    def batches():
        raise AssertionError("nothing may be asked for")
        yield

    with pytest.raises(IndexExistsError, match="exists already"):
        Index.create(path, batches(), nbits=16)
    assert digest(path) == before


def test_overwriting_replaces_an_index_once_the_new_one_is_complete(index, path, tmp_path):
    with pytest.raises(InputError):
        Index.create(path, [[NAN]], overwrite=True, nbits=16)
    assert len(Index.open(path)) == 5
    assert len(Index.create(path, [DOCUMENTS[:2]], overwrite=True, nbits=16)) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["idx"]
    assert len(index) == 5  # the reader that was open keeps what it opened
    assert next(iter(index.search(DOCUMENTS[4], k=1)))[0] == IDS[4]


def test_what_was_put_there_during_the_build_is_kept(path):
    def batches():
        yield DOCUMENTS
        path.mkdir()
        (path / "precious").write_text("mine")

    with pytest.raises(IndexExistsError, match="exists already"):
        Index.create(path, batches(), nbits=16)
    assert (path / "precious").read_text() == "mine"
    assert [p.name for p in path.parent.iterdir()] == ["idx"]


def test_overwriting_through_a_symlink_replaces_what_it_points_to(index, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path)
    Index.create(link, [DOCUMENTS[:2]], overwrite=True, nbits=16)
    assert link.is_symlink()
    assert len(Index.open(path)) == 2


def test_a_closed_index_says_so(index):
    index.close()
    with pytest.raises(InputError, match="The index is closed"):
        index.search(DOCUMENTS[0])


def test_vectors_that_are_no_numbers_any_more_are_damage(path):
    Index.create(path, [DOCUMENTS], nbits=16).close()
    file = file_of(path, "vectors")
    content = file.read_bytes()
    last_vector = DOCUMENTS[-1][-1].astype(np.float16).tobytes()
    assert content.count(last_vector) == 1
    file.write_bytes(content.replace(last_vector, np.full(8, np.nan, dtype=np.float16).tobytes()))
    with pytest.raises(IndexFormatError, match="are no numbers: it is damaged"):
        Index.open(path).search(DOCUMENTS[0], k_prime=100)


def test_numpy_integers_are_whole_numbers(index):
    assert len(index.search(DOCUMENTS[0], k=np.int64(2), k_prime=np.int32(3))) == 2


def test_what_is_no_index_is_never_overwritten(tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(IndexExistsError, match="is not an index, so it is not overwritten"):
        Index.create(tmp_path, [DOCUMENTS], overwrite=True, nbits=16)
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.ones((2, 9), np.float32), r"The query has 9 dimensions, the index 8"),
        (np.ones(8, np.float32), r"A query must be token embeddings of shape .*, got shape \(8,\)"),
        (np.ones((1, 8), np.int64), r"The query: expected an array of floating-point numbers, got int64"),
        (np.ones((0, 8), np.float32), r"The query has no tokens"),
        (NAN, r"The query has NaN, infinity or a number beyond ±65504"),
        (np.full((1, 8), 1e300), r"a number beyond ±65504"),
    ],
)
def test_queries_that_cannot_be_searched(index, query, message):
    with pytest.raises(InputError, match=message):
        index.search(query)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, r"k must be a whole number of at least 1, got 0"),
        ({"k": 2.5}, r"k must be a whole number of at least 1, got 2.5"),
        ({"k": True}, r"got True"),
        ({"nprobe": 0}, r"nprobe must be a whole number of at least 1 or 'all', got 0"),
        ({"k_prime": 0}, r"k' must be a whole number of at least 1, got 0"),
        ({"scoring": "bm25"}, r"Unknown scoring 'bm25': use 'xtr' or 'maxsim'"),
        ({"reduction": "max"}, r"Unknown reduction 'max'"),
        ({"imputation": "median"}, r"Unknown imputation 'median'"),
        ({"nprobbe": 3}, r"Unknown search choice 'nprobbe': there are scoring, k_prime, imputation"),
    ],
)
def test_choices_that_cannot_be_made(index, arguments, message):
    with pytest.raises(InputError, match=message):
        index.search(DOCUMENTS[0], **arguments)


def test_an_id_that_is_not_there(index):
    with pytest.raises(InputError, match="No document of this index has the id 'zz'"):
        index.number("zz")


def test_nothing_and_what_is_no_index(tmp_path):
    with pytest.raises(IndexFormatError, match=r"There is nothing at .*: make one with `xtrkit index"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(IndexFormatError, match="There is no index at"):
        Index.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexFormatError, match="There is no index at"):
        Index.open(tmp_path / "file")


def file_of(path, kind):
    """The file of the index's only segment, or its manifest."""
    (found,) = path.glob({"vectors": "s*.vectors.safetensors", "passages": "s*.sqlite", "manifest": "manifest-*"}[kind])
    return found


def change_manifest(path, **changes):
    """Rewrite the manifest with a checksum that fits."""
    file = file_of(path, "manifest")
    record = json.loads(file.read_text().splitlines()[0])
    record["properties"] |= changes.pop("properties", {})
    line = json.dumps({**record, **changes}, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    digest = hashlib.sha256(line.encode()).hexdigest()
    file.write_text(line + json.dumps({"sha256": digest}, separators=(",", ":")) + "\n")


def truncate(kind):
    def damage(path):
        file = file_of(path, kind)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return damage


def remove(kind):
    return lambda path: file_of(path, kind).unlink()


def overwrite(kind):
    def damage(path):
        file = file_of(path, kind)
        file.write_bytes(b"\xff" * file.stat().st_size)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate("vectors"), r"vectors.safetensors is damaged \(it has \d+ bytes instead of \d+\)"),
        (truncate("passages"), r"docs.sqlite is damaged \(it has"),
        (truncate("manifest"), r"manifest-000000000001.json is damaged"),
        (remove("vectors"), r"vectors.safetensors is damaged \(it is missing\)"),
        (remove("passages"), r"docs.sqlite is damaged \(it is missing\)"),
        (overwrite("vectors"), r"vectors.safetensors is damaged"),
        (overwrite("passages"), r"docs.sqlite is damaged"),
        (overwrite("manifest"), r"manifest-000000000001.json is damaged"),
        (lambda path: change_manifest(path, properties={"dim": 4}), r"vectors.safetensors is damaged \(its arrays are"),
        (lambda path: change_manifest(path, properties={"dim": "8"}), r"'8' dimensions are impossible"),
        (lambda path: change_manifest(path, properties={"bits": 4}), r"only a compressed index has a codec"),
        (lambda path: change_manifest(path, properties={"nprobe": "8"}), r"'8' clusters can't be opened"),
        (lambda path: change_manifest(path, properties={"bits": 3}), r"3 bits are impossible"),
        (lambda path: change_manifest(path, properties={"more": 4}), r"unexpected keyword argument 'more'"),
        (lambda path: change_manifest(path, properties={"encoder": {"name": "x"}}), r"manifest-.* is damaged"),
        (lambda path: change_manifest(path, properties={"encoder": 3}), r"manifest-.* is damaged"),
        (lambda path: change_manifest(path, segments=[]), r"it has no segments"),
        (lambda path: change_manifest(path, format="other"), r"does not say that this is a xtrkit-index"),
        (lambda path: change_manifest(path, version=99), r"has format version 99, this xtrkit reads version 6"),
        (lambda path: change_manifest(path, features=["x"]), r"needs the feature 'x', which this xtrkit does not know"),
    ],
)
def test_damage_is_told_with_the_file(index, path, damage, message):
    index.close()
    damage(path)
    with pytest.raises(IndexFormatError, match=message):
        Index.open(path)
