"""A build that is killed goes on where it was, and ends in the same bytes as one that was not."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from xtrkit.errors import IndexLockedError, InputError
from xtrkit.index import Index
from xtrkit.indexing import spool as spools
from xtrkit.indexing.creating import Making, write_store
from xtrkit.indexing.documents import joined
from xtrkit.passage import Passage
from xtrkit.progress import Reporter
from xtrkit.storage.generations import pin

N = 90
LENGTHS = np.random.default_rng(1).integers(1, 9, N)
IDS = [f"d{i}" for i in range(N)]
TEXTS = [f"text ü {i}" for i in range(N)]
PHASES = {
    16: ["Writing the index"],
    4: [
        "Drawing a sample",
        "Finding centroids",
        "Assigning tokens",
        "Compressing tokens",
        "Ordering by cluster",
    ],
}


def document(number):
    return np.random.default_rng(number).normal(size=(LENGTHS[number], 16)).astype(np.float32)


def batches(first, asked=None, die_at=None, batch=10):
    for start in range(first, N, batch):
        numbers = range(start, min(start + batch, N))
        if die_at in numbers:
            os.kill(os.getpid(), signal.SIGKILL)
        if asked is not None:
            asked.extend(numbers)
        yield [document(number) for number in numbers]


def create(path, asked=None, die_at=None, die_in=None, nbits=16, **more):
    """Build the index; die at a document, or when a phase has done something."""

    class Deadly(Reporter):
        @contextmanager
        def phase(self, description, total, unit="", done=0):
            def advance(amount):
                if description == die_in:
                    os.kill(os.getpid(), signal.SIGKILL)

            yield advance

    columns = joined(more.pop("ids", IDS), more.pop("texts", TEXTS), more.pop("metadata", None), None)
    source, encoder = more.pop("batches", lambda first: batches(first, asked, die_at)), more.pop("encoder", None)
    making = Making(nbits, n_documents=N, **more)
    write_store(path, source, columns, encoder=encoder, making=making, reporter=Deadly())
    return Index.open(path)


def digests(directory):
    """Of the files of the newest generation, without the random part of their names."""
    files = pin(directory).manifest.files
    return {
        re.sub("-[0-9a-f]{8}", "", name): hashlib.sha256((directory / name).read_bytes()).digest() for name, *_ in files
    }


def killed(path, *deaths, **options):
    """One process after the other builds, and dies as it is told; forked of one, which has imported everything."""
    code = (
        "import os, signal, sys, tests.indexing.test_resume as t; from pathlib import Path\n"
        "t.spools.FLUSH_SECONDS = 0\n"
        f"for death in {deaths!r}:\n"
        "    if not os.fork():\n"
        f"        t.create(Path(sys.argv[1]), **death, **{options!r})\n"
        "        os._exit(1)\n"
        "    assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGKILL, death\n"
        "    assert not Path(sys.argv[1]).exists(), death\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr.decode()


@pytest.fixture(scope="module", params=[16, 4], ids=["exact", "compressed"])
def whole(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "idx"
    create(path, nbits=request.param).close()
    return request.param, digests(path)


@pytest.mark.parametrize("points", [[0], [89], [12, 12, 50, 72]])
def test_killed_while_encoding(tmp_path, whole, points):
    nbits, expected = whole
    killed(tmp_path / "idx", *({"die_at": point} for point in points), nbits=nbits)
    asked = []
    create(tmp_path / "idx", asked, nbits=nbits).close()
    assert asked == list(range(points[-1] // 10 * 10, N))  # what was there is not encoded again
    assert digests(tmp_path / "idx") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["idx"]


def test_killed_in_every_later_phase(tmp_path, whole):
    nbits, expected = whole
    killed(tmp_path / "idx", *({"die_in": phase} for phase in PHASES[nbits]), nbits=nbits)
    asked = []
    create(tmp_path / "idx", asked, nbits=nbits).close()
    assert asked == []
    assert digests(tmp_path / "idx") == expected


def test_killed_at_any_time(tmp_path, whole):
    nbits, expected = whole
    code = (
        "import sys, time, tests.indexing.test_resume as t; from pathlib import Path\n"
        "t.spools.FLUSH_SECONDS = 0\n"
        "def slow(first):\n"
        "    for batch in t.batches(first, batch=3):\n"
        "        time.sleep(0.02)\n"
        "        yield batch\n"
        f"t.create(Path(sys.argv[1]), nbits={nbits}, batches=slow)"
    )
    moments = np.random.default_rng(nbits)
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "idx")], stderr=subprocess.PIPE)
        while process.poll() is None and not (tmp_path / ".idx.building" / "rows.f16").exists():
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        _, told = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), told.decode()
    if not (tmp_path / "idx").exists():
        create(tmp_path / "idx", nbits=nbits).close()
    assert digests(tmp_path / "idx") == expected


def stopped(path, **more):
    """A build of everything that stops in the middle, in this process."""

    def ending(first):
        yield from batches(first, batch=30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Index.create(path, ending, **({"ids": IDS, "texts": TEXTS} | more))


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(spools, "FLUSH_SECONDS", 0)


def test_what_differs_from_the_input_is_made_anew(tmp_path, at_once):
    stopped(tmp_path / "idx")
    asked = []
    changed = [*TEXTS[:41], "another text", *TEXTS[42:]]
    index = create(tmp_path / "idx", asked, texts=changed)
    assert asked == list(range(41, N))
    assert index.get(IDS) == list(map(Passage, IDS, changed))
    for number in (0, 40, 41, 89):
        np.testing.assert_array_equal(index.vectors(number), document(number).astype(np.float16))


def test_an_input_that_got_shorter(tmp_path, at_once):
    stopped(tmp_path / "idx")
    index = create(tmp_path / "idx", batches=lambda first: iter([]), ids=IDS[:20], texts=TEXTS[:20])
    assert list(index.ids()) == IDS[:20]
    assert index.n_tokens == LENGTHS[:20].sum()


def test_other_vectors_are_not_mixed(tmp_path, at_once, encoders):
    stopped(tmp_path / "idx")
    asked = []
    create(tmp_path / "idx", asked, encoder=encoders["default"].identity).close()
    assert asked == list(range(N))


def test_bits_may_change_on_the_way(tmp_path, whole, at_once):
    nbits, expected = whole
    stopped(tmp_path / "idx", nbits=20 - nbits)
    create(tmp_path / "idx", nbits=nbits).close()
    assert digests(tmp_path / "idx") == expected


@pytest.mark.parametrize("name", ["documents.sqlite", "rows.f16"])
def test_a_damaged_spool_is_made_anew(tmp_path, whole, at_once, name):
    nbits, expected = whole
    stopped(tmp_path / "idx", nbits=nbits)
    file = tmp_path / ".idx.building" / name
    file.write_bytes(b"\xff" * (file.stat().st_size // 2))
    asked = []
    create(tmp_path / "idx", asked, nbits=nbits).close()
    assert asked == list(range(N))
    assert digests(tmp_path / "idx") == expected


def test_an_iterator_leaves_nothing_and_goes_on_with_nothing(tmp_path, at_once):
    stopped(tmp_path / "idx")
    assert (tmp_path / ".idx.building").exists()
    index = Index.create(tmp_path / "idx", batches(0), ids=IDS, texts=TEXTS, nbits=16)
    assert len(index) == N
    assert [path.name for path in tmp_path.iterdir()] == ["idx"]


def test_what_stops_before_anything_is_encoded_leaves_nothing(tmp_path):
    def bad(first):
        yield [np.full((1, 8), np.nan, np.float32)]

    with pytest.raises(InputError, match="NaN"):
        Index.create(tmp_path / "idx", bad, nbits=16)
    assert list(tmp_path.iterdir()) == []


def test_two_builders_of_one_index(tmp_path):
    """The second is refused at once, and the first ends as if nothing had been."""
    code = (
        "import sys, tests.indexing.test_resume as t; from pathlib import Path\n"
        "def waiting(first):\n"
        "    print('here', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    yield from t.batches(first)\n"
        "t.create(Path(sys.argv[1]), batches=waiting)"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    first = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "idx")], **pipes)
    assert first.stdout.readline() == "here\n"
    with pytest.raises(IndexLockedError, match=r"Another process is building this index .*\.idx\.building"):
        create(tmp_path / "idx")
    first.communicate("go\n", timeout=60)
    assert first.returncode == 0
    assert len(Index.open(tmp_path / "idx")) == N
