"""Words, stems and terms: what counts as the same word."""

from pydoc_data.topics import topics

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from xtrkit.lexical.stemming import stem
from xtrkit.lexical.terms import LONGEST, terms
from xtrkit.lexical.words import words

PORTER = Stemmer.Stemmer("porter")
ENDINGS = [
    "s",
    "es",
    "ies",
    "sses",
    "ed",
    "eed",
    "ing",
    "y",
    "ational",
    "izer",
    "iveness",
    "ousli",
    "ic",
    "ness",
    "ement",
    "sion",
    "ll",
]


def test_every_word_of_pythons_documentation_is_stemmed_as_snowballs_copy_does_it():
    found = {
        word for text in topics.values() for word in words(text) if word.isascii() and word.isalpha() and len(word) > 2
    }
    assert len(found) > 2500
    assert {word: stem(word) for word in found} == {word: PORTER.stemWord(word) for word in found}


@given(st.text("abceilmnostvyz", min_size=1, max_size=8), st.lists(st.sampled_from(ENDINGS), max_size=3))
def test_made_up_words_are_stemmed_as_snowballs_copy_does_it(root, endings):
    word = root + "".join(endings)
    assert stem(word) == (PORTER.stemWord(word) if len(word) > 2 else word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Connections, connected: connecting", ["connect"] * 3),
        ("the STRASSE and the Straße", ["the", "strass", "and", "the", "strass"]),
        ("Überraschungen überraschungen", ["überraschungen"] * 2),
        ("ＡＢＣ１２ E1042", ["abc12", "e1042"]),
        ("東京大学", ["東京", "京大", "大学"]),
        ("a I ?", []),
        ("x" * 999, ["x" * LONGEST]),
    ],
)
def test_terms_of_a_text(text, expected):
    assert terms(text) == expected
