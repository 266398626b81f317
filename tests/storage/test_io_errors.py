"""The operating system refuses a call: a typed error names the file, the old state stays, the next commit works."""

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from tests.forking import fork
from tests.storage import real
from tests.storage.test_kill import check_recovery, clear, recorded_calls
from tests.storage.toy import LAST
from tests.storage.tracing import CALLS, READS, needs_strace, spread
from xtrkit.errors import StorageError
from xtrkit.passage import Passage
from xtrkit.storage.arrays import append_array, write_arrays
from xtrkit.storage.passage_file import write_passages

pytestmark = needs_strace

ERRORS = {
    "ENOSPC": ("openat", "write", "pwrite64", "fsync", "ftruncate", "link", "mkdir", "rename"),
    "EDQUOT": ("openat", "write", "pwrite64"),
    "EIO": (*CALLS, *READS),
    "EINTR": ("openat", "write", "pwrite64", "fsync", "flock", "read", "pread64"),
    "EACCES": ("openat", "link", "unlink", "mkdir", "rename"),
}


def points_of(zygote, directory):
    """Each error at each call that may give it."""
    calls = recorded_calls(zygote, directory, tuple(dict.fromkeys([*CALLS, *READS])))
    return [(error, call, n) for error, names in ERRORS.items() for call, n in calls if call in names]


def fail_at(zygote, directory, error, call, n):
    """Let a call fail; False if it was none of the index's: Python may list its own directories in between."""
    clear(directory.parent)
    inject = ["-y", "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={n}"]
    outcome = zygote.run(directory, 0, LAST, strace=inject)
    if not any("INJECTED" in line and str(directory.parent) in line for line in outcome.log):
        return False
    if outcome.status:
        assert outcome.status == 1, outcome
        assert outcome.error.startswith("error "), outcome
        assert str(directory.parent) in outcome.error, outcome
    else:
        assert outcome.acknowledged == LAST
    check_recovery(zygote.subject, directory, outcome)
    return True


def test_refused_here_and_there(zygote, box):
    directory = box / "index"
    points = points_of(zygote, directory)
    assert sum(fail_at(zygote, directory, *point) for point in spread(points, 15)) > 12


@pytest.mark.slow
def test_refused_in_many_places(zygote, box):
    directory = box / "index"
    points = points_of(zygote, directory)
    refused = [fail_at(zygote, directory, *point) for point in spread(points, 500)]
    assert sum(refused) > 0.9 * len(refused)
    print(f"{sum(refused)} refused calls of {len(points)}")  # noqa: T201


def _limited(size, write):
    """What a child process, whose files may not grow beyond a size, gets when it writes."""
    process = fork()
    if not process:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            write()
        except StorageError as error:
            os._exit(10 if any(word in str(error) for word in (os.strerror(errno.EFBIG), "full", "I/O")) else 11)
        except BaseException:
            os._exit(12)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.parametrize("size", [0, 1, 100, 287])
def test_an_index_is_not_made_of_half_its_vectors(box, size):
    """The vectors of 18 tokens wait in a file of 288 bytes."""
    assert _limited(size, lambda: real.apply(box / "index", real.STEPS[0])) == 10
    assert not (box / "index").exists()


def test_what_a_full_disk_does_not_take_is_an_error():
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left"):
        append_array(full, np.ones(3))


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 4096, 5000, 9000, 20_000])
def test_a_disk_that_takes_half_a_write_is_an_error_and_leaves_no_file(box, size):
    """The limit makes the last write a short one, as a full disk does."""
    vectors = np.zeros((100, 100), dtype=np.float16)
    passages = [Passage(str(number), "text " * 20) for number in range(200)]
    assert _limited(size, lambda: write_arrays(box, "a", {"vectors": vectors})) == 10
    assert _limited(size, lambda: write_passages(box, "b", passages)) == 10
    assert not list(box.iterdir())
