"""Which characters of the caller's text a token stands for, whatever was done to the text before tokenisation."""

from __future__ import annotations

from collections.abc import Sequence


def cleaned(text: str) -> str:
    """``text`` with lone surrogates, which no tokenizer takes, as question marks; the length stays."""
    return text.encode("utf-8", "replace").decode("utf-8")


def origins(text: str) -> Sequence[int]:
    """For each character of ``text.lower()``, the place in ``text`` that it comes from; then the end of ``text``."""
    if len(text.lower()) == len(text):
        return range(len(text) + 1)
    # 'İ' becomes two characters. Case depends on the neighbours ('Σ' at the end of a word), but lengths do not.
    return [place for place, character in enumerate(text) for _ in character.lower()] + [len(text)]


def span_in(text: str, start: int, end: int) -> tuple[int, int]:
    """A token's characters ``start … end`` without the white space that some tokenizers count to the word after it."""
    while start < end and text[start].isspace():
        start += 1
    return start, max(start, end)
