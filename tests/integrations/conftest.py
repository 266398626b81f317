"""Two small indexes that no test changes: one has a document that was cut, and a server; the other is judged."""

from functools import cache

import pytest

from tests.integrations.collection import write_beir
from tests.serving.server import Server, passages
from xtrkit import Retriever
from xtrkit.client import Client
from xtrkit.encoding import runtime_encoder

QUERY = "who wrote about music?"
LONG = " ".join(f"On day {day} we sailed {day % 7 + 3} miles and saw nothing." for day in range(100))


@pytest.fixture(scope="session", autouse=True)
def loaded_once():
    """The exported model, loaded once for all tests that open an index with it: each time takes a fifth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime_encoder, "open_exported", cache(runtime_encoder.open_exported))
        yield


@pytest.fixture(scope="session")
def index_path(tmp_path_factory):
    """An index that no test changes."""
    path = tmp_path_factory.mktemp("integrations") / "idx"
    Retriever.create(path, [*passages(24), {"id": "log", "text": LONG, "lang": "en", "number": 100}]).close()
    return path


@pytest.fixture(scope="session")
def retriever(index_path):
    with Retriever.open(index_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def server(index_path, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("served"), index_path) as running:
        yield running


@pytest.fixture(params=["path", "retriever", "address", "client"])
def source(request, index_path):
    """An index in each way in which adapters take one."""
    if request.param == "path":
        yield index_path
    elif request.param == "retriever":
        yield request.getfixturevalue("retriever")
    elif request.param == "address":
        yield request.getfixturevalue("server").url
    else:
        with Client(request.getfixturevalue("server").url) as client:
            yield client


@pytest.fixture(scope="session")
def beir_folder(tmp_path_factory):
    return write_beir(tmp_path_factory.mktemp("benchmarks") / "collection")


@pytest.fixture(scope="session")
def beir_index(beir_folder):
    path = beir_folder.parent / "index"
    Retriever.create(path, beir_folder).close()
    return path
