"""UR²N: the branch learns, and the monoT5 beside it stays what it was, to the last bit."""

import torch
from safetensors.torch import load_file

from tests.training.test_run import SMALL
from xtrkit.encoding import load_encoder
from xtrkit.encoding.checkpoints import UR2N, recognise
from xtrkit.encoding.ur2n import read_branch
from xtrkit.reranking import load_reranker
from xtrkit.training import train
from xtrkit.training.activations import CachedInputs
from xtrkit.training.base import load_base
from xtrkit.training.dev import DevEvaluator, read_dev_set
from xtrkit.training.recipes import UR2N_TRAINING
from xtrkit.training.top_layers import UpperLayers
from xtrkit.unified import load_unified

CHOICES = {**SMALL, "learning_rate": 0.01, "dim": 8}


def test_a_monot5_learns_to_retrieve(rerankers, beir, tmp_path):
    """Oracle 13: the decoder says the same before and after."""
    base = rerankers["monot5"]
    train("ur2n", str(base), beir, tmp_path / "first", **CHOICES)
    train("ur2n", str(tmp_path / "first"), beir, tmp_path / "second", **CHOICES)
    texts = ["late token", "what is the retrieval"]
    expected = load_reranker(base).score("the token", texts)
    branches = []
    for name in ("first", "second"):
        path = tmp_path / name
        assert recognise(path) == UR2N
        before, after = load_file(base / "model.safetensors"), load_file(path / "model.safetensors")
        assert all(torch.equal(after[key], before[key]) for key in before)
        assert (load_unified(path).reranker.score("the token", texts) == expected).all()
        encoder = load_encoder(path)
        assert encoder.model.prompts == {"query": "Query: ", "document": "Document: "}
        assert (encoder.query_length, encoder.document_length) == (16, 24)
        branches.append(read_branch(path, width=32))
        assert "Recipe" in (path / "README.md").read_text()
    first, second = branches
    assert not torch.equal(first.projection, second.projection)
    block = {key: value for key, value in load_file(base / "model.safetensors").items() if "encoder.block.1." in key}
    learnt = [key for key, value in block.items() if not torch.equal(value, first.layer[key.split("block.1.")[1]])]
    assert len(learnt) == len(block)


def test_the_saved_branch_encodes_as_the_trained_model_did(rerankers, beir, tmp_path):
    """What was measured on the dev set is what the directory does: the figure comes out again."""
    out = tmp_path / "out"
    summary = train("ur2n", str(rerankers["monot5"]), beir, out, dev=str(beir), **CHOICES)
    model, is_new = load_base(str(out), UR2N_TRAINING)
    assert not is_new
    dev = read_dev_set(str(beir), most_queries=200, most_documents=2000, seed=UR2N_TRAINING.seed)
    inputs = [
        CachedInputs.open(tmp_path / "kept", model, 1, task, texts)
        for task, texts in (("query", dev.queries), ("document", dev.documents))
    ]
    figure = DevEvaluator(dev, UpperLayers(model, 1), *inputs, scores="xtr")(model)["nDCG@10"]
    assert figure == dict(summary.curve)[summary.best_step]
