"""UR²N in torch: a monoT5 and its retrieval branch over one set of lower layers (Bhat et al. 2025, figure 1)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from xtrkit.encoding import treatment
from xtrkit.encoding.checkpoints import MONOT5, UR2N
from xtrkit.encoding.new_directory import new_directory
from xtrkit.encoding.torch_encoder import TorchEncoder
from xtrkit.encoding.ur2n import answers, clone_last_block, write_ur2n
from xtrkit.errors import InputError
from xtrkit.reranking.monot5 import MonoT5
from xtrkit.unified.load import load_again


@dataclass(frozen=True)
class UnifiedModel:
    """One model that encodes and reranks. Pickled, it is its name and choices: the other process loads it again.

    Attributes:
        encoder: the retrieval branch: token vectors of queries and documents.
        reranker: the untouched monoT5.
    """

    encoder: TorchEncoder
    reranker: MonoT5

    @classmethod
    def load(
        cls,
        name: str,
        directory: Path,
        *,
        device: str | None = None,
        query_length: int | None = None,
        document_length: int | None = None,
    ) -> UnifiedModel:
        """Read a UR²N directory; the embeddings and all blocks but the last are in memory once."""
        reranker = MonoT5.load(name, directory, UR2N, device=device, tokens=answers(directory))
        encoder = TorchEncoder(
            name, directory, UR2N, device=device, query_length=query_length, document_length=document_length
        )
        base, branch = reranker.model, encoder.model[0].model
        branch.shared, branch.encoder.embed_tokens = base.shared, base.encoder.embed_tokens
        for place in range(len(branch.encoder.block) - 1):
            branch.encoder.block[place] = base.encoder.block[place]
        return cls(encoder, reranker)

    def __reduce__(self) -> tuple[Any, ...]:
        opening = self.encoder.opening
        return load_again, (opening.name, opening.device, opening.query_length, opening.document_length)

    def both(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What decoder and retrieval get of one batch, with the shared layers computed once.

        Args:
            input_ids: (texts, tokens).
            attention_mask: (texts, tokens), 1 for real tokens.

        Returns:
            (texts, tokens, width) hidden states for the decoder, and (texts, tokens, d) token vectors, eq. 5, before
            any normalisation; rows of padding mean nothing.
        """
        stack, branch = self.reranker.model.encoder, self.encoder.model[0].model.encoder
        # The encoder's own loop, with a last block that runs both: it gives masks and position biases to each.
        forked = copy.copy(stack)
        forked._modules = dict(stack._modules)
        forked.block = torch.nn.ModuleList([*stack.block[:-1], _Fork(stack.block[-1], branch.block[-1])])
        forked.final_layer_norm = torch.nn.Identity()
        states = forked(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        own, other = states.chunk(2, dim=-1)
        hidden = stack.dropout(stack.final_layer_norm(own))
        vectors = self.encoder.model[1].linear(branch.dropout(branch.final_layer_norm(other)))
        return hidden, vectors


class _Fork(torch.nn.Module):
    """Two blocks on the same input, their outputs side by side: (…, width) → (…, 2 × width)."""

    def __init__(self, first: torch.nn.Module, second: torch.nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, *arguments: Any, **options: Any) -> tuple[Any, ...]:
        states, *rest = self.first(*arguments, **options)
        return torch.cat([states, self.second(*arguments, **options)[0]], dim=-1), *rest


def initial_projection(dim: int, width: int, seed: int = 0) -> torch.Tensor:
    """(dim, width) orthonormal rows; the identity where ``dim`` is ``width``.

    Raises:
        InputError: ``dim`` is above ``width``, so that the rows can't be orthogonal.
    """
    if dim > width:
        raise InputError(f"dim must be at most {width}, the width of this model, got {dim}.")
    if dim == width:
        return torch.eye(width)
    random = torch.randn(width, dim, generator=torch.Generator().manual_seed(seed))
    orthonormal: torch.Tensor = torch.linalg.qr(random).Q
    return orthonormal.T.contiguous()


def write_untrained(
    name: str,
    directory: Path,
    path: Path,
    *,
    dim: int,
    tokens: tuple[str, str] | None,
    seed: int,
    chosen: dict[str, Any],
) -> None:
    """Copy a monoT5 and write an untrained branch beside it; arguments as of ``init_unified``."""
    with new_directory(path) as building:
        base = MonoT5.load(name, directory, MONOT5, device="cpu", tokens=tokens)
        projection = initial_projection(dim, base.model.config.d_model, seed)
        branch = clone_last_block(base.model.encoder, projection, replace(treatment.UR2N, **chosen))
        write_ur2n(directory, building, branch, {"base": name, "tokens": list(base.pair)})
        UnifiedModel.load(str(building), building, device="cpu")  # what can't be opened isn't left behind
