"""A T5's encoder and one step of its decoder, as one function of a prompt that exporters understand and CPUs run fast.

The same sums as transformers' own forward pass, of which a single step of a decoder needs little:

- its one token attends to itself alone, so self-attention is no more than its value;
- it reads the encoder's states with one query a head. q · (W_k h) is (W_kᵀ q) · h, and Σ a (W_v h) is W_v (Σ a h): keys
  and values of hundreds of tokens are never computed, which would be a seventh of the work;
- of the vocabulary two rows matter, and of these their difference.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import nn
from transformers.activations import NewGELUActivation

_MASKED = -1e9


class OneStep(nn.Module):
    """(texts, tokens) ids and attention mask -> (texts,) log P(true), where only the two answers can follow.

    Args:
        model: a ``T5ForConditionalGeneration`` of transformers, or its kin; it is changed.
        answers: the numbers of the two pieces, irrelevant first.
    """

    def __init__(self, model: Any, answers: list[int]) -> None:
        super().__init__()
        self.model, self.config = fused(model.eval()), model.config
        self.heads, self.d = int(model.config.num_heads), int(model.config.d_kv)
        irrelevant, relevant = model.lm_head.weight.detach()[answers]
        # T5 1.0 scales what it multiplies with its tied vocabulary, T5 1.1 doesn't.
        scale = model.config.d_model**-0.5 if getattr(model.config, "scale_decoder_outputs", True) else 1.0
        self.answer = nn.Parameter((relevant - irrelevant) * scale, requires_grad=False)
        self.together = nn.ParameterList(
            nn.Parameter(_qkv(block), requires_grad=False) for block in model.encoder.block
        )

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The scores."""
        hidden = (1.0 - attention_mask.float())[:, None, :] * _MASKED
        states = self._encoded(input_ids, hidden)
        return F.logsigmoid(self._answered(states, hidden) @ self.answer)

    def _encoded(self, input_ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(texts, tokens, width) what the decoder reads."""
        encoder, (texts, tokens) = self.model.encoder, input_ids.shape
        bias = self._position_bias(tokens)[None] + hidden[:, None]
        states = encoder.embed_tokens(input_ids)
        for block, weight in zip(encoder.block, self.together, strict=True):
            attention, rest = block.layer
            mixed = attention.layer_norm(states) @ weight
            queries, keys, values = mixed.view(texts, tokens, 3, self.heads, self.d).permute(2, 0, 3, 1, 4)
            weights = torch.softmax(queries @ keys.transpose(-1, -2) + bias, dim=-1)
            read = (weights @ values).transpose(1, 2).reshape(texts, tokens, self.heads * self.d)
            states = rest(states + attention.SelfAttention.o(read))
        found: torch.Tensor = encoder.final_layer_norm(states)
        return found

    def _position_bias(self, tokens: int) -> torch.Tensor:
        """(heads, tokens, tokens) what is added to similarities for how far apart two tokens are."""
        attention = self.model.encoder.block[0].layer[0].SelfAttention
        places = torch.arange(tokens)
        buckets = attention._relative_position_bucket(
            places[None, :] - places[:, None],
            bidirectional=True,
            num_buckets=self.config.relative_attention_num_buckets,
            max_distance=self.config.relative_attention_max_distance,
        )
        bias: torch.Tensor = attention.relative_attention_bias(buckets).permute(2, 0, 1)
        return bias

    def _answered(self, states: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """(texts, width) the decoder's state after its one step."""
        decoder = self.model.decoder
        begin = torch.full((1,), self.config.decoder_start_token_id)
        state = decoder.embed_tokens(begin).expand(states.shape[0], -1)
        for block in decoder.block:
            own, other, rest = block.layer
            state = state + own.SelfAttention.o(own.SelfAttention.v(own.layer_norm(state)))
            reading = other.EncDecAttention
            queries = reading.q(other.layer_norm(state)).view(-1, self.heads, self.d)
            keys, values = (part.weight.view(self.heads, self.d, -1) for part in (reading.k, reading.v))
            looked_for = torch.einsum("thd,hdw->thw", queries, keys)
            weights = torch.softmax(looked_for @ states.transpose(1, 2) + hidden, dim=-1)
            read = torch.einsum("thw,hdw->thd", weights @ states, values)
            state = rest(state + reading.o(read.reshape(-1, self.heads * self.d)))
        found: torch.Tensor = decoder.final_layer_norm(state)
        return found


def fused(model: Any) -> Any:
    """The model with its GELU in one operation instead of eight: the same function."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
    return model


def _qkv(block: Any) -> torch.Tensor:
    """(width, 3 × heads × d) the three matrices of a block's attention side by side."""
    attention = block.layer[0].SelfAttention
    parts = [part.weight.detach() for part in (attention.q, attention.k, attention.v)]
    return torch.cat(parts).T.contiguous()
