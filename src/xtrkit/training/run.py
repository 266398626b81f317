"""A training from beginning to end: checks, model, data, trainer, and a directory that anyone can load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xtrkit.errors import InputError, missing_extra
from xtrkit.training.card import Facts, write_card
from xtrkit.training.data import TrainingData, most_negatives, with_negatives
from xtrkit.training.formats import read_training_data
from xtrkit.training.plan import TrainingPlan
from xtrkit.training.recipes import TrainingRecipe
from xtrkit.training.workplace import Workplace, check_out

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from torch import nn

    from xtrkit.progress import Advance
    from xtrkit.training.dev import DevSet
    from xtrkit.training.inputs import Inputs
    from xtrkit.training.trainer import Parts, Report, Trainer

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


def _report_nothing(report: Report) -> None:
    """Ignore a report: the caller asked for none."""


def _show_nothing(what: str, total: int) -> AbstractContextManager[Advance]:
    """Show no progress bar: the caller asked for none."""
    return nullcontext(lambda amount: None)


def train(
    recipe: str | TrainingRecipe,
    model: str,
    data: Any,
    out: str | Path,
    *,
    report: Callable[[Report], None] = _report_nothing,
    bar: Bar = _show_nothing,
    **choices: Any,
) -> TrainingSummary:
    """Train a late-interaction encoder.

    Args:
        recipe: "xtr", "colbert", "colbertv2" or "ur2n", or a :class:`~xtrkit.training.recipes.TrainingRecipe`.
        model: what to start from: "all-MiniLM-L6-v2", a directory or a hub name.
        data: a BEIR folder, a file, or a list of them.
        out: directory to make.
        report: called with every :class:`~xtrkit.training.trainer.Report`.
        bar: drives progress bars of what comes before training.
        **choices: fields of :class:`~xtrkit.training.plan.TrainingPlan`, such as ``dev``, ``resume`` and ``device``, or
            of the recipe, such as ``steps`` and ``top_layers``, that shall differ.

    Raises:
        InputError: a choice or the data can't be used; CollectionError names the place in the data.
        ModelError: there is no such model, or it can't be trained like this.
        TrainingError: ``out`` is in use, or the loss is not a number any more; checkpoints stay.
        MissingExtraError: the extra "train" isn't installed.
    """
    return carry_out(TrainingPlan.of(recipe, model, data, out, **choices), report=report, bar=bar)


def carry_out(
    plan: TrainingPlan, *, report: Callable[[Report], None] = _report_nothing, bar: Bar = _show_nothing
) -> TrainingSummary:
    """Train as a plan says; ``report``, ``bar`` and errors are those of :func:`train`."""
    _check_extra()
    read = read_training_data(plan.data)
    _check_teacher(read, plan.recipe)
    read, dev_set, dev_name = _dev_set(read, plan)
    wanted = min(plan.recipe.negatives, most_negatives(read))
    examples = with_negatives(read, wanted, plan.recipe.seed).compact()
    recipe = plan.recipe.but(batch_size=min(plan.recipe.batch_size, len(examples.examples)))
    settings = {"recipe": vars(recipe), "model": plan.model, "data": examples.fingerprint(), "dev": dev_name}
    check_out(plan.out, resume=plan.resume, overwrite=plan.overwrite)
    base, is_new = _loaded_base(plan.model, recipe, plan.device)  # before anything at ``out`` is touched
    with Workplace.at(plan.out, settings, resume=plan.resume, overwrite=plan.overwrite) as place:
        checkpoint = place.last_checkpoint()
        prepared = _Preparation(recipe, base, is_new and checkpoint is None, examples, dev_set, plan.dev_nbits)
        parts = prepared.parts(plan.cache or place.cache, bar)
        from xtrkit.encoding.modules import quiet
        from xtrkit.training.trainer import make_trainer

        trainer = make_trainer(parts, recipe, place.folder, report)
        with quiet():
            trainer.train(resume_from_checkpoint=checkpoint)
        curve = _curve(trainer)
        steps = int(trainer.state.global_step)
        trained = [point for point in curve if point[0]]  # of the untrained model there is no checkpoint
        best = max(trained, key=lambda point: point[1])[0] if trained else steps
        summary = TrainingSummary(plan.out, steps, curve, best)
        _save(parts.model, place, _facts(summary, replace(plan, recipe=recipe), parts.model, examples, dev_name))
    return summary


def _loaded_base(model: str, recipe: TrainingRecipe, device: str | None) -> tuple[MultiVectorEncoder, bool]:
    """What is trained, only its upper layers to be learnt if the recipe says so, and whether its projection is new."""
    from xtrkit.training.base import load_base
    from xtrkit.training.top_layers import freeze_below

    base, is_new = load_base(model, recipe, device)
    if recipe.top_layers:
        freeze_below(base, recipe.top_layers)
    return base, is_new


class _Preparation(NamedTuple):
    """Everything that a run is made of."""

    recipe: TrainingRecipe
    model: MultiVectorEncoder
    fit: bool
    examples: TrainingData
    dev: DevSet | None
    dev_nbits: int

    def parts(self, cache: Path, bar: Bar) -> Parts:
        from xtrkit.training.base import fit_projection
        from xtrkit.training.dev import DevEvaluator
        from xtrkit.training.inputs import Batches
        from xtrkit.training.top_layers import UpperLayers
        from xtrkit.training.trainer import Parts

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
        return Parts(model, embedder, batches, evaluator)


def _inputs(
    model: MultiVectorEncoder, recipe: TrainingRecipe, task: str, texts: Sequence[str], cache: Path, bar: Bar
) -> Inputs:
    from xtrkit.training.activations import CachedInputs
    from xtrkit.training.inputs import TextInputs

    if not recipe.top_layers:
        return TextInputs(model, texts)
    with bar(f"Activations ({task})", len(texts)) as advance:
        return CachedInputs.open(cache, model, recipe.top_layers, task, texts, advance, recipe.bf16)


def _curve(trainer: Trainer) -> list[tuple[int, float]]:
    """(step, nDCG@10); a run that went on measured its first point twice."""
    from xtrkit.training.trainer import KEY

    return sorted({entry["step"]: entry[KEY] for entry in trainer.state.log_history if KEY in entry}.items())


def _dev_set(read: TrainingData, plan: TrainingPlan) -> tuple[TrainingData, DevSet | None, str | None]:
    """The training data that are left, the dev set, and what it is."""
    if plan.dev is None:
        return read, None, None
    from xtrkit.training.dev import hold_out, read_dev_set

    dev, seed = plan.dev, plan.recipe.seed
    first = plan.data[0] if isinstance(plan.data, list | tuple) else plan.data
    if dev == "auto" and isinstance(first, str | Path) and (Path(first) / "qrels" / "dev.tsv").is_file():
        dev = str(first)
    if dev != "auto":
        found = read_dev_set(dev, most_queries=plan.dev_queries, most_documents=plan.dev_documents, seed=seed)
        name = f"{len(found.queries)} queries of {Path(dev).name}, among {len(found.documents):,} documents"
        return read, found, name
    left, found = hold_out(read, most_queries=plan.dev_queries, most_documents=plan.dev_documents, seed=seed)
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
            raise missing_extra("Training", "train")


def _facts(
    summary: TrainingSummary, plan: TrainingPlan, model: MultiVectorEncoder, examples: TrainingData, dev: str | None
) -> Facts:
    libraries = ("xtrkit", "torch", "sentence-transformers", "transformers")
    return Facts(
        base=plan.model,
        recipe=plan.recipe,
        sources=examples.sources,
        licences=plan.data_licences,
        licence=plan.licence,
        dim=int(model.get_embedding_dimension()),
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
