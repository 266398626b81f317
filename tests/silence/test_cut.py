"""Nothing is cut off in silence: documents are split unless that is declined, and what is cut off is said before."""

import json
import warnings

import numpy as np
import pytest

from xtrkit import Index, Passage, Retriever
from xtrkit.encoding import load_encoder
from xtrkit.errors import InputError, XtrkitWarning

FILLER = " ".join(f"On day {day} the fleet sailed {day % 9 + 2} miles and met nobody." for day in range(40))
LONG = f"{FILLER} At last the whale sank the ship."
QUESTION = "what sank the ship?"


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(document_length=64, query_length=32)


@pytest.fixture
def log(tmp_path, encoder):
    """An index of one long document and a short one."""
    return Retriever.create(tmp_path / "idx", [("log", LONG), ("note", "The harbour was full.")], model=encoder)


def texts_of(retriever, document):
    return [passage.text for passage in retriever.get(documents=[document])]


def test_the_end_of_a_long_text_is_found_and_each_document_is_shown_once(log):
    assert log.indexed.truncated == 0
    hits = log.search(QUESTION, k=5)
    assert "whale sank" in hits[0].text
    assert [hit.document for hit in hits] == ["log", "note"]
    assert len(log.search(QUESTION, k=5, group_by_document=False)) == 5


def test_an_index_remembers_how_it_splits_and_what_is_added_follows(tmp_path, log, encoder):
    before = len(log)
    reopened = Retriever(Index.open(log.index.path), encoder)
    reopened.add([("other", LONG)])
    assert (len(reopened), texts_of(reopened, "other")) == (2 * before - 1, texts_of(reopened, "log"))
    reopened.add([("log", LONG)])  # which once replaced all of its passages by one, cut off
    assert len(reopened) == 2 * before - 1
    assert any("whale sank" in text for text in texts_of(reopened, "log"))
    reopened.compact()
    assert Index.open(log.index.path).splitting == log.index.splitting != None  # noqa: E711
    assert sum("whale sank" in hit.text for hit in reopened.search(QUESTION, k=2)) == 2


def test_an_index_that_does_not_split_says_how_many_texts_it_cuts_before_it_encodes_any(tmp_path, encoder, monkeypatch):
    def encode(*arguments, **options):
        raise AssertionError("it was encoding already")

    texts = [("log", LONG), ("note", "The harbour was full."), ("log2", LONG)]
    with monkeypatch.context() as patched:
        patched.setattr(type(encoder), "stream_documents", encode)
        with (
            pytest.warns(XtrkitWarning, match="2 of 3 texts are longer than the 64 tokens"),
            pytest.raises(AssertionError),
        ):
            Retriever.create(tmp_path / "idx", texts, model=encoder, split=False)
    with pytest.warns(XtrkitWarning):
        retriever = Retriever.create(tmp_path / "idx", texts, model=encoder, split=False)
    assert (retriever.indexed.truncated, len(retriever), retriever.index.splitting) == (2, 3, None)
    with pytest.warns(XtrkitWarning, match="1 of 1 texts are longer"):
        assert retriever.add([("log3", LONG)]).truncated == 1
    assert Retriever(Index.open(tmp_path / "idx"), encoder).get(["log3"])[0].text == LONG


def test_from_the_command_line(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "log.txt").write_text(" ".join([FILLER] * 3) + " At last the whale sank the ship.")

    def told(*arguments):
        ran = here(*arguments, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout), ran.stderr

    done, err = told("index", "notes", "whole", "--no-split")
    assert (done["passages"], done["truncated"]) == (1, 1)
    assert "Warning: 1 of 1 texts are longer than the 512 tokens" in err
    done, err = told("index", "notes", "pieces")
    assert (done["documents"], done["truncated"], err) == (1, 0, "")
    assert done["passages"] > 3
    added, _ = told("add", "pieces", "notes")
    assert (added["documents"], added["truncated"], added["added"]) == (done["passages"], 0, 0)
    hits = told("search", "pieces", QUESTION, "-k", "9")[0]["hits"]
    assert [hit["part"]["document"] for hit in hits] == ["log.txt"]
    assert "whale sank" in hits[0]["text"]
    assert len(told("search", "pieces", QUESTION, "-k", "2", "--all-passages")[0]["hits"]) == 2


@pytest.mark.parametrize("identifier", ["log#1", "log#2", "log-1", "log¶", "log¶x", "log¶0"])
def test_ids_of_pieces_collide_with_no_id_of_the_users(tmp_path, encoder, identifier):
    retriever = Retriever.create(tmp_path / "idx", [(identifier, "A reef."), ("log", LONG)], model=encoder)
    assert retriever.get([identifier])[0].text == "A reef."
    assert texts_of(retriever, "log")[0].startswith("On day 0")
    assert len(set(retriever.index.ids())) == len(retriever) == len(texts_of(retriever, "log")) + 1


def test_ids_that_end_as_those_of_pieces_are_refused(tmp_path, log, encoder):
    for take in (log.add, lambda given: Retriever.create(tmp_path / "new", given, model=encoder)):
        with pytest.raises(InputError, match="'log¶3' ends as those of passages that xtrkit cuts out of documents do"):
            take([("log¶3", "A reef.")])
    pieces = log.get(documents=["log"])
    copy = Retriever.create(tmp_path / "copy", pieces, model=encoder)  # what xtrkit cut is taken as it is
    assert copy.get(documents=["log"]) == pieces
    assert not (tmp_path / "new").exists()


def test_documents_are_deleted_found_and_filtered_by_their_own_ids(log):
    n = len(log)
    assert {hit.document for hit in log.search("the harbour", subset=["log"], group_by_document=False)} == {"log"}
    assert {hit.document for hit in log.search("the harbour", where={"$document": "log"})} == {"log"}
    with pytest.raises(InputError, match="documents"):
        log.get(["log"])
    log.delete(["log"])
    assert (len(log), n > 5) == (1, True)


def test_a_query_that_is_cut_off_says_so(log):
    words = " ".join(f"island{number}" for number in range(300))
    first, second = log.search(f"{words} north", k=1), log.search(f"{words} south", k=1)
    assert first.ids == second.ids
    assert first.truncated
    assert second.truncated
    assert [hits.truncated for hits in log.search_batch([words, "short"])] == [True, False]
    assert log.rerank(words, ["an island"]).truncated


def test_an_index_of_embeddings_has_nothing_to_split(tmp_path, encoder):
    rows = encoder.encode_documents(["A reef."])
    index = Index.create(tmp_path / "idx", [rows], ids=["a"], texts=["A reef."], encoder=encoder.identity, nbits=16)
    assert index.splitting is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Retriever(index, encoder).add([Passage("b", "A short text.")]).truncated == 0
    with pytest.warns(XtrkitWarning, match="1 of 1 texts"):
        assert Retriever(index, encoder).add([Passage("c", LONG)]).truncated == 1


def test_what_is_recorded_is_json(log):
    assert json.loads(json.dumps(log.indexed.as_json()))["report"]["documents"] == 2
    assert np.all(np.diff(log.index.document_offsets) <= 64)


def test_texts_without_content_are_left_out_of_an_order(log):
    with pytest.warns(XtrkitWarning, match="2 of 3 texts have nothing in them"):
        assert log.rerank("a reef", ["", "A reef.", "\u200b"]).ids == ["1"]
