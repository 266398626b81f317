"""Cross-encoders of sentence-transformers against a plain transformers forward."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from tests.encoding import checkpoint_factory as factory
from xtrkit.errors import ModelError
from xtrkit.reranking import Reranker, load_reranker

TEXTS = ["the late token", "xtr", "", "document token"]


def test_the_score_is_the_logit(rerankers):
    directory = rerankers["cross-encoder"]
    reranker = load_reranker(directory)
    assert isinstance(reranker, Reranker)
    model = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    marks = [tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]")]
    for text, score in zip(TEXTS, reranker.score("what is xtr", TEXTS), strict=True):
        first = tokenizer.encode("what is xtr", add_special_tokens=False).ids
        second = tokenizer.encode(text, add_special_tokens=False).ids
        ids = torch.tensor([[marks[0], *first, marks[1], *second, marks[1]]])
        segments = torch.tensor([[0] * (len(first) + 2) + [1] * (len(second) + 1)])
        with torch.no_grad():
            expected = model(input_ids=ids, token_type_ids=segments).logits[0, 0]
        np.testing.assert_allclose(score, expected, atol=1e-5)
    assert reranker.score("a", []).shape == (0,)


def test_a_head_that_was_never_trained(rerankers, tmp_path):
    directory = factory.copy_of(rerankers["cross-encoder"], tmp_path / "checkpoint")
    weights = load_file(directory / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 of the model's tensors, such as classifier\.weight"):
        load_reranker(directory)


def test_two_outputs(tmp_path):
    with pytest.raises(ModelError, match="gives 2 numbers for each text instead of one score"):
        load_reranker(factory.write_cross_encoder(tmp_path / "two", labels=2))
