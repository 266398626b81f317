"""Token vectors and words together, facets, and words through the life of an index: with a real model and files."""

import json

import numpy as np
import pytest

from tests.indexing.world import merging_late
from xtrkit.answers import answer_as_json, answer_of_json
from xtrkit.encoding import load_encoder
from xtrkit.errors import IndexFormatError, InputError
from xtrkit.hits import FacetCount
from xtrkit.index import Index
from xtrkit.indexing.checking import verify
from xtrkit.indexing.repairing import rebuild_words
from xtrkit.passage import Passage
from xtrkit.retriever import Retriever
from xtrkit.storage.manifest import SegmentFacts

PASSAGES = [
    {"id": "paris", "text": "Paris is the capital of France, on the river Seine.", "lang": "en", "tags": ["a", "b"]},
    {"id": "berlin", "text": "Berlin is the capital of Germany, on the Spree.", "lang": "en", "tags": ["b"]},
    {"id": "lyon", "text": "Lyon est une ville de France.", "lang": "fr", "year": 1},
    {"id": "e1042", "text": "Code E1042: the pump is blocked.", "lang": "en", "year": True},
    {"id": "e1043", "text": "Code E1043: the valve is open.", "year": 1.0},
    {"id": "bread", "text": "Knead flour, water, salt and yeast, then bake the bread.", "lang": None},
]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def retriever(tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("hybrid") / "idx"
    with Retriever.create(path, PASSAGES, model=encoder, split=False) as made:
        yield made


@pytest.mark.parametrize("fusion", ["rrf", "relative"])
def test_a_code_is_found_by_its_word(retriever, fusion):
    hits = retriever.search("E1043", 2, fusion=fusion, alpha=0.3)
    assert hits[0].id == "e1043"
    assert hits.fusion == fusion
    assert hits[0].scores.words == pytest.approx(dict(retriever.index.search_words("E1043"))["e1043"])
    assert hits[1].scores.words is None
    by_tokens = {hit.id: hit.score for hit in retriever.search("E1043", 6)}
    assert hits[0].scores.tokens == by_tokens["e1043"]
    assert {"words", "fusion"} <= hits.seconds.keys()


def test_without_fusion_words_count_nothing(retriever):
    hits = retriever.search("E1043", 3)
    assert (hits.fusion, hits.facets, hits[0].scores) == (None, None, None)
    assert hits == retriever.search("E1043", 3, fusion=None, alpha=None, facets=[])


def test_alpha_is_three_quarters_unless_said_otherwise(retriever):
    query = "capital of France"
    assert retriever.search(query, fusion="rrf") == retriever.search(query, fusion="rrf", alpha=0.75)
    assert retriever.search(query, fusion="rrf") != retriever.search(query, fusion="rrf", alpha=0.25)


def test_a_batch_is_fused_as_its_queries_one_by_one(retriever):
    queries = ["capital of France", "E1042", "zzz"]
    asked = {"k": 4, "fusion": "relative", "alpha": 0.5, "facets": ["lang"], "where": {"lang": {"$exists": True}}}
    assert retriever.search_batch(queries, **asked) == [retriever.search(query, **asked) for query in queries]


def test_filters_hold_for_words_too_and_change_no_score(retriever):
    every = retriever.search("capital of France", 6, fusion="rrf")
    some = retriever.search("capital of France", 6, fusion="rrf", where={"lang": "en"})
    assert {hit.id for hit in some} == {"paris", "berlin", "e1042"}
    of_words = {hit.id: hit.scores.words for hit in every}
    assert all(hit.scores.words == of_words[hit.id] for hit in some)
    assert retriever.search("capital of France", 6, fusion="rrf", subset=["lyon"]).ids == ["lyon"]


def test_a_hit_that_words_alone_found_is_explained_too(retriever, monkeypatch):
    monkeypatch.setattr("xtrkit.asking.DEPTH_OF_FUSION", 1)  # so that each way finds one
    hits = retriever.search("capital of Germany bread flour yeast salt", 1, fusion="rrf", alpha=0.1, explain=True)
    (hit,) = hits
    assert hit.scores.words is not None
    assert len(hit.matches) == len(retriever.encoder.query_tokens(hits.query))
    assert all(match.document_token is None or match.document_token.end <= len(hit.text) for match in hit.matches)


def test_reranked_hits_tell_both_scores(retriever):
    class Shortest:
        def score(self, query, texts, **options):
            return -np.array([len(text) for text in texts], dtype=np.float64)

    by_length = Retriever(retriever.index, retriever.encoder, reranker=Shortest())
    hits = by_length.search("capital of France", 3, fusion="relative", rerank_depth=3)
    assert [hit.score for hit in hits] == sorted((-len(hit.text) for hit in hits), reverse=True)
    assert all(hit.scores.tokens is not None for hit in hits)


def test_documents_are_grouped_after_fusion(tmp_path, encoder):
    long = "The whale swam on and on through the cold sea. " * 150
    given = [{"id": "whales", "text": long}, {"id": "bread", "text": "Bake the bread."}]
    with Retriever.create(tmp_path / "idx", given, model=encoder) as made:
        assert len(made) > 3
        hits = made.search("whale in the sea", 2, fusion="rrf")
        assert [hit.document for hit in hits] == ["whales", "bread"]
        assert len({hit.document for hit in made.search("whale", 9, fusion="rrf", group_by_document=False)}) == 2


def test_facets_count_the_hits(retriever):
    hits = retriever.search("capital of France", 6, facets=["lang", "tags", "year"])
    assert hits.facets == {
        "lang": (FacetCount("en", 3), FacetCount("fr", 1)),
        "tags": (FacetCount("b", 2), FacetCount("a", 1)),
        "year": (FacetCount(hits.facets["year"][0].value, 2), FacetCount(True, 1)),
    }
    first = retriever.search("capital of France", 1, facets=["lang"])
    assert first.facets == {"lang": (FacetCount("en", 1),)}
    assert retriever.search("bread", 1, facets=["lang"]).facets == {"lang": ()}


@pytest.mark.parametrize("name", ["Lang", "", "$id", 'a"b', "a\\b", "l\0"])
def test_a_field_that_no_passage_has_is_no_facet(retriever, name):
    with pytest.raises(InputError, match=r"No passage of this index has the metadata field .*, which the facets name"):
        retriever.search("bread", facets=[name])


@pytest.mark.parametrize("facets", ["lang", [1]])
def test_facets_are_a_list_of_names(retriever, facets):
    with pytest.raises(InputError, match="Facets are given as a list of names"):
        retriever.search("bread", facets=facets)


def test_an_answer_as_json_and_back(retriever):
    hits = retriever.search("capital of France", 3, fusion="relative", facets=["lang", "year"], explain=True)
    told = json.loads(json.dumps(answer_as_json(hits)))
    assert told["fusion"] == "relative"
    assert told["facets"]["lang"] == [{"value": one.value, "count": one.count} for one in hits.facets["lang"]]
    assert told["hits"][0]["scores"].keys() == {"tokens", "words"}
    back = answer_of_json(told)
    assert (back, back.facets, back.fusion) == (hits, hits.facets, hits.fusion)


def test_an_index_without_texts_has_no_words(tmp_path, encoder):
    vectors = encoder.encode_documents([passage["text"] for passage in PASSAGES])
    with Index.create(tmp_path / "idx", [vectors], encoder=encoder.identity) as index:
        assert not index.has_words
        assert all(segment.words is None for segment in index._store.pin.manifest.segments)
        retriever = Retriever(index, encoder)
        assert len(retriever.search("bread", 2)) == 2
        with pytest.raises(InputError, match="no texts, so there are no words to look for"):
            retriever.search("bread", fusion="rrf")
        assert verify(index.path, full=True).ok


TEXTS = {f"d{n}": f"{'red ' * (n % 4)}{'green ' * (n % 3)}n{n} word" for n in range(40)}


def vectors_of(names):
    return [np.random.default_rng(len(name)).normal(size=(3, 16)).astype(np.float32) for name in names]


def added(index, names, texts):
    with index.writer() as writer:
        writer.add([Passage(name, texts[name]) for name in names], vectors_of(names))
    index.refresh()


@pytest.mark.parametrize("nbits", [16, 4])
def test_many_segments_rank_by_words_as_one_does_to_the_last_bit(tmp_path, nbits):
    names, texts = list(TEXTS), {**TEXTS, **{f"d{n}": f"red blue n{n}" for n in range(30, 40)}}
    with (
        merging_late(),
        Index.create(
            tmp_path / "many",
            [vectors_of(names[:25])],
            ids=names[:25],
            texts=[TEXTS[name] for name in names[:25]],
            nbits=nbits,
        ) as many,
    ):
        added(many, names[25:], TEXTS)
        added(many, names[30:], texts)
        many.delete(["d3", "d27"])
        assert many.n_segments > 1
        left = [name for name in names if name not in ("d3", "d27")]
        with Index.create(
            tmp_path / "one", [vectors_of(left)], ids=left, texts=[texts[name] for name in left], nbits=nbits
        ) as one:
            for query in ("red", "green word", "blue red n33", "n3", "nowhere"):
                expected = one.search_words(query, 50)
                assert dict(many.search_words(query, 50)) == dict(expected)
                many_ranked = many.search_words(query, 50)
                assert [score for _, score in many_ranked] == [score for _, score in expected]
        before = {query: dict(many.search_words(query, 50)) for query in ("red", "blue red n33")}
        many.compact()
        assert {query: dict(many.search_words(query, 50)) for query in before} == before
        assert verify(many.path, full=True).ok


def words_file(path):
    (segment,) = Index.open(path)._store.pin.manifest.segments
    assert isinstance(segment, SegmentFacts)
    return path / segment.words.name


def small(path):
    names = list(TEXTS)
    return Index.create(path, [vectors_of(names)], ids=names, texts=list(TEXTS.values()))


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_damaged_words_are_found_and_mended_from_the_texts(tmp_path, damage):
    path = tmp_path / "idx"
    with small(path) as index:
        expected = index.search_words("red n7", 50)
    file = words_file(path)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flip" else content[:-1])
    report = verify(path, full=True)
    assert [problem.file for problem in report.problems] == [file.name]
    assert report.repair == [f"xtrkit repair {path} --words"]
    assert rebuild_words(path) == 2
    assert verify(path, full=True).ok
    with Index.open(path) as index:
        assert index.search_words("red n7", 50) == expected


def test_words_come_with_a_backup(tmp_path):
    with small(tmp_path / "idx") as index:
        index.backup(tmp_path / "copy")
        with Index.open(tmp_path / "copy") as copy:
            assert copy.search_words("red n7", 50) == index.search_words("red n7", 50)


def test_words_of_another_analyser_are_found_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("xtrkit.indexing.segments.ANALYSER", "xtrkit-0")
    path = tmp_path / "idx"
    small(path).close()
    with Index.open(path) as index:
        assert len(index.search(vectors_of(["d1"])[0], 3)) == 3
        with pytest.raises(IndexFormatError, match=r"found by 'xtrkit-0', this xtrkit has 'xtrkit-1': .* --words"):
            index.search_words("red")
    rebuild_words(path)
    with Index.open(path) as index:
        assert index.search_words("n7")[0][0] == "d7"


def test_from_the_command_line(retriever, here):
    path = str(retriever.index.path)
    asked = ("search", path, "E1043", "--fusion", "rrf", "--alpha", ".3", "--facets", "lang", "--json")
    told = json.loads(here(*asked).stdout)
    assert told["hits"][0]["id"] == "e1043"
    assert told["fusion"] == "rrf"
    assert told["facets"] == {"lang": [{"value": "en", "count": 3}, {"value": "fr", "count": 1}]}
    facets = ("--facets", "lang", "--facets", "year")
    shown = here("search", path, "E1043", "-k", "1", "--fusion", "relative", *facets).stdout
    assert "(tokens " in shown
    assert "words " in shown
    assert "lang: no value" in shown
    assert "year: 1.0 (1)" in shown
