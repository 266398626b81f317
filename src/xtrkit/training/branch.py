"""UR²N's training ends in a UR²N directory: the monoT5 as it was, and the branch that learnt to retrieve beside it.

While it trains, the branch stands in the place of the encoder's last block, over frozen blocks that nothing changes:
there is no difference to running it beside that block, and the top-layers path serves as it is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize
from sentence_transformers.base.modules.dense import Dense

from xtrkit.encoding import treatment
from xtrkit.encoding.checkpoints import MONOT5, UR2N, UR2N_SETTINGS, read_object
from xtrkit.encoding.ur2n import clone_last_block, write_ur2n
from xtrkit.reranking.tokens import pair_for
from xtrkit.training.base import base_directory
from xtrkit.training.recipes import TrainingRecipe


def is_branch(base: str, recipe: TrainingRecipe) -> bool:
    """Whether what is trained is a retrieval branch of a monoT5, by the recipe or because the base has one already."""
    if recipe.top_layers != 1:
        return False
    directory = base_directory(base)
    return UR2N.holds(directory) or (recipe.name == "ur2n" and MONOT5.holds(directory))


def save_branch(model: MultiVectorEncoder, base: str, recipe: TrainingRecipe, path: Path) -> None:
    """Copy the base's files and write the trained branch beside them."""
    directory = base_directory(base)
    path.mkdir(parents=True)
    transformer = model[0]
    (projection,) = (module for module in model if isinstance(module, Dense))
    values = replace(
        treatment.UR2N,
        query_prefix=model.prompts.get("query") or "",
        document_prefix=model.prompts.get("document") or "",
        query_length=transformer.query_length,
        document_length=transformer.document_length,
        lower_case=bool(transformer.do_lower_case),
        normalise=any(isinstance(module, Normalize) for module in model),
    )
    if UR2N.holds(directory):
        before = read_object(directory / UR2N_SETTINGS)
        kept: dict[str, Any] = {name: before[name] for name in ("base", "tokens") if name in before}
    else:
        pair = pair_for(base, transformer.config.model_type, transformer.tokenizer.get_vocab())
        kept = {"base": base, "tokens": list(pair)}
    branch = clone_last_block(transformer.model.encoder, projection.linear.weight.detach(), values)
    write_ur2n(directory, path, branch, {**kept, "recipe": recipe.name})
