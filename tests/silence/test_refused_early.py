"""What is wrong with a record is said before anything is encoded, with file and line; what stops later costs little."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from xtrkit import Retriever
from xtrkit.encoding import load_encoder
from xtrkit.errors import CollectionError, InputError, ModelError
from xtrkit.indexing.spool import FLUSH_SECONDS, workplace_of

N = 1201


@pytest.fixture(scope="module")
def encoder():
    return load_encoder()


@pytest.fixture(scope="module")
def there(tmp_path_factory, encoder):
    """An index to add to; tests take a copy."""
    path = tmp_path_factory.mktemp("refused") / "there"
    Retriever.create(path, ["a text"], model=encoder).close()
    return path


def corpus(path, last, between=()):
    """A file of good records, with a bad one in its last line."""
    good = [json.dumps({"_id": f"p{number}", "text": f"Text number {number}."}) for number in range(N - 1)]
    path.write_text("\n".join([*good, *between, last]) + "\n", encoding="utf-8")
    return path


BAD = {
    "an id that is none": ('{"_id": ["x"], "text": "t"}', "id"),
    "an id of 600 bytes": ('{"_id": "' + "x" * 600 + '", "text": "t"}', "Ids may have 512 bytes"),
    "an id with NUL": (r'{"_id": "a\u0000b", "text": "t"}', "NUL"),
    "an id that was there": ('{"_id": "p7", "text": "t"}', "comes twice, first in .*corpus.jsonl, line 8"),
    "NaN in metadata": ('{"_id": "x", "text": "t", "year": NaN}', "NaN|nan|finite"),
    "infinity in metadata": ('{"_id": "x", "text": "t", "metadata": {"year": -Infinity}}', "nfinit"),
    "a field name with a quote": (r'{"_id": "x", "text": "t", "a\"b": 1}', "quotation marks"),
    "a NUL in a value": (r'{"_id": "x", "text": "t", "lang": "e\u0000n"}', "NUL"),
    "a number of 65 bits": ('{"_id": "x", "text": "t", "n": 18446744073709551616}', "64 bits"),
    "half a character": (r'{"_id": "x", "text": "a \ud83d b"}', "surrogate"),
    "a text that is none": ('{"_id": "x", "text": 7}', "text"),
    "no text": ('{"_id": "x", "body_md": "t"}', "body_md"),
    "no JSON": ('{"_id": "x", "text": ', "JSON"),
    "an id of a piece": ('{"_id": "x¶4", "text": "t"}', "¶ and a number"),
    "a record that is a list": ('["x", "t"]', "object"),
}


@pytest.mark.parametrize(("line", "told"), BAD.values(), ids=BAD)
def test_the_last_line_is_checked_before_the_first_text_is_encoded(tmp_path, encoder, there, monkeypatch, line, told):
    def encode(*arguments, **options):
        raise AssertionError("it was encoding already")

    path = corpus(tmp_path / "corpus.jsonl", line)
    shutil.copytree(there, tmp_path / "there")
    monkeypatch.setattr(type(encoder), "stream_documents", encode)
    with pytest.raises(CollectionError, match=rf"corpus\.jsonl, line {N}: .*({told})"):
        Retriever.create(tmp_path / "idx", path, model=encoder)
    with pytest.raises(CollectionError, match=rf"corpus\.jsonl, line {N}: .*({told})"):
        Retriever.open(tmp_path / "there").add(path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["corpus.jsonl", "there"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([*["t"] * 1200, 7], "Passage 1200: expected a text"),
        ([*({"text": "t"} for _ in range(1200)), {"text": "t", "n": float("nan")}], "Passage 1200: .*finite"),
        (
            [*((f"p{n}", "t") for n in range(1200)), ("p3", "t")],
            "Passage 1200: The id 'p3' comes twice, first in Passage 3",
        ),
        (({"id": "x" * 600, "text": "t"} for _ in range(1)), "Passage 0: Ids may have 512 bytes"),
    ],
    ids=["a number", "nan", "twice", "from a generator"],
)
def test_what_comes_from_python_is_told_by_its_place(tmp_path, encoder, given, told):
    with pytest.raises(InputError, match=told):
        Retriever.create(tmp_path / "idx", given, model=encoder)
    assert not list(tmp_path.iterdir())


def test_all_that_is_bad_is_told_at_once_and_can_be_left_out(tmp_path, encoder):
    good = [{"_id": f"p{number}", "text": f"Text {number}."} for number in range(4)]
    bad = [{"_id": "p1", "text": "again"}, {"_id": "x", "text": 3}, {"_id": "y", "text": "t", "n": 1 << 70}]
    lines = [
        json.dumps(record)
        for pair in zip(good, [*bad, {"_id": "z", "text": "t", 'q"': 1}], strict=True)
        for record in pair
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    with pytest.raises(
        CollectionError,
        match=r"^4 files or records can't be read:\n.*line 3: .*\n.*line 4: .*\n.*line 6: .*\n.*line 8: ",
    ) as told:
        Retriever.create(tmp_path / "idx", tmp_path / "corpus.jsonl", model=encoder)
    assert "--skip-bad (skip_bad=True)" in str(told.value)
    assert [problem.where.rpartition(" ")[2] for problem in told.value.problems] == ["3", "4", "6", "8"]
    retriever = Retriever.create(tmp_path / "idx", tmp_path / "corpus.jsonl", model=encoder, skip_bad=True)
    assert sorted(retriever.index.ids()) == ["p0", "p1", "p2", "p3"]
    assert [problem.where.rpartition(" ")[2] for problem in retriever.indexed.report.bad] == ["3", "4", "6", "8"]


class Failing:
    """An encoder that stops working at a text."""

    def __init__(self, encoder, at):
        self._encoder, self._at = encoder, at
        self.seen = []

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def stream_documents(self, texts, *, batch_size=32, chunk_size=256):
        for text in texts:
            if text.endswith(f" {self._at}."):
                raise ModelError("the model broke")
            self.seen.append(text)
            yield from self._encoder.stream_documents([text], chunk_size=1)


def test_what_stops_a_run_keeps_what_it_encoded(tmp_path, encoder):
    texts = [f"This is text number {number}." for number in range(300)]
    first = Failing(encoder, 200)
    with pytest.raises(ModelError, match="broke"):
        Retriever.create(tmp_path / "idx", texts, model=first, batch_size=4)
    assert workplace_of(tmp_path / "idx").exists()
    second = Failing(encoder, "none")
    assert len(Retriever.create(tmp_path / "idx", texts, model=second)) == 300
    assert second.seen == texts[len(first.seen) :]
    assert len(first.seen) >= 150
    assert [entry.name for entry in tmp_path.iterdir()] == ["idx"]


SLOW = """
import sys, time
from xtrkit import Retriever
from xtrkit.encoding import load_encoder
from xtrkit.indexing import spool

path, pause, spool.FLUSH_SECONDS = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
encoder = load_encoder()
encode = type(encoder)._encode

def slow(self, texts, *arguments, **options):
    time.sleep(pause * len(texts))
    print(*texts, sep="\\n", flush=True)
    return encode(self, texts, *arguments, **options)

type(encoder)._encode = slow
print("begin", flush=True)
Retriever.create(path, [f"Text number {n} tells a story of its own." * 20 for n in range(400)], model=encoder)
"""


@pytest.mark.parametrize("share", [0.4, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_loses_half_a_minute_at_most(tmp_path, share):
    """A model of three texts a second, killed after twenty: 256 passages a time would have lost them all.

    All seconds are shortened alike.
    """
    pause, seconds, between = 0.3 * share, 20 * share, FLUSH_SECONDS * share
    path = tmp_path / "idx"
    command = [sys.executable, "-c", SLOW, str(path), str(pause), str(between)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert run.stdout.readline() == b"begin\n"
    first = [run.stdout.readline() for _ in range(int(seconds / pause))]  # however busy the machine is
    os.kill(run.pid, signal.SIGKILL)
    with run:
        encoded = len(first) + len(run.stdout.read().splitlines())
    connection = sqlite3.connect(workplace_of(path) / "documents.sqlite")
    (done,) = connection.execute("SELECT count(*) FROM documents").fetchone()
    connection.close()
    assert first[-1]
    assert 0 < done <= encoded
    assert (encoded - done) * pause < 0.75 * seconds
