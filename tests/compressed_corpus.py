"""Small compressed indexes for tests."""

import numpy as np

from tests.conftest import unit_rows
from xtrkit.indexing.compressed_format import open_compressed
from xtrkit.indexing.postings import build
from xtrkit.values import Ragged, offsets_of


def clustered(random, lengths, dim=16):
    """Token vectors with some structure: directions around a few centres."""
    centres = unit_rows(random, 12, dim)
    rows = centres[random.integers(0, 12, sum(lengths))] + 0.4 * unit_rows(random, sum(lengths), dim)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Ragged(rows.astype(np.float16).astype(np.float32), np.asarray(lengths))


def batches_of(corpus, size):
    offsets = offsets_of(corpus.lengths)
    for first in range(0, len(corpus), size):
        last = min(first + size, len(corpus))
        yield Ragged(corpus.rows[offsets[first] : offsets[last]], corpus.lengths[first:last])


def compressed(directory, corpus, bits=4, batch=7, seed=0):
    directory.mkdir()
    build(batches_of(corpus, batch), directory, bits, seed)
    return open_compressed(directory)
