"""The search model under MTEB's own mock tasks, and under a task of a folder."""

import mteb
import pytest
from datasets import Dataset
from mteb.mocks.mock_run import get_compatible_mock_tasks, mock_run

from tests.integrations.collection import corpus
from xtrkit import Retriever
from xtrkit.errors import CollectionError, InputError, XtrkitWarning
from xtrkit.integrations.mteb import XtrkitSearch, beir_task
from xtrkit.recipes import COLBERT

pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")
QUERIES = Dataset.from_list([{"id": "q1", "text": "who wrote about music?"}, {"id": "q2", "text": "bread"}])


def documents():
    return Dataset.from_list([{"id": name, **document} for name, document in corpus().items()])


@pytest.fixture(scope="module")
def task(beir_folder):
    return beir_task(beir_folder, "Small")


def taken(model, task, records=None, **kwargs):
    """A model with a corpus."""
    model.index(documents() if records is None else records, task_metadata=task.metadata, hf_split="test",
                hf_subset="default", encode_kwargs=kwargs, num_proc=None)  # fmt: skip
    return model


def asked(model, task, queries=QUERIES, **kwargs):
    return model.search(queries, task_metadata=task.metadata, hf_split="test", hf_subset="default", encode_kwargs={},
                        num_proc=None, **{"top_k": 3, **kwargs})  # fmt: skip


def test_all_of_mtebs_mock_tasks_of_texts_run():
    model = XtrkitSearch()
    assert isinstance(model, mteb.SearchProtocol)
    names = {task.metadata.name for task in get_compatible_mock_tasks(model)}
    results = mock_run(model).task_results
    failed = {name: str(results[name].exception) for name in names if not hasattr(results[name], "scores")}
    assert not failed
    assert {"MockRetrievalTask", "MockRerankingTask", "MockInstructionRetrieval", "MockRetrievalDialogTask"} <= names
    assert len(names) >= 9
    model.close()


def test_the_answer_is_that_of_the_index(beir_index, task):
    model = taken(XtrkitSearch.of(beir_index, scoring="maxsim"), task)
    found = asked(model, task)
    with Retriever.open(beir_index) as retriever:
        wanted = retriever.search("who wrote about music?", 3, recipe=COLBERT)
    assert list(found) == ["q1", "q2"]
    assert list(found["q1"]) == wanted.ids
    assert list(found["q1"].values()) == pytest.approx([hit.score for hit in wanted], rel=1e-6)
    assert all(type(score) is float for score in found["q1"].values())


def test_of_candidates_alone_those_are_ranked(beir_index, task):
    model = taken(XtrkitSearch.of(beir_index), task)
    among = {"q1": ["d50", "d51", "d10", "d62", "d74"], "q2": ["d52"]}  # d10 has no text
    found = asked(model, task, top_ranked=among, top_k=1000)
    assert sorted(found["q1"]) == ["d50", "d51", "d62", "d74"]
    assert list(found["q2"]) == ["d52"]
    assert next(iter(found["q1"])) in {"d50", "d62", "d74"}  # of music
    assert asked(model, task, top_ranked={"q1": ["d50"]}) == {
        "q1": {"d50": pytest.approx(found["q1"]["d50"])},
        "q2": {},
    }


def test_conversations_and_instructions_become_one_text(beir_index, task):
    model = taken(XtrkitSearch.of(beir_index), task)
    turns = [{"role": "user", "content": "who wrote"}, {"role": "user", "content": "about music?"}]
    of_turns = asked(model, task, Dataset.from_list([{"id": "q", "text": turns}]))
    of_text = asked(model, task, Dataset.from_list([{"id": "q", "text": "user: who wrote; user: about music?"}]))
    assert of_turns == of_text
    of_both = asked(model, task, Dataset.from_list([{"id": "q", "text": "who wrote", "instruction": "about music?"}]))
    assert of_both == asked(model, task, Dataset.from_list([{"id": "q", "text": "who wrote about music?"}]))


def test_results_of_other_settings_are_filed_elsewhere(task):
    metas = [
        XtrkitSearch(**choices).mteb_model_meta for choices in ({}, {"nbits": 2}, {"k_prime": 9}, {"split": False})
    ]
    assert len({(meta.name, meta.revision, meta.experiment_name) for meta in metas}) == 4
    assert metas[0].name == "xtrkit/xtrkit-mini"
    assert metas[0].model_type == ["late-interaction"]
    assert metas[2].experiment_kwargs["k_prime"] == 9


def test_a_kept_index_is_opened_again(tmp_path, task):
    model = taken(XtrkitSearch(folder=tmp_path / "kept"), task)
    (made,) = (tmp_path / "kept").iterdir()
    first, when = asked(model, task), made.stat().st_mtime_ns
    again = taken(XtrkitSearch(folder=tmp_path / "kept"), task)
    assert asked(again, task) == first
    assert made.stat().st_mtime_ns == when
    taken(again, task, documents().select(range(40)))
    assert len(list((tmp_path / "kept").iterdir())) == 2
    again.close()
    assert made.is_dir()


def test_a_temporary_index_goes(task, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = taken(XtrkitSearch(), task, documents().select(range(5)))
    taken(model, task, documents().select(range(6)))
    assert len(list(tmp_path.iterdir())) == 1
    model.close()
    assert not list(tmp_path.iterdir())


def test_refusals(beir_index, beir_folder, task):
    with pytest.raises(InputError, match=r"call index\(corpus, …\) before search"):
        asked(XtrkitSearch.of(beir_index), task)
    with pytest.raises(InputError, match="Unknown search choice 'nprob'"):
        XtrkitSearch(nprob=3)
    with pytest.raises(InputError, match=r"with 9 documents that the corpus has not \('d89', 'd90', 'd91', …\)"):
        taken(XtrkitSearch.of(beir_index), task, documents().select(range(39)))
    other = Dataset.from_list([{"id": "x", "text": "something"}])
    with pytest.raises(InputError, match=r"1 document of the corpus that the index lacks \('x'\) and 48 documents"):
        taken(XtrkitSearch.of(beir_index), task, other)
    with pytest.raises(InputError, match="k must be a whole number of at least 1"):
        asked(taken(XtrkitSearch.of(beir_index), task), task, top_k=0)
    with pytest.raises(InputError, match=r"is of .*image.*: xtrkit searches texts"):
        taken(XtrkitSearch.of(beir_index), mteb.mocks.mock_tasks.MockAny2AnyRetrievalT2ITask())
    with pytest.raises(CollectionError, match=r"dev\.tsv"):
        beir_task(beir_folder, "Small", split="dev")


def test_a_query_of_nothing_is_named(beir_index, task):
    model = taken(XtrkitSearch.of(beir_index), task)
    with pytest.warns(XtrkitWarning, match=r"\('q9'\) with nothing to look for"):
        assert asked(model, task, Dataset.from_list([{"id": "q9", "text": " "}])) == {"q9": {}}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"id": "a", "txt": "x"}, "Documents of a corpus are dicts with an id"),
        ({"_id": "a", "text": "x"}, "Documents of a corpus are dicts with an id"),
        ({"id": "a", "text": 3}, "Title and text of 'a' must be texts"),
    ],
)
def test_documents_that_are_none(task, record, said):
    with pytest.raises(CollectionError, match=said):
        taken(XtrkitSearch(), task, [record])


def test_what_else_is_refused(beir_index, task, tmp_path):
    for index in (None, 3):
        with pytest.raises(InputError, match="An index is given as its path"):
            XtrkitSearch.of(index)
        with pytest.raises(InputError, match="A model is given as its name"):
            XtrkitSearch(index)
    with pytest.raises(InputError, match=r'queries have "id" and "text"'):
        asked(taken(XtrkitSearch.of(beir_index), task), task, [{"id": "q"}])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is no folder that can be written to"):
        taken(XtrkitSearch(folder=tmp_path / "file"), task)
