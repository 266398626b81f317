"""Adding and deleting over HTTP: one commit for many, none spoils the others, and what was acknowledged is on disk."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from xtrkit import Index


@pytest.fixture
def add(writer):
    def added(*documents, status=200, **more):
        response = writer.post("/v1/documents", json={"index": "changing", "documents": list(documents), **more})
        assert response.status_code == status, response.text
        return response.json()

    return added


@pytest.fixture
def delete(writer):
    def deleted(status=200, **what):
        response = writer.request("DELETE", "/v1/documents", json={"index": "changing", **what})
        assert response.status_code == status, response.text
        return response.json()

    return deleted


def ids_of(server):
    with Index.open(server.index) as index:
        return set(index.ids())


def test_what_was_added_is_on_disk_and_found(keyed, writer, add):
    told = add({"id": "a/volcano", "text": "Lava flows from a volcano.", "title": "Etna", "metadata": {"lang": "is"}})
    assert (told["index"], told["added"], told["updated"], told["deleted"]) == ("changing", 1, 0, 0)
    assert (told["read"], told["passages"], told["ids"]) == (1, 1, ["a/volcano"])
    with Index.open(keyed.index) as index:
        assert index.generation >= told["generation"]
        (passage,) = index.get(["a/volcano"])
    assert passage.text == "Etna Lava flows from a volcano."
    assert passage.metadata == {"lang": "is"}
    found = writer.post("/v1/search", json={"query": "lava of a volcano", "index": "changing", "k": 1}).json()
    assert found["hits"][0]["id"] == "a/volcano"
    assert found["generation"] >= told["generation"]
    assert writer.get("/v1/documents/a/volcano", params={"index": "changing"}).json()["text"] == passage.text


def test_what_comes_again_is_replaced(add, writer):
    add({"id": "again", "text": "First it was about glaciers."})
    told = add({"id": "again", "text": "Then it was about deserts."})
    assert (told["added"], told["updated"]) == (0, 1)
    assert "deserts" in writer.get("/v1/documents/again?index=changing").json()["text"]


def test_texts_without_ids_get_numbers(add, keyed):
    told = add("One text without an id.", "Another one.")
    assert told["added"] == 2
    assert len(set(told["ids"])) == 2
    assert all(name.isdigit() for name in told["ids"])
    assert set(told["ids"]) <= ids_of(keyed)


def test_long_documents_are_cut_and_replaced_whole(add, keyed, writer, delete):
    text = " ".join(f"Sentence number {number} tells of the sea and its ships." for number in range(60))
    told = add({"id": "sea", "text": text})
    assert told["passages"] > 1
    pieces = {name for name in ids_of(keyed) if name.startswith("sea¶")}
    assert len(pieces) == told["passages"]
    missing = writer.get("/v1/documents/sea?index=changing")
    assert missing.status_code == 404
    assert set(missing.json()["error"]["details"]["passages"]) == pieces
    listed = writer.get("/v1/documents", params={"document": "sea", "index": "changing"}).json()["passages"]
    assert [one["part"]["document"] for one in listed] == ["sea"] * len(pieces)
    again = add({"id": "sea", "text": "Now it is short."})
    assert (again["added"], again["deleted"]) == (1, len(pieces))
    assert {name for name in ids_of(keyed) if name.startswith("sea")} == {"sea"}
    add({"id": "sea", "text": text})
    assert delete(documents=["sea"])["deleted"] == len(pieces)


def test_deleting(add, delete, writer, keyed):
    add({"id": "x/1", "text": "First."}, {"id": "x/2", "text": "Second."}, {"id": "x/3", "text": "Third."})
    assert delete(ids=["x/1", "x/2"])["deleted"] == 2
    assert not {"x/1", "x/2"} & ids_of(keyed)
    assert "'x/1'" in delete(ids=["x/3", "x/1"], status=400)["error"]["message"]
    assert "x/3" in ids_of(keyed)
    assert delete(ids=["x/3", "x/1"], missing_ok=True)["deleted"] == 1
    assert "no ids" in delete(status=400)["error"]["message"]
    add({"id": "x/a b?c", "text": "Of an odd name."})
    assert writer.delete("/v1/documents/x%2Fa%20b%3Fc", params={"index": "changing"}).json()["deleted"] == 1
    gone = writer.delete("/v1/documents/x%2Fa%20b%3Fc", params={"index": "changing"})
    assert (gone.status_code, gone.json()["error"]["type"]) == (404, "not_found")


WRONG = [
    ([], 422, "documents"),
    ([""], 400, "nothing in them"),
    ([{"id": "a\0b", "text": "A text."}], 400, "NUL"),
    ([{"id": "", "text": "A text."}], 400, "at least one character"),
    ([{"id": "a" * 600, "text": "A text."}], 400, "512"),
    ([{"id": "twice", "text": "A text."}, {"id": "twice", "text": "Another."}], 400, "comes twice"),
    ([{"id": 3, "text": "A text."}], 422, "documents."),
    ([{"text": 3}], 422, "documents."),
    ([{"id": "no text"}], 422, "documents."),
    ([{"id": "a", "text": "A text.", "lang": "en"}], 422, "documents."),
    ([{"id": "a", "text": "A text.", "metadata": {"a": {"b": 1}}}], 400, "a"),
    ([{"id": "a", "text": "A text.", "metadata": {"a": 1 << 70}}], 400, "a"),
    ([3], 422, "documents."),
    (["a"] * 10_001, 400, "10,000 documents"),
]


@pytest.mark.parametrize(("documents", "status", "part"), WRONG)
def test_nothing_of_a_bad_request_is_kept(add, keyed, documents, status, part):
    before = ids_of(keyed)
    good = [{"id": "beside the bad", "text": "A good text."}] if 0 < len(documents) < 10 and documents != [""] else []
    error = add(*good, *documents, status=status)["error"]
    assert (error["type"], part in error["message"] + json.dumps(error["details"])) == ("invalid_request", True), error
    assert ids_of(keyed) == before


def test_many_at_once_are_few_commits_and_none_spoils_the_others(keyed, writer, add):
    add({"id": "group/start", "text": "So that the thread is there."})
    with Index.open(keyed.index) as index:
        before = index.generation
    barrier, n = threading.Barrier(16), 32

    def one(number):
        if number < 16:
            barrier.wait(60)
        if number % 8 == 3:
            return writer.post(
                "/v1/documents", json={"index": "changing", "documents": [{"id": f"group/{number}\0", "text": "Bad."}]}
            )
        if number % 8 == 5:
            return writer.request(
                "DELETE", "/v1/documents", json={"index": "changing", "ids": [f"group/none/{number}"]}
            )
        if number % 8 == 6:
            return writer.post("/v1/documents", json={"index": "changing", "documents": ["A text without an id."]})
        documents = [
            {"id": f"group/{number}", "text": f"Text {number} of the group."},
            {"id": "group/shared", "text": f"By {number}."},
        ]
        return writer.post("/v1/documents", json={"index": "changing", "documents": documents[: 1 + (number % 8 == 7)]})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(n)))
    there, generations, given = ids_of(keyed), set(), []
    for number, response in enumerate(answers):
        if number % 8 in (3, 5):
            assert response.status_code == 400, response.text
            continue
        assert response.status_code == 200, response.text
        told = response.json()
        assert set(told["ids"]) <= there
        assert told["added"] + told["updated"] == 1 + (number % 8 == 7)
        generations.add(told["generation"])
        given += told["ids"] if number % 8 == 6 else []
    assert len(given) == len(set(given)) == n // 8
    assert not {f"group/{number}\0" for number in range(n)} & there
    with Index.open(keyed.index) as index:
        assert index.generation - before == len(generations)
        assert len(generations) < n * 6 // 8


def test_what_need_not_be_waited_for_is_a_job(add, writer, keyed):
    told = add({"id": "job/1", "text": "It is a job."}, wait=False, status=202)["job"]
    assert told["url"] == f"/v1/jobs/{told['id']}"
    with writer.stream("GET", f"{told['url']}/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in stream.iter_lines() if line]
    assert lines[-2] == "event: done"
    last = json.loads(lines[-1].removeprefix("data: "))
    assert last == writer.get(told["url"]).json()
    assert (last["status"], last["result"]["added"], last["progress"]) == ("done", 1, {"done": 1, "total": 1})
    assert "job/1" in ids_of(keyed)


def test_many_documents_are_a_job(add, writer, keyed):
    texts = [{"id": f"many/{number}", "text": f"Number {number} of many."} for number in range(129)]
    told = add(*texts, status=202)["job"]
    with writer.stream("GET", f"{told['url']}/events") as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    done = [event["progress"]["done"] for event in events]
    assert done == sorted(done)
    assert done[-1] == 129
    assert {f"many/{number}" for number in range(129)} <= ids_of(keyed)


def test_a_job_that_fails_tells_why(add, writer):
    told = add({"id": "bad\0", "text": "A text."}, wait=False, status=202)["job"]
    with writer.stream("GET", f"{told['url']}/events") as stream:
        lines = [line for line in stream.iter_lines() if line]
    assert lines[-2] == "event: failed"
    last = json.loads(lines[-1].removeprefix("data: "))
    assert last["error"]["type"] == "invalid_request"
    assert "NUL" in last["error"]["message"]


def test_warnings_are_in_the_answer(add):
    told = add({"id": "chinese", "text": "我们今天去北京看朋友,然后一起吃饭。"})
    assert told["unreadable"] == 1
    assert any("does not know" in warning for warning in told["warnings"]), told


def test_another_writer_is_waited_for(add, keyed):
    with Index.open(keyed.index) as index:
        held = index.writer()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(add, {"id": "patient", "text": "It can wait."})
            with pytest.raises(TimeoutError):
                waiting.result(0.5)
            held.close()
            assert waiting.result(30)["added"] == 1


def test_a_commit_of_another_process_is_seen(keyed, writer, made_index):
    from xtrkit import Retriever

    with Retriever.open(keyed.index) as other:
        other.add([{"id": "from outside", "text": "A zeppelin flies over the town."}])
        generation = other.index.generation
    for _ in range(100):
        told = writer.post("/v1/search", json={"query": "zeppelin", "index": "changing", "k": 1}).json()
        if told["generation"] >= generation:
            break
    assert told["hits"][0]["id"] == "from outside"
