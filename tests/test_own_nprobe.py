"""How many clusters a model asks for: an index remembers it, and XTR goes by it where the caller says nothing."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.encoding import checkpoint_factory as factory
from xtrkit import Index, Retriever, load_encoder
from xtrkit.cli.app import app
from xtrkit.cluster.splitting import split_index
from xtrkit.encoding.export import export
from xtrkit.errors import InputError, ModelError
from xtrkit.recipes import COLBERT, COLXTR, NPROBE, XTR
from xtrkit.values import Pooling

WORDS = ["late", "token", "retrieval", "what", "is", "the", "document"]
TEXTS = [" ".join(np.random.default_rng(seed).choice(WORDS, 12)) for seed in range(200)]


@pytest.fixture(scope="module")
def model(checkpoints, tmp_path_factory):
    path = tmp_path_factory.mktemp("asking") / "model"
    export(checkpoints["xtr"], path, nprobe=3)
    return path


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("asked") / "idx"
    Retriever.create(path, TEXTS, model=str(model)).close()
    return path


def used(index, **choices):
    query = np.random.default_rng(1).normal(size=(4, index.dim)).astype(np.float32)
    (found,) = index._found([query], 5, **choices)
    return found.recipe.nprobe


def test_an_index_goes_by_what_its_model_asks_for(path):
    with Index.open(path) as index:
        assert index.nprobe == 3
        assert used(index) == 3
        assert used(index, k_prime=50) == 3
        assert used(index, nprobe=7) == 7
        assert used(index, recipe=COLXTR) == 10
        assert used(index, recipe=COLBERT) == NPROBE  # which looks at all tokens of what it finds


def test_it_is_kept_through_changes_and_in_shards(path, model, tmp_path):
    with Retriever.create(tmp_path / "idx", TEXTS[:150], model=str(model), workers=2) as retriever:
        retriever.add(TEXTS[150:])
        retriever.compact()
        assert retriever.index.nprobe == 3
    split_index(path, tmp_path / "shards", 2)
    with Index.open(tmp_path / "shards") as cluster, Index.open(path) as index:
        assert cluster.nprobe == 3
        query = np.random.default_rng(2).normal(size=(4, index.dim)).astype(np.float32)
        assert list(cluster.search(query, 5)) == list(index.search(query, 5))
    command = ["cluster", "build", str(tmp_path / "texts.jsonl"), str(tmp_path / "built"), "--shards", "2"]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"id": t, "text": t}) + "\n" for t in set(TEXTS)))
    result = CliRunner().invoke(app, [*command, "--model", str(model)])
    assert result.exit_code == 0, result.output
    with Index.open(tmp_path / "built") as cluster:
        assert cluster.nprobe == 3


def test_the_command_line_tells(path):
    told = json.loads(CliRunner().invoke(app, ["search", str(path), "token", "--json"]).stdout)
    assert told["recipe"]["nprobe"] == 3
    told = json.loads(CliRunner().invoke(app, ["search", str(path), "token", "--nprobe", "4", "--json"]).stdout)
    assert told["recipe"]["nprobe"] == 4
    assert json.loads(CliRunner().invoke(app, ["info", str(path), "--json"]).stdout)["nprobe"] == 3


def test_models_that_ask_for_nothing(checkpoints, tmp_path):
    assert load_encoder().nprobe is None
    assert load_encoder(checkpoints["xtr"]).nprobe is None
    with Index.create(tmp_path / "idx", [[np.eye(8, dtype=np.float32)]], nbits=4) as index:
        assert (index.nprobe, used(index)) == (None, NPROBE)


def test_a_recipe_at_an_index():
    assert XTR.at(None, None) == XTR.but(nprobe=NPROBE)
    assert XTR.at(Pooling(2), 64) == XTR.but(k_prime=500, nprobe=64)
    assert XTR.but(nprobe="all").at(None, 64).nprobe == "all"


@pytest.mark.parametrize("nprobe", [0, -1, 2.5, True, "8"])
def test_numbers_that_cannot_be(checkpoints, model, tmp_path, nprobe):
    with pytest.raises(InputError, match="nprobe must be a whole number of at least 1"):
        export(checkpoints["xtr"], tmp_path / "model", nprobe=nprobe)
    changed = factory.copy_of(model, tmp_path / "changed")
    content = json.loads((changed / "xtrkit.json").read_text())
    (changed / "xtrkit.json").write_text(json.dumps({**content, "nprobe": nprobe}))
    with pytest.raises(ModelError, match=r"asks for .* clusters a query token"):
        load_encoder(changed)
