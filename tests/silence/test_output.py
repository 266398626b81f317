"""What commands print survives any stream, JSON is always JSON, and ``verify`` says what it left out and what helps."""

import json
import os
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests import commands
from tests.conftest import unit_rows
from tests.indexing.test_writer import run
from xtrkit import Index, Retriever
from xtrkit.cli.output import json_text
from xtrkit.indexing.checking import verify

IDS = ["日本語", "naïve", "🙂", "plain"]


def own_process(*arguments, encoding="utf-8", stdout=subprocess.PIPE):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "xtrkit", *map(os.fsencode, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False, timeout=120)


@pytest.fixture(scope="module")
def idx(tmp_path_factory):
    path = tmp_path_factory.mktemp("output") / "idx"
    texts = [f"text {name}" for name in IDS]
    Retriever.create(path, list(zip(IDS, texts, strict=True)), nbits=4).close()
    return path


@pytest.mark.parametrize(
    ("encoding", "run"),
    [
        ("utf-8", commands.in_bytes),
        ("ascii", own_process),
        ("cp1252", commands.in_bytes),
        ("latin-1", commands.in_bytes),
        ("utf-16", commands.in_bytes),
    ],
    ids=["utf-8", "ascii", "cp1252", "latin-1", "utf-16"],
)
def test_json_on_any_stream(idx, encoding, run):
    ran = run("search", idx, "text 日本語", "--json", encoding=encoding)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.decode(encoding))
    assert {hit["id"] for hit in found["hits"]} == set(IDS)
    assert found["query"] == "text 日本語"


def test_ids_on_a_terminal_without_their_characters(idx):
    shown = commands.in_bytes("search", idx, "text", encoding="ascii").stdout.decode("ascii")
    assert r"\u65e5\u672c\u8a9e" in shown
    assert r"na\xefve" in shown
    assert "?" not in shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["info", "nowhere", "--json"], 1, "There is nothing at"),
        (["search", "IDX", "x", "--where", '{"yaer": 3}', "--json"], 1, "metadata field 'yaer'"),
        (["search", "IDX", "x", "--where", '{"a": 3, "a": 4}', "--json"], 1, "--where names 'a' twice"),
        (["delete", "IDX", "nobody", "--json"], 1, "has the id 'nobody'"),
        (["index", "nowhere.jsonl", "new", "--json"], 1, "nowhere.jsonl"),
        (["info", b"caf\xe9", "--json"], 1, "There is nothing at"),
        (["info", "--json"], 2, "Missing argument"),
        (["info", "IDX", "--jsn", "--json"], 2, "No such option"),
    ],
)
def test_errors_are_json_too(idx, arguments, code, message):
    ran = commands.in_bytes(*[idx if one == "IDX" else one for one in arguments], encoding="ascii")
    assert ran.returncode == code, ran.stderr
    assert message in json.loads(ran.stdout)["error"]
    assert message.split("'")[0] in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr


def test_errors_without_json_are_on_standard_error_alone():
    ran = own_process("info", b"caf\xe9")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert rb"caf\udce9" in ran.stderr
    assert ran.stderr.startswith(b"Error: There is nothing at")


@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        (["info"], own_process),  # whose end flushes once more
        (["info", "--json"], commands.in_bytes),
        (["search", "x", "--json"], own_process),
        (["verify"], commands.in_bytes),
    ],
)
def test_a_closed_pipe_and_a_full_disk(idx, arguments, run):
    command = [arguments[0], idx, *arguments[1:]]
    reading, writing = os.pipe()
    os.close(reading)
    closed = os.fdopen(writing, "w")
    ran = run(*command, stdout=closed)
    with suppress(BrokenPipeError):
        closed.close()
    assert (ran.returncode, ran.stderr) == (1, b"")
    with open("/dev/full", "w") as full:
        ran = run(*command, stdout=full)
    assert (ran.returncode, ran.stderr.count(b"\n")) == (1, 1), ran.stderr
    assert b"No space left on device" in ran.stderr


def test_no_standard_output_at_all(idx):
    line = " ".join(shlex.quote(str(word)) for word in (sys.executable, "-m", "xtrkit", "info", idx, "--json"))
    ran = subprocess.run(f"{line} >&-", shell=True, capture_output=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, b"")


def test_what_json_does_not_have():
    nan, infinite = float("nan"), float("inf")
    value = {"a": nan, "b": [infinite, {"c": (-infinite, 1.5)}], nan: 1}
    assert json.loads(json_text(value), parse_constant=pytest.fail) == {
        "a": None,
        "b": [None, {"c": [None, 1.5]}],
        "nan": 1,
    }
    assert json_text({"file": "caf\udce9 é"}) == '{\n "file": "caf\\udce9 \\u00e9"\n}'
    assert json_text({"file": "é"}) == '{\n "file": "é"\n}'


# What verify says


def flip(file):
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)


def test_verify_says_what_it_left_out(idx):
    plain, report = run("verify", idx), verify(idx)
    size = sum(file.stat().st_size for file in idx.iterdir() if file.name.startswith("s0") and file.suffix != ".lock")
    assert report.not_checked.startswith(f"Of 3 files, {size:,} bytes, only sizes and structure were looked at")
    assert report.not_checked in plain.stdout
    assert "nothing wrong was found" in plain.stdout
    assert verify(idx, full=True).not_checked is None
    assert "all is what was written." in run("verify", idx, "--full").stdout
    assert (plain.returncode, json.loads(run("verify", idx, "--json").stdout)["repair"]) == (0, [])


def mended(report):
    """Run the commands that a report names."""
    assert report.repair
    for command in report.repair:
        ran = run(*shlex.split(command)[1:])
        assert ran.returncode == 0, ran.stderr
    after = verify(Path(report.index), full=True)
    assert after.ok
    return after


def test_damaged_vectors_are_encoded_anew(tmp_path):
    retriever = Retriever.create(tmp_path / "my idx", [(name, f"text {name}") for name in IDS], nbits=16)
    for file in (tmp_path / "my idx").glob("*.vectors.safetensors"):
        flip(file)
    assert verify(tmp_path / "my idx").ok, "which is why it says what it left out"
    report = verify(tmp_path / "my idx", full=True)
    assert ["--reencode" in command for command in report.repair] == [True]
    shown = run("verify", tmp_path / "my idx", "--full")
    assert shown.returncode == 1
    assert f"What mends it:\n  {report.repair[0]}" in shown.stdout
    mended(report)
    retriever.refresh()
    assert len(retriever) == len(IDS)


def documents(n, seed):
    import numpy as np

    return [unit_rows(np.random.default_rng(seed + i), 3, 8) for i in range(n)]


def test_damage_in_what_is_newer_is_rolled_back(tmp_path):
    index = Index.create(tmp_path / "idx", [documents(30, 0)])
    with index.writer() as writer:
        writer.add(["new"], documents(1, 50))
    flip(next((tmp_path / "idx").glob("s000000000002*.vectors.safetensors")))
    report = verify(tmp_path / "idx", full=True)
    assert report.repair == [f"xtrkit repair {tmp_path / 'idx'} --rollback 1"], "nothing encoded these vectors"
    mended(report)
    assert len(Index.open(tmp_path / "idx")) == 30


def test_a_generation_that_holds_the_damage_is_not_gone_back_to(tmp_path):
    index = Index.create(tmp_path / "idx", [documents(30, 0)])
    with index.writer() as writer:
        writer.add(["new"], documents(1, 50))
    flip(next((tmp_path / "idx").glob("s000000000001*.vectors.safetensors")))
    report = verify(tmp_path / "idx", full=True)
    assert report.intact_generations == [1, 2], "by their sizes"
    assert ["--drop-segment" in command for command in report.repair] == [True]
    mended(report)
    assert list(Index.open(tmp_path / "idx").ids()) == ["new"]


def test_a_manifest_that_is_damaged_is_rolled_back(tmp_path):
    index = Index.create(tmp_path / "idx", [documents(30, 0)])
    index.delete(["3"])
    newest = max((tmp_path / "idx").glob("manifest*"))
    newest.write_bytes(newest.read_bytes()[:-9])
    report = verify(tmp_path / "idx")
    assert report.repair == [f"xtrkit repair {tmp_path / 'idx'} --rollback 1"]
    mended(report)


def test_nothing_mends_the_only_segment_of_vectors(tmp_path):
    Index.create(tmp_path / "idx", [documents(3, 0)])
    flip(next((tmp_path / "idx").glob("*.vectors.safetensors")))
    assert verify(tmp_path / "idx", full=True).repair == []
    assert "put a backup in its place" in run("verify", tmp_path / "idx", "--full").stdout
