"""Whether a text says anything: what only takes up room, or nothing at all, is no content."""

from __future__ import annotations

import unicodedata

_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc")
"""Fillers of Hangul, the blank of Braille and the stand-in for an object: by their categories letters and symbols."""


def has_content(text: str) -> bool:
    """Whether some character of a text is a letter, a digit, a punctuation mark or a symbol.

    White space, control and format characters (such as the zero-width space and the soft hyphen), characters that are
    private, unassigned or half a surrogate pair, and marks (accents, variation selectors) without a letter are none.
    """
    return any(unicodedata.category(one)[0] in "LNPS" and one not in _BLANK_LETTERS for one in text)
