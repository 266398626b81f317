"""Fixtures of the storage tests."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.storage.tracing import Zygote

MEMORY = Path("/dev/shm")


@pytest.fixture
def box(tmp_path):
    """An empty directory, in memory where there is such a place: how fast the disk flushes is no matter here."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="xtrkit-test-", dir=MEMORY))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    with Zygote(tmp_path_factory.mktemp("zygote")) as running:
        yield running
