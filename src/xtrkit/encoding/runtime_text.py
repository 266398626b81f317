"""Texts -> token ids, masks and spans, without torch: what a layout does before the transformer, as its values say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from xtrkit.encoding.base import Task, Token
from xtrkit.encoding.runtime_settings import RuntimeSettings
from xtrkit.encoding.spans import cleaned, located
from xtrkit.encoding.users_text import UsersText
from xtrkit.errors import ModelError


@dataclass(frozen=True)
class Batch:
    """Some texts as the graph takes them.

    Attributes:
        ids: (texts, tokens) int64, filled up with padding or [MASK].
        attended: (texts, tokens) int64, 1 where the transformer looks.
        kept: (texts, tokens) bool, which tokens have a vector; at least one of each text.
    """

    ids: npt.NDArray[np.int64]
    attended: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]


class TextPreparation:
    """Tokenises texts as the layout of an exported model wants it.

    Attributes:
        settings: the values in force.
    """

    def __init__(self, tokenizer_file: Path, settings: RuntimeSettings) -> None:
        self.settings = settings
        whole = _tokenizer(tokenizer_file)
        self.users_text = UsersText(whole, {task: settings.prompt(task) for task in get_args(Task)})
        self._whole = self.users_text.apply(whole)
        self._tokenizers = {task: self.users_text.apply(_tokenizer(tokenizer_file)) for task in get_args(Task)}
        for task, tokenizer in self._tokenizers.items():
            tokenizer.enable_truncation(settings.truncation(task))

    def tokenise(self, texts: Sequence[str], task: Task) -> list[Encoding]:
        """Each text's tokens, cut off where its task says; ``overflowing`` holds what was cut off."""
        prompt, tokenizer = self.users_text.prompts[task], self._tokenizers[task]
        prepared = [prompt + self._as_tokenised(text) for text in texts]
        # One text needs no pool of threads.
        encoded = [tokenizer.encode(prepared[0])] if len(prepared) == 1 else tokenizer.encode_batch_fast(prepared)
        # A tokenizer without special tokens makes nothing of an empty text, which should have a vector all the same.
        return [encoding if len(encoding) else tokenizer.encode(prompt + ".") for encoding in encoded]

    def count(self, text: str, task: Task) -> int:
        """How many tokens a text has, markers included, before anything is cut off."""
        return len(self._whole.encode(self.users_text.prompts[task] + self._as_tokenised(text)))

    def pieces(self, text: str) -> tuple[list[str], list[int]]:
        """The pieces of a text without markers, and their ids."""
        encoding = self._whole.encode(self._as_tokenised(text), add_special_tokens=False)
        return encoding.tokens, encoding.ids

    def widths(self, encoded: Sequence[Encoding], task: Task) -> npt.NDArray[np.int64]:
        """(N,) how many tokens each text takes up in a batch."""
        lengths = np.array([len(encoding) for encoding in encoded], dtype=np.int64)
        return np.maximum(lengths, self._floor(task))

    def batch(self, encoded: Sequence[Encoding], task: Task) -> Batch:
        """The tokens of some texts, filled up to the longest, or to where the augmentation of queries ends."""
        lengths = [len(encoding) for encoding in encoded]
        floor = self._floor(task)
        places = np.arange(max(*lengths, floor, 1))
        real = places < np.array(lengths)[:, None]
        ids = np.full(real.shape, self.settings.pad_id, dtype=np.int64)
        ids[real] = self.users_text.ids(np.concatenate([encoding.ids for encoding in encoded]))
        seen = real
        if task == "query" and self.settings.expansion is not None:
            filled = ~real & (places < floor)
            ids[filled] = self.settings.expansion.token_id
            seen = real | filled
        attended = seen if task == "query" and self.settings.expansion and self.settings.expansion.attend else real
        return Batch(ids, attended.astype(np.int64), self._kept(ids, seen, attended, task))

    def tokens(self, text: str, task: Task) -> list[Token]:
        """The tokens of a text that have a vector, with the characters that they stand for."""
        tokenizer = self._tokenizers[task]
        (encoding,) = self.tokenise([text], task)
        batch = self.batch([encoding], task)
        pieces = [tokenizer.id_to_token(number) or "" for number in batch.ids[0].tolist()]
        prompt = self.users_text.prompts[task]
        empty = not len(tokenizer.encode(prompt + self._as_tokenised(text)))
        # Neither [MASK]s nor the full stop that stands for nothing are of the caller's characters.
        spans = [] if empty else list(encoding.offsets)
        spans += [(0, 0)] * (len(pieces) - len(spans))
        kept = ((piece, span) for piece, span, keep in zip(pieces, spans, batch.kept[0], strict=True) if keep)
        return located(text, kept, prompt=prompt, lower_case=self.settings.lower_case)

    def _as_tokenised(self, text: str) -> str:
        return cleaned(text).lower() if self.settings.lower_case else cleaned(text)

    def _floor(self, task: Task) -> int:
        return self.settings.expansion.length if task == "query" and self.settings.expansion else 0

    def _kept(
        self, ids: npt.NDArray[np.int64], seen: npt.NDArray[np.bool_], attended: npt.NDArray[np.bool_], task: Task
    ) -> npt.NDArray[np.bool_]:
        kept = seen
        if self.settings.skipped_ids and task in self.settings.skipped_in:
            kept = kept & ~np.isin(ids, self.settings.skipped_ids)
        if self.settings.only_ids is not None and task != "query":
            kept = kept & np.isin(ids, self.settings.only_ids)
        return np.where(kept.any(axis=1, keepdims=True), kept, attended)


def marker_counts(tokenizer_file: Path, settings: RuntimeSettings) -> dict[str, int]:
    """For each task, how many tokens an empty text has."""
    tokenizer = _tokenizer(tokenizer_file)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return {task: len(tokenizer.encode(settings.prompt(task))) for task in get_args(Task)}


def _tokenizer(file: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare Exception
        raise ModelError(f"{file} isn't a tokenizer ({error}): export the model again.") from error
