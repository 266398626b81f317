"""What every export is compared on, short and long, plain and odd, in several scripts; and how."""

from __future__ import annotations

import numpy as np

from xtrkit.values import FloatArray

_PARAGRAPH = (
    "The lighthouse keeper wrote down every ship that passed: its flag, its heading, the hour, and whether it answered "
    "his lamp. In forty-one years he filled nineteen ledgers. Historians found them in 1987, behind a stove, and could "
    "date from them three wrecks of which no other record had survived; two of the hulls have since been located "
    "within a mile of where he had last seen their lights. "
)

SAMPLES = (
    "",
    "?",
    "a",
    "XTR",
    "who wrote it?",
    "what is the boiling point of water at 3,000 m",
    "Effects of statins on all-cause mortality in adults over 75",
    "how do I merge two sorted lists without copying them",
    "capital of France",
    "The Treaty of Westphalia, signed in 1648, ended the Thirty Years' War.",
    "Mitochondria make most of a cell's ATP by oxidative phosphorylation.",
    "0-dimensional biomaterials show inductive properties.",
    "for i in range(len(rows)): total += rows[i]['price'] * 1.19",
    "https://example.org/path?q=late+interaction&lang=en#results",
    "E = mc², α → β, ∑ xᵢ ≤ 10⁻⁹, 37.5 °C ± 0.2",
    "Die Straße nach Köln war wegen Überflutung gesperrt.",
    "¿Dónde está la biblioteca más cercana?",
    "Она написала это письмо в 1912 году.",
    "日本の首都は東京です。",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "🙂 emoji 🏳️‍🌈 and e\u0301 combining, ﬁ ligature, \u200b zero width",
    "SHOUTING IN CAPITALS, (then) [brackets] {and} <angles>!!!",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    _PARAGRAPH,
    _PARAGRAPH * 3 + "Which of them was lost with all hands?",
    _PARAGRAPH * 12,
)


def agreement(found: FloatArray, right: FloatArray) -> FloatArray:
    """(n,) how well vectors agree: the cosine of unit vectors, and less where lengths differ, as dot products do."""
    difference = ((found - right).astype(np.float64) ** 2).sum(axis=1)
    cosines: FloatArray = 1 - difference / (2 * np.maximum((right.astype(np.float64) ** 2).sum(axis=1), 1e-24))
    return cosines
