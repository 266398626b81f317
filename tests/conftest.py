"""Fixtures and strategies that several test modules share."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from xtrkit.cli import main
from xtrkit.encoding import load_encoder
from xtrkit.encoding.default import ORIGINAL
from xtrkit.search.exact import ExactEngine
from xtrkit.token_retrieval.corpus import ClusteredCorpus, ExactCorpus
from xtrkit.values import Ragged, Segment, TokenVectors, offsets_of

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # which it reads when it is imported, here or in a process of ours

# Kernels compile at their first call, which no deadline should count; derandomised runs fail alike everywhere.
settings.register_profile("xtrkit", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("xtrkit")

ROOT = Path(__file__).parent.parent

LONG = (
    "tests/test_project.py",
    "tests/test_imports.py",
    "tests/test_public_names.py",
    "tests/training",
    "tests/storage",
)
"""What one of two workers begins with: what takes long, and needs no kernels at first."""
LONG_TOO = (
    "tests/test_site.py",
    "tests/test_release.py",
    "tests/encoding",
    "tests/silence/test_files.py",
    "tests/reproduction",
    "tests/test_guide.py",
)
"""What the other begins with."""
WARMING = pytest.StashKey[subprocess.Popen]()


def pytest_configure(config):
    """Compile the kernels beside the first tests, once: else each worker does, and each process that tests start."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        config.stash[WARMING] = subprocess.Popen([sys.executable, "-c", "import xtrkit; xtrkit.warm_up()"])


def pytest_unconfigure(config):
    if WARMING in config.stash:
        config.stash[WARMING].kill()
        config.stash[WARMING].wait()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Begin with what takes long, so that what is left for the end is short; each worker first gets a half."""
    if not hasattr(config, "workerinput"):
        return

    def of(places):
        return [item for item in items if item.nodeid.startswith(places)]

    long, long_too = of(LONG), of(LONG_TOO)
    rest = [item for item in items if not item.nodeid.startswith((*LONG, *LONG_TOO))]
    place = max(0, len(items) // 2 - len(long))
    items[:] = [*long, *rest[:place], *long_too, *rest[place:]]


@pytest.fixture(scope="session")
def one_page():
    """``examples/xtr_in_one_page.py``, the paper's method in plain NumPy: the oracle."""
    spec = importlib.util.spec_from_file_location("xtr_in_one_page", ROOT / "examples" / "xtr_in_one_page.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Each layout's directory; tests that change something work on a copy."""
    from tests.encoding import checkpoint_factory as factory  # which imports torch, as not all processes need to

    root = tmp_path_factory.mktemp("checkpoints")
    found = {
        "xtr": factory.write_xtr(root / "xtr"),
        "mxtr": factory.write_xtr(root / "mxtr", multilingual=True),
        "stanford": factory.write_stanford(root / "stanford"),
        "pylate": factory.write_pylate(root / "pylate"),
        "colxtr": factory.write_colxtr(root / "colxtr"),
    }
    load_encoder(found["stanford"]).model.save_pretrained(str(root / "native"), create_model_card=False)
    return {**found, "native": root / "native"}


@pytest.fixture(scope="session")
def rerankers(tmp_path_factory):
    """A directory in each layout of rerankers."""
    from tests.encoding import checkpoint_factory as factory

    root = tmp_path_factory.mktemp("rerankers")
    return {
        "monot5": factory.write_monot5(root / "monot5"),
        "mt5": factory.write_monot5(root / "mt5", multilingual=True),
        "cross-encoder": factory.write_cross_encoder(root / "cross-encoder"),
    }


@pytest.fixture(scope="session")
def encoders(checkpoints):
    """Each layout's encoder, the default one, and its original in full precision."""
    loaded = {layout: load_encoder(directory) for layout, directory in checkpoints.items()}
    return {**loaded, "default": load_encoder(), ORIGINAL: load_encoder(ORIGINAL)}


def unit_rows(random, n, dim):
    rows = random.normal(size=(n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def random_corpus(random, lengths, dim=8, values=None):
    """Token vectors as an index stores them; ``values`` draws from few numbers, which makes ties."""
    n = int(sum(lengths))
    rows = random.choice(values, size=(n, dim)) if values is not None else unit_rows(random, n, dim)
    return TokenVectors(rows.astype(np.float16), offsets_of(np.asarray(lengths)))


@st.composite
def searches(draw, values=None):
    """A small corpus and a query: (TokenVectors, (n, d) query)."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=12))
    n = draw(st.integers(1, 5))
    corpus = random_corpus(random, lengths, values=values)
    query = unit_rows(random, n, 8) if values is None else random.choice(values, size=(n, 8)).astype(np.float32)
    return corpus, query


def whole(vectors):
    """Token vectors as a corpus of one segment."""
    return ExactCorpus([Segment(vectors)])


def clustered(tokens):
    """Compressed tokens as a corpus of one segment."""
    return ClusteredCorpus([Segment(tokens)])


def one(query):
    """A batch of one query."""
    return Ragged.from_arrays([query])


def search_exactly(corpus, queries, k, recipe, subset=None):
    """A search of an exact corpus."""
    return ExactEngine(corpus.segments).search(queries, k, recipe, subset)


def document_of(corpus):
    return np.repeat(np.arange(corpus.n_documents), np.diff(corpus.document_offsets))


@pytest.fixture
def here(capsys, monkeypatch):
    """The command in this process, as good as one of its own where nothing depends on that, and a second quicker."""

    def run(*arguments):
        handler = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["xtrkit", *map(str, arguments)])
        try:
            with pytest.raises(SystemExit) as left:
                main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        shown, code = capsys.readouterr(), left.value.code
        told = "" if isinstance(code, int) or code is None else code
        return subprocess.CompletedProcess(arguments, bool(code), shown.out, shown.err + told)

    return run
