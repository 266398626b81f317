"""Datasets of files, and one that is registered by name: read without a network, answered, and measured."""

import json
from itertools import pairwise

import ir_datasets
import ir_measures
import pytest
from ir_measures import R, nDCG

from tests.integrations.collection import corpus, qrels, queries
from xtrkit import Retriever
from xtrkit.errors import CollectionError, InputError
from xtrkit.evaluation.irds import read_irds
from xtrkit.evaluation.opening import open_tests
from xtrkit.integrations.ir_datasets import run_of, scored_docs, with_run

NAME = "xtrkit-small/test"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("irds")
    texts = {name: f"{of['title']} {of['text']}".strip() for name, of in corpus().items()}
    (folder / "docs.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in texts.items()))
    (folder / "queries.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in queries().items()))
    lines = [f"{query} 0 {name} {grade}\n" for query, of in qrels().items() for name, grade in of.items()]
    (folder / "qrels").write_text("".join(lines))
    made = ir_datasets.create_dataset(
        docs_tsv=str(folder / "docs.tsv"), queries_tsv=str(folder / "queries.tsv"), qrels_trec=str(folder / "qrels")
    )
    if NAME not in ir_datasets.registry:
        ir_datasets.registry.register(NAME, made)
    return made


@pytest.fixture(scope="module")
def index(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("irds-index") / "index"
    Retriever.create(path, dataset).close()
    return path


def test_queries_and_judgements_are_read(dataset):
    for test in (
        read_irds(dataset),
        read_irds(NAME),
        open_tests(f"irds:{NAME}")[0],
        open_tests("irds:xtrkit-small", "test")[0],
    ):
        assert test.queries == queries()
        assert test.qrels == qrels()
        assert test.protocol.drop_identical is False
    assert (test.name, str(test.path), test.index_name) == (NAME, f"irds:{NAME}", "xtrkit-small-test")


def test_official_measures_and_beirs_rules():
    """Of what ir_datasets says without a download; the data themselves are not read."""
    from xtrkit.evaluation.irds import _rules

    def told(name):
        return _rules(ir_datasets.load(name), name, {})[0]

    assert told("msmarco-passage/trec-dl-2019/judged").measures == ("nDCG@10", "RR(rel=2)", "AP(rel=2)")
    assert told("lotte/lifestyle/test/search").measures == ("Success@5",)
    assert told("beir/trec-covid").measures == ("nDCG@10", "R_cap@100")
    assert told("beir/quora/test").drop_identical


def test_the_command_measures_by_name(dataset, index, here):
    ran = here("evaluate", index, f"irds:{NAME}", "--k-prime", "1000", "--no-fusion", "--json")
    assert not ran.returncode, ran.stderr
    systems = {row["system"]: row["measures"]["nDCG@10"] for row in json.loads(ran.stdout)["systems"]}
    assert systems["BM25"] > 0.3
    found = ir_measures.calc_aggregate([nDCG @ 10], dataset.qrels_iter(), scored_docs(index, dataset, 100))
    assert found[nDCG @ 10] == pytest.approx(systems["XTR k'=1000"], abs=1e-6)


def test_scored_docs_are_the_run(dataset, index, tmp_path):
    run = run_of(index, dataset, 5, scoring="maxsim")
    records = list(scored_docs(str(index), f"irds:{NAME}", 5, scoring="maxsim"))
    assert [(one.query_id, one.doc_id) for one in records] == [
        (query, name) for query, of in run.items() for name, _ in of
    ]
    assert all(later.score < one.score for one, later in pairwise(records) if one.query_id == later.query_id)
    again = with_run(dataset, run)
    assert (again.has_scoreddocs(), again.has_docs(), again.has_qrels()) == (True, True, True)
    assert list(again.scoreddocs_iter()) == list(again.scoreddocs) == records
    assert ir_measures.calc_aggregate([R @ 5], again.qrels_iter(), again.scoreddocs_iter())[R @ 5] > 0


def test_refusals(dataset, index):
    documents = ir_datasets.create_dataset(docs_tsv="nowhere.tsv")
    with pytest.raises(CollectionError, match="lacks queries: give a dataset that has both"):
        read_irds(documents)
    with pytest.raises(CollectionError, match="has no queries"):
        scored_docs(index, documents)
    with pytest.raises(CollectionError, match=r"ir_datasets can't give the queries of .*nowhere"):
        read_irds(ir_datasets.create_dataset(queries_tsv="nowhere.tsv", qrels_trec="nowhere"))
    with pytest.raises(CollectionError, match="no collection 'nothing/of/it'"):
        open_tests("irds:nothing/of/it")
    with pytest.raises(InputError, match="k must be a whole number"):
        scored_docs(index, dataset, 0)
    with pytest.raises(InputError, match="Unknown search choice"):
        scored_docs(index, dataset, kprime=3)


def test_what_is_no_dataset_and_no_index(dataset, index):
    with pytest.raises(CollectionError, match="A dataset is given by its name, or as ir_datasets"):
        run_of(index, None)
    with pytest.raises(InputError, match="An index is given as its path"):
        run_of(None, dataset)
