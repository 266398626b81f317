"""The words of a text, as the lexical baseline counts them.

=============================================  =======================================================================
English                                        stop words are dropped, words are stemmed (Snowball)
other scripts with spaces between words        whole words, vowel signs and accents among them; of one character: none
Chinese, Japanese, Korean; Thai, Lao, Khmer,   every two neighbouring characters, as Lucene's CJKAnalyzer does; a
Myanmar and others without spaces              character that stands alone is a word of its own
=============================================  =======================================================================

Stop words and stemming are English for every text: on a corpus of another language the baseline is weaker than a BM25
made for that language. :class:`WordFacts` tells whether it is.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise

UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x19E0, 0x19FF)),  # Thai, Lao; Myanmar; Khmer
    *((0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),  # Myanmar Extended
    *((0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x1B00, 0x1B7F), (0xA980, 0xA9DF)),  # Tai Le, Tai Tham, Balinese, Javanese
    *((0x1100, 0x11FF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3041, 0x318F)),  # Jamo, iteration marks, kana, Bopomofo
    *((0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),  # kana, Han
    *((0xA000, 0xA48C), (0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xF900, 0xFAFF)),  # Yi, Hangul, Han
    *((0xFF66, 0xFFDC), (0x1B000, 0x1B16F), (0x20000, 0x323AF)),  # halfwidth forms, kana, Han
)
"""Ranges of characters that are written without spaces between words, or, as Korean, are best cut alike."""
JOINERS = "\u200c\u200d"
"""Inside a word, they say how its letters join."""
ENGLISH = frozenset(
    ["the", "of", "and", "to", "is", "that", "with", "for", "was", "this", "it", "by", "from", "are", "be", "which"]
)
"""Words without which no English text goes on for long, and which are rare in other languages."""
ENOUGH_WORDS = 30
"""Fewer words say nothing about their language."""
LEAST_ENGLISH = 0.06
"""The share of :data:`ENGLISH` among the words of a text: a fifth and more in English, 3 % at most elsewhere."""
HIGHEST_MARK = 0x20000
"""Beyond it, no script has vowel signs."""
_SIMPLE = re.compile(r"\b\w\w+\b")
"""A word as bm25s and scikit-learn have it. Python's ``\\w`` leaves out the vowel signs of Indian scripts."""


@dataclass(frozen=True)
class WordFacts:
    """How the words of a corpus were made, and whether that suits it.

    Attributes:
        words: of the texts that were looked at.
        unspaced: the share of letters in scripts without spaces, which became bigrams.
        latin: the share of letters in Latin script.
        english: the share of words that are :data:`ENGLISH`.
    """

    words: int
    unspaced: float
    latin: float
    english: float

    @property
    def looks_english(self) -> bool:
        """Whether English stop words and stemming suit it; too few words to tell count as yes."""
        return self.latin >= 0.5 and (self.words < ENOUGH_WORDS or self.english >= LEAST_ENGLISH)


def words(text: str) -> list[str]:
    """The words of a text in small letters, before stop words are dropped and words stemmed."""
    return list(_words(text))


def facts_of(texts: Iterable[str]) -> WordFacts:
    """Look at some texts of a corpus."""
    found, characters = Counter[str](), Counter[str]()
    for text in texts:
        found.update(words(text))
        characters.update(text)
    letters = {character: n for character, n in characters.items() if character.isalpha()}
    n_words, n_letters = found.total(), sum(letters.values())
    return WordFacts(
        words=n_words,
        unspaced=sum(n for character, n in letters.items() if character in _patterns().unspaced) / max(1, n_letters),
        latin=sum(n for character, n in letters.items() if _is_latin(character)) / n_letters if n_letters else 1.0,
        english=sum(found[word] for word in ENGLISH) / max(1, n_words),
    )


def _words(text: str) -> Iterator[str]:
    text = (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()
    if text.isascii() or _patterns().special.isdisjoint(text):
        yield from _SIMPLE.findall(text)
        return
    for run in _patterns().run.finditer(text):
        if run.lastgroup == "word":
            yield run[0]
        else:
            yield from _bigrams(_patterns().character.findall(run[0]))


def _bigrams(characters: list[str]) -> list[str]:
    return characters if len(characters) == 1 else [first + second for first, second in pairwise(characters)]


@dataclass(frozen=True)
class _Patterns:
    """What tells words apart.

    Attributes:
        special: characters that :data:`_SIMPLE` would cut wrongly: of scripts without spaces, and vowel signs.
        unspaced: characters of scripts without spaces.
        run: some of these, with their vowel signs, or a word.
        character: one of these, with its vowel signs.
    """

    special: frozenset[str]
    unspaced: frozenset[str]
    run: re.Pattern[str]
    character: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    unspaced = {code for code in _codes(UNSPACED) if unicodedata.category(chr(code))[0] in "LN"}
    marks = {code for code in range(HIGHEST_MARK) if unicodedata.category(chr(code))[0] == "M"} | set(map(ord, JOINERS))
    one, mark, other_mark = _class(unspaced), _class(marks), _class(marks - set(_codes(UNSPACED)))
    word = rf"(?!{one})\w(?:(?!{one})\w|{other_mark})+"
    return _Patterns(
        special=frozenset(map(chr, unspaced | marks)),
        unspaced=frozenset(map(chr, unspaced)),
        run=re.compile(rf"(?P<unspaced>(?:{one}{mark}*)+)|(?P<word>{word})"),
        character=re.compile(rf"{one}{mark}*"),
    )


def _codes(ranges: Iterable[tuple[int, int]]) -> Iterator[int]:
    return chain.from_iterable(range(first, last + 1) for first, last in ranges)


def _class(codes: set[int]) -> str:
    """A regular expression's class of some characters, as ranges."""
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges) + "]"


def _is_latin(character: str) -> bool:
    return character.isascii() or unicodedata.name(character, "").startswith(("LATIN", "FEMININE", "MASCULINE"))
