"""A training from beginning to end: checks, model, data, trainer, and a directory that anyone can load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from xtrkit.errors import InputError, missing_extra
from xtrkit.training.card import MEASURE, SECOND, Facts, write_card
from xtrkit.training.data import TrainingData, most_negatives, with_negatives
from xtrkit.training.formats import read_training_data
from xtrkit.training.plan import TrainingPlan
from xtrkit.training.recipes import AnyRecipe
from xtrkit.training.reranker_recipes import RerankerRecipe
from xtrkit.training.workplace import Workplace, check_out

if TYPE_CHECKING:
    from xtrkit.progress import Advance
    from xtrkit.training.careful import Report
    from xtrkit.training.dev import DevSet

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
        baseline: of a reranker: nDCG@10 of what it reranked, in BM25's order; None for anything else.
    """

    path: Path
    steps: int
    curve: Sequence[tuple[int, float]]
    best_step: int
    baseline: float | None = None


def _report_nothing(report: Report) -> None:
    """Ignore a report: the caller asked for none."""


def _show_nothing(what: str, total: int) -> AbstractContextManager[Advance]:
    """Show no progress bar: the caller asked for none."""
    return nullcontext(lambda amount: None)


def train(
    recipe: str | AnyRecipe,
    model: str,
    data: Any,
    out: str | Path,
    *,
    report: Callable[[Report], None] = _report_nothing,
    bar: Bar = _show_nothing,
    **choices: Any,
) -> TrainingSummary:
    """Train a late-interaction encoder or a reranker.

    Args:
        recipe: "xtr", "colbert", "colbertv2" or "ur2n", or a :class:`~xtrkit.training.recipes.TrainingRecipe`; for a
            reranker "monot5" or "cross-encoder", or a :class:`~xtrkit.training.reranker_recipes.RerankerRecipe`.
        model: what to start from: "all-MiniLM-L6-v2", a directory or a hub name.
        data: a BEIR folder, a file, or a list of them.
        out: directory to make.
        report: called with every :class:`~xtrkit.training.careful.Report`.
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
    recipe = plan.recipe
    examples = with_negatives(read, _n_negatives(recipe, read), recipe.seed).compact()
    recipe = recipe.but(batch_size=min(recipe.batch_size, len(examples.examples)))
    plan = replace(plan, recipe=recipe)
    settings = {"recipe": vars(recipe), "model": plan.model, "data": examples.fingerprint(), "dev": dev_name}
    check_out(plan.out, resume=plan.resume, overwrite=plan.overwrite)
    subject = _in_training(plan)  # before anything at ``out`` is touched
    with Workplace.at(plan.out, settings, resume=plan.resume, overwrite=plan.overwrite) as place:
        checkpoint = place.last_checkpoint()
        trainer = subject.trainer(examples, dev_set, place, report, bar)
        from xtrkit.encoding.modules import quiet

        with quiet():
            trainer.train(resume_from_checkpoint=checkpoint)
        summary = _summary(trainer, plan.out, subject.baseline)
        final = place.folder / "final"
        subject.save(final)
        write_card(final, _facts(summary, plan, subject, examples, dev_name, _curve(trainer, SECOND)))
        place.finish(final)
    return summary


class InTraining(Protocol):
    """A model of any kind while it learns.

    Attributes:
        about: what the card calls it.
        baseline: {measure: figure} on the dev set, of something else to compare with.
    """

    about: str

    @property
    def dim(self) -> int | None:
        """Dimensions of a token vector; None where there are none."""

    baseline: dict[str, float]

    def trainer(
        self, examples: TrainingData, dev: DevSet | None, place: Workplace, report: Callable[[Report], None], bar: Bar
    ) -> Any:
        """The trainer of a run."""

    def save(self, path: Path) -> None:
        """Write its directory."""


def _in_training(plan: TrainingPlan) -> InTraining:
    """What is trained, loaded."""
    if isinstance(plan.recipe, RerankerRecipe):
        from xtrkit.training.rerankers import RerankerInTraining

        return RerankerInTraining(plan, plan.recipe)
    from xtrkit.training.encoders import EncoderInTraining

    return EncoderInTraining(plan, plan.recipe)


def _n_negatives(recipe: AnyRecipe, read: TrainingData) -> int:
    """How many each query gets; where the data have none, an encoder makes do with the batch's other documents."""
    return recipe.negatives if isinstance(recipe, RerankerRecipe) else min(recipe.negatives, most_negatives(read))


def _curve(trainer: Any, measure: str = MEASURE) -> list[tuple[int, float]]:
    """(step, figure) on the dev set; a run that went on measured its first point twice."""
    key = f"eval_{measure}"
    return sorted({entry["step"]: entry[key] for entry in trainer.state.log_history if key in entry}.items())


def _summary(trainer: Any, out: Path, baseline: Mapping[str, float]) -> TrainingSummary:
    curve = _curve(trainer)
    steps = int(trainer.state.global_step)
    trained = [point for point in curve if point[0]]  # of the untrained model there is no checkpoint
    best = max(trained, key=lambda point: point[1])[0] if trained else steps
    return TrainingSummary(out, steps, curve, best, baseline.get(MEASURE))


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
        return read, found, f"{len(found.queries)} queries of {Path(dev).name}, {_among(found, plan)}"
    left, found = hold_out(read, most_queries=plan.dev_queries, most_documents=plan.dev_documents, seed=seed)
    return left, found, f"{len(found.queries)} held-out queries, {_among(found, plan)}"


def _among(dev: DevSet, plan: TrainingPlan) -> str:
    among = f"among {len(dev.documents):,} documents"
    return f"{among}, BM25's best {plan.dev_depth} reranked" if isinstance(plan.recipe, RerankerRecipe) else among


def _check_teacher(data: TrainingData, recipe: AnyRecipe) -> None:
    if recipe.needs_teacher and data.examples[0].scores is None:
        raise InputError(
            f"The recipe distils a teacher ({_loss(recipe)}), but the data have no teacher scores: make them with "
            f"xtrkit score, or train with {_without_teacher(recipe)}."
        )


def _loss(recipe: AnyRecipe) -> str:
    return recipe.loss if isinstance(recipe, RerankerRecipe) else recipe.distillation


def _without_teacher(recipe: AnyRecipe) -> str:
    return "--set loss=list" if isinstance(recipe, RerankerRecipe) else "--distillation none"


def _check_extra() -> None:
    for package in ("torch", "sentence_transformers", "accelerate", "datasets"):
        if find_spec(package) is None:
            raise missing_extra("Training", "train")


def _facts(
    summary: TrainingSummary,
    plan: TrainingPlan,
    subject: InTraining,
    examples: TrainingData,
    dev: str | None,
    second: Sequence[tuple[int, float]],
) -> Facts:
    libraries = ("xtrkit", "torch", "sentence-transformers", "transformers")
    return Facts(
        base=plan.model,
        recipe=plan.recipe,
        sources=examples.sources,
        licences=plan.data_licences,
        licence=plan.licence,
        about=subject.about,
        dim=subject.dim,
        steps=summary.steps,
        dev=dev,
        curve=summary.curve,
        best=summary.best_step,
        second=second,
        baseline=subject.baseline,
        versions={name: version(name) for name in libraries},
    )
