"""What a training starts from: checkpoints as they are, plain encoders with a projection."""

import shutil

import pytest
import torch
from sentence_transformers.base.modules import Normalize
from sentence_transformers.base.modules.dense import Dense

from tests.training.conftest import sentence
from xtrkit.encoding import load_encoder
from xtrkit.errors import ModelError
from xtrkit.training.base import fit_projection, load_base
from xtrkit.training.inputs import TextInputs
from xtrkit.training.recipes import COLBERTV2_TRAINING, UR2N_TRAINING, XTR_TRAINING

TEXTS = [sentence(i, 3 + i % 5) for i in range(60)]


@pytest.fixture
def plain_t5(checkpoints, tmp_path):
    copy = shutil.copytree(checkpoints["xtr"], tmp_path / "t5")
    shutil.rmtree(copy / "2_Dense")
    return copy


@pytest.mark.parametrize("layout", ["xtr", "stanford", "pylate", "colxtr", "native"])
def test_a_late_interaction_checkpoint_stays_what_it_is(layout, checkpoints):
    recipe = XTR_TRAINING.but(query_length=12, document_length=24)
    model, is_new = load_base(str(checkpoints[layout]), recipe)
    assert not is_new
    expected = load_encoder(checkpoints[layout], query_length=12, document_length=24)
    with torch.no_grad():
        features = TextInputs(model, TEXTS).features("document", range(4))
        got = model(dict(features), task="document")
    for rows, mask, text in zip(got["token_embeddings"], got["attention_mask"].bool(), TEXTS, strict=False):
        torch.testing.assert_close(rows[mask].numpy(), expected.encode_documents([text])[0], atol=1e-5, rtol=1e-4)


def test_a_plain_t5_gets_what_the_recipe_says(plain_t5):
    recipe = UR2N_TRAINING.but(dim=8, lower_case=True, query_length=9)
    model, is_new = load_base(str(plain_t5), recipe)
    assert is_new
    assert model.prompts == {"query": "Query: ", "document": "Document: "}
    assert model[0].query_length == 9
    assert model[0].do_lower_case
    assert not any(isinstance(module, Normalize) for module in model)
    again, _ = load_base(str(plain_t5), recipe)
    other, _ = load_base(str(plain_t5), recipe.but(seed=1))
    projections = [next(m for m in one if isinstance(m, Dense)).linear.weight for one in (model, again, other)]
    assert torch.equal(projections[0], projections[1])
    assert not torch.equal(projections[0], projections[2])
    torch.testing.assert_close(projections[0] @ projections[0].T, torch.eye(8), atol=1e-5, rtol=0)


def test_markers_that_the_vocabulary_lacks_are_left_out(checkpoints, plain_t5):
    t5, _ = load_base(str(plain_t5), COLBERTV2_TRAINING.but(dim=8, expand_queries=False))
    assert t5.prompts == {"query": "", "document": ""}
    with pytest.raises(ModelError, match=r"has no \[MASK\] to expand queries with"):
        load_base(str(plain_t5), COLBERTV2_TRAINING.but(dim=8))


def test_what_cannot_be_trained_is_told(checkpoints, plain_t5, tmp_path):
    with pytest.raises(ModelError, match="32-dimensional token embeddings, too few for a projection to 64"):
        load_base(str(plain_t5), XTR_TRAINING.but(dim=64))
    with pytest.raises(ModelError, match="neither a directory nor a model"):
        load_base(str(tmp_path / "nowhere"), XTR_TRAINING)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"there is no config.json"):
        load_base(str(tmp_path / "empty"), XTR_TRAINING)


def test_a_fitted_projection_keeps_more_of_the_similarities(plain_t5):
    """Than a random one: the base's own, of tokens of texts that it was not fitted to."""
    recipe = XTR_TRAINING.but(dim=6)
    model, _ = load_base(str(plain_t5), recipe)
    inputs = TextInputs(model, TEXTS)

    def similarities(project):
        with torch.no_grad():
            features = inputs.features("document", range(40, 60))
            rows = model[0](dict(features))["token_embeddings"][features["attention_mask"].bool()]
            rows = torch.nn.functional.normalize(rows, dim=-1)
            rows = rows @ project.T if project is not None else rows
            return rows @ rows.T

    whole, weight = similarities(None), next(m for m in model if isinstance(m, Dense)).linear.weight
    by_chance = (similarities(weight) - whole).square().mean()
    fit_projection(model, TEXTS[:40], seed=0)
    assert (similarities(weight) - whole).square().mean() < 0.5 * by_chance
    torch.testing.assert_close(weight @ weight.T, torch.eye(6), atol=1e-5, rtol=0)


def test_a_balanced_projection_counts_every_piece_alike(plain_t5):
    model, _ = load_base(str(plain_t5), XTR_TRAINING.but(dim=6), "cpu")
    fit_projection(model, TEXTS[:40], seed=0, balanced=True)
    weight = next(m for m in model if isinstance(m, Dense)).linear.weight.detach().double()
    of_piece = {}
    for number in range(40):
        features = TextInputs(model, TEXTS).features("document", [number])
        with torch.no_grad():
            rows = torch.nn.functional.normalize(model[0](dict(features))["token_embeddings"][0], dim=-1).double()
        for piece, row in zip(features["input_ids"][0].tolist(), rows, strict=True):
            of_piece.setdefault(piece, []).append(torch.outer(row, row))
    moments = sum(torch.stack(found).mean(dim=0) for found in of_piece.values())
    expected = torch.linalg.eigh(moments).eigenvectors[:, -6:]
    torch.testing.assert_close(weight.T @ weight, expected @ expected.T, atol=1e-4, rtol=0)
