"""Which documents of a segment are dead: their numbers, ascending uint32, a new file for each change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xtrkit.storage.files import FileFacts, NewFile, check_size, damaged, storage_errors


def write_tombstones(directory: Path, name: str, numbers: npt.NDArray[np.uint32]) -> FileFacts:
    """Write the numbers of dead documents.

    Raises:
        StorageError: the file could not be written.
    """
    with NewFile(directory, name) as file:
        file.write(np.unique(numbers).astype("<u4").tobytes())
        return file.finish()


def read_tombstones(directory: Path, facts: FileFacts, documents: int) -> npt.NDArray[np.uint32]:
    """(D,) numbers of dead documents; the file is small, so its hash is checked each time.

    Raises:
        IndexDamagedError: the file is not what was written.
        StorageError: it can't be read.
    """
    path = directory / facts.name
    check_size(directory, facts)
    with storage_errors(path, "reading"):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != facts.sha256:
        raise damaged(path, "its content is not what was written: another sha256")
    if len(content) % 4:
        raise damaged(path, "it does not hold whole numbers")
    numbers = np.frombuffer(content, dtype="<u4")
    if len(numbers) and ((np.diff(numbers.astype(np.int64)) <= 0).any() or numbers[-1] >= documents):
        raise damaged(path, "its numbers are not those of documents in ascending order")
    return numbers
