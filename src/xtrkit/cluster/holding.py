"""How many bytes a worker holds at most while it does a task, beside its encoder.

Vectors, codes and texts go from file to file, some at a time; between the process that directs and the workers travel
names and counts alone. What a task takes in memory is known before it is begun, and no machine is given more tasks at
a time than it has room for (:mod:`xtrkit.cluster.dispatch`).
"""

from __future__ import annotations

from xtrkit.cluster.parts import Partition, Rows
from xtrkit.indexing import spool
from xtrkit.indexing.codec import code_width
from xtrkit.indexing.postings import ORDERED_BYTES, PLACED_AT_A_TIME, Drawn, Trained
from xtrkit.texts.encoding import MOST_CHARACTERS
from xtrkit.values import EncoderIdentity

OF_A_BYTE = 64
"""Bytes for one of text: itself, its words, and what a tokeniser notes of each letter until it cuts the text off."""

OF_A_NUMBER = 20
"""Bytes for one of a block's numbers: as it is read, as a float, rotated, rounded, what it leaves over, its code."""

AT_LEAST = 1 << 24
"""What little things add up to."""

OF_WORDS, WORDS = 12, 1 << 28
"""For the words of a shard's texts while they are sorted: bytes for one of text; and at most."""


def by_encoding(partition: Partition, identity: EncoderIdentity) -> int:
    """To encode a partition: its texts, and the vectors of those that are encoded together."""
    longest = identity.document_length
    tokens = min(partition.bytes, partition.passages * longest, MOST_CHARACTERS + longest)
    return AT_LEAST + OF_A_BYTE * partition.bytes + 16 * identity.dim * tokens


def by_sampling(drawn: Drawn, dim: int) -> int:
    """To pick vectors: the numbers of all that are picked, and two blocks."""
    return AT_LEAST + 4 * drawn.numbers.nbytes + 6 * dim * spool.BLOCK


def by_assigning(tokens: int, trained: Trained) -> int:
    """To assign tokens: centroids, sums over each cluster, and the blocks at work."""
    n_centroids, dim = len(trained.tree.centroids), len(trained.rotation)
    found = 2 * 4 * (n_centroids + len(trained.held_out)) * dim
    return AT_LEAST + 16 * tokens + found + 8 * n_centroids * (dim + 4) + _block(dim, n_centroids)


def by_compressing(tokens: int, trained: Trained) -> int:
    """To compress them: centroids, and the blocks at work."""
    n_centroids, dim = len(trained.tree.centroids), len(trained.rotation)
    return AT_LEAST + 8 * tokens + 8 * n_centroids * (dim + 4) + _block(dim, n_centroids)


def by_shard(rows: Rows, bits: int | None) -> int:
    """To write a shard: where each of its tokens goes, those of its codes that are put in order together, and words."""
    words = min(WORDS, OF_WORDS * sum(partition.bytes for partition in rows.layout.partitions))
    if bits is None:
        return AT_LEAST + words + _block(rows.dim, 0)
    codes = min(2 * ORDERED_BYTES, 2 * rows.n_tokens * code_width(rows.dim, bits))
    return AT_LEAST + words + 24 * rows.n_tokens + codes + 32 * min(PLACED_AT_A_TIME, rows.n_tokens)


def _block(dim: int, n_centroids: int) -> int:
    """Blocks at work: one is read while another is compared with the groups of centroids."""
    return spool.BLOCK * (OF_A_NUMBER * dim + 12 * int(n_centroids**0.5 + 1))
