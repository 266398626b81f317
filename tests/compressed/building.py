"""Compressed indexes for tests, without ids and texts."""

import numpy as np

from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import open_compressed
from xtrkit.indexing.postings import build
from xtrkit.indexing.spool import Spool, claimed
from xtrkit.values import Ragged


def batches_of(rows, lengths, size=7):
    ends = np.cumsum(lengths)
    for first in range(0, len(lengths), size):
        part = np.asarray(lengths[first : first + size])
        last = ends[first + len(part) - 1]
        yield Ragged(rows[last - part.sum() : last], part)


def built(path, rows, lengths, nbits=4, codec="grid", size=7):
    """Build and open a compressed index of (M, d) rows of documents of some lengths."""
    path.mkdir()
    workplace = path.parent / f".{path.name}.building"
    with claimed(workplace), Spool(workplace, "", durable=False) as spool:
        for batch in batches_of(rows, lengths, size):
            spool.append(batch, [str(spool.count + i) for i in range(len(batch))], [None] * len(batch))
        spool.flush()
        build(spool, path, workplace, codec_named(codec, nbits))
    return open_compressed(path)
