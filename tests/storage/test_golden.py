"""Indexes of every format that was released open for ever, and hold what they held."""

import shutil

from tests.conftest import ROOT
from tests.storage import real
from tests.storage.toy import STATES, STEPS
from xtrkit.indexing.checking import verify


def test_an_index_of_version_6(tmp_path):
    """4 bits, several segments, dead documents; as taken through the first nine steps."""
    directory = tmp_path / "index"
    shutil.copytree(ROOT / "tests" / "golden" / "version-6", directory)
    assert verify(directory, full=True).ok
    opened = real.Opened(directory)
    assert opened.manifest.generation == 9
    assert opened.content() == STATES[9]
    assert len(opened.manifest.segments) > 1
    assert any(segment.dead for segment in opened.manifest.segments)
    real.apply(directory, STEPS[9])
    assert real.Opened(directory).content() == STATES[10]
