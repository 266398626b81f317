"""Reading collections: every format, and every way in which a file can be wrong."""

import json

import pytest

from xtrkit.errors import CollectionError
from xtrkit.texts.reading import open_source
from xtrkit.texts.whole import check_unique, whole_passages


def whole(path):
    return whole_passages(open_source(path))


def write(path, *lines):
    path.write_bytes(b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines))
    return path


def test_beir_folder_joins_title_and_text(tmp_path):
    write(
        tmp_path / "corpus.jsonl",
        '{"_id": "a", "title": "Mice", "text": "They squeak."}',
        "",
        '{"_id": "b", "title": "", "text": "No title."}',
        '{"_id": 7, "text": "A number for an id."}',
    )
    assert [passage[:2] for passage in whole(tmp_path)] == [
        ("a", "Mice They squeak."),
        ("b", "No title."),
        ("7", "A number for an id."),
    ]


def test_tsv_with_and_without_title(tmp_path):
    path = write(tmp_path / "collection.tsv", "0\tText alone", "1\tText\tTitle")
    assert [passage[:2] for passage in whole(path)] == [("0", "Text alone"), ("1", "Title Text")]


def test_folder_of_texts(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "b.md", "# B", "", "two lines")
    write(tmp_path / "a.txt", "A")
    write(tmp_path / "c.bin", b"\0 not a text")
    assert [passage[:2] for passage in whole(tmp_path)] == [
        ("a.txt", "A\n"),
        ("sub/b.md", "# B\n\ntwo lines\n"),
    ]


@pytest.mark.parametrize(
    "text", ["", " ", "🙂", "الطب", "线 \u2028 \x85 \x1c", "a" * 100_000, "tab\tand\nnewline", "\x00"]
)
def test_any_text_is_data(tmp_path, text):
    path = write(tmp_path / "c.jsonl", json.dumps({"_id": "x", "text": text}), json.dumps({"_id": "y", "text": "y"}))
    assert [passage[:2] for passage in whole(path)] == [("x", text), ("y", "y")]


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = write(tmp_path / "c.jsonl", b'\xef\xbb\xbf{"_id": "x", "text": "t"}\n')
    assert [passage[:2] for passage in whole(path)] == [("x", "t")]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"_id": "a", "text": "t"}', "{oops"], r"c.jsonl, line 2: not JSON"),
        (["[1, 2]"], r"line 1: expected a JSON object .*, got list"),
        (['{"_id": "", "text": "t"}'], r'line 1: the id "_id" is empty'),
        (['{"_id": true, "text": "t"}'], r'line 1: the id "_id" must be a text or a whole number, got True'),
        (['{"_id": "a"}'], r'line 1: the record has no "text" that is a text: its keys are \[\'_id\'\]'),
        (['{"_id": "a", "text": 5}'], r'line 1: the record has no "text"'),
        (['{"_id": "a", "text": "\\ud83d"}'], r"line 1: .*half a surrogate pair"),
        ([b'{"_id": "a", "text": "caf\xe9"}\n'], r"line 1: byte 26 is not UTF-8\. Convert"),
        (['{"_id": "a", "text": "t"}'] * 2, r"The id 'a' comes twice"),
        ([], r"The collection has no passages"),
    ],
)
def test_bad_jsonl_is_told_with_its_line(tmp_path, lines, message):
    path = write(tmp_path / "c.jsonl", *lines)
    with pytest.raises(CollectionError, match=message):
        check_unique(whole(path))


def test_bad_tsv_is_told_with_its_line(tmp_path):
    path = write(tmp_path / "c.tsv", "0\tfine", "one field")
    with pytest.raises(CollectionError, match=r"line 2: expected id<TAB>text .*, got 1 column[,;]"):
        check_unique(whole(path))


def test_a_missing_collection(tmp_path):
    with pytest.raises(CollectionError, match=r"There is no collection at .*nowhere: expected texts"):
        open_source(tmp_path / "nowhere")


def test_an_unknown_format(tmp_path):
    with pytest.raises(CollectionError, match=r"can't be read \(no reader for \.zip\): expected texts"):
        open_source(write(tmp_path / "c.zip", "PK"))


def test_an_empty_folder(tmp_path):
    with pytest.raises(CollectionError, match="has no passages"):
        check_unique(whole(tmp_path))
