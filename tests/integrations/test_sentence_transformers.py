"""The evaluator by itself, and under sentence-transformers' trainer."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss

from tests.encoding.checkpoint_factory import WORDS
from xtrkit.encoding import load_encoder
from xtrkit.errors import InputError, XtrkitWarning
from xtrkit.integrations.sentence_transformers import XtrkitEvaluator
from xtrkit.recipes import COLBERT

CORPUS = {f"d{n}": " ".join(WORDS[(n * (i + 3) + i) % 8] for i in range(6)) + f" {chr(97 + n)}" for n in range(20)}
QUERIES = {f"q{n}": f"{CORPUS[f'd{n}'].rsplit(' ', 1)[0][:20]} {chr(97 + n)}" for n in range(8)}
RELEVANT = {f"q{n}": {f"d{n}"} for n in range(8)}


@pytest.fixture
def model(checkpoints):
    return load_encoder(checkpoints["native"]).model


def test_it_agrees_with_their_evaluator_where_nothing_is_compressed(model):
    ours = XtrkitEvaluator(QUERIES, CORPUS, RELEVANT, measures=["nDCG@10", "RR@10"], recipe=COLBERT, nbits=16)(model)
    theirs = MultiVectorInformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT)(model)
    assert isinstance(model, MultiVectorEncoder)
    assert ours["nDCG@10"] == pytest.approx(theirs["maxsim_ndcg@10"], abs=1e-6)
    assert ours["RR@10"] == pytest.approx(theirs["maxsim_mrr@10"], abs=1e-6)
    assert 0 < ours["nDCG@10"] < 1


def test_names_grades_and_the_file(model, tmp_path):
    graded = {query: dict.fromkeys(documents, 2) for query, documents in RELEVANT.items()}
    evaluator = XtrkitEvaluator(QUERIES, CORPUS, graded, name="dev", measures=["nDCG@10", "R@100"])
    for step in (1, 2):
        found = evaluator(model, str(tmp_path), epoch=0, steps=step)
    assert list(found) == ["dev_nDCG@10", "dev_R@100"]
    assert evaluator.primary_metric == "dev_nDCG@10"
    assert found["dev_R@100"] == 1
    lines = (tmp_path / "xtrkit_evaluation_dev_results.csv").read_text().splitlines()
    assert lines[0] == "epoch,steps,nDCG@10,R@100"
    assert [line.split(",")[:2] for line in lines[1:]] == [["0", "1"], ["0", "2"]]


def test_a_trainer_picks_the_best_by_it(model, tmp_path):
    pairs = [(query, CORPUS[document]) for name, query in QUERIES.items() for document in RELEVANT[name]]
    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(tmp_path), max_steps=2, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1,
        per_device_train_batch_size=4, load_best_model_at_end=True, metric_for_best_model="eval_dev_nDCG@10",
        report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = MultiVectorEncoderTrainer(
        model=model, args=arguments, loss=MultiVectorMultipleNegativesRankingLoss(model),
        train_dataset=Dataset.from_list([{"anchor": query, "positive": text} for query, text in pairs]),
        evaluator=XtrkitEvaluator(QUERIES, CORPUS, RELEVANT, name="dev"),
    )  # fmt: skip
    trainer.train()
    told = [one["eval_dev_nDCG@10"] for one in trainer.state.log_history if "eval_dev_nDCG@10" in one]
    assert len(told) >= 2
    assert trainer.state.best_metric == max(told)


def test_a_model_that_is_lost_counts_zero_and_is_told_of(model):
    with torch.no_grad():
        next(parameter for parameter in model.parameters() if parameter.ndim == 2).fill_(np.nan)
    with pytest.warns(XtrkitWarning, match="numbers that are not finite"):
        assert XtrkitEvaluator(QUERIES, CORPUS, RELEVANT)(model) == {"nDCG@10": 0.0}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relevant_docs": {}}, "has no judgements"),
        ({"relevant_docs": {"q99": ["d1"]}}, r"judges queries that are not there \('q99'\)"),
        ({"relevant_docs": {"q1": ["d99"]}}, r"that the corpus does not have \('d99'\)"),
        ({"queries": QUERIES | {"q1": " "}}, "Query 'q1': A query must be a text"),
        ({"measures": ["nDGC@10"]}, "Unknown measure 'nDGC@10'"),
    ],
)
def test_refusals(changes, said):
    usual = {"queries": QUERIES, "corpus": CORPUS, "relevant_docs": RELEVANT}
    with pytest.raises(InputError, match=said):
        XtrkitEvaluator(**usual | changes)
