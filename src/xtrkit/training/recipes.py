"""How each system is trained, as frozen values. Knows no torch.

==============  ==================  ========================================  =====================================
recipe          scores              loss                                      source
==============  ==================  ========================================  =====================================
``xtr``         f_XTR               cross-entropy, all documents in the batch  Lee et al. 2023, §3.1
``colbert``     mean sum-of-max     the same                                  its baseline (§2.1): comparable to xtr
``colbertv2``   sum of maxima       KL to a teacher + cross-entropy over       Santhanam et al. 2022, §3.1
                                    other queries' documents
``ur2n``        f_XTR               as ``xtr``; top layer and projection only  UR²N, COLING 2025
==============  ==================  ========================================  =====================================

Rerankers, which have recipes of their own kind (``reranker_recipes.py``), are ``monot5`` and ``cross-encoder``.

What the papers give for thousands of TPU hours (XTR: 50,000 steps at batch 256) is not what a laptop needs: lengths,
objective and k_train are theirs; steps, batch, learning rate and temperature are for fine-tuning a small encoder. Any
field can be overridden: ``XTR_TRAINING.but(k_train=128)``, ``--k-train 128``, or a YAML file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from xtrkit.errors import InputError
from xtrkit.training.optimisation import Optimisation
from xtrkit.training.reranker_recipes import CROSS_ENCODER_TRAINING, MONOT5_TRAINING, RerankerRecipe

Scores = Literal["xtr", "maxsim"]
Contrast = Literal["all", "others", "none"]
Distillation = Literal["kl", "margin_mse", "none"]
Init = Literal["pca", "balanced", "random"]


@dataclass(frozen=True)
class TrainingRecipe(Optimisation):
    """Everything that decides what a late-interaction encoder learns, beside the base model and the data.

    The fields of :class:`~xtrkit.training.optimisation.Optimisation` come first.

    Attributes:
        scores: "xtr" lets document tokens compete for retrieval (eq. 2), "maxsim" takes each query token's best (1).
        k_train: document tokens that each query token retrieves from the batch; at most as many as there are. XTR only.
        negative: what a retrieved similarity below 0 is worth: "clip0" nothing, "keep" what it is. XTR only.
        mean: divide sums of maxima by the number of query tokens; MaxSim only (XTR divides by Z).
        temperature: scores are divided by it before the softmax; 1 is the paper's.
        contrast: negatives of the cross-entropy: "all" documents of the batch; "others", ColBERTv2's, leaves out a
            query's own negatives, which the teacher judges; "none" leaves out the cross-entropy.
        distillation: "kl" matches a query's own documents to the teacher's distribution, "margin_mse" to its margins.
        distillation_weight: what the distillation loss is multiplied with before it is added.
        distillation_alpha: what the teacher's scores are multiplied with.
        mask_false_negatives: leave documents out of the cross-entropy that the data call relevant to the query.
        query_length: most tokens of a query, markers included.
        document_length: most tokens of a document, markers included.
        dim: dimensions of the projection that a plain encoder gets; a late-interaction checkpoint keeps its own.
        projection_init: "pca" of the base's token embeddings on training documents; "balanced", the same with every
            piece of the vocabulary counting alike, however frequent; or "random".
        normalize: make token embeddings unit vectors; of plain encoders.
        lower_case: lower-case texts before the tokenizer; of plain encoders.
        query_prompt: put before queries; of plain encoders.
        document_prompt: put before documents; of plain encoders.
        expand_queries: fill queries up with [MASK] to ``query_length``; of plain encoders that have a [MASK].
        skip_punctuation: keep no vectors of punctuation in documents; of plain encoders.
        projection_rate: what the learning rate of the projection is multiplied with.
        gather: score against the documents of all devices.
    """

    name: str = "xtr"
    scores: Scores = "xtr"
    k_train: int = 256
    negative: Literal["clip0", "keep"] = "clip0"
    mean: bool = True
    temperature: float = 0.05
    contrast: Contrast = "all"
    distillation: Distillation = "none"
    distillation_weight: float = 1.0
    distillation_alpha: float = 1.0
    mask_false_negatives: bool = True
    query_length: int = 64
    document_length: int = 256
    dim: int = 128
    projection_init: Init = "pca"
    normalize: bool = True
    lower_case: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    expand_queries: bool = False
    skip_punctuation: bool = False
    projection_rate: float = 1.0
    gather: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.contrast == "none" and self.distillation == "none":
            raise InputError("contrast and distillation are both 'none', so nothing would be learnt: choose one.")

    @property
    def needs_teacher(self) -> bool:
        """Whether the data must have scores of a teacher."""
        return self.distillation != "none"


XTR_TRAINING = TrainingRecipe()
COLBERT_TRAINING = TrainingRecipe(name="colbert", scores="maxsim")
COLBERTV2_TRAINING = TrainingRecipe(
    name="colbertv2", scores="maxsim", mean=False, temperature=1.0, contrast="others", distillation="kl", negatives=63,
    query_length=32, document_length=180, query_prompt="[unused0] ", document_prompt="[unused1] ", expand_queries=True,
    skip_punctuation=True, batch_size=32, learning_rate=1e-5, warmup=0.05,
)  # fmt: skip
UR2N_TRAINING = TrainingRecipe(
    name="ur2n", k_train=52, temperature=1.0, query_length=32, document_length=180, projection_init="random",
    normalize=False, query_prompt="Query: ", document_prompt="Document: ", batch_size=24, learning_rate=1e-3,
    top_layers=1,
)  # fmt: skip

AnyRecipe = TrainingRecipe | RerankerRecipe

RECIPES: Mapping[str, AnyRecipe] = {
    recipe.name: recipe
    for recipe in (
        XTR_TRAINING, COLBERT_TRAINING, COLBERTV2_TRAINING, UR2N_TRAINING, MONOT5_TRAINING, CROSS_ENCODER_TRAINING,
    )
}  # fmt: skip


def recipe_named(name: str) -> AnyRecipe:
    """One of ``RECIPES``.

    Raises:
        InputError: there is none of this name.
    """
    if name not in RECIPES:
        raise InputError(f"Unknown recipe {name!r}: use {', '.join(RECIPES)}.")
    return RECIPES[name]


def parsed(name: str, text: str) -> Any:
    """A field's value from a text, such as a command line has; one of the wrong kind stays a text, to be refused."""
    import yaml

    try:
        return coerced(name, yaml.safe_load(text))
    except yaml.YAMLError:
        return text


def coerced(name: str, value: Any) -> Any:
    """Make 1e-4 a number, which YAML reads as a text."""
    kinds = {**get_type_hints(RerankerRecipe), **get_type_hints(TrainingRecipe)}
    if kinds.get(name) is float and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def read_overrides(path: Path) -> dict[str, Any]:
    """Fields of a recipe from a YAML file, ``field: value`` a line.

    Raises:
        InputError: the file can't be read, or doesn't hold such pairs.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise InputError(f"The recipe file {path} can't be read ({reason}).") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise InputError(f"The recipe file {path} should hold fields such as 'k_train: 128', one a line.")
    return {name: coerced(name, value) for name, value in content.items()}
