"""A training from beginning to end: checks, model, data, trainer, and a directory that anyone can load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xtrkit.errors import InputError, MissingExtraError
from xtrkit.training.card import Facts, write_card
from xtrkit.training.data import TrainingData, most_negatives, with_negatives
from xtrkit.training.formats import read_training_data
from xtrkit.training.recipes import TrainingRecipe, recipe_named
from xtrkit.training.workplace import Workplace, check_out

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from torch import nn

    from xtrkit.progress import Advance
    from xtrkit.training.dev import DevEvaluator, DevSet
    from xtrkit.training.inputs import Batches, Inputs
    from xtrkit.training.trainer import Report, Trainer

Bar = Callable[[str, int], AbstractContextManager["Advance"]]
"""From what is being done, and how much of it there is, to a context that is told how much was done."""


@dataclass(frozen=True)
class TrainingSummary:
    """What :func:`train` did.

    Attributes:
        path: the directory of the model.
        steps: optimiser steps.
        curve: (step, nDCG@10) on the dev set, the untrained model first; empty without one.
        best_step: whose weights were kept: the best on the dev set of those that were trained.
    """

    path: Path
    steps: int
    curve: Sequence[tuple[int, float]]
    best_step: int


def train(
    recipe: str | TrainingRecipe,
    model: str,
    data: Any,
    out: str | Path,
    *,
    dev: str | None = "auto",
    dev_queries: int = 200,
    dev_documents: int = 2000,
    dev_nbits: int = 16,
    cache: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | None = None,
    licence: str | None = None,
    data_licences: Mapping[str, str] | None = None,
    report: Callable[[Report], None] = lambda report: None,
    bar: Bar = lambda what, total: nullcontext(lambda amount: None),
    **changes: Any,
) -> TrainingSummary:
    """Train a late-interaction encoder.

    Args:
        recipe: "xtr", "colbert", "colbertv2" or "ur2n", or a :class:`~xtrkit.training.recipes.TrainingRecipe`.
        model: what to start from: "all-MiniLM-L6-v2", a directory or a hub name, of a late-interaction checkpoint or of
            a plain encoder, which gets a projection.
        data: what :func:`~xtrkit.training.formats.read_training_data` reads: a BEIR folder, a file, a list of them.
        out: directory to make. It can be loaded once training is complete; until then it holds checkpoints.
        dev: a BEIR folder (its ``qrels/dev.tsv``, or ``FOLDER:SPLIT``); "auto" takes that of the first data set, or
            holds a tenth of the training queries out; None looks at nothing, and keeps the last weights.
        dev_queries: most dev queries.
        dev_documents: documents that are searched for them, relevant ones included.
        dev_nbits: how the dev index keeps vectors, as in :meth:`xtrkit.Index.create`.
        cache: where activations of frozen layers are kept, with ``top_layers``; by default in ``out`` while it trains.
        resume: go on from the last checkpoint in ``out``, with the same choices; the result is that of a run that was
            never interrupted.
        overwrite: delete what is at ``out``.
        device: "cpu", "cuda", …; by default what torch finds.
        licence: of the trained model, for its card.
        data_licences: {data set: licence}, for the card.
        report: called with every :class:`~xtrkit.training.trainer.Report`.
        bar: drives progress bars of what comes before training.
        **changes: fields of the recipe that shall differ.

    Raises:
        InputError: a choice or the data can't be used; CollectionError names the place in the data.
        ModelError: there is no such model, or it can't be trained like this.
        TrainingError: ``out`` is in use, or the loss is not a number any more; checkpoints stay.
        MissingExtraError: the extra "train" isn't installed.
    """
    chosen = (recipe_named(recipe) if isinstance(recipe, str) else recipe).but(**changes)
    _check_extra()
    read = read_training_data(data)
    _check_teacher(read, chosen)
    read, dev_set, dev_name = _dev_set(read, data, dev, (dev_queries, dev_documents), chosen.seed)
    examples = with_negatives(read, min(chosen.negatives, most_negatives(read)), chosen.seed).compact()
    chosen = chosen.but(batch_size=min(chosen.batch_size, len(examples.examples)))
    settings = {"recipe": vars(chosen), "model": model, "data": examples.fingerprint(), "dev": dev_name}
    check_out(Path(out), resume=resume, overwrite=overwrite)
    base, is_new = _loaded_base(model, chosen, device)  # before anything at ``out`` is touched
    with Workplace.at(Path(out), settings, resume=resume, overwrite=overwrite) as place:
        checkpoint = place.last_checkpoint()
        prepared = _Preparation(chosen, base, is_new and checkpoint is None, examples, dev_set, dev_nbits)
        run = prepared.run(Path(cache) if cache else place.cache, bar)
        trainer = _trainer(run, chosen, place.folder, report)
        from xtrkit.encoding.modules import quiet

        with quiet():
            trainer.train(resume_from_checkpoint=checkpoint)
        curve = _curve(trainer)
        steps = int(trainer.state.global_step)
        trained = [point for point in curve if point[0]]  # of the untrained model there is no checkpoint
        best = max(trained, key=lambda point: point[1])[0] if trained else steps
        summary = TrainingSummary(Path(out), steps, curve, best)
        _save(run.model, place, _facts(summary, model, chosen, run, examples, dev_name, licence, data_licences or {}))
    return summary


def _loaded_base(model: str, recipe: TrainingRecipe, device: str | None) -> tuple[MultiVectorEncoder, bool]:
    """What is trained, only its upper layers to be learnt if the recipe says so, and whether its projection is new."""
    from xtrkit.training.base import load_base
    from xtrkit.training.top_layers import freeze_below

    base, is_new = load_base(model, recipe, device)
    if recipe.top_layers:
        freeze_below(base, recipe.top_layers)
    return base, is_new


class _Run(NamedTuple):
    """What a trainer needs."""

    model: MultiVectorEncoder
    embedder: nn.Module
    batches: Batches
    evaluator: DevEvaluator | None


class _Preparation(NamedTuple):
    """Everything that a run is made of."""

    recipe: TrainingRecipe
    model: MultiVectorEncoder
    fit: bool
    examples: TrainingData
    dev: DevSet | None
    dev_nbits: int

    def run(self, cache: Path, bar: Bar) -> _Run:
        from xtrkit.training.base import fit_projection
        from xtrkit.training.dev import DevEvaluator
        from xtrkit.training.inputs import Batches
        from xtrkit.training.top_layers import UpperLayers

        model, init = self.model, self.recipe.projection_init
        if self.fit and init != "random":
            fit_projection(model, self.examples.documents, self.recipe.seed, balanced=init == "balanced")
        embedder: nn.Module = model
        if self.recipe.top_layers:
            embedder = UpperLayers(model, self.recipe.top_layers)

        def inputs(task: str, texts: Sequence[str]) -> Inputs:
            return _inputs(model, self.recipe, task, texts, cache, bar)

        batches = Batches(
            self.examples, inputs("query", self.examples.queries), inputs("document", self.examples.documents)
        )
        evaluator = None
        if self.dev is not None:
            queries, documents = inputs("query", self.dev.queries), inputs("document", self.dev.documents)
            evaluator = DevEvaluator(
                self.dev, embedder, queries, documents, scores=self.recipe.scores, nbits=self.dev_nbits
            )
        return _Run(model, embedder, batches, evaluator)


def _inputs(
    model: MultiVectorEncoder, recipe: TrainingRecipe, task: str, texts: Sequence[str], cache: Path, bar: Bar
) -> Inputs:
    from xtrkit.training.activations import CachedInputs
    from xtrkit.training.inputs import TextInputs

    if not recipe.top_layers:
        return TextInputs(model, texts)
    with bar(f"Activations ({task})", len(texts)) as advance:
        return CachedInputs.open(cache, model, recipe.top_layers, task, texts, advance, recipe.bf16)


def _trainer(run: _Run, recipe: TrainingRecipe, folder: Path, report: Callable[[Report], None]) -> Trainer:
    from datasets import Dataset

    from xtrkit.training.objectives import LateInteractionLoss
    from xtrkit.training.trainer import make_trainer

    n = len(run.batches.data.examples)
    return make_trainer(
        run.model,
        recipe,
        folder=folder,
        dataset=Dataset.from_dict({"example": list(range(n))}),
        loss=LateInteractionLoss(run.embedder, recipe),
        collator=run.batches,
        evaluator=run.evaluator,
        steps=recipe.n_steps(n),
        report=report,
    )


def _curve(trainer: Trainer) -> list[tuple[int, float]]:
    """(step, nDCG@10); a run that went on measured its first point twice."""
    from xtrkit.training.trainer import KEY

    return sorted({entry["step"]: entry[KEY] for entry in trainer.state.log_history if KEY in entry}.items())


def _dev_set(
    read: TrainingData, data: Any, dev: str | None, most: tuple[int, int], seed: int
) -> tuple[TrainingData, DevSet | None, str | None]:
    """The training data that are left, the dev set, and what it is."""
    if dev is None:
        return read, None, None
    from xtrkit.training.dev import hold_out, read_dev_set

    first = data[0] if isinstance(data, list | tuple) else data
    if dev == "auto" and isinstance(first, str | Path) and (Path(first) / "qrels" / "dev.tsv").is_file():
        dev = str(first)
    if dev != "auto":
        found = read_dev_set(dev, most_queries=most[0], most_documents=most[1], seed=seed)
        name = f"{len(found.queries)} queries of {Path(dev).name}, among {len(found.documents):,} documents"
        return read, found, name
    left, found = hold_out(read, most_queries=most[0], most_documents=most[1], seed=seed)
    return left, found, f"{len(found.queries)} held-out queries, among {len(found.documents):,} documents"


def _check_teacher(data: TrainingData, recipe: TrainingRecipe) -> None:
    if recipe.needs_teacher and data.examples[0].scores is None:
        raise InputError(
            f"The recipe distils a teacher ({recipe.distillation}), but the data have no teacher scores: make them "
            "with xtrkit score, or train with --distillation none."
        )


def _check_extra() -> None:
    for package in ("torch", "sentence_transformers", "accelerate", "datasets"):
        if find_spec(package) is None:
            raise MissingExtraError(f'Training needs {package}: run pip install "xtrkit[train]".')


def _facts(
    summary: TrainingSummary,
    base: str,
    recipe: TrainingRecipe,
    run: _Run,
    examples: TrainingData,
    dev: str | None,
    licence: str | None,
    data_licences: Mapping[str, str],
) -> Facts:
    libraries = ("xtrkit", "torch", "sentence-transformers", "transformers")
    return Facts(
        base=base,
        recipe=recipe,
        sources=examples.sources,
        licences=data_licences,
        licence=licence,
        dim=int(run.model.get_embedding_dimension()),
        steps=summary.steps,
        dev=dev,
        curve=summary.curve,
        best=summary.best_step,
        versions={name: version(name) for name in libraries},
    )


def _save(model: MultiVectorEncoder, place: Workplace, facts: Facts) -> None:
    """A ``MultiVectorEncoder`` directory; of a monoT5 that learnt to retrieve, the monoT5 with its branch beside it."""
    from xtrkit.encoding.modules import quiet
    from xtrkit.training.branch import is_branch, save_branch

    final = place.folder / "final"
    with quiet():
        if is_branch(facts.base, facts.recipe):
            save_branch(model, facts.base, facts.recipe, final)
        else:
            model.save_pretrained(str(final), create_model_card=False)
    write_card(final, facts)
    place.finish(final)
