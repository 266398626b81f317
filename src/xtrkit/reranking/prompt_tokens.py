"""Queries and documents -> the tokens of their prompts, without torch."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from xtrkit.encoding.spans import cleaned
from xtrkit.encoding.users_text import UsersText
from xtrkit.errors import InputError
from xtrkit.reranking.prompt import MAX_LENGTH, fitting_prompt, prompt


class PromptTokens:
    """Makes the tokens of monoT5's prompts: at most ``max_length`` each, of which the last word is never cut off.

    Attributes:
        max_length: most tokens of query and document together.
    """

    def __init__(self, tokenizer: Tokenizer, users_text: UsersText, max_length: int = MAX_LENGTH) -> None:
        """Take a tokenizer to which ``users_text`` was applied.

        Raises:
            InputError: ``max_length`` leaves no room for a document.
        """
        self._tokenizer, self._users_text, self.max_length = tokenizer, users_text, max_length
        shortest = len(self._offsets(prompt("", ""))) + 2
        if max_length < shortest:
            raise InputError(f"max_length must be at least {shortest}, got {max_length}.")

    def ids(self, query: str, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of the prompt of a query with each text."""
        return self.of_pairs([(query, text) for text in texts])

    def of_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[list[int]]:
        """The tokens of the prompt of each query and text.

        All prompts go through the tokenizer at once, on all cores; only those that are too long are made again.
        """
        queries = {query: cleaned(self._beginning(query)) for query in dict.fromkeys(query for query, _ in pairs)}
        shortened = [(queries[query], cleaned(self._beginning(text))) for query, text in pairs]
        prompts = [prompt(*pair) for pair in shortened]
        encodings = self._tokenizer.encode_batch(prompts)
        ids = [list(encoding.ids) for encoding in encodings]
        long = [place for place, tokens in enumerate(ids) if len(tokens) > self.max_length]
        known = {prompts[place]: list(encodings[place].offsets) for place in long}

        def offsets(text: str) -> list[tuple[int, int]]:
            if text not in known:  # the same documents come with many queries
                known[text] = self._offsets(text)
            return known[text]

        fitting = [fitting_prompt(*shortened[place], offsets, self.max_length) for place in long]
        for place, encoding in zip(long, self._tokenizer.encode_batch(fitting), strict=True):
            ids[place] = list(encoding.ids)
        return ids

    def _beginning(self, text: str) -> str:
        """As much of a text as certainly does not fit, or all of it."""
        return self._users_text.beginning(text, self.max_length, lambda part: len(self._offsets(cleaned(part))))

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        return list(self._tokenizer.encode(text).offsets)
