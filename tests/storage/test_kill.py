"""kill -9 before each system call that changes something: what was acknowledged is there, and nothing is half done."""

import shutil

import pytest

from tests.storage.toy import LAST, STATES, STEPS
from tests.storage.tracing import CALLS, calls_of, needs_strace, spread
from xtrkit.errors import IndexFormatError
from xtrkit.storage.generations import OWN_NAME, WriterLock, collect, generations

pytestmark = needs_strace


def state_of(subject, directory):
    """How many steps have been taken, by what there is; asserts that it is exactly what was after a step."""
    try:
        opened = subject.Opened(directory)
    except IndexFormatError:
        assert not directory.exists(), "what bears the name of an index is complete"
        return 0
    try:
        found = opened.content()
        assert found == STATES[opened.manifest.generation]
        return opened.manifest.generation
    finally:
        opened.close()


def check_recovery(subject, directory, outcome):
    """After a fault: old or new state; the next commit works; and nothing is left over in the end."""
    state = state_of(subject, directory)
    assert outcome.acknowledged <= state <= outcome.acknowledged + 1, outcome
    if state < LAST:
        subject.apply(directory, STEPS[state])
        assert state_of(subject, directory) == state + 1
    lock = WriterLock(directory)
    collect(directory)
    lock.close()
    named = {file.name for g in generations(directory) for file in subject.Opened(directory, g).manifest.files}
    assert {path.name for path in directory.iterdir() if OWN_NAME.fullmatch(path.name)} == named


def recorded_calls(zygote, directory, calls=CALLS):
    """Every call of a run without faults."""
    outcome = zygote.run(directory, 0, LAST, strace=["-y", "-e", f"trace={','.join(calls)}"])
    assert (outcome.acknowledged, outcome.status) == (LAST, 0), outcome.error
    return calls_of(outcome.log, directory.parent)


def clear(directory):
    for path in directory.iterdir():
        shutil.rmtree(path)


def kill_at(zygote, directory, call, n):
    clear(directory.parent)
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}"]
    outcome = zygote.run(directory, 0, LAST, strace=inject)
    assert outcome.status == -9, outcome
    check_recovery(zygote.subject, directory, outcome)


def test_killed_here_and_there(zygote, box):
    directory = box / "index"
    points = recorded_calls(zygote, directory)
    assert len(points) > 200
    for call, n in spread(points, 12):
        kill_at(zygote, directory, call, n)


@pytest.mark.slow
def test_killed_everywhere(zygote, box):
    directory = box / "index"
    points = recorded_calls(zygote, directory)
    for call, n in points:
        kill_at(zygote, directory, call, n)
    print(f"{len(points)} kill points")  # noqa: T201
