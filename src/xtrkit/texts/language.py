"""Whether texts are English, so far as it must be known to say that the default model will not find them.

Grammar shows in the most frequent words: a third of an English text is among ``_ENGLISH``, a quarter of a German one
among ``_OTHER``. Lists, formulas and programs have few of either, and no model of another language reads them better,
so that a text counts as foreign only where something speaks for it: words of other languages, more of them than English
ones, or another script. ``docs/encoding.md`` has what was measured. (The words that BM25 makes are another question,
which :mod:`xtrkit.lexical.words` answers for a corpus as a whole.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ENGLISH_WORDS = """
the of and to in is that for with as on by are was were be this from which it at an or has have not their been but we
can these its had they also may will than what how who when where why does did do you your i he she his her if there
all one more other about into between after such no use used
"""
# Frequent in other languages, a line or two each, but for what English texts have, too, such as "die", "van" and "la":
# German, Dutch, Scandinavian, French, Spanish, Portuguese, Italian, Romanian, Slavic, Finnish, Hungarian, Turkish,
# Indonesian, Vietnamese, Swahili, Tagalog.
_OTHER_WORDS = """
der und von zu mit sich auf für ist im dem nicht ein eine als auch es werden aus er dass sie nach wird
einer einem einen über wie oder haben zum zur wurde sind wer wann wo welche welcher welches
het een ik dat zijn voor niet aan ook naar bij maar wat hoe werd
och att det som på är av för med till ikke jeg ett og å har ble
une dans que qui pas est avec sont au aux cette il elle
las del por una para como más pero fue qué cuál quién dónde cuándo
não uma mais foi ao são
che è gli della dei nel alla anche più
și în nu cu din este care sunt
się nie jest że jak przez že je ale jsou iz
ei että oli hän mutta kuin tai ovat joka myös mikä
az és hogy nem egy meg ez volt vagy
bir bu için ile olarak çok daha gibi
yang itu dengan untuk dari pada ini dalam tidak adalah oleh sebagai
và là của các trong có được cho một những không với
ya wa kwa katika cha
ang ng mga sa ay
"""
_ENGLISH, _OTHER = frozenset(_ENGLISH_WORDS.split()), frozenset(_OTHER_WORDS.split())
_FEWEST_WORDS, _FEWEST_LETTERS = 2, 10
_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[a-zA-ZªºÀ-ɏḀ-ỿ]")
_LOOKED_AT = 2000


def is_foreign(text: str) -> bool:
    """Whether the beginning of a text is certainly in another language than English, or in another script."""
    words = _WORD.findall(text[:_LOOKED_AT].lower())
    letters = "".join(words)
    if len(letters) >= _FEWEST_LETTERS and 2 * len(_LATIN.findall(letters)) < len(letters):
        return True
    if len(_OTHER.intersection(words)) < _FEWEST_WORDS:  # one that is said twice may be a name
        return False
    return sum(word in _OTHER for word in words) > sum(word in _ENGLISH for word in words)


def foreign_share(texts: Sequence[str]) -> float:
    """The share of some texts that are certainly not English; 0 of none."""
    return sum(map(is_foreign, texts)) / max(1, len(texts))
