"""Which characters of the caller's text a token stands for, whatever was done to the text before tokenisation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from xtrkit.encoding.base import Token

_LATER_JAMO = re.compile("[\u1160-\u11ff\ud7b0-\ud7ff]")


def cleaned(text: str) -> str:
    """``text`` with lone surrogates, which no tokenizer takes, as question marks; the length stays."""
    return text.encode("utf-8", "replace").decode("utf-8")


def origins(text: str) -> Sequence[int]:
    """For each character of ``text.lower()``, the place in ``text`` that it comes from; then the end of ``text``."""
    if len(text.lower()) == len(text):
        return range(len(text) + 1)
    # 'İ' becomes two characters. Case depends on the neighbours ('Σ' at the end of a word), but lengths do not.
    return [place for place, character in enumerate(text) for _ in character.lower()] + [len(text)]


def located(text: str, tokens: Iterable[tuple[str, tuple[int, int]]], *, prompt: str, lower_case: bool) -> list[Token]:
    """Tokens with the characters of the caller's text that they stand for.

    Args:
        text: as the caller gave it.
        tokens: each token's piece, and its ``start, end`` in ``prompt`` + the text as the tokenizer got it.
        prompt: what was put before the text.
        lower_case: whether the text was lower-cased before.
    """
    origin = origins(text) if lower_case else range(len(text) + 1)
    found = []
    for piece, span in tokens:
        start, end = (max(place - len(prompt), 0) for place in span)
        # One character may have become two: a token of either stands for the whole of it.
        end = origin[end - 1] + 1 if end > start else origin[start]
        found.append(Token(piece, *span_in(text, origin[start], end)))
    begun = {token.start for token in found if token.end > token.start}
    return [token._replace(end=_with_marks(text, token, begun)) for token in found]


def _with_marks(text: str, token: Token, begun: Collection[int]) -> int:
    """Where a token ends, with what makes one letter with its last: normalisation counts accents to no token."""
    end = token.end
    while token.start < end < len(text) and end not in begun and _joins(text[end]):
        end += 1
    return end


def _joins(character: str) -> bool:
    """Whether a character makes one letter with those before it: an accent, a vowel sign, a vowel or end of Hangul."""
    return unicodedata.category(character).startswith("M") or bool(_LATER_JAMO.match(character))


def span_in(text: str, start: int, end: int) -> tuple[int, int]:
    """A token's characters ``start … end`` without the white space that some tokenizers count to the word after it."""
    while start < end and text[start].isspace():
        start += 1
    return start, max(start, end)
