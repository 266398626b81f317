"""``xtrkit ur2n init``, then indexing, searching and reranking with what it made."""

import json

from tests.cli.test_cli import beir  # noqa: F401 (fixture)
from tests.cli.test_rerank import in_process


def test_init_index_search_rerank(beir, rerankers, tmp_path):  # noqa: F811
    model, index = tmp_path / "model", tmp_path / "idx"
    assert f"Wrote {model}" in in_process("ur2n", "init", rerankers["monot5"], model, "--dim", 8)
    in_process("index", beir, index, "--model", model)
    found = json.loads(in_process("search", index, "what is late", "--rerank", model, "--json"))
    assert {hit["id"] for hit in found["hits"]} == {"mice", "cats", "bread"}
    assert all(hit["score"] < 0 for hit in found["hits"])  # log-probabilities
