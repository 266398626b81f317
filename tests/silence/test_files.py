"""No file is passed over or misread in silence: what is read, what is left out and what is refused, with real files."""

import csv
import datetime
import decimal
import gzip
import json
import os
import sys
import time
from zoneinfo import ZoneInfo

import ir_datasets
import numpy
import pandas
import polars
import pyarrow
import pypdf
import pytest
from datasets import Dataset, DatasetDict
from pyarrow import feather, parquet

from tests.silence.made import paragraph, pdf, table, write_docx
from xtrkit.errors import CollectionError, InputError, MissingExtraError
from xtrkit.passage import Passage, checked_passage, plain_value
from xtrkit.texts.document import Document, Fields, Problem
from xtrkit.texts.given import source_of
from xtrkit.texts.reading import open_source


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path, fields=Fields()):  # noqa: B008
    """{id: text}, {where: problem}, {skipped file: reason}, notes as one text."""
    source = open_source(path, fields)
    items = list(source)
    assert list(source) == items  # the same again, with the same report
    texts = {item.id: item.text for item in items if isinstance(item, Document)}
    problems = {item.where: item.problem for item in items if isinstance(item, Problem)}
    return texts, problems, dict(source.report.skipped), "\n".join(source.report.notes)


def one(path, fields=Fields()):  # noqa: B008
    (item,) = open_source(path, fields)
    return item


def headings(document):
    return [
        (document.text[section.first : section.last].strip(), section.metadata.get("headings"))
        for section in document.sections
    ]


# Folders


def test_everything_below_a_folder_is_read_or_told(tmp_path):
    write(tmp_path / "a.TXT", "a")
    write(tmp_path / "sub/deep/b.md", "b")
    write(tmp_path / "c.txt.gz", "c")
    write(tmp_path / "code.rs", "fn main() {}")
    write(tmp_path / "LICENSE", "words")
    write(tmp_path / "notes.xyz", "an unknown suffix, a text")
    write(tmp_path / "empty.txt", "")
    write(tmp_path / "picture.png", b"\x89PNG\r\n\x1a\n\0\0")
    write(tmp_path / "data.xyz", b"\0\1\2\3")
    write(tmp_path / "sheet.xlsx", b"PK\3\4")
    write(tmp_path / "notebook.ipynb", '{"cells": []}')
    write(tmp_path / "package.json", '{"name": "x"}')
    write(tmp_path / ".git/HEAD", "ref")
    write(tmp_path / ".git/objects/x", "ref")
    write(tmp_path / "node_modules/m/readme.md", "no")
    write(tmp_path / ".hidden.md", "no")
    write(tmp_path / "~$report.docx", "lock")
    write(tmp_path / "models/m/config.json", "{}")
    write(tmp_path / "models/m/model.safetensors", "x")
    (tmp_path / "linked").symlink_to(tmp_path / "sub")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.txt")
    texts, problems, skipped, _ = read(tmp_path)
    assert texts == {
        "LICENSE": "words",
        "a.TXT": "a",
        "c.txt.gz": "c",
        "code.rs": "fn main() {}",
        "empty.txt": "",
        "notes.xyz": "an unknown suffix, a text",
        "sub/deep/b.md": "b",
    }
    assert problems == {}
    assert skipped == {
        ".git": "hidden",
        ".hidden.md": "hidden",
        "node_modules": "made by tools",
        "linked": "a link to a folder",
        "loop": "a link to a folder",
        "pipe.txt": "no regular file",
        "picture.png": "no reader for .png",
        "sheet.xlsx": "no reader for .xlsx",
        "notebook.ipynb": "no reader for .ipynb",
        "data.xyz": "binary, no reader for .xyz",
        "package.json": "JSON without a text field",
        "~$report.docx": "left by Word while a file is open",
        "models/m": "a model",
    }


def test_what_cannot_be_read_is_a_problem_and_the_next_one_follows(tmp_path):
    write(tmp_path / "latin.txt", "café".encode("latin-1"))
    write(tmp_path / "README", "café".encode("latin-1"))
    write(tmp_path / "wide.md", "hello".encode("utf-16-le"))
    write(tmp_path / "really.txt", pdf("x"))
    (tmp_path / "torn.txt.gz").write_bytes(gzip.compress(b"words " * 1000)[:25])
    (tmp_path / "no.jsonl.gz").write_bytes(b"not packed")
    (tmp_path / "broken.md").symlink_to(tmp_path / "nothing")
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "wb"):
        pass
    write(tmp_path / "z.txt", "the last")
    texts, problems, _, _ = read(tmp_path)
    assert texts == {"z.txt": "the last"}
    assert problems["latin.txt"].startswith("byte 4 is not UTF-8. Convert the file to UTF-8, or name its encoding")
    assert problems["README"].startswith("byte 4 is not UTF-8")
    assert problems["wide.md"].startswith("holds NUL bytes")
    assert problems["really.txt"] == "is no text, but a PDF by its first bytes: name it so."
    assert problems["torn.txt.gz"].startswith("can't be unpacked")
    assert problems["no.jsonl.gz"].startswith("can't be unpacked")
    assert problems["broken.md"].startswith("is a link to nothing")
    assert problems["\\xff.txt"] == "its name is not UTF-8, and so can't be an id: rename it."
    assert len(problems) == 8


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_a_problem(tmp_path):
    write(tmp_path / "a.txt", "a").chmod(0)
    write(tmp_path / "sub/b.txt", "b")
    (tmp_path / "sub").chmod(0)
    _, problems, _, _ = read(tmp_path)
    (tmp_path / "sub").chmod(0o700)
    assert problems == {"a.txt": "can't be read: Permission denied.", "sub": "can't be read: Permission denied."}


def test_patterns(tmp_path):
    for name in ("a.csv.md", "b.md", "docs/c.md", "docs/sub/d.md", "docs/.h/e.md", "docs/sub/f.txt"):
        write(tmp_path / name, name)
    assert set(read(f"{tmp_path}/*.md")[0]) == {"a.csv.md", "b.md"}
    texts, _, skipped, _ = read(f"{tmp_path}/docs/**/*.md")
    assert set(texts) == {"c.md", "sub/d.md"}
    assert skipped == {".h": "hidden"}
    assert set(read(f"{tmp_path}/docs/**")[0]) == {"c.md", "sub/d.md", "sub/f.txt"}
    assert read(f"{tmp_path}/d*")[2] == {"docs": "a folder: end the pattern with /** to read it"}
    write(tmp_path / "odd[1].txt", "literally")
    assert one(tmp_path / "odd[1].txt").text == "literally"
    with pytest.raises(CollectionError, match=r"No file matches .*\*\.rst"):
        open_source(f"{tmp_path}/*.rst")


FOREIGN = {
    "an xtrkit index": ["manifest-000000000001.json", "x.bin"],
    "an index of ColBERT or PLAID": ["metadata.json", "0.codes.pt", "centroids.pt"],
    "a model": ["config.json", "tokenizer.json"],
    "a model ": ["config.json", "onnx/model.onnx"],
    "an index of Lucene": ["segments_2", "_0.cfs"],
    "a dataset of Lance": ["_versions/1.manifest", "data/a.lance"],
    "a database of LanceDB": ["table.lance/_versions/1.manifest"],
    "a table of Delta Lake": ["_delta_log/0.json", "part.parquet"],
    "a database of Chroma": ["chroma.sqlite3"],
    "an index of FAISS": ["index.faiss", "index.pkl"],
    "a virtual environment": ["pyvenv.cfg"],
}


@pytest.mark.parametrize("what", FOREIGN)
def test_folders_that_are_something_else_are_refused(tmp_path, what):
    for name in FOREIGN[what]:
        write(tmp_path / name, "x")
    with pytest.raises(CollectionError, match=f"is {what.strip()}.*, no texts"):
        open_source(tmp_path)
    write(tmp_path.parent / f"{tmp_path.name}-around/a.txt", "a")
    tmp_path.rename(tmp_path.parent / f"{tmp_path.name}-around/inner")
    around = tmp_path.parent / f"{tmp_path.name}-around"
    texts, problems, skipped, _ = read(around)
    assert (texts, problems) == ({"a.txt": "a"}, {})
    assert skipped["inner"].startswith(what.strip())


@pytest.mark.parametrize("names", [["queries.jsonl", "qrels/test.tsv"], ["qrels.tsv"], ["queries.tsv", "README.md"]])
def test_queries_alone_are_no_texts(tmp_path, names):
    for name in names:
        write(tmp_path / name, "1\t2\t3")
    with pytest.raises(CollectionError, match="has queries or judgements and no texts"):
        open_source(tmp_path)


RECORD = '{{"_id": "{0}", "text": "t{0}"}}\n'
BEIR = {
    "packed": {"corpus.jsonl.gz": ["1", "2"]},
    "a folder": {"corpus/part-1.jsonl": ["1"], "corpus/part-2.jsonl.gz": ["2"]},
    "parts": {"corpus-00000-of-00002.jsonl.gz": ["1"], "corpus-00001-of-00002.jsonl.gz": ["2"]},
    "plain": {"corpus.jsonl": ["1", "2"]},
}


@pytest.mark.parametrize("layout", BEIR)
def test_test_collections_as_they_are_published(tmp_path, layout):
    for name, ids in BEIR[layout].items():
        write(tmp_path / name, "".join(RECORD.format(one) for one in ids))
    write(tmp_path / "README.md", "about")
    write(tmp_path / "queries.jsonl.gz", RECORD.format("q"))
    write(tmp_path / "qrels/test.tsv", "q\t1\t1")
    texts, problems, skipped, _ = read(tmp_path)
    assert (texts, problems) == ({"1": "t1", "2": "t2"}, {})
    assert skipped == dict.fromkeys(["README.md", "queries.jsonl.gz", "qrels"], "not the corpus of this BEIR folder")


def test_a_test_collection_within_a_folder(tmp_path):
    write(tmp_path / "a.txt", "a")
    write(tmp_path / "scifact/corpus.jsonl", RECORD.format("1"))
    write(tmp_path / "scifact/queries.jsonl", RECORD.format("q"))
    write(tmp_path / "scifact/qrels/test.tsv", "q\t1\t1")
    texts, problems, skipped, _ = read(tmp_path)
    assert (texts, problems) == ({"a.txt": "a", "1": "t1"}, {})
    reason = "queries or judgements of a test collection"
    assert skipped == {"scifact/queries.jsonl": reason, "scifact/qrels": reason}


def test_ordinary_folders_are_not_taken_for_something_else(tmp_path):
    for name in ("data.properties", "_versions/one.md", "metadata.json", "config.yaml", "queries.md", "corpus/a.md"):
        write(tmp_path / name, "words")
    texts, problems, skipped, _ = read(tmp_path)
    assert {"data.properties", "_versions/one.md", "config.yaml", "corpus/a.md"} <= set(texts)
    assert set(texts) | set(skipped) | set(problems) == {
        *("data.properties", "_versions/one.md", "metadata.json", "config.yaml", "queries.md", "corpus/a.md"),
    }


def test_numbers_of_rows_without_an_id_are_the_callers():
    rows = pyarrow.table({"text": ["x", "y"]})
    for given in (rows, rows.to_pandas(), polars.from_arrow(rows), rows.to_pylist(), ["x", "y"]):
        assert [document.id for document in source_of(given, numbers=lambda: iter([7, 9, 11]))] == ["7", "9"]


def test_a_missing_part_of_a_corpus_is_a_problem(tmp_path):
    write(tmp_path / "corpus-00000-of-00003.jsonl", RECORD.format("1"))
    write(tmp_path / "corpus-00002-of-00003.jsonl", RECORD.format("3"))
    texts, problems, _, _ = read(tmp_path)
    assert list(texts) == ["1", "3"]
    assert list(problems) == ["corpus-00001-of-00003.jsonl"]
    assert "is missing" in problems["corpus-00001-of-00003.jsonl"]


def test_the_collection_of_colbert(tmp_path):
    write(tmp_path / "collection.tsv", "0\tzero\n")
    write(tmp_path / "queries.dev.tsv", "1\tq\n")
    texts, _, skipped, _ = read(tmp_path)
    assert texts == {"0": "zero"}
    assert skipped == {"queries.dev.tsv": "not the collection of this ColBERT folder"}


def test_saved_datasets(tmp_path):
    rows = Dataset.from_dict({"id": ["a", "b"], "text": ["x", "y"], "n": [1, 2]})
    rows.save_to_disk(tmp_path / "one")
    assert read(tmp_path / "one")[0] == {"a": "x", "b": "y"}
    DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "several")
    with pytest.raises(CollectionError, match="with the splits train, test: give one of these folders"):
        open_source(tmp_path / "several")
    next((tmp_path / "one").glob("*.arrow")).unlink()
    assert "no texts" not in str(read(tmp_path / "one")[1])


@pytest.mark.parametrize("name", ["nothing", "a.zip", "b.bin", "dangling.txt"])
def test_a_file_that_nothing_reads_is_refused(tmp_path, name):
    if name == "dangling.txt":
        (tmp_path / name).symlink_to("nowhere")
    elif name != "nothing":
        write(tmp_path / name, b"PK\3\4\0")
    with pytest.raises(CollectionError, match="expected texts"):
        open_source(tmp_path / name)


# Texts


def test_encodings(tmp_path):
    for name, encoding in (("8", "utf-8-sig"), ("16", "utf-16"), ("32", "utf-32")):
        assert one(write(tmp_path / f"{name}.txt", "né".encode(encoding))).text == "né"
        assert one(write(tmp_path / f"{name}.csv", "id,text\n1,né\n".encode(encoding))).text == "né"
        assert one(write(tmp_path / f"{name}.jsonl", '{"id":1,"text":"né"}'.encode(encoding))).text == "né"
    for suffix, content in ((".txt", "né"), (".csv", "id,text\n1,né\n"), (".tsv", "1\tné\n")):
        path = write(tmp_path / f"old{suffix}", content.encode("cp1252"))
        assert one(path, Fields(encoding="cp1252")).text == "né"
        assert "is not UTF-8" in one(path).problem
        path = write(tmp_path / f"new{suffix}", content)
        assert "its bytes are UTF-8, too" in read(path, Fields(encoding="cp1252"))[3]
    path = write(tmp_path / "narrow.txt", "even")
    assert one(path, Fields(encoding="utf-16-le")).problem.startswith("is UTF-8, not utf-16-le")
    path = write(tmp_path / "wide.txt", "né".encode("utf-16-le"))
    assert one(path, Fields(encoding="utf-16-le")).text == "né"
    with pytest.raises(CollectionError, match="There is no encoding 'utf-9'"):
        open_source(tmp_path, Fields(encoding="utf-9"))
    with pytest.raises(CollectionError, match="There is no encoding 'base64'"):
        open_source(tmp_path, Fields(encoding="base64"))


MARKDOWN = """---
title: front matter
---
Before all.

# One

## Two ##
Under two.

```sh
# a comment
```

Three
=====
<!--
# hidden
-->
- item
more of it
---
Text.

#no heading

# Four
"""


def test_sections_of_markdown(tmp_path):
    document = one(write(tmp_path / "a.md", MARKDOWN))
    assert document.text == MARKDOWN
    found = headings(document)
    assert [path for _, path in found] == [None, "One > Two", "Three", "Four"]
    assert found[0][0].endswith("Before all.")
    assert found[1][0].startswith("# One\n\n## Two ##\nUnder two.")
    assert found[2][0].startswith("Three\n=====")
    assert found[2][0].endswith("#no heading")
    assert "".join(MARKDOWN[first:last] for first, last, _ in document.sections) == MARKDOWN


@pytest.mark.parametrize("line", ["#" + " " * 200_000 + "x", "[" * 200_000, "a" * 500_000, "`" * 100_000])
def test_long_lines_take_no_longer(tmp_path, line):
    begin = time.perf_counter()
    one(write(tmp_path / "a.md", line + "\n" + line))
    one(write(tmp_path / "a.rst", line + "\n====\n"))
    assert time.perf_counter() - begin < 5


def test_sections_of_restructuredtext(tmp_path):
    text = "=====\nTitle\n=====\n\nIntro.\n\nPart\n----\ntext\n\n===  ===\na    b\n===  ===\n\nOther\n-----\nmore\n"
    assert [path for _, path in headings(one(write(tmp_path / "a.rst", text)))] == [
        "Title",
        "Title > Part",
        "Title > Other",
    ]


# Records


def test_records_of_json_lines_keep_what_they_have(tmp_path):
    path = write(
        tmp_path / "c.jsonl",
        '{"docid": 7, "contents": "x", "title": "T", "lang": "en", "tags": ["a", 1], "by": {"name": "n"}, "n": null}\n'
        '{"contents": "y", "metadata": {"year": 2020}}\n',
    )
    source = open_source(path)
    first, second = source
    assert first[:3] == ("7", "T x", {"lang": "en", "tags": ["a", 1], "n": None})
    assert second[:3] == ("c.jsonl:2", "y", {"year": 2020})
    assert [first.where, second.where] == ["c.jsonl, line 1", "c.jsonl, line 2"]
    assert source.report.notes == [
        'c.jsonl: the field "docid" was taken as the id and the field "contents" was taken as the text.',
        "c.jsonl: 1 of 2 records has no id and is called by its place, 'c.jsonl:2'; name the field that is "
        "the id with --id-field if there is one.",
        "c.jsonl: the field 'by' of 1 record holds objects, or bytes, and was left out: metadata are texts, numbers, "
        "booleans and lists of them.",
    ]
    assert source.report.files == {"JSON lines": 1}


BAD_LINES = {
    '{"id": 1, "text": "t", "n": NaN}': "NaN is no value of JSON",
    '{"id": 1, "text": "t", "n": -Infinity}': "-Infinity is no value of JSON",
    '{"id": 1, "id": 2, "text": "t"}': "the key 'id' comes twice",
    '{"id": 1, "text": "t", "a": {"b": 1, "b": 2}}': "the key 'b' comes twice",
    '{"id": 1, "text": "t"': "not JSON",
    '["a"]': "expected a JSON object",
    '{"id": 1, "title": "t"}': "its keys are ['id', 'title']. Name the one that is the text: --text-field",
    '{"id": 1, "text": null}': 'no "text" that is a text',
    '{"id": true, "text": "t"}': 'the id "id" must be a text or a whole number, got True of type bool',
    '{"id": 1.5, "text": "t"}': "must be a text or a whole number",
    '{"id": "", "text": "t"}': 'the id "id" is empty',
    '{"id": 1, "text": "t", "title": 3}': "the \"title\" of '1' must be a text, got int",
    '{"id": 1, "text": "t", "metadata": [1]}': "the \"metadata\" of '1' must be a dict, got list",
    '{"id": 1, "text": "t", "n": 1, "metadata": {"n": 2}}': "stands beside its metadata and in it",
    '{"id": 1, "text": "t", "n": ' + "[" * 3000 + "]" * 3000 + "}": "not JSON",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:40])
def test_a_bad_line_is_told_and_the_next_one_read(tmp_path, line):
    path = write(tmp_path / "c.jsonl", '{"id": "a", "text": "x"}\n' + line + '\n{"id": "b", "text": "y"}\n')
    texts, problems, _, _ = read(path)
    assert texts == {"a": "x", "b": "y"}
    assert list(problems) == ["c.jsonl, line 2"]
    assert BAD_LINES[line] in problems["c.jsonl, line 2"]


def test_a_file_of_nothing_but_bad_lines_is_given_up_and_so_told(tmp_path):
    _, problems, _, _ = read(write(tmp_path / "c.jsonl", '{"a": 1}\n' * 1000))
    assert len(problems) == 101
    assert problems["c.jsonl"] == "none of its first 100 records can be read: the rest was not tried."


def test_fields_that_were_named(tmp_path):
    path = write(tmp_path / "c.jsonl", '{"key": 1, "abstract": "x", "text": "no", "head": "H", "a": 1, "b": 2}\n')
    named = Fields(id="key", text="abstract", title="head", metadata=("a",))
    assert one(path, named)[:3] == ("1", "H x", {"a": 1})
    assert one(path, Fields(id="key", text="abstract", metadata=())).metadata is None
    for wrong in (Fields(id="nokey"), Fields(text="notext")):
        assert "c.jsonl, line 1" in read(path, wrong)[1]
    assert 'no record has a field "langg"' in str(read(path, Fields(metadata=("langg",)))[1])
    assert 'no record has a field "headline"' in str(read(path, Fields(title="headline"))[1])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"id": "a", "text": "x"}, {"text": "y"}]', {"a": "x", "c.json:2": "y"}),
        ('{"id": "a", "text": "x"}', {"a": "x"}),
        ('{"version": 1, "data": [{"id": "a", "text": "x"}]}', {"a": "x"}),
        ('{"d1": {"title": "T", "text": "x"}, "d2": {"text": "y"}}', {"d1": "T x", "d2": "y"}),
        ('{"id": "a", "text": "x"}\n{"id": "b", "text": "y"}\n', {"a": "x", "b": "y"}),
    ],
)
def test_json_files(tmp_path, content, expected):
    texts, problems, _, notes = read(write(tmp_path / "c.json", content))
    assert (texts, problems) == (expected, {})
    assert ("version" in content) == ('c.json: the records below "data" were read' in notes)
    assert content.startswith("[") or "\n" not in content or "was read as JSON lines" in notes


@pytest.mark.parametrize("content", ['{"name": "x", "private": true}', "[1, 2]", '"text"', '{"text": {"a": 1}}'])
def test_json_without_records(tmp_path, content):
    path = write(tmp_path / "c.json", content)
    with pytest.raises(CollectionError, match="has no records with a text"):
        list(open_source(path))
    write(tmp_path / "a.txt", "a")
    assert read(tmp_path)[2] == {"c.json": "JSON without a text field"}


def test_json_in_a_file_that_says_json_lines(tmp_path):
    _, problems, _, _ = read(write(tmp_path / "c.jsonl", '[\n{"id": 1, "text": "x"}\n]'))
    assert problems == {"c.jsonl": "begins with “[”, as JSON does, not JSON lines: name it .json."}


def test_csv(tmp_path):
    path = write(
        tmp_path / "c.csv",
        b'\xef\xbb\xbfid,title,text,year,price,zip,ratio,who\r\n1,T,"a ""b"", c\nd",2020,3.50,007,0.5,x\r\n\r\n'
        b"2,,y,2021,4.00,123,,3\r\n",
    )
    source = open_source(path)
    first, second = source
    assert first[:3] == ("1", 'T a "b", c\nd', {"year": 2020, "price": "3.50", "zip": "007", "ratio": 0.5, "who": "x"})
    assert second[:3] == ("2", "y", {"year": 2021, "price": "4.00", "zip": "123", "ratio": None, "who": "3"})
    assert [first.where, second.where] == ["c.csv, line 2", "c.csv, line 5"]
    assert source.report.notes == [
        'c.csv: columns of numbers became numbers: "year", "ratio".',
        "c.csv: the column \"price\" stayed text: not all of it is written as JSON writes numbers, such as '3.50'.",
        "c.csv: the column \"zip\" stayed text: not all of it is written as JSON writes numbers, such as '007'.",
    ]


@pytest.mark.parametrize(
    ("content", "texts", "note"),
    [
        ("id;text\n1;a, b\n", {"1": "a, b"}, "parted by a semicolon"),
        ("id\ttext\n1\ta, b\n", {"1": "a, b"}, "parted by a tab"),
        ("id|body\n1|a\n", {"1": "a"}, 'the field "body" was taken as the text'),
        ("sep=;\nid;text\n1;a\n", {"1": "a"}, "parted by a semicolon"),
        ("ID,Text\n1,a\n", {"1": "a"}, '"Text" was taken as the text'),
        (",text\n0,a\n", {"c.csv:1": "a"}, "c.csv: 1 column without a name was left out."),
        (",text,\n0,a,b\n", {"c.csv:1": "a"}, "c.csv: 2 columns without a name were left out."),
        ("text\na\nb\n", {"c.csv:1": "a", "c.csv:2": "b"}, "2 of 2 records have no id"),
        ("id,text\n", {}, "holds no rows"),
        ("", {}, "holds no rows"),
    ],
)
def test_kinds_of_csv(tmp_path, content, texts, note):
    found, problems, _, notes = read(write(tmp_path / "c.csv", content))
    assert (found, problems) == (texts, {})
    assert note in notes
    assert read(write(tmp_path / "c.csv.gz", content))[1] == {}


def test_csv_with_blanks_behind_its_delimiters(tmp_path):
    note = "a.csv: its columns are parted by a comma and a blank: blanks before its cells were left out."
    source = open_source(write(tmp_path / "a.csv", "id, text, year\n1, hello there, 1999\n 2,  y, 2000\n"))
    assert [document[:3] for document in source] == [
        ("1", "hello there", {"year": 1999}),
        ("2", "y", {"year": 2000}),
    ]
    assert source.report.notes == [note, 'a.csv: a column of numbers became numbers: "year".']
    source = open_source(write(tmp_path / "b.csv", 'id; "text"; "of; which"\n1; "a; ""b"""; " c"\n'))
    assert [document[:3] for document in source] == [("1", 'a; "b"', {"of; which": " c"})]
    assert "parted by a semicolon and a blank" in source.report.notes[0]
    source = open_source(write(tmp_path / "c.csv", "id,text, year\n 1, hello,x\n"))  # not all begin so
    assert [document[:3] for document in source] == [(" 1", " hello", {"year": "x"})]
    assert source.report.notes == []


@pytest.mark.parametrize(
    ("content", "where", "problem"),
    [
        ("id,text\n1,a\n2\n3,c\n", "c.csv, line 3", '1 column, where the header names 2: "id", "text".'),
        ("id,text\n1,a\n2,b,c\n3,c\n", "c.csv, line 3", "3 columns"),
        ('id,text\n1,a\n2,"b" c\n3,c\n', "c.csv, line 3", "not CSV"),
        ('id,text\n1,a\n3,c\n4,"open\n5,e\n', "c.csv, line 4", "never closed"),
        (b"id,text\n1,a\n2,caf\xe9\n3,c\n", "c.csv, line 3", "the byte 0xe9 is not UTF-8"),
    ],
)
def test_bad_rows_of_csv(tmp_path, content, where, problem):
    texts, problems, _, _ = read(write(tmp_path / "c.csv", content))
    assert texts == {"1": "a", "3": "c"}
    assert list(problems) == [where]
    assert problem in problems[where]


@pytest.mark.parametrize(
    ("content", "fields", "problem"),
    [
        ("1,hello\n2,world\n", Fields(), 'its columns are "1", "hello". Name the one that is the text'),
        ("id,text,text\n1,a,b\n", Fields(), "the column 'text' comes twice"),
        ("id,text\n1,a\n", Fields(text="body"), 'there is no column "body"'),
        ("id,text\n1,a\n", Fields(id="key"), 'there is no column "key"'),
        ("id,text\n1,a\n", Fields(metadata=("lang",)), 'there is no column "lang"'),
    ],
)
def test_csv_that_is_a_problem_as_a_whole(tmp_path, content, fields, problem):
    texts, problems, _, _ = read(write(tmp_path / "c.csv", content), fields)
    assert texts == {}
    assert problem in problems["c.csv"]


def test_long_cells_and_what_others_set(tmp_path):
    before = csv.field_size_limit()
    assert len(one(write(tmp_path / "c.csv", f"id,text\n1,{'x' * 300_000}\n")).text) == 300_000
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "texts", "note"),
    [
        ('1\t"quoted" text\n2\tb\tT\n', {"1": '"quoted" text', "2": "T b"}, ""),
        ("id\ttext\ttitle\n1\ta\tT\n", {"1": "T a"}, "The first line of c.tsv was taken for the names of its columns."),
        ('id\ttext\n1\t"a\tb"\n', {"1": "a\tb"}, "quotation marks around its cells are as in CSV"),
        ('id\ttext\n1\t"a" b\n', {"1": '"a" b'}, "quotation marks around its cells are text"),
        ("1\tabstract\n2\tb\n", {"1": "abstract", "2": "b"}, ""),
    ],
)
def test_kinds_of_tsv(tmp_path, content, texts, note):
    found, problems, _, notes = read(write(tmp_path / "c.tsv", content))
    assert (found, problems) == (texts, {})
    assert note in notes


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (
            "word\tmeaning\nferry\ta boat\n",
            "a.tsv: read as id<TAB>text without a header, from the line with the id 'word' on.",
        ),
        ("\n7\tx\n8\t1999\n9\ty\n", "a.tsv: read as id<TAB>text without a header, from the line with the id '7' on."),
        ("1\ta\tT\n2\t3\t4 of us\n", ""),
        (
            "1\ta\tT\n2\tb\t4 of us\n",
            "a.tsv: read as id<TAB>text<TAB>title without a header, from the line with the id '1' on.",
        ),
    ],
)
def test_a_tsv_file_without_a_header_is_told(tmp_path, content, note):
    texts, problems, _, notes = read(write(tmp_path / "a.tsv", content))
    assert note == notes
    assert bool(texts) == bool(note) != bool(problems)


@pytest.mark.parametrize(
    ("content", "named", "column"),
    [
        ("word\tcount\nthe\t1,000\nof\t-7.5e3\n", '"word", "count"', "second"),
        ("sentence\tlabel\na lovely film\t1\nnot so\t0\n", '"sentence", "label"', "second"),
        ("q1\td1\t1\nq1\td2\t0\n", '"q1", "d1", "1"', "third"),
        ("q1\t0\td1\t1\nq1\t0\td2\t0\n", '"q1", "0", "d1", "1"', "second"),
        ("the\t12\n", '"the", "12"', "second"),
        ("w\tn\n" + "a\t1\n" * 20 + "b\tnone\n", '"w", "n"', "second"),
    ],
)
def test_tables_of_numbers_are_no_texts(tmp_path, content, named, column):
    texts, problems, _, _ = read(write(tmp_path / "a.tsv", content))
    assert texts == {}
    assert problems["a.tsv"].startswith(f"its {column} column holds numbers")
    assert f"the first line has {named}. " in problems["a.tsv"]
    assert "--text-field NAME" in problems["a.tsv"]
    write(tmp_path / "b.txt", "b")
    texts, problems, skipped, _ = read(tmp_path)
    assert (texts, problems) == ({"b.txt": "b"}, {})
    assert skipped == {"a.tsv": "TSV without a column of texts (see --text-field)"}


def test_the_text_of_a_table_of_numbers_can_be_named(tmp_path):
    path = write(tmp_path / "a.tsv", "sentence\tlabel\na lovely film\t1\nnot so\t0\n")
    assert read(path, Fields(text="sentence"))[0] == {"a.tsv:1": "a lovely film", "a.tsv:2": "not so"}


@pytest.mark.parametrize(
    "header", ["query-id\tcorpus-id\tscore", "qid\titer\tdocno\trel", "Topic ID\tDocID\tRelevance"]
)
def test_judgements_are_no_texts(tmp_path, header):
    path = write(tmp_path / "a.tsv", f"{header}\nq1\td1\thigh\n")
    texts, problems, _, _ = read(path)
    assert texts == {}
    assert "these are judgements, not texts. Give the file or folder that holds the texts" in problems["a.tsv"]
    write(tmp_path / "b.txt", "b")
    assert read(tmp_path)[:3] == ({"b.txt": "b"}, {}, {"a.tsv": "judgements of a test collection, not texts"})


def test_a_header_that_is_not_known_is_told(tmp_path):
    path = write(tmp_path / "c.tsv", "qid\tquery\n1\tx\n")
    texts, _, _, notes = read(path)
    assert texts == {"qid": "query", "1": "x"}
    assert "The first line of c.tsv was read as a text, with the id 'qid': if it names the columns" in notes
    assert read(path, Fields(id="qid", text="query"))[0] == {"1": "x"}


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a.json", "a.parquet", "a.arrow", "a.html", "a.md", "a"])
def test_empty_files_are_empty_documents(tmp_path, name):
    assert read(write(tmp_path / name, ""))[:2] == ({name: ""}, {})


def test_bad_rows_of_tsv(tmp_path):
    texts, problems, _, _ = read(write(tmp_path / "c.tsv", b"1\ta\nalone\n\ttext\n2\tcaf\xe9\n3\tc\n"))
    assert texts == {"1": "a", "3": "c"}
    assert [where.rpartition(" ")[2] for where in problems] == ["2", "3", "4"]
    texts, problems, _, _ = read(write(tmp_path / "d.tsv", "1\ta\n"), Fields(text="body"))
    assert problems == {"d.tsv": 'there is no column "body": the first line has "1", "a".'}


TABLE = {
    "id": [1, 2],
    "text": ["x", "y"],
    "when": [datetime.datetime(2020, 1, 2, 3), None],
    "day": [datetime.date(2020, 1, 2)] * 2,
    "cost": [decimal.Decimal("1.5"), None],
    "raw": [b"x", b"y"],
    "by": [{"name": "n"}, {"name": "m"}],
    "tags": [["a"], []],
    "score": [float("nan"), 0.5],
}


@pytest.mark.parametrize("kind", ["parquet", "parquet.gz", "feather", "arrow", "pyarrow", "polars"])
def test_tables_on_disk_and_in_memory(tmp_path, kind):
    rows = pyarrow.table(TABLE)
    path = tmp_path / f"t.{kind}"
    if kind.startswith("parquet"):
        parquet.write_table(rows, tmp_path / "made")
        write(path, (tmp_path / "made").read_bytes())
    elif kind == "feather":
        feather.write_feather(rows, str(path))
    elif kind == "arrow":
        with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
    source = source_of({"pyarrow": rows, "polars": polars.from_arrow(rows)}.get(kind, path))
    first, second = source
    assert first[:2] == ("1", "x")
    assert first.metadata == {
        "when": "2020-01-02T03:00:00",
        "day": "2020-01-02",
        "cost": 1.5,
        "tags": ["a"],
        "score": None,
    }
    assert second.metadata["when"] is None
    assert second.metadata["score"] == 0.5
    assert [note.partition("the field ")[2][:5] for note in source.report.notes] == ["'raw'", "'by' "]


def test_pandas(tmp_path):
    frame = pandas.DataFrame(
        {"text": ["x", None], "n": [1.0, float("nan")], "day": pandas.to_datetime(["2020-01-01", None])},
        index=pandas.Index(["a", "b"], name="docid"),
    )
    source = source_of(frame)
    first, second = source
    assert first[:3] == ("a", "x", {"n": 1.0, "day": "2020-01-01T00:00:00"})
    assert second[:3] == ("b", "", {"n": None, "day": None})
    (first, _) = source_of(frame.rename_axis("other"))
    assert first[:3] == ("0", "x", {"other": "a", "n": 1.0, "day": "2020-01-01T00:00:00"})
    source = source_of(frame.rename_axis(None))
    assert [document.id for document in source] == ["0", "1"]
    assert "The index of the DataFrame has no name and was left out" in source.report.notes[0]
    with pytest.raises(CollectionError, match='its columns are "n", "day"'):
        source_of(frame[["n", "day"]].reset_index(drop=True))
    with pytest.raises(InputError, match="must be called by texts"):
        source_of(pandas.DataFrame([["a"]]))


def test_what_the_index_of_pandas_has_names_for_is_read():
    frame = pandas.DataFrame({"id": ["a", "b"], "c": [1, 2], "d": ["u", "v"], "text": ["x", "y"]})
    expected = [("a", "x", {"c": 1, "d": "u"}), ("b", "y", {"c": 2, "d": "v"})]
    for index in ("id", "c", "text", ["id", "c"], ["c", "d"], ["text", "id", "c", "d"]):
        source = source_of(frame.set_index(index))
        assert [document[:3] for document in source] == expected
        assert source.report.notes == []
    half = frame.set_index(["id", "c"]).rename_axis(["id", None])
    source = source_of(half)
    assert [document[:3] for document in source] == [("a", "x", {"d": "u"}), ("b", "y", {"d": "v"})]
    assert len(source.report.notes) == 1
    assert list(frame.set_index("id").index) == ["a", "b"]


def test_an_index_of_pandas_that_is_called_as_a_column_is_refused():
    frame = pandas.DataFrame({"id": ["a", "b"], "c": [1, 2], "text": ["x", "y"]})
    with pytest.raises(InputError, match="index of the DataFrame is called 'id', as a column is"):
        source_of(frame.set_index("id", drop=False))
    with pytest.raises(InputError, match="is called 'k', as another level of it is"):
        source_of(frame.set_index(["id", "c"]).rename_axis(["k", "k"]))
    with pytest.raises(InputError, match="must be called by texts"):
        source_of(frame.rename_axis(7))


def test_datasets_of_hugging_face():
    rows = Dataset.from_dict({"_id": ["1"], "text": ["x"], "title": ["T"], "answers": [{"a": ["b"]}]})
    for given in (rows, rows.to_iterable_dataset()):
        source = source_of(given)
        assert [document[:3] for document in source] == [("1", "T x", None)]
        assert "'answers' of 1 record" in source.report.notes[0]
    with pytest.raises(InputError, match=r"DatasetDict with the splits train, dev: give one"):
        source_of(DatasetDict({"train": rows, "dev": rows}))
    with pytest.raises(InputError, match="LazyFrame"):
        source_of(polars.LazyFrame({"text": ["x"]}))


def test_datasets_of_ir_datasets(tmp_path):
    made = ir_datasets.create_dataset(docs_tsv=str(write(tmp_path / "docs.tsv", "d1\thello\nd2\tworld\n")))
    assert [document[:2] for document in source_of(made)] == [("d1", "hello"), ("d2", "world")]
    ir_datasets.registry.register("xtrkit-test", made)
    assert [document.id for document in open_source("irds:xtrkit-test")] == ["d1", "d2"]
    with pytest.raises(CollectionError, match="ir_datasets has no collection 'xtrkit-none'"):
        source_of("irds:xtrkit-none")
    queries = ir_datasets.create_dataset(queries_tsv=str(write(tmp_path / "queries.tsv", "q\thello\n")))
    with pytest.raises(CollectionError, match="has no documents"):
        source_of(queries)


def test_a_string_is_a_path_or_told_to_be_none(tmp_path):
    path = write(tmp_path / "a.txt", "x")
    assert [document.text for document in source_of(str(path))] == ["x"]
    assert [document.text for document in source_of(f"{tmp_path}/*.txt")] == ["x"]
    for text in ("one text", "What is this?", "x" * 5000, "a\0b", ""):
        with pytest.raises(InputError, match="put texts in a list"):
            source_of(text)


def test_dicts_follow_the_fields_too():
    source = source_of([{"key": 1, "body": "x", "day": datetime.date(2020, 1, 1)}], Fields(id="key"))
    assert [document[:3] for document in source] == [("1", "x", {"day": "2020-01-01"})]
    assert len(source.report.notes) == 1
    (problem,) = source_of([{"id": 1, "text": "x", "by": {"n": 1}}])
    assert problem.problem.startswith("the metadata field 'by' of '1' must be a string, a number, ")
    problem, document = source_of([{"a": 1}, {"text": "x"}])
    assert problem.where == "Passage 0"
    assert (document.where, document.id) == ("Passage 1", "1")


@pytest.mark.parametrize("empty", [[], (), set(), frozenset(), numpy.array([])])
def test_an_empty_list_is_no_value(empty):
    (document,) = source_of([{"id": "1", "text": "x", "tags": empty, "metadata": {"more": empty, "n": 1}}])
    assert document.metadata == {"tags": None, "more": None, "n": 1}
    (problem,) = source_of([{"id": "1", "text": "x", "tags": [[]]}])
    assert "'tags' of '1' must be a string" in problem.problem


def test_empty_lists_in_files_and_tables(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"id": "1", "text": "x", "tags": [], "metadata": {"by": []}}\n')
    assert one(path).metadata == {"tags": None, "by": None}
    frame = polars.DataFrame({"id": ["1", "2"], "text": ["x", "y"], "tags": [[], ["a"]]})
    frame.write_parquet(tmp_path / "a.parquet")
    pandas_frame = pandas.DataFrame({"id": ["1", "2"], "text": ["x", "y"], "tags": [numpy.array([]), ["a"]]})
    for given in (frame, tmp_path / "a.parquet", pandas_frame):
        assert [document.metadata for document in source_of(given)] == [{"tags": None}, {"tags": ["a"]}]


PARIS = datetime.timezone(datetime.timedelta(hours=2))
DATES = [
    (datetime.datetime(2024, 5, 1, 1, 30, tzinfo=PARIS), "2024-04-30T23:30:00+00:00"),
    (datetime.datetime(2024, 5, 1, 12, tzinfo=ZoneInfo("America/New_York")), "2024-05-01T16:00:00+00:00"),
    (datetime.datetime(2024, 5, 1, 10), "2024-05-01T10:00:00"),
    (datetime.date(2024, 5, 1), "2024-05-01"),
    (numpy.datetime64("2024-01-01T10"), "2024-01-01T10:00:00"),
    (numpy.datetime64("2024-01-01"), "2024-01-01"),
    (numpy.datetime64("2024-01-01T10:00:00.500", "ns"), "2024-01-01T10:00:00.500000"),
    (pandas.Timestamp("2024-05-01 10:00", tz="Europe/Berlin"), "2024-05-01T08:00:00+00:00"),
    (pandas.Timestamp("2024-05-01 10:00"), "2024-05-01T10:00:00"),
]


@pytest.mark.parametrize(("date", "stored"), DATES)
def test_dates_are_the_same_text_however_they_are_given(tmp_path, date, stored):
    frame = pandas.DataFrame({"id": ["1"], "text": ["x"], "when": pandas.Series([date], dtype=object)})
    for given in (
        [{"id": "1", "text": "x", "when": date}],
        [{"id": "1", "text": "x", "metadata": {"when": date}}],
        [("1", "x", {"when": date})],
        [Passage("1", "x", {"when": date})],
        frame,
    ):
        (document,) = source_of(given)
        assert checked_passage(Passage("1", "x", document.metadata)).metadata == {"when": stored}
    (document,) = source_of([{"id": "1", "text": "x", "when": [date, date]}])
    assert document.metadata == {"when": [stored, stored]}
    assert plain_value(date) == stored  # what a filter compares with


def test_dates_of_columns_with_a_zone():
    when = pandas.to_datetime(["2024-05-01 10:00", None]).tz_localize("Asia/Tokyo")
    frame = pandas.DataFrame({"id": ["1", "2"], "text": ["x", "y"], "when": when})
    expected = ["2024-05-01T01:00:00+00:00", None]
    for given in (frame, polars.from_pandas(frame), pyarrow.Table.from_pandas(frame)):
        assert [document.metadata["when"] for document in source_of(given)] == expected
    (document,) = source_of([{"text": "x", "when": numpy.array(["2024-01-01T10"], "datetime64[ns]")}])
    assert document.metadata == {"when": ["2024-01-01T10:00:00"]}


def test_dates_that_can_not_be_kept_are_told():
    (document,) = source_of([{"text": "x", "a": numpy.datetime64("NaT"), "b": pandas.NaT}])
    assert document.metadata == {"a": None, "b": None}
    fine, far = numpy.datetime64("2024-01-01T10:00:00.000000001"), datetime.datetime(1, 1, 1, tzinfo=PARIS)
    for problem in source_of([{"text": "x", "when": fine}, {"text": "y", "when": far}]):
        assert problem.problem.startswith("the date ")
        assert "can't be kept: " in problem.problem


# What others' programs write


PAGE = b"""<html><head><title>Ferries of the bay</title><link rel="canonical" href="https://ferries.example/bay"></head>
<body><nav><a href="/">Home</a><a href="/more">More of our pages</a></nav><main><article>
<h1>Ferries</h1><p>The ferry to the island runs daily and takes two hours in summer.</p>
<h2>Prices &amp; times</h2><p>A ticket is cheap, about five crowns for each person that travels on it.</p>
<ul><li>Children pay nothing at all.</li></ul></article></main></body></html>"""


def test_html(tmp_path, capfd):
    document = one(write(tmp_path / "a.html", PAGE))
    assert headings(document)[1][1] == "Ferries > Prices & times"
    assert "Children pay nothing" in document.text
    assert "More of our pages" not in document.text
    assert document.metadata["url"] == "https://ferries.example/bay"
    assert document.metadata["title"].startswith("Ferries")
    short = one(write(tmp_path / "b.htm", "<h1>A</h1><p>x</p><h2>B</h2><p>y <b>bold</b></p>"))
    assert "y bold" in short.text.replace("*", "")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("start", "encoding", "note"),
    [
        ('<meta charset="iso-8859-2">', "iso-8859-2", ""),
        ('<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">', "cp1251", ""),
        ("", "utf-8", ""),
        ("", "utf-16", ""),
        ("", "cp1252", "declares nothing else: it was read as cp1252"),
        ('<meta charset="koi8-r">', "koi8-r", ""),
    ],
)
def test_encodings_of_html(tmp_path, start, encoding, note):
    word = {"iso-8859-2": "řeka", "cp1251": "слово", "koi8-r": "слово"}.get(encoding, "café")
    texts, _, _, notes = read(write(tmp_path / "a.html", f"<html><head>{start}</head><p>{word}</p>".encode(encoding)))
    assert texts == {"a.html": word}
    assert note in notes
    assert bool(note) == bool(notes)


def test_html_of_which_much_is_left_out_is_noted(tmp_path):
    menu = "".join(f"<li><a href='/{n}'>Another page of ours, number {n}</a></li>" for n in range(200))
    page = PAGE.replace(b"<nav>", f"<nav><ul>{menu}</ul>".encode())
    assert "was left out as navigation and the like" in read(write(tmp_path / "a.html", page))[3]


def test_docx(tmp_path, capfd):
    body = paragraph("Before") + paragraph("One", "Heading1") + paragraph("# text") + paragraph("Two", "Heading2")
    document = one(write_docx(tmp_path / "a.docx", body + paragraph("under two") + table(["a", "b"], ["c", "d"])))
    assert document.text == "Before\n\nOne\n\n# text\n\nTwo\n\nunder two\n\na | b\nc | d"
    assert headings(document)[1:] == [
        ("One\n\n# text", "One"),
        ("Two\n\nunder two\n\na | b\nc | d", "One > Two"),
    ]
    assert capfd.readouterr() == ("", "")


def test_pdf_by_pages(tmp_path, capfd):
    source = open_source(write(tmp_path / "a.pdf", pdf("Page one", "", "Page three")))
    (document,) = source
    assert [(document.text[first:last], metadata) for first, last, metadata in document.sections] == [
        ("Page one", {"page": 1}),
        ("Page three", {"page": 3}),
    ]
    assert source.report.notes[0].startswith("a.pdf: 1 of 3 pages has no text; is it scanned?")
    assert read(write(tmp_path / "b.pdf", pdf("", "")))[0] == {"b.pdf": ""}
    assert "no page has a text; are they scanned?" in read(tmp_path / "b.pdf")[3]
    assert capfd.readouterr() == ("", "")


def test_damaged_files_are_problems(tmp_path, capfd):
    write(tmp_path / "cut.pdf", pdf("x")[:120])
    write(tmp_path / "other.pdf", "<html>not found</html>")
    with pypdf.PdfWriter(write(tmp_path / "secret.pdf", pdf("x"))) as writer:
        writer.encrypt("secret", algorithm="RC4-128")
        writer.write(tmp_path / "secret.pdf")
    write(tmp_path / "torn.docx", b"PK\3\4 torn")
    write_docx(tmp_path / "deep.docx", "<w:p>" * 20_000 + "</w:p>" * 20_000)
    write(tmp_path / "bad.parquet", b"PAR1 bad")
    write(tmp_path / "bad.arrow", b"bad")
    write(tmp_path / "bad.html", b"\0\1\2")
    write(tmp_path / "deep.json", "[" * 100_000)
    write(tmp_path / "deep.html", "<div>" * 20_000 + "<p>hello hello</p>")
    write(tmp_path / "z.txt", "z")
    texts, problems, _, _ = read(tmp_path)
    assert set(texts) == {"deep.html", "z.txt"}
    assert set(problems) == {
        *("cut.pdf", "other.pdf", "secret.pdf", "torn.docx", "deep.docx"),
        *("bad.parquet", "bad.arrow", "bad.html", "deep.json"),
    }
    assert problems["secret.pdf"] == "is encrypted: save it without a password."
    assert all(problem.strip().endswith(".") and "\n" not in problem for problem in problems.values())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("library", "name", "kind"),
    [
        ("pypdf", "a.pdf", "PDF"),
        ("mammoth", "a.docx", "DOCX"),
        ("trafilatura", "a.html", "HTML"),
        ("pyarrow", "a.parquet", "Parquet"),
    ],
)
def test_a_reader_that_is_not_installed_is_told_with_the_command(tmp_path, monkeypatch, library, name, kind):
    write(tmp_path / name, pdf("x"))
    write(tmp_path / f"b{name}", pdf("x"))
    write(tmp_path / "z.txt", "z")
    monkeypatch.setitem(sys.modules, library, None)
    source = open_source(tmp_path)
    problem, document = source
    assert problem.where == f"2 {kind} files, such as {name}"
    assert "run pip install" in problem.problem
    assert library in problem.problem
    assert document.id == "z.txt"
    assert all("run pip install" in item.problem for item in source.read(source.listing()[0]))
    with pytest.raises(MissingExtraError, match="run pip install"):
        open_source(tmp_path / name)


def test_the_report_can_be_written_as_json(tmp_path):
    write(tmp_path / "a.jsonl", '{"text": "x"}\n{oops\n')
    write(tmp_path / "b.png", b"\0")
    source = open_source(tmp_path)
    assert len(list(source)) == 2
    report = json.loads(json.dumps(source.report.as_json()))
    assert report["files"] == {"JSON lines": 1}
    assert report["skipped"] == [{"file": "b.png", "reason": "no reader for .png"}]
    assert len(report["notes"]) == 1
