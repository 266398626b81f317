"""The retriever in DSPy's programs, and the index as the ``rm`` of its settings; DSPy ships no tests for either."""

import asyncio
import copy
import pickle

import dspy
import pytest

from tests.integrations.conftest import LONG, QUERY
from xtrkit import COLBERT, XTR
from xtrkit.errors import IndexFormatError, InputError
from xtrkit.integrations.dspy import XtrkitRetrieve, XtrkitRM


class Program(dspy.Module):
    """Retrieves and, with a language model, would answer."""

    def __init__(self, index, k=2):
        super().__init__()
        self.retrieve = XtrkitRetrieve(index, k=k)
        self.answer = dspy.ChainOfThought("context, question -> answer")

    def forward(self, question):
        return self.retrieve(question)


def test_a_prediction_is_what_the_retriever_finds(source, retriever):
    found, hits = XtrkitRetrieve(source)(QUERY), retriever.search(QUERY, 3)
    assert isinstance(found, dspy.Prediction)
    assert (found.passages, found.ids, found.scores) == (
        [hit.text for hit in hits], hits.ids, [hit.score for hit in hits],
    )  # fmt: skip
    assert found.metadatas[1] == {
        **hits[1].metadata, "$score": hits[1].score, "$rank": 2, "$document": hits[1].document,
    }  # fmt: skip


def test_a_passage_of_a_long_document_knows_its_place(retriever):
    found = XtrkitRetrieve(retriever, k=1)("what happened on day 80?")
    facts = found.metadatas[0]
    assert facts["$document"] == "log"
    assert LONG[facts["$first"] : facts["$last"]] == found.passages[0]


def test_choices_at_a_call_stand_in_the_place_of_those_before(retriever):
    retrieve = XtrkitRetrieve(retriever, where={"lang": "de"}, reduction="sum")
    assert {facts["lang"] for facts in retrieve(QUERY, k=5).metadatas} == {"de"}
    assert {facts["lang"] for facts in retrieve(QUERY, where={"lang": "en"}).metadatas} == {"en"}
    assert retrieve(QUERY).scores[0] > 2


def test_what_is_refused(retriever, tmp_path):
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRetrieve(retriever, k=0)
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRetrieve(retriever)(QUERY, k=0)
    with pytest.raises(InputError, match="k must be a whole number of at least 1, got 0"):
        XtrkitRM(retriever)(QUERY, k=0)
    with pytest.raises(InputError, match="A query must be a text"):
        XtrkitRetrieve(retriever)("")
    with pytest.raises(InputError, match="did you mean 'lang'"):
        XtrkitRM(retriever)(QUERY, where={"langue": "de"})
    with pytest.raises(InputError, match="Unknown search choice 'depth'"):
        XtrkitRetrieve(retriever)(QUERY, depth=3)
    for adapter in (XtrkitRetrieve, XtrkitRM):
        with pytest.raises(IndexFormatError, match="There is nothing at"):
            adapter(tmp_path / "none")


def test_in_a_program(index_path, tmp_path):
    program = Program(index_path, k=2)
    assert [name for name, _ in program.named_parameters()] == ["retrieve", "answer.predict"]
    program.save(tmp_path / "state.json")
    other = Program(index_path, k=1)
    other.load(tmp_path / "state.json")
    assert other(QUERY).ids == program(QUERY).ids
    assert len(other(QUERY).ids) == 2
    for same in (program.deepcopy(), program.reset_copy(), copy.deepcopy(program)):
        assert same.retrieve is not program.retrieve
        assert same.retrieve.index is program.retrieve.index
        assert same(QUERY).ids == program(QUERY).ids
    program.save(tmp_path / "whole", save_program=True)
    assert dspy.load(tmp_path / "whole", allow_pickle=True)(QUERY).ids == program(QUERY).ids


async def test_side_by_side(retriever, index_path):
    retrieve, questions = XtrkitRetrieve(index_path, k=2), ["music", "rivers", "bread"]
    one_by_one = [retrieve(question).ids for question in questions]
    assert [found.ids for found in await asyncio.gather(*map(dspy.asyncify(retrieve), questions))] == one_by_one
    parallel = dspy.Parallel(num_threads=3, disable_progress_bar=True)
    assert [found.ids for found in parallel([(retrieve, {"query": one}) for one in questions])] == one_by_one
    assert pickle.loads(pickle.dumps(retrieve))("bread").ids == one_by_one[-1]


def test_the_rm_of_the_settings(source, retriever):
    rm, hits = XtrkitRM(source), retriever.search(QUERY, 4, recipe=COLBERT)
    with dspy.context(rm=rm):
        assert dspy.Retrieve(k=4)(QUERY).passages == [hit.text for hit in hits]
    passages = rm(QUERY, k=4)
    assert [(one.pid, one.rank, one.score, one.long_text) for one in passages] == [
        (hit.id, hit.rank, hit.score, hit.text) for hit in hits
    ]
    assert sum(one.prob for one in passages) == pytest.approx(1)
    assert passages[0].metadata["lang"] == "de"
    assert rm(QUERY, k=4, simplify=True) == [hit.text for hit in hits]
    assert rm(QUERY, where={"number": 9999}) == []


def test_the_rm_gives_what_a_server_gives_dspy(server, retriever):
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    remote = dspy.ColBERTv2(f"{server.url}/api/search")(QUERY, k=3)
    here = XtrkitRM(retriever)(QUERY, k=3)
    for name in ("pid", "rank", "score", "text", "long_text"):
        assert [one[name] for one in remote] == [one[name] for one in here]
    assert [one.prob for one in remote] == pytest.approx([one.prob for one in here])
    assert XtrkitRM(retriever, recipe=XTR)(QUERY, k=1)[0].score < 1


@pytest.mark.parametrize("adapter", [XtrkitRetrieve, XtrkitRM])
def test_choices_that_are_refused_when_it_is_made(retriever, adapter):
    with pytest.raises(InputError, match="Unknown search choice 'depth'"):
        adapter(retriever, depth=3)
    with pytest.raises(InputError, match=r"A recipe is given as one of xtrkit\.recipes, .* got 'xtr'"):
        adapter(retriever, recipe="xtr")
