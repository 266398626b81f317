"""monoT5: a T5 reads query and document, and how likely its first word is "true" rather than "false" is the score.

Nogueira, Jiang, Pradeep & Lin 2020, "Document Ranking with a Pretrained Sequence-to-Sequence Model".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.util import get_device_name
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from xtrkit.encoding.checkpoints import Layout, check_not_pickled
from xtrkit.encoding.modules import check_complete, check_device_survived, check_tokenizer, said_in_a_sentence
from xtrkit.encoding.t5 import FULL_PRECISION, LOCAL
from xtrkit.encoding.users_text import reading_text
from xtrkit.errors import InputError
from xtrkit.progress import progress_bar
from xtrkit.reranking.load import pickled
from xtrkit.reranking.prompt import MAX_LENGTH
from xtrkit.reranking.prompt_tokens import PromptTokens
from xtrkit.reranking.tokens import pair_for

# A batch holds as many tokens as ``batch_size`` pairs of this length.
_TYPICAL_LENGTH = 256


class MonoT5:
    """A :class:`~xtrkit.reranking.base.Reranker` over a T5, mT5 or ptt5 trained to answer with one of two words.

    The score is log P(true) where only the two words can follow: (log-softmax over their logits)[true], after one step
    of the decoder. It is at most 0. Pickled, it is its name and choices: the other process loads it again.

    Attributes:
        name: what the user called the model.
        model: the transformers model.
        pair: the two pieces, irrelevant and relevant.
        answers: their numbers.
        prompts: makes the tokens of prompts.
        max_length: most tokens of query and document together; only documents are cut to it.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        tokenizer: Any,
        *,
        tokens: tuple[str, str] | None = None,
        max_length: int = MAX_LENGTH,
        device: str | None = None,
    ) -> None:
        self.name, self.model, self.max_length = name, model, max_length
        self._process = os.getpid()
        self._device = device
        users_text = reading_text(tokenizer)
        self.prompts = PromptTokens(tokenizer.backend_tokenizer, users_text, max_length)
        self.pair = pair_for(name, model.config.model_type, tokenizer.get_vocab(), tokens)
        self.answers: list[int] = tokenizer.convert_tokens_to_ids(list(self.pair))

    @classmethod
    def load(
        cls,
        name: str,
        directory: Path,
        layout: Layout,
        *,
        device: str | None = None,
        tokens: tuple[str, str] | None = None,
        max_length: int = MAX_LENGTH,
    ) -> MonoT5:
        """Read a checkpoint in full precision (T5's feed-forward layers overflow in float16).

        Raises:
            ModelError: something is missing, or its vocabulary lacks the two words.
        """
        with said_in_a_sentence(directory, layout):
            check_not_pickled(directory)
            tokenizer = AutoTokenizer.from_pretrained(directory, **LOCAL)
            model, report = AutoModelForSeq2SeqLM.from_pretrained(
                directory, use_safetensors=True, output_loading_info=True, **FULL_PRECISION
            )
            check_complete(directory, report)
            check_tokenizer(directory, tokenizer, model)
        model = model.to(device or get_device_name()).eval()
        return cls(name, model, tokenizer, tokens=tokens, max_length=max_length, device=device)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(self.name, self._device, tuple(self.pair), self.max_length)

    def score(
        self, query: str, texts: Sequence[str], *, batch_size: int = 32, progress: bool = False
    ) -> npt.NDArray[np.float32]:
        """(N,) log-probabilities that each text is relevant to the query.

        Args:
            query: the query.
            texts: documents; their ends are cut off where the prompt would be longer than ``max_length``.
            batch_size: pairs of 256 tokens scored together; of longer ones fewer, of shorter ones more.
            progress: show a progress bar.
        """
        if isinstance(texts, str):
            raise InputError("Expected several texts, got one string: pass a list, such as [text].")
        return self.score_pairs([(query, text) for text in texts], batch_size=batch_size, progress=progress)

    def score_pairs(
        self, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32, bf16: bool = False, progress: bool = False
    ) -> npt.NDArray[np.float32]:
        """(N,) log-probabilities that the text of each pair is relevant to its query; many queries share a batch.

        Args:
            pairs: (query, document).
            batch_size: as in :meth:`score`; a GPU wants some hundreds.
            bf16: compute the encoder in bfloat16: several times as fast on a GPU, scores are off by some thousandths.
            progress: show a progress bar.
        """
        check_device_survived(self.name, self.model.device, self._process)
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}.")
        ids = self.prompts.of_pairs(pairs)
        lengths = np.array([len(tokens) for tokens in ids], dtype=np.int64)
        scores = np.empty(len(ids), dtype=np.float32)
        order, start = np.argsort(-lengths, kind="stable"), 0
        with progress_bar("Reranking", len(ids), shown=progress, unit="passages") as advance:
            while start < len(order):
                stop = start + max(1, batch_size * _TYPICAL_LENGTH // int(lengths[order[start]]))
                batch = order[start:stop]
                scores[batch] = self._forward([ids[place] for place in batch], bf16)
                advance(len(batch))
                start = stop
        return scores

    def _forward(self, ids: list[list[int]], bf16: bool) -> npt.NDArray[np.float32]:
        """One batch, without gradients."""
        with torch.inference_mode():
            chances = torch.log_softmax(self.logits(ids, bf16=bf16).float(), dim=-1)
        answers: npt.NDArray[np.float32] = chances[:, 1].cpu().numpy()
        return answers

    def logits(self, ids: Sequence[Sequence[int]], *, bf16: bool = False) -> torch.Tensor:
        """(N, 2) logits of the two pieces, irrelevant first, after prompts that have these tokens.

        One batch through encoder and one step of the decoder; the mask keeps padding out of both. The decoder is never
        computed in bfloat16, in which many logits would be equal.
        """
        longest, padding = max(map(len, ids)), self.model.config.pad_token_id
        device = self.model.device
        padded = torch.tensor([[*tokens, *[padding] * (longest - len(tokens))] for tokens in ids], device=device)
        lengths = torch.tensor([len(tokens) for tokens in ids], device=device)
        mask = (torch.arange(longest, device=device) < lengths[:, None]).long()
        begin = torch.full((len(ids), 1), self.model.config.decoder_start_token_id, device=device)
        # A trainer may have autocast on already, which is then left as it is.
        with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
            encoded = self.model.encoder(input_ids=padded, attention_mask=mask)
        logits: torch.Tensor = self.model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=begin).logits
        return logits[:, 0, self.answers]
