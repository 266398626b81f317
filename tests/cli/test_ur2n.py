"""``xtrkit ur2n init``, then indexing, searching and reranking with what it made."""

import json

from tests.cli.test_cli import answer, beir, xtrkit  # noqa: F401 (fixtures)


def test_init_index_search_rerank(beir, rerankers, tmp_path):  # noqa: F811
    model, index = tmp_path / "model", tmp_path / "idx"
    assert f"Wrote {model}" in answer("ur2n", "init", rerankers["monot5"], model, "--dim", 8)
    answer("index", beir, index, "--model", model)
    found = json.loads(answer("search", index, "what is late", "--rerank", model, "--json"))
    assert {hit["id"] for hit in found["hits"]} == {"mice", "cats", "bread"}
    assert all(hit["score"] < 0 for hit in found["hits"])  # log-probabilities
    ran = xtrkit("ur2n", "init", rerankers["monot5"], model, "--dim", 8)
    assert ran.returncode == 1
    assert f"{model} exists already" in ran.stderr
