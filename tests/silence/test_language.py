"""Texts that aren't English: said where the model reads nothing else, and never of what is English, or no language."""

import re
import warnings

import pytest

from xtrkit import Retriever
from xtrkit.errors import XtrkitWarning
from xtrkit.texts.language import foreign_share, is_foreign

FOREIGN = {
    "German": "Der Hund bewacht nachts das Haus und bellt, wenn ein Fremder kommt.",
    "Dutch": "Het brood wordt elke ochtend door een bakker gebakken, maar niet op zondag.",
    "Swedish": "Tåget som går till Göteborg är sent och det har varit så hela veckan.",
    "French": "Le pain est cuit chaque matin par un boulanger qui se lève avec le soleil.",
    "Spanish": "El tren que sale por la mañana llega tarde, pero nadie se queja más.",
    "Portuguese": "O pão não é feito aqui, mas em uma padaria que foi aberta há anos.",
    "Italian": "Il treno che parte la mattina è anche quello della sera.",
    "Polish": "Pociąg nie jest dziś punktualny, ale jak się okazało, przyjechał.",
    "Finnish": "Juna ei ole ajoissa, mutta se on täynnä ja kaikki ovat iloisia kuin aina.",
    "Hungarian": "A vonat nem indul el, és az emberek egy órát vagy többet várnak.",
    "Turkish": "Bu tren çok geç kaldı ve bir saat daha bekledik.",
    "Indonesian": "Kereta yang berangkat pagi ini tidak datang dengan tepat waktu.",
    "Vietnamese": "Chuyến tàu này không đến và những người chờ được trả tiền.",
    "Russian": "Она написала это письмо в 1912 году.",
    "Greek": "Το τρένο φεύγει κάθε πρωί στις επτά.",
    "Chinese": "火车每天早上七点从中央车站开出，很少准时。",
    "Japanese": "日本の首都は東京です。電車は七時に出ます。",
    "Arabic": "يغادر القطار كل صباح في الساعة السابعة",
    "Hindi": "रेलगाड़ी हर सुबह सात बजे छूटती है",
}
ENGLISH = {
    "prose": "The train to Hamburg leaves every morning at seven and is seldom on time.",
    "a title": "Effects of statins on all-cause mortality in adults over 75",
    "names": "Vincent van Gogh, Otto von Bismarck and Charles de Gaulle in Los Angeles",
    "a programme": "for i in range(len(rows)): total += rows[i]['price'] * 1.19  # de la",
    "more of it": "const det = m.det(); if (det === 0) { throw new Error('singular'); }",
    "a formula": "E = mc², α → β, ∑ xᵢ ≤ 10⁻⁹, 37.5 °C ± 0.2",
    "a list": "aspirin, ibuprofen, paracetamol, naproxen",
    "digits": "1 2 3 4 5 6",
    "one foreign word": "Schadenfreude is joy in somebody else's misfortune",
    "a word of Greek": "The letter Ω stands for ohm, from Ωμ.",
    "nothing": "",
}


@pytest.mark.parametrize("language", FOREIGN)
def test_texts_in_other_languages(language):
    assert is_foreign(FOREIGN[language])


@pytest.mark.parametrize("kind", ENGLISH)
def test_texts_that_are_none(kind):
    assert not is_foreign(ENGLISH[kind])


def test_shares():
    assert foreign_share([]) == 0
    assert foreign_share([FOREIGN["German"], ENGLISH["prose"], *[ENGLISH["a list"]] * 2]) == 0.25


def test_an_index_of_german_texts_says_what_to_install(tmp_path):
    with pytest.warns(XtrkitWarning, match=re.escape("100% of a sample of these texts are not English")) as told:
        made = Retriever.create(tmp_path / "german", [FOREIGN["German"]] * 3)
    (said,) = (str(warning.message) for warning in told if issubclass(warning.category, XtrkitWarning))
    assert "xtrkit-mini" in said
    assert "pip install xtrkit-multi" in said or "which is installed" in said
    assert "--model xtrkit-multi" in said
    assert made.indexed.foreign_share == 1
    with pytest.warns(XtrkitWarning, match="does not know .* of the pieces.*--model xtrkit-multi"):
        made.add([FOREIGN["Chinese"]])


def test_an_index_of_english_texts_says_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", XtrkitWarning)
        made = Retriever.create(
            tmp_path / "english", [ENGLISH[kind] for kind in ("prose", "a title", "names", "a programme", "a list")]
        )
    assert made.indexed.foreign_share == 0
