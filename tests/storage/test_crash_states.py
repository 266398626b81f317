"""Power cuts: whatever POSIX lets the disk hold, the index opens with what was acknowledged, or one commit more."""

import itertools

import numpy as np
import pytest

from tests.storage.crash_states import OPTIONS, materialise, replayed
from tests.storage.test_kill import clear, state_of
from tests.storage.toy import LAST, STEPS
from tests.storage.tracing import needs_strace, whole

pytestmark = needs_strace


@pytest.fixture(scope="module")
def recorded(zygote, tmp_path_factory):
    """The system calls of a run, and the directory that it worked in."""
    root = tmp_path_factory.mktemp("recorded")
    outcome = zygote.run(root / "index", 0, LAST, strace=OPTIONS)
    assert outcome.acknowledged == LAST, outcome.error
    return outcome.log, root, zygote.subject


EVERY = 7
"""Of so many moments the default run looks at one: it tries some of the states alone."""


def distinct_states(recorded, extra, every=1, **ignored):
    """Each state once, with the fewest steps that were acknowledged when it could come about.

    Of ``every`` so many moments at which the power may fail one counts.

    What was seen is known by 64 bits of Python's hash, which is a keyed one: that two of some hundred thousand states
    are taken for one is as likely as one in a billion, and hashing takes a tenth of what SHA-256 of all would.
    """
    log, root, _ = recorded
    random, seen = np.random.default_rng(0), set()
    for acknowledged, disk in itertools.islice(replayed(log, root, **ignored), 0, None, every):
        for state in disk.states(random, extra):
            digest = hash((acknowledged, frozenset(state.items())))
            if digest not in seen:
                seen.add(digest)
                yield acknowledged, state


def check(subject, acknowledged, state, box, *, commit):
    clear(box)
    materialise(state, box)
    found = state_of(subject, box / "index")
    assert acknowledged <= found <= acknowledged + 1
    if commit and found < LAST:
        subject.apply(box / "index", STEPS[found])
        assert state_of(subject, box / "index") == found + 1


def bad_states(subject, states, box):
    bad = total = 0
    for acknowledged, state in states:
        total += 1
        try:
            check(subject, acknowledged, state, box, commit=False)
        except Exception:
            bad += 1
    return bad, total


def test_states_after_power_cuts(recorded, box):
    states, subject = list(distinct_states(recorded, extra=1, every=EVERY)), recorded[2]
    assert len(states) > 200
    for number, (acknowledged, state) in enumerate(states[:: len(states) // 60]):
        check(subject, acknowledged, state, box, commit=number % 10 == 0)


@pytest.mark.slow
def test_all_states_after_power_cuts(recorded, box):
    number, subject = 0, recorded[2]
    for acknowledged, state in distinct_states(recorded, extra=12):
        check(subject, acknowledged, state, box, commit=number % 4 == 0)
        number += 1
    print(f"{number} crash states")  # noqa: T201


@pytest.mark.parametrize("ignored", ["ignore_files", "ignore_folders"])
def test_without_flushing_there_would_be_bad_states(recorded, box, ignored):
    """The controls: were flushes of files, or of directories, ignored, the test above would fail."""
    states = list(distinct_states(recorded, extra=0, every=EVERY, **{ignored: True}))
    bad, total = bad_states(recorded[2], states[:: len(states) // 30], box)
    assert bad > total / 10


def test_a_call_that_another_thread_interrupts_counts():
    log = [
        '7 openat(AT_FDCWD, "a", O_WRONLY <unfinished ...>',
        "8 +++ exited with 0 +++",
        "7 <... openat resumed>)           = 3",
        "7 fsync(3 <unfinished ...>",
    ]
    opened = '7 openat(AT_FDCWD, "a", O_WRONLY)           = 3'
    assert list(whole(log)) == ["8 +++ exited with 0 +++", opened, "7 fsync(3"]
