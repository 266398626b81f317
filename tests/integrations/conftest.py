"""A small collection and its index, which no test changes."""

import pytest

from tests.integrations.collection import write_beir
from xtrkit import Retriever


@pytest.fixture(scope="session")
def beir_folder(tmp_path_factory):
    return write_beir(tmp_path_factory.mktemp("benchmarks") / "collection")


@pytest.fixture(scope="session")
def beir_index(beir_folder):
    path = beir_folder.parent / "index"
    Retriever.create(path, beir_folder).close()
    return path
