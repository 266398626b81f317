"""One small index, and one server of it, that the tests of serving share."""

import shutil

import pytest

from tests.serving.server import Server, passages
from xtrkit import Retriever

READ, WRITE = "a-key-for-reading", "a-key-for-writing"


@pytest.fixture(scope="session")
def made_index(tmp_path_factory):
    """An index that no test changes; copy it to change it."""
    path = tmp_path_factory.mktemp("serving") / "small"
    Retriever.create(path, passages()).close()
    return path


@pytest.fixture(scope="session")
def server(made_index, tmp_path_factory):
    """A server that needs no key and changes nothing."""
    with Server(tmp_path_factory.mktemp("open"), made_index) as running:
        yield running


@pytest.fixture(scope="session")
def keyed(made_index, tmp_path_factory):
    """A server of two indexes with both keys; tests change the second one."""
    directory = tmp_path_factory.mktemp("keyed")
    shutil.copytree(made_index, directory / "changing")
    with Server(directory, made_index, directory / "changing", read_key=READ, write_key=WRITE) as running:
        running.index = directory / "changing"
        yield running


@pytest.fixture
def client(server):
    with server.client() as one:
        yield one


@pytest.fixture
def reader(keyed):
    with keyed.client(READ) as one:
        yield one


@pytest.fixture
def writer(keyed):
    with keyed.client(WRITE) as one:
        yield one
