"""RAGatouille's names and calls on xtrkit: the first steps of its README, and every argument that it has."""

import re
import shutil
import warnings

import pytest
from langchain_core.documents import Document

from tests.indexing.test_stanford import write_stanford
from xtrkit import COLBERT, XTR, Retriever
from xtrkit.compat import saying
from xtrkit.compat.ragatouille import RAGPretrainedModel
from xtrkit.errors import CollectionError, IndexExistsError, IndexFormatError, InputError, ModelError, XtrkitWarning

STUDIO = (
    "The studio was founded in Tokyo in 1985 by two directors and a producer. Its films are drawn by hand. "
    "It has won awards for a film about a girl who works in a bath house for spirits."
)
DIRECTOR = (
    "The director was born in Tokyo in 1941. Before he made films he wrote manga, one of which, about a princess in a "
    "poisoned valley, ran for twelve years. He retired more than once, and came back each time."
)
VIOLIN = "A violin has four strings, tuned in fifths, and is played with a bow."

FIRST_STEPS = """
from ragatouille import RAGPretrainedModel

RAG = RAGPretrainedModel.from_pretrained("colbert-ir/colbertv2.0")
index_path = RAG.index(index_name="films", collection=[studio, director])
"""
WITH_IDS = """
index_path = RAG.index(
    index_name="films_with_ids",
    collection=[studio, director],
    document_ids=["studio", "director"],
    document_metadatas=[{"entity": "organisation", "source": "notes"}, {"entity": "person", "source": "notes"}],
)
"""
SEARCHING = """
from ragatouille import RAGPretrainedModel

RAG = RAGPretrainedModel.from_index(index_path)
results = RAG.search("which manga did the director write?")
several = RAG.search(["which manga did the director write?", "who founded the studio?"], k=1)
"""
CHANGING = """
RAG.add_to_index(
    new_collection=[violin],
    new_document_ids=["violin"],
    new_document_metadatas=[{"entity": "thing", "source": "notes"}],
)
found = RAG.search("how many strings are there?", k=1)
RAG.delete_from_index(document_ids=["violin"])
"""
IN_MEMORY = """
RAG = RAGPretrainedModel.from_pretrained("colbert-ir/colbertv2.0")
reranked = RAG.rerank(query="how many strings are there?", documents=[studio, director, violin], k=2)
RAG.encode([studio, director], document_metadatas=[{"page": 1}, {"page": 2}])
RAG.encode([violin])
encoded = RAG.search_encoded_docs(query="who founded the studio?", k=2)
RAG.clear_encoded_docs(force=True)
"""
LANGCHAIN = """
retriever = RAG.as_langchain_retriever(k=1)
documents = retriever.invoke("which manga did the director write?")
compressor = RAG.as_langchain_document_compressor(k=1)
"""


def run(names, *snippets):
    """Snippets one after the other, the import line and the model exchanged, nothing else."""
    for snippet in snippets:
        ours = snippet.replace("from ragatouille import", "from xtrkit.compat.ragatouille import")
        exec(compile(ours.replace("colbert-ir/colbertv2.0", "default"), "snippet", "exec"), names)
    return names


@pytest.fixture(autouse=True)
def anew(monkeypatch, tmp_path):
    saying.say_once.cache_clear()
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two texts, indexed; tests that change it copy it."""
    root = tmp_path_factory.mktemp("films")
    rag = RAGPretrainedModel.from_pretrained("default", index_root=str(root))
    return rag.index(
        [STUDIO, DIRECTOR], ["studio", "director"], [{"kind": "organisation"}, {"kind": "person"}], index_name="films"
    )


@pytest.fixture
def rag(films, tmp_path):
    shutil.copytree(films, tmp_path / "copy")
    return RAGPretrainedModel.from_index(tmp_path / "copy")


def test_the_first_steps(tmp_path):
    names = run({"studio": STUDIO, "director": DIRECTOR, "violin": VIOLIN}, FIRST_STEPS)
    assert names["index_path"] == ".ragatouille/colbert/indexes/films"
    assert sorted(names["RAG"]._retriever.index.ids()) == ["0", "1"]
    run(names, WITH_IDS, SEARCHING)
    best = names["results"][0]
    assert best == {
        "content": DIRECTOR,
        "score": best["score"],
        "rank": 1,
        "document_id": "director",
        "passage_id": "director",
        "document_metadata": {"entity": "person", "source": "notes"},
    }
    assert best["score"] > 2  # a sum
    assert [[one["document_id"] for one in answer] for answer in names["several"]] == [["director"], ["studio"]]
    run(names, CHANGING, LANGCHAIN)
    assert [(one["content"], one["document_metadata"]["entity"]) for one in names["found"]] == [(VIOLIN, "thing")]
    assert len(names["RAG"].search("strings")) == 2
    (document,) = names["documents"]
    assert document.metadata["$document"] == document.id == "director"
    (kept,) = names["compressor"].compress_documents([Document(page_content=VIOLIN), document], "which manga?")
    assert kept.id == "director"
    run(names, IN_MEMORY)
    best, _ = names["reranked"]
    assert (best["result_index"], best["rank"], best["content"]) == (2, 1, VIOLIN)
    assert names["encoded"][0]["content"] == STUDIO
    assert names["encoded"][0]["document_metadata"] == {"page": 1}
    with pytest.raises(InputError, match="There are no texts in memory"):
        names["RAG"].search_encoded_docs("who?")


def test_searches_are_those_of_a_retriever(rag):
    with Retriever.open("copy") as retriever:
        for fast, recipe in ((False, COLBERT), (True, XTR.but(reduction="sum"))):
            hits = retriever.search("who wrote manga?", 2, recipe=recipe)
            found = rag.search("who wrote manga?", k=2, force_fast=fast)
            assert [(one["document_id"], one["score"]) for one in found] == [(hit.id, hit.score) for hit in hits]
    assert [one["rank"] for one in rag.search("manga", zero_index_ranks=True)] == [0, 1]
    assert [one["rank"] for one in rag.search("manga")] == [1, 2]
    assert [one["document_id"] for one in rag.search("manga", doc_ids=["studio"])] == ["studio"]
    assert [one["document_id"] for one in rag.search("manga", where={"kind": "organisation"})] == ["studio"]
    assert rag.search(["manga"], k=1) == [rag.search("manga", k=1)]
    assert rag.search([]) == []


def test_long_texts_are_cut(tmp_path):
    rag = RAGPretrainedModel.from_pretrained("default", verbose=0)
    long = " ".join(f"On day {day} we sailed {day % 7 + 3} miles." for day in range(60))
    rag.index([long, VIOLIN], ["log", "violin"], max_document_length=64)
    assert rag.index_name == "new_index"
    best, second = rag.search("what happened on day 30?", k=2)
    assert best["document_id"] == second["document_id"] == "log"
    assert best["passage_id"] != second["passage_id"]
    assert best["content"] in long
    assert rag.encoder.identity.document_length == 64
    rag.add_to_index([long + " Then we landed."], ["more"])
    assert {one["document_id"] for one in rag.search("when did we land?", k=1)} == {"more"}
    rag.delete_from_index("log")
    assert {one["document_id"] for one in rag.search("what happened on day 30?", k=99)} == {"more", "violin"}
    with pytest.warns(XtrkitWarning, match="split_documents=False is not how this index was made"):
        rag.add_to_index([VIOLIN], ["again"], split_documents=False)
    with pytest.warns(XtrkitWarning, match="longer than the 64 tokens"):
        rag.index([long], max_document_length=64, split_documents=False)
    assert len(rag.search("day")) == 1
    with pytest.warns(XtrkitWarning, match=r"max_document_length=9999 is more than the model can take: .* up to 512"):
        rag.index([VIOLIN], max_document_length=9999)
    assert rag.encoder.identity.document_length == 512


def by_sentences(documents, document_ids, chunk_size):
    assert chunk_size == 128
    return [
        {"document_id": name, "content": sentence}
        for name, text in zip(document_ids, documents, strict=True)
        for sentence in re.split(r"(?<=\.) ", text)
    ]


def without_tokyo(chunks, document_ids):
    return [{**chunk, "content": chunk["content"].replace(" in Tokyo", "")} for chunk in chunks]


def test_functions_of_the_users(tmp_path):
    rag = RAGPretrainedModel.from_pretrained("default")
    rag.index(
        [STUDIO, DIRECTOR], ["studio", "director"], [{"kind": "a"}, {"kind": "b"}], max_document_length=128,
        document_splitter_fn=by_sentences, preprocessing_fn=[without_tokyo],
    )  # fmt: skip
    assert [one["passage_id"] for one in rag.search("when was the director born?", k=1)] == ["director¶1"]
    (born,) = rag.search("when was the director born?", k=1)
    assert born["content"] == "The director was born in 1941."
    assert (born["document_id"], born["document_metadata"]) == ("director", {"kind": "b"})
    hit = rag._retriever.search("he retired")[0]
    assert DIRECTOR[hit.part.first : hit.part.last] == hit.text == "He retired more than once, and came back each time."
    rag.add_to_index([VIOLIN + " It is old."], ["violin"], document_splitter_fn=by_sentences)
    assert rag.search("is it old?", k=1)[0]["passage_id"] == "violin¶2"
    rag.delete_from_index(["violin", "director"])
    assert {one["document_id"] for one in rag.search("violin")} == {"studio"}
    rag.index([STUDIO], preprocessing_fn=without_tokyo)
    assert "Tokyo" not in rag.search("studio")[0]["content"]
    for bad in (lambda chunks, ids: ["text"], lambda chunks, ids: [{"document_id": "x", "content": ""}]):
        with pytest.raises(InputError, match="Functions give chunks such as"):
            rag.index([STUDIO], preprocessing_fn=bad)


def test_an_index_that_is_there(films):
    root = films.removesuffix("/colbert/indexes/films")
    rag = RAGPretrainedModel.from_pretrained("default", index_root=root)
    assert [one["document_id"] for one in rag.search("manga", index_name="films", k=1)] == ["director"]
    assert RAGPretrainedModel.from_index(films).search("manga") == rag.search("manga")
    assert rag.index([VIOLIN], index_name="films", overwrite_index="reuse") == films
    assert len(rag.search("manga")) == 2
    for keep in (False, "resume"):
        with pytest.raises(IndexExistsError, match="name another index"):
            rag.index([VIOLIN], index_name="films", overwrite_index=keep)
    with pytest.raises(InputError, match="overwrite_index is True"):
        rag.index([VIOLIN], index_name="films", overwrite_index="yes")
    with pytest.raises(IndexFormatError, match="There is nothing at"):
        rag.search("manga", index_name="other")
    assert len(rag.search("manga")) == 2  # still the one that it had


def test_one_that_is_replaced():
    rag = RAGPretrainedModel.from_pretrained("default")
    rag.index([VIOLIN], index_name="one", overwrite_index=False)
    rag.index([STUDIO, DIRECTOR], index_name="one")
    assert len(rag.search("manga")) == 2
    rag.add_to_index([VIOLIN])
    rag.add_to_index([VIOLIN + " It is new."], ["0"])
    assert sorted((one["document_id"], one["content"][:5]) for one in rag.search("strings")) == [
        ("0", "A vio"), ("1", "The d"), ("2", "A vio"),
    ]  # fmt: skip


def test_what_has_no_meaning_is_said_once(rag):
    with pytest.warns(XtrkitWarning, match="n_gpu has no meaning in xtrkit"):
        RAGPretrainedModel.from_pretrained("default", n_gpu=2)
    with pytest.warns(XtrkitWarning, match="use_faiss has no meaning in xtrkit"):
        rag.add_to_index([VIOLIN], use_faiss=True)
    with pytest.warns(XtrkitWarning, match="bsize has no meaning in xtrkit"):
        rag.as_langchain_document_compressor(bsize=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RAGPretrainedModel.from_index("copy", n_gpu=2)
        rag.add_to_index([VIOLIN], use_faiss=True)
        rag.encode([VIOLIN, STUDIO], bsize=1, verbose=False)
        assert rag.search_encoded_docs("strings", k=1, bsize=1)[0]["content"] == VIOLIN
        rag.encode([DIRECTOR], max_document_length=200)


def test_reranking(rag):
    texts = [STUDIO, DIRECTOR, VIOLIN]
    expected = rag._retriever.rerank("who wrote manga?", texts)
    found = rag.rerank("who wrote manga?", texts)
    assert [one["result_index"] for one in found] == [int(hit.id) for hit in expected]
    assert [one["score"] for one in found] == pytest.approx([hit.score for hit in expected])
    assert [one["rank"] for one in rag.rerank("manga", texts, k=2, zero_index_ranks=True)] == [0, 1]
    both = rag.rerank(["who wrote manga?", "strings"], texts, k=1, bsize=2)
    assert [answer[0]["content"] for answer in both] == [DIRECTOR, VIOLIN]
    assert rag.rerank("manga", []) == []


def test_as_langchain_retriever(rag):
    (document,) = rag.as_langchain_retriever(k=2, doc_ids=["studio"]).invoke("manga")
    assert (document.id, document.metadata["kind"]) == ("studio", "organisation")
    assert document.metadata["$score"] == rag.search("manga", doc_ids=["studio"])[0]["score"]
    assert len(rag.as_langchain_retriever(where={"kind": "person"}, force_fast=True).invoke("manga")) == 1
    with pytest.raises(InputError, match="have no such rank"):
        rag.as_langchain_retriever(zero_index_ranks=True)
    with pytest.raises(InputError, match="Unknown argument 'depth'"):
        rag.as_langchain_document_compressor(depth=3)
    with pytest.raises(InputError, match="k must be a whole number"):
        rag.as_langchain_retriever(k=0)


def test_what_is_refused(rag, tmp_path):
    fresh = RAGPretrainedModel.from_pretrained("default")
    for asking in (fresh.search, fresh.add_to_index, fresh.delete_from_index):
        with pytest.raises(InputError, match="There is no index yet"):
            asking(["manga"])
    with pytest.raises(InputError, match="There is no index yet"):
        fresh.as_langchain_retriever()
    for asking in (rag.search, lambda query, **named: rag.rerank(query, [VIOLIN], **named)):
        with pytest.raises(InputError, match="A query must be a text"):
            asking("")
        with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
            asking("manga", k=0)
    with pytest.raises(InputError, match="Unknown search choice 'depth'"):
        rag.search("manga", depth=3)
    with pytest.raises(InputError):
        rag.search("manga", doc_ids=["nothing"])
    with pytest.raises(InputError):
        rag.delete_from_index(["nothing"])
    with pytest.raises(InputError, match="Texts come as a list"):
        rag.index("text")
    with pytest.raises(InputError, match="Texts must be strings"):
        rag.rerank("manga", [3])
    with pytest.raises(InputError, match="document_ids must have one entry for each of the 1 texts, got 2"):
        rag.index([VIOLIN], ["a", "b"])
    with pytest.raises(InputError, match="document_metadatas must have one entry for each of the 1 texts, got 0"):
        rag.encode([VIOLIN], document_metadatas=[])
    with pytest.raises(InputError, match="'a' comes twice"):
        rag.index([VIOLIN, STUDIO], ["a", "a"])
    with pytest.raises(CollectionError, match="There is nothing to index"):
        rag.index([])
    with pytest.raises(InputError, match="max_document_length must be a whole number"):
        rag.index([VIOLIN], max_document_length=0)
    with pytest.raises(IndexFormatError, match="There is nothing at"):
        RAGPretrainedModel.from_index(tmp_path / "none")
    with pytest.raises(ModelError, match="neither a directory nor a model's name"):
        RAGPretrainedModel.from_pretrained("no such model").rerank("manga", [VIOLIN])


def test_an_index_that_ragatouille_made(tmp_path):
    write_stanford(tmp_path / "old", 2)
    (tmp_path / "old" / "pid_docid_map.json").write_text("{}")
    with pytest.raises(InputError, match=r"an index that RAGatouille made: .*docs/moving\.md"):
        RAGPretrainedModel.from_index(tmp_path / "old")


def test_what_is_no_query_no_model_and_no_chunks(rag):
    for asking in (rag.search, lambda query: rag.rerank(query, [VIOLIN])):
        with pytest.raises(InputError, match="got None"):
            asking(None)
    with pytest.raises(InputError, match="A model is given as its name, its path or loaded, got None"):
        RAGPretrainedModel.from_pretrained(None).rerank("manga", [VIOLIN])
    with pytest.raises(InputError, match='bsize is a whole number or "auto"'):
        rag.rerank("manga", [VIOLIN], bsize="x")
    with pytest.raises(InputError, match=r"Functions give chunks such as .*, in a list, got None"):
        rag.index([VIOLIN], preprocessing_fn=[lambda chunks, ids: None, lambda chunks, ids: chunks])
    with pytest.raises(InputError, match=r"Functions give chunks such as .*, in a list, got None"):
        rag.index([VIOLIN], document_splitter_fn=lambda texts, ids, chunk_size: None)
    with pytest.raises(InputError, match="Unknown search choice 'depth'"):
        rag.as_langchain_retriever(depth=3)
