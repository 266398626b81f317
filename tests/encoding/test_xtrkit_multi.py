"""The package xtrkit-multi as users have it: a wheel, installed, found by its entry point, and searched with."""

import json
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from xtrkit import Index, Retriever, load_encoder
from xtrkit.cli.app import app
from xtrkit.encoding import registry
from xtrkit.encoding.load import find_checkpoint
from xtrkit.encoding.packaged import MULTI
from xtrkit.errors import MissingExtraError, ModelError
from xtrkit.recipes import COLBERT, XTR

PACKAGE = Path(__file__).parents[2] / "models" / "xtrkit-multi"
pytestmark = pytest.mark.skipif(
    not (PACKAGE / "src" / "xtrkit_multi" / "model.onnx").is_file(), reason="the package's model isn't here"
)
MOST_BYTES = 60_000_000

# One thing in three languages each; the first is searched for.
PARALLEL = [
    ("When does the train leave?", "Der Zug fährt morgens um sieben Uhr ab.", "El tren sale cada mañana a las siete."),
    ("What does the dog guard?", "Der Hund bewacht nachts das Haus.", "El perro vigila la casa por la noche."),
    ("What is bread made of?", "Brot besteht aus Mehl, Wasser und Salz.", "El pan se hace con harina, agua y sal."),
    ("Who wrote the letter?", "Den Brief schrieb eine junge Lehrerin.", "La carta la escribió una joven maestra."),
    ("How high is the mountain?", "Der Berg ist viertausend Meter hoch.", "La montaña mide cuatro mil metros."),
    ("Why is the sea salty?", "Flüsse tragen Salze ins Meer.", "Los ríos llevan sales al mar."),
    ("Where do penguins live?", "Pinguine leben auf der Südhalbkugel.", "Los pingüinos viven en el hemisferio sur."),
    ("How is glass made?", "Glas wird aus geschmolzenem Sand hergestellt.", "El vidrio se fabrica fundiendo arena."),
    ("What helps against fever?", "Gegen Fieber hilft Paracetamol.", "El paracetamol ayuda contra la fiebre."),
    ("What do bees collect?", "Bienen sammeln Nektar und Pollen.", "Las abejas recogen néctar y polen."),
]  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PACKAGE)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory):
    """A folder that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def absent():
    if MULTI in registry.packaged_models():
        pytest.skip("it is installed here")


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture(scope="module")
def encoder(site):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        return load_encoder(MULTI, threads=1)


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    folder = tmp_path_factory.mktemp("german")
    for number, (_, text, _) in enumerate(PARALLEL):
        (folder / f"{number}.txt").write_text(text + " Das ist auch so, und nicht anders.", encoding="utf-8")
    return folder


def test_the_wheel_is_small_and_has_all_of_it(wheel):
    assert wheel.stat().st_size <= MOST_BYTES
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"xtrkit_multi/{name}" for name in ("model.onnx", "tokenizer.json", "xtrkit.json")} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_is_found_by_name(installed, encoder):
    (found,) = (model for model in registry.models() if model.name == MULTI)
    assert (found.state, found.path is not None, registry.usable_now(found)) == ("installed", True, True)
    size = sum((found.path / name).stat().st_size for name in ("model.onnx", "tokenizer.json"))
    assert found.megabytes == pytest.approx(size / 1e6, abs=1)
    assert (encoder.identity.name, encoder.identity.dim) == (MULTI, 128)
    with pytest.raises(ModelError, match="xtrkit-multi is an export, for encoding alone"):
        find_checkpoint(MULTI)


def test_where_it_is_missing_one_sentence_says_what_to_install(absent, german, site, tmp_path, monkeypatch):
    (known,) = (model for model in registry.models() if model.name == MULTI)
    assert (known.state, registry.usable_now(known)) == ("absent", False)
    sentence = "xtrkit-multi is a package of its own, which isn't installed: run pip install xtrkit-multi"
    with pytest.raises(MissingExtraError, match=sentence):
        load_encoder(MULTI)
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        Retriever.create(tmp_path / "index", german, model=MULTI)
    with pytest.raises(MissingExtraError, match=sentence):
        Retriever.open(tmp_path / "index")
    found = CliRunner().invoke(app, ["search", str(tmp_path / "index"), "Hund"])
    assert isinstance(found.exception, MissingExtraError)  # which the command prints
    assert sentence in str(found.exception)


def test_a_folder_of_german_texts_without_options(absent, german, site, tmp_path, monkeypatch):
    """Without the package it is said what to install; with it, the same command works."""
    index = str(tmp_path / "index")
    with pytest.warns(match="pip install xtrkit-multi"):
        before = CliRunner().invoke(app, ["index", str(german), index, "--json"])
    assert before.exit_code == 0
    assert json.loads(before.stdout)["foreign_share"] > 0.5
    monkeypatch.syspath_prepend(str(site))
    with pytest.warns(match="they are encoded with xtrkit-multi, which is installed"):
        after = CliRunner().invoke(app, ["index", str(german), index, "--json", "--overwrite"])
    assert after.exit_code == 0
    assert json.loads(after.stdout)["foreign_share"] == 0
    assert Index.open(index).encoder.name == MULTI
    found = CliRunner().invoke(app, ["search", index, PARALLEL[0][0], "--json"])
    assert json.loads(found.stdout)["hits"][0]["id"] == "0.txt"


def test_an_english_folder_and_a_named_model_stay_as_they_were(installed, german, tmp_path):
    folder = tmp_path / "english"
    folder.mkdir()
    (folder / "a.txt").write_text("The train leaves at seven in the morning.", encoding="utf-8")
    assert Retriever.create(tmp_path / "a", folder).encoder.identity.name == "xtrkit-mini"
    with pytest.warns(match=r"Index them with --model xtrkit-multi \(model=\), which is installed"):
        named = Retriever.create(tmp_path / "b", german, model="xtrkit-mini")
    assert named.encoder.identity.name == "xtrkit-mini"


def test_composed_and_decomposed_letters_are_the_same(encoder):
    for text in (
        "Überflutung für Köln",
        "¿Dónde está el pingüino?",
        "tiếng Việt được",
        "Ἀθῆναι",
        "がぎぐげご",
        "한국어",
    ):
        apart, whole = unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text)
        assert apart != whole
        np.testing.assert_array_equal(encoder.encode_queries([apart])[0], encoder.encode_queries([whole])[0])
        # Each piece has its letters whole, accents and all.
        parts, wholes = ([text[t.start : t.end] for t in encoder.document_tokens(text)] for text in (apart, whole))
        assert [unicodedata.normalize("NFC", part) for part in parts] == wholes


def test_its_own_tokens_are_text(encoder):
    pieces = [token.piece for token in encoder.document_tokens("a </s> <mask> b")]
    assert (pieces[0], pieces[-1]) == ("<s>", "</s>")
    assert not {"<s>", "</s>", "<mask>", "<pad>"} & set(pieces[1:-1])


def test_every_script_has_pieces(encoder):
    texts = [
        "Pfannkuchen mit Äpfeln", "Ελληνικά", "Она написала", "שלום עולם", "مرحبا بالعالم", "नमस्ते दुनिया", "வணக்கம்",
        "สวัสดีชาวโลก", "გამარჯობა", "Բարեւ", "ሰላም", "ជំរាបសួរ", "日本の首都は東京です", "안녕하세요", "北京是中国的首都",
    ]  # fmt: skip
    for text in texts:
        assert encoder.readability([text]).unknown == 0, text


@pytest.mark.parametrize("language", [1, 2])
def test_questions_find_passages_in_other_languages(encoder, language):
    passages = list(encoder.encode_documents([row[language] for row in PARALLEL]))
    found = [
        int(np.argmax([(query @ passage.T).max(axis=1).sum() for passage in passages]))
        for query in encoder.encode_queries([row[0] for row in PARALLEL])
    ]
    assert sum(place == number for number, place in enumerate(found)) >= len(PARALLEL) - 1


@pytest.mark.parametrize("recipe", [XTR, COLBERT])
def test_vectors_that_are_all_alike_are_searched_as_well_compressed(encoder, recipe, tmp_path):
    """Tokens of unrelated texts are much more alike than those of xtrkit-mini: clusters and thresholds must bear it."""
    texts = [f"{row[language]} {other[language]}" for language in (1, 2) for row in PARALLEL for other in PARALLEL]
    documents, queries = encoder.encode_documents(texts), list(encoder.encode_queries([row[0] for row in PARALLEL]))
    rows = documents.rows
    assert np.mean(rows[::7] @ rows[3::7].T) > 0.2
    with (
        Index.create(tmp_path / "exact", [list(documents)], nbits=16) as exact,
        Index.create(tmp_path / "small", [list(documents)], nbits=4) as small,
    ):
        for right, found in zip(
            *(index.search_batch(queries, 20, recipe=recipe.at(None, encoder.nprobe)) for index in (exact, small)),
            strict=True,
        ):
            right_ids, ids = ([document for document, _ in ranking] for ranking in (right, found))
            assert len(set(right_ids[:10]) & set(ids[:12])) >= 8
            scores = dict(right)
            if recipe is COLBERT:
                assert all(abs(score - scores[document]) < 0.03 for document, score in found if document in scores)


@pytest.mark.parametrize("choice", [{"runtime": "openvino"}, {"device": "cpu:0"}])
def test_what_else_computes_reads_the_table_in_four_bits(installed, encoder, choice):
    texts = [text for row in PARALLEL for text in row]
    found, right = load_encoder(MULTI, **choice).encode_documents(texts), encoder.encode_documents(texts)
    assert list(found.lengths) == list(right.lengths)
    assert (found.rows * right.rows).sum(axis=1).min() >= 0.99
