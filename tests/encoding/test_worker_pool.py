"""Several processes encode: the same index as one makes, and an end for all of them whatever happens."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest

from xtrkit import Retriever, load_encoder
from xtrkit.encoding.default import MINI_DIRECTORY
from xtrkit.encoding.worker_pool import in_processes
from xtrkit.errors import InputError, ModelError, WorkerError

TEXTS = [
    f"Entry {n}: {'the keeper wrote it down, ' * (n % 11)}then {'slept' if n % 2 else 'sailed'}." for n in range(60)
]
SLOW = [{"id": str(n), "text": f"Entry {n}. " + "The keeper wrote it down and went to bed. " * 10} for n in range(9000)]
"""Minutes of work."""


def vectors_of(index):
    (file,) = index.glob("*.vectors.safetensors")
    return file.read_bytes()


def test_the_index_is_the_same_to_the_byte(tmp_path):
    with Retriever.create(tmp_path / "one", TEXTS[:40], nbits=16):
        pass
    with Retriever.create(tmp_path / "two", TEXTS[:40], nbits=16, workers=2) as retriever:
        assert vectors_of(tmp_path / "one") == vectors_of(tmp_path / "two")
        assert not active_children()
        # In turn: adding goes the same way.
        retriever.add([{"id": f"new {n}", "text": text} for n, text in enumerate(TEXTS[40:])], workers=2)
        assert len(retriever) == len(TEXTS)


def test_parts_come_back_in_order():
    encoder = load_encoder(threads=1)
    right = encoder.encode_documents(TEXTS)
    with in_processes(encoder, 2) as working:
        chunks = list(working.stream_documents(iter(TEXTS), chunk_size=7))
        assert [len(chunk.embeddings) for chunk in chunks] == [7] * 8 + [4]
        np.testing.assert_array_equal(np.concatenate([chunk.embeddings.rows for chunk in chunks]), right.rows)
        assert working.document_tokens(TEXTS[0]) == encoder.document_tokens(TEXTS[0])
        np.testing.assert_array_equal(
            working.encode_queries(["a query"]).rows, encoder.encode_queries(["a query"]).rows
        )
        assert working.identity == encoder.identity
        # A process that is killed is told, and the others end, too.
        stream = working.stream_documents(TEXTS * 20, chunk_size=7)
        next(stream)
        os.kill(active_children()[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"ended before it was done \(exit code -9\)"):
            list(stream)
    assert not active_children()


def test_a_model_that_another_process_cannot_open(tmp_path):
    directory = Path(shutil.copytree(MINI_DIRECTORY, tmp_path / "model"))
    encoder = load_encoder(directory, threads=1)
    shutil.rmtree(directory)
    with in_processes(encoder, 2) as working, pytest.raises(ModelError, match="can't be opened in this process"):
        list(working.stream_documents(["a text"]))
    assert not active_children()


class Foreign:
    """An encoder that xtrkit did not load."""


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_numbers_of_workers_that_cannot_be(tmp_path, workers):
    with pytest.raises(InputError, match="workers must be a whole number of at least 1"):
        Retriever.create(tmp_path / "idx", TEXTS, workers=workers)


def test_an_encoder_of_somebody_elses():
    with (
        pytest.raises(InputError, match="A Foreign can't be loaded again by other processes"),
        in_processes(Foreign(), 2),
    ):
        pass


def committed(spool):
    """How many documents of a build survive a kill."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(f"file:{spool}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM documents").fetchone()[0]
    return 0


def hear_interrupts():
    """Undo what a shell does to programs in its background, these tests among them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def indexing(tmp_path, until, workers=2):
    """``xtrkit index`` at work, as soon as something can be said of its ``documents.sqlite``."""
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(one) + "\n" for one in SLOW))
    command = [sys.executable, "-m", "xtrkit", "index", "many.jsonl", "idx", "--workers", str(workers), "--no-split"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=hear_interrupts
    )
    deadline = time.monotonic() + 120
    while not until(tmp_path / ".idx.building" / "documents.sqlite"):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


def assert_gone(children):
    deadline = time.monotonic() + 60
    while any(os.path.exists(f"/proc/{child}") for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_command_that_is_stopped_before_it_kept_anything(tmp_path):
    process = indexing(tmp_path, until=Path.exists, workers=1)
    time.sleep(1)  # the spool is made; the first chunk takes longer
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.strip().splitlines()[-1] == "Stopped. It had kept nothing yet, and has left nothing behind."
    assert [path.name for path in tmp_path.iterdir()] == ["many.jsonl"]


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks for processes in /proc")
def test_all_processes_end_with_the_command(tmp_path, ended_by):
    process = indexing(tmp_path, until=committed)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    if ended_by == signal.SIGINT:
        os.killpg(process.pid, ended_by)  # as a terminal does
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert told.strip().splitlines()[-1].startswith("Stopped. The same command goes on where this one was")
        assert "Traceback" not in told
    else:
        process.kill()
        process.communicate(timeout=60)
    assert_gone(children)
    assert not (tmp_path / "idx").exists()
