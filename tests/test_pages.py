"""What the documents show as code is run as a reader would run it, or is among those that are named here, and why.

A fence of ``python`` or ``sh`` is run: here, page by page, in a folder that has what its commands name, in the layouts
in which it is published and of a size for a test; or by the test of its page. ``sh long`` is not run: it takes long,
needs what is not here, or stays. What it names, there is. Other fences are what was printed, files, or drawings.
"""

import gzip
import json
import re
from itertools import dropwhile

import pytest

import xtrkit
from tests.conftest import ROOT
from tests.encoding.checkpoint_factory import write_monot5
from tests.evaluation.test_open_qa import dpr
from tests.evaluation.test_protocols import lotte, miracl, msmarco
from tests.pages import blocks, commands, pages, run_python, run_shell, says_what_there_is
from tests.training.conftest import sentence, write_lines
from xtrkit import Retriever
from xtrkit.unified import init_unified

RUN_BY = {
    "docs/clients.md": "tests/serving/test_clients_page.py",
    "docs/guide.md": "tests/test_guide.py",
    "docs/integrations.md": "tests/integrations/test_docs.py",
    "docs/moving.md": "tests/compat/test_moving.py",
    "docs/releasing.md": "tests/test_release.py",
    "docs/serving.md": "tests/serving/test_docs.py",
}
"""{page: the test that runs its blocks, but for those below}."""

MEASURES = "measures for minutes or hours, on data that is not here"
INSTALLS = "installs a virtual environment: tests/test_release.py does, when asked for long tests"
TRAINS = "trains two models for an hour; tests/reproduction runs every claim on small ones"
STAYS = "a server that stays; tests/serving starts many"
NOT_RUN = {
    ("CONTRIBUTING.md", "python3 -m venv"): INSTALLS,
    ("README.md", "python3 -m venv .venv && .venv/bin/pip install ."): INSTALLS,
    ("README.md", ".venv/bin/pip install"): STAYS,
    ("README.md", "curl -s localhost"): "asks that server; docs/serving.md has the same line",
    ("README.md", 'python3 -m venv .venv && .venv/bin/pip install "torch'): INSTALLS,
    ("docs/encoding.md", "python benchmarks/encoding.py runtimes"): MEASURES,
    ("docs/encoding.md", "python benchmarks/encoding.py --passages"): MEASURES,
    (
        "docs/encoding.md",
        "pip install models/xtrkit-multi",
    ): "tests/encoding/test_xtrkit_multi.py installs it elsewhere",
    ("docs/evaluation.md", "python benchmarks/agreement.py"): MEASURES,
    ("docs/evaluation.md", "python benchmarks/xquad.py"): MEASURES,
    ("docs/evaluation.md", "python benchmarks/indexing_memory.py"): MEASURES,
    ("docs/evaluation.md", "OPENBLAS_NUM_THREADS=1 python benchmarks/compressed.py"): MEASURES,
    ("docs/evaluation.md", "python benchmarks/exact.py"): MEASURES,
    ("docs/index.md", "python3 -m venv"): INSTALLS,
    ("docs/models.md", "xtrkit train --recipe monot5"): "trains four models; tests/reproduction/test_ur2n.py does",
    ("docs/performance.md", "python benchmarks/peers/prepare.py"): MEASURES,
    ("docs/releasing.md", ".venv/bin/python -m pytest"): "these tests",
    ("docs/releasing.md", ".venv/bin/python -m sphinx"): "tests/test_site.py builds the site elsewhere",
    ("docs/releasing.md", "git tag"): "releases",
    ("docs/serving.md", "xtrkit demo"): STAYS,
    ("docs/serving.md", "python3 -c"): STAYS,
    ("docs/training.md", "python benchmarks/xtrkit_mini.py"): "trains the default model, half an hour of a CPU",
    ("docs/training.md", "python benchmarks/monot5.py"): "needs a GPU or an hour, and weights that are not here",
    ("docs/training.md", "python benchmarks/xtrkit_multi.py"): "needs a GPU, and weights that are not here",
    ("docs/training.md", "python benchmarks/xtrkit_mini_experiments.py"): (
        "needs a GPU; tests/training/test_mini_experiments.py runs it on a small model"
    ),
    **{
        ("docs/reproductions.md", f"xtrkit reproduce {claim} "): TRAINS
        for claim in (
            *("table-1", "figure-2", "figure-4", "table-5", "figure-5", "figure-6", "figure-7", "footnote-2"),
            *("table-6", "ur2n-table-1", "ur2n-table-3", "ur2n-figure-2", "ur2n-table-4"),
        )
    },
}
"""{(page, how the block begins): why it is not run}."""

LONG = [
    ("docs/encoding.md", "xtrkit export all-MiniLM-L6-v2"),
    ("docs/training.md", "import xtrkit.training"),
    ("docs/training.md", "xtrkit mine"),
    ("docs/training.md", "xtrkit train --data my-beir-folder/"),
]
"""Blocks that long tests alone run: ten seconds to a minute each. What they name is looked at in every run."""

LONG_PARTS = [
    pytest.param(page, True, marks=pytest.mark.slow, id=f"{page}, long") for page in sorted({page for page, _ in LONG})
]
RUN_HERE = sorted(
    {block.page for page in pages() for block in blocks(page) if block.language in ("sh", "python")}
    - {*RUN_BY, "README.md", "CONTRIBUTING.md"}
)


def begins_as(block, listed):
    return [first for page, first in listed if page == block.page and block.code.startswith(first)]


def is_run(block):
    return block.language in ("sh", "python") and not begins_as(block, NOT_RUN)


def test_every_block_is_run_or_told():
    every = [block for page in pages() for block in blocks(page)]
    left = [block for block in every if block.language.startswith("sh") and not is_run(block)]
    for block in left:
        assert begins_as(block, NOT_RUN), f"{block.page}, line {block.line}: is not run"
        assert block.language == "sh long" or not block.page.startswith("docs/"), f"{block.page}, line {block.line}"
    assert len(left) == len(NOT_RUN)
    assert all(any(begins_as(block, [long]) for block in every) for long in LONG)
    known = {"", "sh", "sh long", "python", "console", "text", "json", "ini", "{toctree}", "{eval-rst}"}
    assert {block.language for block in every} <= known
    for test in RUN_BY.values():
        assert (ROOT / test).exists()


def test_what_is_not_run_names_what_there_is():
    told = [block for page in pages() for block in blocks(page) if not is_run(block) or begins_as(block, LONG)]
    checked = 0
    for block in told:
        prompted = re.findall(r"^\$ ((?:.*\\\n)*.*)", block.code, flags=re.MULTILINE)
        for line in commands("\n".join(prompted) if prompted else block.code * block.language.startswith("sh")):
            program, *words = dropwhile(
                lambda word: re.fullmatch(r"\w+=\S*", word), line
            )  # variables of the environment
            program = program.removeprefix(".venv/bin/")
            if program in ("xtrkit", "python") and words[0] != "-m":
                assert says_what_there_is([program, *words]), (block.page, block.line, words)
                checked += 1
    assert checked >= 25
    assert not says_what_there_is(["xtrkit", "search", "--kprime", "3"])
    assert not says_what_there_is(["python", "benchmarks/scale.py", "--size", "3"])


def beir(folder):
    """A BEIR folder of 16 documents, with a query of each."""
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": "", "text": sentence(n, 7)} for n in range(16)])
    write_lines(folder / "queries.jsonl", [{"_id": f"q{n}", "text": sentence(n, 3)} for n in range(16)])
    for split, asked in (("train", range(10)), ("dev", range(10, 13)), ("test", range(13, 16))):
        judged = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in asked)]
        write_lines(folder / "qrels" / f"{split}.tsv", judged)


def write_collections(folder):
    """Test collections as they are published, called as the pages call them."""
    for name in ("scifact", "dataset", "my-beir-folder", "folder", "medquad-640", "beir/scifact"):
        beir(folder / name)
    for name in ("theirs.trec", "bm25.trec"):
        ranks = ((query, rank) for query in range(13, 16) for rank in range(3))
        write_lines(folder / name, [f"q{n} Q0 d{(n + rank) % 16} {rank + 1} {9 - rank} theirs" for n, rank in ranks])
    write_lines(folder / "qrels.txt", [f"q{n} 0 d{n} 1" for n in range(13, 16)])
    write_lines(folder / "notes" / "boats.md", ["# Boats", "", "The ferry runs twice a day."])
    question = {"question": "where is the shard?", "answers": ["London"]}
    write_lines(folder / "EntityQuestions" / "test" / "P17.test.json", [json.dumps([question])])
    dpr(folder / "nq-test.qa.csv")
    rows = ["id\ttext\ttitle", "1\tEmma was written by Jane Austen.\tEmma", "2\tThe Shard is in London.\tThe Shard"]
    write_lines(folder / "psgs_w100.tsv", rows)
    lotte(folder / "lotte", ("writing",))
    msmarco(folder / "msmarco")
    miracl(folder / "miracl", ("sw",))
    corpus = folder / "miracl-corpus" / "miracl-corpus-v1.0-sw"
    corpus.mkdir(parents=True)
    passages = [{"docid": "5#2", "title": "Nani", "text": "Nani?"}, {"docid": "7#1", "title": "", "text": "Hapa."}]
    packed = gzip.compress("".join(json.dumps(passage) + "\n" for passage in passages).encode())
    (corpus / "docs-0.jsonl.gz").write_bytes(packed)


@pytest.fixture(scope="module")
def models(checkpoints, rerankers, tmp_path_factory):
    """{name on a page: a small model of that layout}."""
    folder = tmp_path_factory.mktemp("models")
    monot5 = write_monot5(folder / "monot5", d_model=128)
    init_unified(monot5, folder / "ur2n")
    return {
        "google/xtr-base-en": checkpoints["xtr"],
        "google/xtr-base-multilingual": checkpoints["mxtr"],
        "colbert-ir/colbertv2.0": checkpoints["stanford"],
        "path/to/colxtr": checkpoints["colxtr"],
        "path/to/monot5": monot5,
        "path/to/ur2n": folder / "ur2n",
        "castorini/monot5-base-msmarco": monot5,
        "path/to/cross-encoder": rerankers["cross-encoder"],
    }


@pytest.fixture
def world(tmp_path, models, monkeypatch):
    """A folder with what the pages' commands name, in which they are run."""
    write_collections(tmp_path)
    for name, model in models.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(model)
    Retriever.create(tmp_path / "idx", tmp_path / "dataset").close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore::xtrkit.errors.XtrkitWarning")
@pytest.mark.parametrize(("page", "long"), [*(pytest.param(page, False, id=page) for page in RUN_HERE), *LONG_PARTS])
def test_a_page_runs(page, long, world, models):
    if page == "docs/encoding.md":  # of so small a T5 no export in int8 is close enough
        (world / "google" / "xtr-base-en").unlink()
        (world / "google" / "xtr-base-en").symlink_to(models["colbert-ir/colbertv2.0"])
    chosen = [block for block in blocks(page) if is_run(block) and bool(begins_as(block, LONG)) == long]
    names = {"xtrkit": xtrkit}
    for block in chosen:
        if block.language == "sh":
            run_shell(block)
        else:
            run_python(block, names)
