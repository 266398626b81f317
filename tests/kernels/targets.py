"""What kernels compute, as digests that are the same on every processor and wherever memory ends.

``python -m tests.kernels.targets [--at-border] [--searches] [grid-4 …]`` says what the kernels of this process are made
of, and the digests. ``--at-border`` puts every array that kernels are given right before memory that may not be
touched: whatever reads or writes a byte beyond ends this process.
"""

import ctypes
import hashlib
import json
import mmap
import sys

import numpy as np

from tests.kernels.made import STORAGES, anywhere, asked, looked_at, made, nearest, opened, promising
from xtrkit.kernels.bundles import empty_slots
from xtrkit.kernels.expectation import expected_kth_scores
from xtrkit.kernels.gathering import sums_of_max
from xtrkit.kernels.selection import kth_largest
from xtrkit.kernels.summing import kth_scores, sum_best
from xtrkit.kernels.vectors import TARGET

CASES = [(8, 1, 3), (16, 4, 9), (24, 40, 1), (40, 9, 5), (128, 30, 33), (136, 7, 2), (264, 12, 4), (1024, 3, 3)]
"""(dimensions, clusters, query tokens)."""


def at_border(array):
    """A copy of an array whose last byte is followed by a page that may not be touched."""
    if not array.nbytes:
        return array
    page, size = mmap.PAGESIZE, array.nbytes
    length = -(-size // page) * page
    memory = mmap.mmap(-1, length + page)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    if protect(ctypes.c_void_p(begin + length), ctypes.c_size_t(page), 0):
        raise OSError(ctypes.get_errno(), "no page can be protected")
    copied = np.frombuffer(memory, dtype=array.dtype, count=array.size, offset=length - size).reshape(array.shape)
    copied[...] = array
    return copied


def digests(storage, place=anywhere):
    """{kernel: digest} for indexes of one kind."""
    found = {}

    def note(name, *arrays):
        digest = found.setdefault(name, hashlib.sha256())
        for array in arrays:
            digest.update(np.ascontiguousarray(array).tobytes())

    for number, (dim, n_clusters, n) in enumerate(CASES):
        random = np.random.default_rng(number)
        segment = made(random, random.integers(0, 40, n_clusters) + (number == 0), dim, storage, place)
        query = asked(random, n, segment, place, zeros=number % 3 == 1, extreme=number == 4)
        centroids, sizes = segment.centroids, segment.centroids.sizes
        looked = looked_at(centroids, query, max(1, len(centroids.groups.scales) // 2), place)
        end = looked.starts[-1]
        note("look_at_groups", looked.numbers[:end], looked.scores[:end], looked.promises[:end], looked.starts)
        close = nearest(looked, min(3, n_clusters), place)
        note("nearest_clusters", *close)
        some = promising(looked, sizes, 60, 0.4 * n * sizes.sum(), place)
        note("promising_clusters", *some)
        nobody = np.zeros(0, dtype=np.bool_)
        for live in (nobody, place(random.random(segment.n_documents) < 0.7)):
            for chosen in (close, some):
                probes = opened([segment, segment], query, chosen, place, [nobody, live])
                note("score_clusters", probes.scores, probes.places)
                kth, expected = place(np.empty(n, np.float32)), place(np.empty(n, np.float32))
                kth_scores(probes, 20, kth)
                note("kth_scores", kth)
                if chosen is some:
                    expected_kth_scores(probes, centroids, query, 60, expected)
                    note("expected_kth_scores", expected)
                n_documents, free = 2 * segment.n_documents, place(probes.places[:-1].copy())
                most, count = min(n_documents, len(probes.scores)), 0
                totals, hit = place(np.zeros(most)), place(np.zeros(most + 1, np.int32))
                slots = empty_slots(n_documents)
                words = place(slots.words)
                slots = slots._replace(words=words, floats=words.view(np.float32), doubles=words.view(np.float64))
                for first, alive in ((0, nobody), (segment.n_documents, live)):
                    count += sum_best(
                        segment.postings, alive, first, probes, free, kth, kth.astype(np.float64), nobody, slots,
                        hit[count:], totals[count:], np.zeros(0, np.int32),
                    )  # fmt: skip
                note("sum_best", hit[:count], totals[:count])
                if len(probes.scores):
                    note("kth_largest", kth_largest(probes.scores, 1 + len(probes.scores) // 3))
        candidates = place(np.flatnonzero(np.diff(segment.rows.document_offsets)).astype(np.int32)[::-1].copy())
        sums = place(np.empty(len(candidates)))
        limits = place(np.where(np.arange(n) % 2, np.inf, 0.1))
        sums_of_max(segment.postings, segment.rows, centroids.centroids, candidates, query, limits, sums)
        note("sums_of_max", sums)
    return {name: digest.hexdigest()[:16] for name, digest in found.items()}


def main(arguments):
    from tests.golden_searches import measured

    place = at_border if "--at-border" in arguments else anywhere
    named = {f"{codec}-{bits}": (codec, bits) for codec, bits in STORAGES}
    storages = [storage for name, storage in named.items() if name in arguments] or STORAGES
    found = {f"{codec}-{bits}": digests((codec, bits), place) for codec, bits in storages}
    if "--searches" in arguments:
        found |= measured(storages)
    print(json.dumps({"target": TARGET.name, "digests": found}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
