"""Losses of real (small) models: what each recipe's is, and what must not change it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sentence_transformers.multi_vector_encoder.losses import (
    MultiVectorDistillKLDivLoss,
    MultiVectorMultipleNegativesRankingLoss,
)
from sentence_transformers.multi_vector_encoder.scoring import XTRScores, colbert_scores

from tests.training.conftest import sentence
from xtrkit.errors import InputError
from xtrkit.training import reference
from xtrkit.training.objectives import LateInteractionLoss
from xtrkit.training.recipes import COLBERT_TRAINING, COLBERTV2_TRAINING, XTR_TRAINING

XTR = XTR_TRAINING.but(k_train=9, temperature=1.0, negative="keep")
QUERIES = [sentence(i, 2 + i) for i in range(3)]
DOCUMENTS = [[sentence(10 * (i + 1) + j, 4 + j) for j in range(2)] for i in range(3)]
TEACHER = torch.tensor([[3.0, 1.0], [0.5, 2.0], [4.0, 4.0]])


@pytest.fixture
def features(native):
    """Queries, and all documents in one entry, each query's after one another."""
    texts = [text for own in DOCUMENTS for text in own]
    queries = native.preprocess(QUERIES, prompt=native.prompts["query"], task="query")
    documents = native.preprocess(texts, prompt=native.prompts["document"], task="document")
    return [queries, documents]


def columns(native, features):
    """The same as sentence-transformers' collator has it: the n-th document of each query in the n-th entry."""
    prompt = native.prompts["document"]
    return [features[0]] + [
        {**native.preprocess(list(texts), prompt=prompt, task="document"), "task": "document"}
        for texts in zip(*DOCUMENTS, strict=True)
    ]


def ragged(native):
    native.eval()
    queries = native.encode_query(QUERIES, convert_to_numpy=True)
    return queries, native.encode_document([t for own in DOCUMENTS for t in own], convert_to_numpy=True)


def loss(model, recipe, features, labels=None):
    with torch.no_grad():
        return float(LateInteractionLoss(model.eval(), recipe)(features, labels))


def test_xtr_is_the_cross_entropy_of_the_slow_twin(native, features):
    queries, documents = ragged(native)
    expected = [
        reference.cross_entropy(reference.xtr_scores(query, documents, 9, "keep"), positive=2 * i)
        for i, query in enumerate(queries)
    ]
    assert loss(native, XTR, features) == pytest.approx(np.mean(expected), abs=1e-5)


def test_colbert_is_the_cross_entropy_of_mean_maxima(native, features):
    queries, documents = ragged(native)
    expected = [
        reference.cross_entropy(reference.maxsim_scores(query, documents), positive=2 * i)
        for i, query in enumerate(queries)
    ]
    assert loss(native, COLBERT_TRAINING.but(temperature=1.0), features) == pytest.approx(np.mean(expected), abs=1e-5)


def test_sentence_transformers_computes_the_same(native, features):
    for scores, recipe in ((XTRScores(top_k=9), XTR), (colbert_scores, COLBERTV2_TRAINING.but(contrast="all"))):
        theirs = MultiVectorMultipleNegativesRankingLoss(native.eval(), similarity_fct=scores)
        expected = float(theirs(columns(native, features)).detach())
        ours = recipe.but(distillation="none")
        assert loss(native, ours, features) == pytest.approx(expected, abs=1e-4)
        assert loss(native, ours, columns(native, features)) == pytest.approx(expected, abs=1e-4)


def test_kl_is_that_of_sentence_transformers(native, features):
    theirs = MultiVectorDistillKLDivLoss(native.eval())
    expected = float(theirs(columns(native, features), TEACHER).detach())
    assert loss(native, COLBERTV2_TRAINING.but(contrast="none"), features, TEACHER) == pytest.approx(expected, abs=1e-4)


def test_colbertv2_leaves_a_querys_own_negatives_to_the_teacher(native, features):
    queries, documents = ragged(native)
    expected = []
    for i, query in enumerate(queries):
        scores = reference.maxsim_scores(query, documents, mean=False)
        own = torch.tensor(scores[2 * i : 2 * i + 2])
        distilled = F.kl_div(own.log_softmax(0), TEACHER[i].log_softmax(0), reduction="sum", log_target=True)
        others = np.delete(scores, 2 * i + 1)
        expected.append(
            float(distilled) + reference.cross_entropy(others, positive=int(np.argmax(others == scores[2 * i])))
        )
    assert loss(native, COLBERTV2_TRAINING, features, TEACHER) == pytest.approx(np.mean(expected), abs=1e-4)


def test_margin_mse(native, features):
    queries, documents = ragged(native)
    recipe = XTR.but(contrast="none", distillation="margin_mse", distillation_alpha=0.5)
    errors = []
    for i, query in enumerate(queries):
        scores = reference.xtr_scores(query, documents, 9, "keep")
        errors.append(scores[2 * i] - scores[2 * i + 1] - 0.5 * float(TEACHER[i, 0] - TEACHER[i, 1]))
    assert loss(native, recipe, features, TEACHER) == pytest.approx(np.mean(np.square(errors)), abs=1e-5)


def test_xtr_with_kl_is_the_sum_of_both(native, features):
    both = XTR.but(distillation="kl", distillation_weight=0.3)
    alone = loss(native, both.but(contrast="none"), features, TEACHER)
    assert loss(native, both, features, TEACHER) == pytest.approx(alone + loss(native, XTR, features), abs=1e-5)


@pytest.mark.parametrize("recipe", [XTR, COLBERT_TRAINING])
def test_padding_changes_nothing(native, features, recipe):
    """Oracle 8."""
    wider = [
        {key: F.pad(value, (0, 9)) if isinstance(value, torch.Tensor) else value for key, value in entry.items()}
        for entry in features
    ]
    # A query's [MASK]s are part of it, beyond the mask: only documents may be padded at will.
    assert loss(native, recipe, [features[0], wider[1]]) == pytest.approx(loss(native, recipe, features), abs=1e-6)


def test_the_order_of_queries_changes_nothing(native, features):
    order = torch.tensor([2, 0, 1])
    rows = torch.tensor([4, 5, 0, 1, 2, 3])
    turned = [
        {key: value[chosen] if isinstance(value, torch.Tensor) else value for key, value in entry.items()}
        for entry, chosen in zip(features, (order, rows), strict=True)
    ]
    assert loss(native, XTR, turned) == pytest.approx(loss(native, XTR, features), abs=1e-6)


def gradients(model, recipe, features):
    model.zero_grad()
    torch.manual_seed(0)
    LateInteractionLoss(model.train(), recipe)(features).backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_parts_and_recomputation_change_no_gradient(native, features):
    for module in native.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    whole = gradients(native, XTR, features)
    for recipe in (XTR.but(rows_per_forward=1), XTR.but(rows_per_forward=2, recompute=True)):
        for got, expected in zip(gradients(native, recipe, features), whole, strict=True):
            torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


def test_recomputation_draws_the_same_dropout(native, features):
    plain, again = (XTR.but(rows_per_forward=2, recompute=value) for value in (False, True))
    for got, expected in zip(gradients(native, again, features), gradients(native, plain, features), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-4)


def test_documents_known_to_be_relevant_are_no_negatives(native, features):
    features[0]["positives"] = torch.tensor([[0, 2], [2, -1], [4, -1]])
    features[1]["number"] = torch.arange(6)
    queries, documents = ragged(native)
    scores = [reference.xtr_scores(query, documents, 9, "keep") for query in queries]
    kept = [np.delete(scores[0], 2), scores[1], scores[2]]
    expected = [reference.cross_entropy(kept[0], 0), reference.cross_entropy(kept[1], 2)]
    expected.append(reference.cross_entropy(kept[2], 4))
    assert loss(native, XTR, features) == pytest.approx(np.mean(expected), abs=1e-5)
    unmasked = loss(native, XTR.but(mask_false_negatives=False), features)
    assert unmasked > loss(native, XTR, features)


@pytest.mark.parametrize("labels", [None, torch.ones(3, 3)])
def test_teacher_scores_of_another_shape_are_refused(native, features, labels):
    with pytest.raises(InputError, match=r"teacher scores of shape \(3, 2\), got (none|shape \(3, 3\))"):
        loss(native, COLBERTV2_TRAINING, features, labels)
