"""Rankings and scores are, to the last bit, those that were kept; see ``golden_searches.py``."""

import json

import pytest

from tests import golden_searches


@pytest.mark.parametrize(
    "storages",
    [
        pytest.param([("grid", 4)], id="4 bits"),
        pytest.param(
            [storage for storage in golden_searches.STORAGES if storage != ("grid", 4)], marks=pytest.mark.slow
        ),
    ],
)
def test_searches_find_what_they_found_bit_for_bit(storages):
    kept = json.loads(golden_searches.FILE.read_text(encoding="utf-8"))
    found = golden_searches.measured(storages)
    if any(kept["facts"][name] != fact for name, fact in found["facts"].items()):
        pytest.skip("this machine multiplies to other bits, so there is nothing to compare")
    assert len(found["searches"]) > 100
    assert found["searches"].items() <= kept["searches"].items()
