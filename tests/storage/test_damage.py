"""Flipped bits and cut files: ``verify --full`` reports each, nothing crashes, and no wrong passage is ever shown."""

import shutil
import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.storage import real
from tests.storage.toy import LAST, STATES, STEPS
from tests.storage.zygote import in_children
from xtrkit.errors import XtrkitError
from xtrkit.indexing.checking import verify
from xtrkit.token_retrieval.corpus import ClusteredCorpus
from xtrkit.values import Segment

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
                assert index.passage(number).text == expected[identifier]
        for number, _ in index._store.passages.living(texts=True):
            assert index.passage(number).text in texts
        return "shown", verify(directory, full=True).ok
    except XtrkitError:
        return "error", verify(directory, full=True).ok


def check_damages(whole, box, number, seed):
    original, expected = whole
    random, directory = np.random.default_rng(seed), box / "index"
    newest = real.Opened(original).manifest
    named = {file.name for file in newest.files} | {f"manifest-{newest.generation:012d}.json"}
    shutil.copytree(original, directory)
    unreported, refused = [], 0

    def look(damage):
        name, content = damage
        (directory / name).write_bytes(content)
        result = outcome_of(directory, expected)
        shutil.copyfile(original / name, directory / name)
        return name in named, *result

    for damage, (status, result) in in_children(look, damages(original, random, number)):
        assert status not in [-fatal for fatal in FATAL], (damage[0], status)
        assert result is not None, (damage[0], status)
        is_named, shown, ok = result
        refused += shown == "error"
        if is_named and ok:
            unreported.append(damage[0])
        assert is_named or ok or "manifest" in damage[0]
    assert not unreported
    print(f"{number} damages: {refused} refused when opened, read or searched; all reported by verify --full")  # noqa: T201


def test_damages(whole, box):
    check_damages(whole, box, 100, seed=0)


@pytest.mark.slow
def test_many_damages(whole, box):
    check_damages(whole, box, 4000, seed=1)


def test_rows_that_say_they_are_of_other_documents_are_counted_as_they_say(whole):
    """Kernels are given room for as many similarities as they will find, whatever was damaged."""
    opened = real.Opened(whole[0])
    segment = next(segment for segment in opened._index._store.segments if segment.facts.dead)
    random, tokens = np.random.default_rng(0), segment.tokens
    for _ in range(50):
        documents = random.integers(tokens.n_documents, size=tokens.n_tokens).astype(np.int32)
        corpus = ClusteredCorpus([Segment(replace(tokens, documents=documents), segment.live)])
        living = [segment.live[documents[a:b]].sum() for a, b in pairwise(tokens.cluster_offsets.tolist())]
        assert corpus.sizes.tolist() == living


def test_the_newest_state_is_whole(whole):
    directory, expected = whole
    opened = real.Opened(directory)
    assert opened.content() == expected
    assert verify(directory, full=True).ok
    assert len(opened.manifest.segments) > 1
    assert LAST > 9
