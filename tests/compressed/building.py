"""Compressed indexes for tests, without ids and texts."""

import numpy as np

from xtrkit.indexing.codec import codec_named
from xtrkit.indexing.compressed_format import open_quantiser, open_tokens, write_quantiser
from xtrkit.indexing.postings import compress, train
from xtrkit.indexing.spool import Spool, claimed
from xtrkit.storage.passages import Passage
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
            spool.append(batch, [Passage(str(spool.count + i)) for i in range(len(batch))])
        spool.flush()
        quantiser, assigned = train(spool, codec_named(codec, nbits))
        write_quantiser(path, "codec", quantiser)
        compress(spool, quantiser, path, "tokens", assigned=assigned)
    return opened(path, len(lengths), int(np.sum(lengths)), nbits, codec)


def opened(path, n_documents, n_tokens, nbits=4, codec="grid"):
    """The index that was built in a directory."""
    return open_tokens(path / "tokens", open_quantiser(path / "codec", codec, nbits), n_documents, n_tokens)
