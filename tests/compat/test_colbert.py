"""ColBERT's quick starts with our import line, and what of its arguments is honoured, said or refused."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from xtrkit import Retriever
from xtrkit.compat.colbert import Indexer, Searcher
from xtrkit.compat.colbert.data import Collection, Queries, Ranking
from xtrkit.compat.colbert.infra import ColBERTConfig, Run, RunConfig
from xtrkit.compat.saying import say_once
from xtrkit.errors import CollectionError, IndexExistsError, IndexFormatError, InputError, XtrkitWarning
from xtrkit.recipes import COLBERT, XTR
from xtrkit.values import Pooling

PASSAGES = [
    "A king of the north wrote music.",
    "The ferry to the island runs twice a day.",
    "Bread rises because yeast turns sugar into gas.",
    "A lighthouse warns ships of the rocks below it.",
    "Boats are painted with tar against the water.",
]
QUESTIONS = {7: "who wrote music?", 3: "why does bread rise?"}


@pytest.fixture(autouse=True)
def nothing_was_said():
    say_once.cache_clear()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Experiments with one index, of files as ColBERT has them."""
    root = tmp_path_factory.mktemp("colbert")
    (root / "collection.tsv").write_text("".join(f"{pid}\t{text}\n" for pid, text in enumerate(PASSAGES)))
    (root / "queries.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in QUESTIONS.items()))
    with Run().context(RunConfig(experiment="made", root=str(root / "experiments"))):
        Indexer("default", verbose=0).index("small", str(root / "collection.tsv"))
    return root


@pytest.fixture(scope="module")
def searcher(root):
    """One that no test changes."""
    return Searcher("small", index_root=str(root / "experiments" / "made" / "indexes"))


def test_the_quick_start_of_indexing_and_retrieval(root, tmp_path):
    """As ColBERT's page goes: files in, an index, a ranking out."""
    with Run().context(RunConfig(nranks=1, experiment="msmarco")):
        config = ColBERTConfig(nbits=2, root=str(tmp_path))
        indexer = Indexer(checkpoint="default", config=config)
        indexer.index(name="msmarco.nbits=2", collection=str(root / "collection.tsv"))
    assert indexer.get_index() == str(tmp_path / "msmarco" / "indexes" / "msmarco.nbits=2")
    with Run().context(RunConfig(nranks=1, experiment="msmarco", root=str(tmp_path))):
        config = ColBERTConfig(root=str(tmp_path))
        searcher = Searcher(index="msmarco.nbits=2", config=config)
        queries = Queries(str(root / "queries.tsv"))
        ranking = searcher.search_all(queries, k=100)
        path = ranking.save("msmarco.nbits=2.ranking.tsv")
    assert searcher.retriever.index.storage.startswith("2 bits")
    lines = [line.split("\t") for line in Path(path).read_text().splitlines()]
    assert len(lines) == 10
    assert [line[:3] for line in lines[::5]] == [["7", "0", "1"], ["3", "2", "1"]]
    assert json.loads(Path(f"{path}.meta").read_text())["provenance"]["k"] == 100
    assert Ranking(path=path).todict() == ranking.todict()


def test_the_quick_start_of_the_notebook(tmp_path):
    """As ColBERT's notebook goes: a list in, three passages printed."""
    nbits, doc_maxlen, max_id = 4, 300, 4
    with Run().context(RunConfig(nranks=1, experiment="notebook", root=str(tmp_path))):
        config = ColBERTConfig(doc_maxlen=doc_maxlen, nbits=nbits, kmeans_niters=4, pool_factor=2)
        indexer = Indexer(checkpoint="default", config=config)
        indexer.index(name="small.4bits", collection=PASSAGES[:max_id], overwrite=True)
    with Run().context(RunConfig(experiment="notebook", root=str(tmp_path))):
        searcher = Searcher(index="small.4bits", collection=PASSAGES)
    results = searcher.search("what keeps ships off the rocks?", k=3)
    printed = [f"[{rank}] {score:.1f} {searcher.collection[pid]}" for pid, rank, score in zip(*results, strict=True)]
    assert len(printed) == 3
    assert printed[0].startswith("[1] ")
    assert printed[0].endswith(PASSAGES[3])
    assert searcher.retriever.encoder.identity.document_length == 300
    assert searcher.retriever.index.pooling == Pooling(2, protected=1)


def test_scores_are_sums_of_maxima_and_lists_are_of_one_length(root, searcher):
    found = searcher.search("who wrote music?", k=100)
    with Retriever.open(searcher.index) as retriever:
        wanted = retriever.search("who wrote music?", 100, recipe=COLBERT)
    assert found == ([int(hit.id) for hit in wanted], [1, 2, 3, 4, 5], [hit.score for hit in wanted])
    assert found[2][0] > 1.5
    assert [len(of) for of in searcher.search("who wrote music?")] == [5, 5, 5]
    assert searcher.collection[found[0][0]] == PASSAGES[0]
    assert list(searcher.collection) == PASSAGES


def test_filters_and_pids(searcher):
    odd = searcher.search("boats", filter_fn=lambda pids: pids[pids % 2 == 1])
    assert sorted(odd[0]) == [1, 3]
    of_torch = searcher.search("boats", filter_fn=lambda pids: torch.tensor([pid for pid in pids if pid > 2]).int())
    assert sorted(of_torch[0]) == [3, 4]
    assert sorted(searcher.search("boats", pids=[0, 1])[0]) == [0, 1]
    assert searcher.search("boats", pids=[0, 1], filter_fn=lambda pids: [pid for pid in pids if pid])[0] == [1]
    assert searcher.search("boats", pids=[]) == ([], [], [])
    assert searcher.search("boats", filter_fn=lambda pids: []) == ([], [], [])
    with pytest.raises(InputError, match="'99'"):
        searcher.search("boats", pids=[99])


def test_many_queries_with_pids_of_each(searcher):
    ranking = searcher.search_all(QUESTIONS, k=2, qid_to_pids={7: [1, 0], 3: None})
    assert [entry[:2] for entry in ranking.todict()[7]] == [(0, 1), (1, 2)]
    assert ranking.todict()[3][0][:2] == (2, 1)
    assert ranking.tolist()[0] == (7, *ranking.todict()[7][0])
    assert searcher.search_all({}, k=2).todict() == {}
    assert list(searcher.search_all(list(QUESTIONS.values()), k=1).todict()) == [0, 1]
    one = searcher.search_all(QUESTIONS, k=2, filter_fn=lambda pids: pids[:1])
    assert [[entry[0] for entry in found] for _, found in one.items()] == [[0], [0]]


def test_given_vectors(searcher):
    encoded = searcher.encode("who wrote music?")
    wanted = searcher.search("who wrote music?", k=2)
    assert searcher.dense_search(encoded, k=2) == wanted
    assert searcher.dense_search(torch.from_numpy(encoded[0])[None], k=2) == wanted
    with pytest.raises(InputError, match="of one query, got those of 2"):
        searcher.dense_search(searcher.encode(["a", "b"]))


def test_xtr_by_choice_and_effort_by_settings(root):
    folder = str(root / "experiments" / "made" / "indexes")
    searcher = Searcher("small", index_root=folder, recipe=XTR.but(k_prime=5))
    with Retriever.open(searcher.index) as retriever:
        wanted = retriever.search("boats", 3, k_prime=5, reduction="sum")
    assert searcher.search("boats", k=3)[2] == [hit.score for hit in wanted]
    narrow = Searcher("small", index_root=folder, config=ColBERTConfig(ncells=1, ndocs=5))
    assert narrow._recipe == COLBERT.but(nprobe=1, candidates=5, reduction="sum")
    narrow.configure(ncells=4)
    assert narrow._recipe.nprobe == 4


def test_what_overwrite_does(root, tmp_path):
    with Run().context(RunConfig(root=str(tmp_path))):
        indexer = Indexer("default", verbose=0)
        path = indexer.index("i", PASSAGES[:2])
        for keeping in (False, "resume"):
            with pytest.raises(IndexExistsError, match="pass overwrite=True"):
                indexer.index("i", PASSAGES, overwrite=keeping)
        assert indexer.index("i", PASSAGES, overwrite="reuse") == path
        assert len(Searcher("i").collection) == 2
        indexer.index("i", PASSAGES, overwrite="force_silent_overwrite")
        assert len(Searcher("i").collection) == 5
        assert indexer.erase()
        assert not Path(path).exists()
        with pytest.raises(InputError, match="There is no index to erase"):
            indexer.erase()
        with pytest.raises(InputError, match="overwrite is one of"):
            indexer.index("i", PASSAGES, overwrite="yes")


def test_runs_are_nested_and_end(tmp_path):
    before = Run().experiment
    with Run().context(RunConfig(experiment="a", root=str(tmp_path))):
        with Run().context(RunConfig(name="b")):
            assert (Run().experiment, Run().name, Run().path_) == ("a", "b", str(tmp_path / "a" / "b"))
            with Run().open("notes.txt", "w") as file:
                file.write("x")
            with pytest.raises(InputError, match="is there already"):
                Run().open("notes.txt", "w")
        with Run().context(RunConfig(name="b", overwrite=True)), Run().open("notes.txt", "a") as file:
            file.write("y")
        assert Path(tmp_path, "a", "b", "notes.txt").read_text() == "xy"
        with Run().context(RunConfig(root="elsewhere"), inherit_config=False):
            assert Run().experiment == "default"
    assert Run().experiment == before
    assert Run().root == str(Path.cwd() / "experiments")


def test_settings():
    config = ColBERTConfig.from_existing(ColBERTConfig(nbits=2, root="x"), RunConfig(root="y"), None)
    assert (config.nbits, config.root, config.doc_maxlen, config.index_root_) == (2, "y", None, "y/default/indexes")
    assert config.export()["nbits"] == 2
    assert repr(config) == "ColBERTConfig(nbits=2, root='y')"
    with pytest.raises(InputError, match=r"Unknown setting 'nbit' of ColBERTConfig: there are .*nbits"):
        ColBERTConfig(nbit=2)
    with pytest.raises(AttributeError, match="no setting 'nbit'"):
        _ = config.nbit


def test_what_has_no_meaning_is_said_once(root):
    with pytest.warns(XtrkitWarning) as said:
        ColBERTConfig(lr=1e-5, centroid_score_threshold=0.4, nranks=4, dim=128, clustering_mode="other")
    assert [str(one.message).split()[0] for one in said] == [
        "lr", "centroid_score_threshold", "nranks", "dim", "clustering_mode",
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ColBERTConfig(lr=1e-5, nranks=1, kmeans_niters=4, avoid_fork_if_possible=False)
    folder = str(root / "experiments" / "made" / "indexes")
    with pytest.warns(XtrkitWarning, match="query_maxlen was settled when the index was made"):
        searcher = Searcher("small", index_root=folder, config=ColBERTConfig(query_maxlen=17))
    with pytest.warns(XtrkitWarning, match="full_length_search has no meaning"):
        searcher.search("boats", full_length_search=True)


def test_collections_and_queries(root, tmp_path):
    with Run().context(RunConfig(root=str(tmp_path))):
        path = Collection(data=PASSAGES).save("sub/c.tsv")
        assert list(Collection.cast(path)) == PASSAGES
        with pytest.raises(InputError, match="tab or a line break"):
            Collection.cast(["a\tb"]).save("d.tsv")
        assert dict(Queries(Queries(data=QUESTIONS).save("q.tsv")).items()) == QUESTIONS
    (tmp_path / "titled.tsv").write_text("id\ttext\ttitle\n0\tIt floats.\tBoats\n1\tIt rises.\n")
    assert list(Collection(tmp_path / "titled.tsv")) == ["Boats | It floats.", "It rises."]
    (tmp_path / "wrong.tsv").write_text("0\ta\n2\tb\n")
    with pytest.raises(CollectionError, match="line 2: expected '1<TAB>text', since passages are numbered"):
        Collection(tmp_path / "wrong.tsv")
    with pytest.raises(CollectionError, match=r"ends in \.tsv, got"):
        Collection(tmp_path / "c.json")
    with pytest.raises(InputError, match="a path, or a list of texts"):
        Collection()
    with pytest.raises(InputError, match="got 3 of type int"):
        Collection.cast([3])
    qas = Queries(data={1: {"question": "who?", "answers": []}})
    assert (qas[1], len(qas), list(qas), list(qas.keys())) == ("who?", 1, [(1, "who?")], [1])


def test_refusals(searcher, tmp_path):
    with pytest.raises(InputError, match="A query must be a text"):
        searcher.search(" ")
    with pytest.raises(InputError, match="k must be a whole number"):
        searcher.search("boats", k=0)
    with pytest.raises(IndexFormatError):
        Searcher("nothing", index_root=str(tmp_path))
    with pytest.raises(InputError, match=r"written as \.tsv"):
        searcher.search_all(QUESTIONS, k=1).save("ranking.json")
    Retriever.create(tmp_path / "named", [("a", "Boats float."), ("b", "Bread rises.")]).close()
    named = Searcher("named", index_root=str(tmp_path))
    with pytest.raises(InputError, match="Passages are numbers here, and some are called otherwise"):
        named.search("boats")


def test_an_index_is_one_of_xtrkits(root, tmp_path):
    shutil.copytree(root / "experiments" / "made" / "indexes" / "small", tmp_path / "copy")
    searcher = Searcher("copy", index_root=str(tmp_path))
    with Retriever.open(searcher.index) as retriever:
        assert retriever.search("music")[0].text == PASSAGES[0]
        retriever.delete(["4"])
    searcher.retriever.refresh()
    assert np.max(searcher.search("boats")[0]) == 3


def test_what_is_no_index_no_filter_and_no_data(searcher, tmp_path):
    with pytest.raises(InputError, match="An index is named, or given as its path, got None"):
        Searcher(None)
    with pytest.raises(InputError, match="A query must be a text"):
        searcher.search(None)
    for kept in (None, np.array([True, False, True, False, True])):
        with pytest.raises(InputError, match="filter_fn gives those of the numbers that may be found"):
            searcher.search("boats", filter_fn=lambda pids, kept=kept: kept)
    for pids in (["x"], [1.5]):
        with pytest.raises(InputError, match="Passages are numbers here"):
            searcher.search("boats", filter_fn=lambda _, pids=pids: pids)
        with pytest.raises(InputError, match="Passages are numbers here"):
            searcher.search("boats", pids=pids)
    for given in (3, {"a": "x"}):
        with pytest.raises(InputError, match="A collection is a path, or a list of texts, got"):
            Collection.cast(given)
    with pytest.raises(InputError, match=r"Queries are a path, .* got 3 of type int"):
        Queries.cast(3)
    with pytest.raises(InputError, match="A query must be a text"):
        searcher.search_all({1: {"q": "no question"}})
    with Run().context(RunConfig(root=str(tmp_path))), pytest.raises(InputError, match="An index has a name, got None"):
        Indexer("default", verbose=0).index(None, PASSAGES)
