"""Fixtures of the storage tests."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.storage import real, toy
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


@pytest.fixture(scope="session", params=[toy, real], ids=["storage", "index"])
def zygote(request, tmp_path_factory):
    """Runs the steps of the storage layer alone, and those of a whole index."""
    with Zygote(tmp_path_factory.mktemp("zygote"), request.param) as running:
        yield running
