"""Flipped bits and cut files: ``verify --full`` reports each, nothing crashes, and no wrong passage is ever shown."""

import shutil
import signal

import numpy as np
import pytest

from tests.storage import real
from tests.storage.toy import LAST, STATES, STEPS
from tests.storage.zygote import in_children
from xtrkit.errors import XtrkitError
from xtrkit.indexing.checking import verify

FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An index with several segments and dead documents."""
    directory = tmp_path_factory.mktemp("whole") / "index"
    for step in STEPS[:9]:
        real.apply(directory, step)
    return directory, STATES[9]


def damages(directory, random, number):
    """(file, content) of so many damages, spread over all files."""
    files = sorted(path for path in directory.iterdir() if path.stat().st_size)
    for i in range(number):
        path = files[i % len(files)]
        content = bytearray(path.read_bytes())
        if random.random() < 0.2:
            del content[int(random.integers(len(content))) :]
        else:
            bit = int(random.integers(8 * len(content)))
            content[bit // 8] ^= 1 << bit % 8
        yield path.name, bytes(content)


def outcome_of(directory, expected):
    """What users get of a damaged index: "error", or "shown" if they get what was written; and what verify says."""
    try:
        opened = real.Opened(directory)
        texts, index = set(expected.values()), opened._index
        for text in list(expected.values())[:3]:
            for identifier, _ in index.search(real.vectors_of(text), k=99):
                number = index.number(identifier)
                assert index.stored(number).text == expected[identifier]
        for number, _ in index._store.passages.living(texts=True):
            assert index.stored(number).text in texts
        return "shown", verify(directory, full=True).ok
    except XtrkitError:
        return "error", verify(directory, full=True).ok


def check_damages(whole, box, number, seed):
    original, expected = whole
    random, directory = np.random.default_rng(seed), box / "index"
    newest = real.Opened(original).manifest
    named = {file.name for file in newest.files} | {f"manifest-{newest.generation:012d}.json"}
    shutil.copytree(original, directory)
    unreported = []

    def look(damage):
        name, content = damage
        (directory / name).write_bytes(content)
        result = outcome_of(directory, expected)
        shutil.copyfile(original / name, directory / name)
        return name in named, *result

    for damage, (status, result) in in_children(look, damages(original, random, number)):
        assert status not in [-fatal for fatal in FATAL], (damage[0], status)
        assert result is not None, (damage[0], status)
        is_named, _, ok = result
        if is_named and ok:
            unreported.append(damage[0])
        assert is_named or ok or "manifest" in damage[0]
    assert not unreported


def test_damages(whole, box):
    check_damages(whole, box, 200, seed=0)


@pytest.mark.slow
def test_many_damages(whole, box):
    check_damages(whole, box, 4000, seed=1)


def test_the_newest_state_is_whole(whole):
    directory, expected = whole
    opened = real.Opened(directory)
    assert opened.content() == expected
    assert verify(directory, full=True).ok
    assert len(opened.manifest.segments) > 1
    assert LAST > 9
