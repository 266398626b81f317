"""Text -> terms, as indexes keep them: words (:mod:`xtrkit.lexical.words`), case-folded, stemmed, none left out.

Words of the letters a to z are stemmed as English, whatever the language: in a text of another one that joins few words
that should be apart. There are no stop words: BM25 weighs what every document has at next to nothing. Python's tables
of Unicode tell what letters are; the newest scripts are cut otherwise by older ones.
"""

from __future__ import annotations

from functools import lru_cache

import Stemmer

from xtrkit.forks import ForkLock
from xtrkit.lexical.words import words

ANALYSER = "xtrkit-1"
"""Name and version of what this module does. Where it changes, so must this: manifests tell it of each segment, and
words of another analyser are not searched."""

_PORTER, _LOCK = Stemmer.Stemmer("porter", 0), ForkLock()
"""Porter's stemmer as it was published in 1980: frozen, where Snowball's English one changes with its versions. It
keeps what it works on in itself, so one thread may use it at a time."""

LONGEST = 64
"""Characters of a term: what is longer is no word, and counts by its beginning."""


def terms(text: str) -> list[str]:
    """The terms of a text, in their order."""
    return [term_of(word) for word in words(text)]


@lru_cache(1 << 16)
def term_of(word: str) -> str:
    """The term that a word counts as."""
    term = word[:LONGEST].casefold()
    if len(term) < 3 or not (term.isascii() and term.isalpha()):
        return term
    with _LOCK:
        return str(_PORTER.stemWord(term))
