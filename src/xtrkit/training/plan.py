"""What a training is made of: the recipe, the model, the data and the place, as one frozen value. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xtrkit.training.recipes import AnyRecipe, recipe_named


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that is chosen for a training.

    Attributes:
        recipe: what is learnt, and how.
        model: what to start from: "all-MiniLM-L6-v2", a directory or a hub name, of a late-interaction checkpoint or of
            a plain encoder, which gets a projection; for a monoT5, of a T5 with its decoder.
        data: what :func:`~xtrkit.training.formats.read_training_data` reads: a BEIR folder, a file, a list of them.
        out: directory to make. It can be loaded once training is complete; until then it holds checkpoints.
        dev: a BEIR folder (its ``qrels/dev.tsv``, or ``FOLDER:SPLIT``); "auto" takes that of the first data set, or
            holds a tenth of the training queries out; None looks at nothing, and keeps the last weights.
        dev_queries: most dev queries.
        dev_documents: documents that are searched for them, relevant ones included.
        dev_nbits: how the dev index keeps vectors, as in :meth:`xtrkit.Index.create`; of encoders.
        dev_depth: how many of BM25's best are reranked for each dev query; of rerankers.
        cache: where activations of frozen layers are kept, with ``top_layers``; by default in ``out`` while it trains.
        resume: go on from the last checkpoint in ``out``, with the same choices; the result is that of a run that was
            never interrupted.
        overwrite: delete what is at ``out``.
        device: "cpu", "cuda", …; by default what torch finds.
        licence: of the trained model, for its card.
        data_licences: {data set: licence}, for the card.
    """

    recipe: AnyRecipe
    model: str
    data: Any
    out: Path
    dev: str | None = "auto"
    dev_queries: int = 200
    dev_documents: int = 2000
    dev_nbits: int = 16
    dev_depth: int = 20
    cache: Path | None = None
    resume: bool = False
    overwrite: bool = False
    device: str | None = None
    licence: str | None = None
    data_licences: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, recipe: str | AnyRecipe, model: str, data: Any, out: str | Path, **choices: Any) -> TrainingPlan:
        """A plan from names and choices.

        Args:
            recipe: "xtr", "colbert", "colbertv2", "ur2n", "monot5" or "cross-encoder", or a recipe.
            model: as of a plan.
            data: as of a plan.
            out: as of a plan.
            **choices: fields of the plan, or of its recipe, that shall differ.

        Raises:
            InputError: there is no such recipe or field, or a value can't be used.
        """
        own = {name: choices.pop(name) for name in list(choices) if name in cls.__dataclass_fields__}
        if own.get("cache") is not None:
            own["cache"] = Path(own["cache"])
        chosen = recipe_named(recipe) if isinstance(recipe, str) else recipe
        return cls(chosen.but(**choices), str(model), data, Path(out), **own)
