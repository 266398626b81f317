"""Words, stems and terms: what counts as the same word."""

from concurrent.futures import ThreadPoolExecutor
from pydoc_data.topics import topics

import pytest

from xtrkit.lexical.terms import LONGEST, term_of, terms
from xtrkit.lexical.words import words

PUBLISHED = {
    "caresses": "caress", "ponies": "poni", "ties": "ti", "cats": "cat", "feed": "feed", "agreed": "agre",
    "plastered": "plaster", "motoring": "motor", "sing": "sing", "conflated": "conflat", "hopping": "hop",
    "filing": "file", "happy": "happi", "sky": "sky", "relational": "relat", "rational": "ration",
    "digitizer": "digit", "vietnamization": "vietnam", "operator": "oper", "decisiveness": "decis",
    "sensibiliti": "sensibl", "electrical": "electr", "hopefulness": "hope", "replacement": "replac",
    "adoption": "adopt", "homologou": "homolog", "controll": "control", "roll": "roll",
}  # fmt: skip
"""Examples of Porter's paper, after all of its steps."""


@pytest.mark.parametrize(("word", "stem"), PUBLISHED.items())
def test_words_are_stemmed_as_porter_published_it(word, stem):
    assert terms(word) == [stem]


def test_threads_stem_side_by_side():
    found = sorted({word for text in topics.values() for word in words(text)})
    assert len(found) > 2500
    alone = list(map(term_of.__wrapped__, found))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(term_of.__wrapped__, found)) == alone


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
